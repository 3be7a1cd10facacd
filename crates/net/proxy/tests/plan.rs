//! What is planned, as text: the frame that is always there, and what services add to it.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::net::IpAddr;

use expect_test::{Expect, expect};
use netlink::nft::Ruleset;
use netlink::nft::diff::diff;
use proxy::{
    EndpointPort, EndpointSpec, NodeSpec, Protocol, ServicePort, ServiceSpec, SliceSpec, TrafficPolicy, plan,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn node() -> NodeSpec {
    NodeSpec {
        name: "a".to_owned(),
        pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        ..NodeSpec::default()
    }
}

fn web() -> ServiceSpec {
    ServiceSpec {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        cluster_ips: vec![ip("10.96.0.1")],
        ports: vec![ServicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        ..ServiceSpec::default()
    }
}

/// Endpoints as `address@node`.
fn slice(endpoints: &[&str]) -> SliceSpec {
    let one = |text: &&str| {
        let (address, node) = text.split_once('@').unwrap();
        EndpointSpec::ready(ip(address), node)
    };
    SliceSpec {
        namespace: "default".to_owned(),
        name: "web-1".to_owned(),
        service: "web".to_owned(),
        ports: vec![EndpointPort { name: "http".to_owned(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints.iter().map(one).collect(),
    }
}

/// The lines that `services` add to the empty table.
fn added(services: &[ServiceSpec], slices: &[SliceSpec]) -> String {
    let empty = plan(&[], &[], &node()).to_string();
    let full = plan(services, slices, &node()).to_string();
    let mut frame = empty.lines().peekable();
    let mut out = String::new();
    let mut heading = "";
    for line in full.lines() {
        if !line.starts_with(' ') {
            heading = line;
        }
        if frame.peek() == Some(&line) {
            frame.next();
            continue;
        }
        if line.starts_with(' ') && !heading.is_empty() && heading.starts_with("set ") {
            out.push_str(&format!("{}:{line}\n", heading.split(' ').nth(1).unwrap()));
        } else {
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

fn check(services: &[ServiceSpec], slices: &[SliceSpec], expected: Expect) {
    expected.assert_eq(&added(services, slices));
}

#[test]
fn the_frame() {
    expect![[r#"
        table inet ferrokube-proxy
        chain external-local4
          r0 = network[12..16]; r0 &= 0xffff0000; r0 == 0x0af40000; r0 = network[16..20]; r1 = l4proto; r2 = transport[2..4]; r0 vmap @short-circuit4
          r0 = fib saddr type; r0 == 0x02000000; r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0; r0 = network[16..20]; r1 = l4proto; r2 = transport[2..4]; r0 vmap @short-circuit4
          r0 = network[16..20]; r1 = l4proto; r2 = transport[2..4]; r0 vmap @outside4
        chain external-local6
          r0 = fib saddr type; r0 == 0x02000000; r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0; r0 = network[24..40]; r4 = l4proto; r5 = transport[2..4]; r0 vmap @short-circuit6
          r0 = network[24..40]; r4 = l4proto; r5 = transport[2..4]; r0 vmap @outside6
        chain filter-forward filter forward 0
          r0 = ct state; r0 &= 0x08000000; r0 != 0x00000000; jump refuse
        chain filter-input filter input 0
          r0 = ct state; r0 &= 0x08000000; r0 != 0x00000000; jump refuse
        chain filter-output filter output 0
          r0 = ct state; r0 &= 0x08000000; r0 != 0x00000000; jump refuse
        chain firewall
          r0 = nfproto; r0 == 0x02; goto firewall4
          r0 = nfproto; r0 == 0x0a; goto firewall6
        chain firewall-output filter output -110
          r0 = ct state; r0 &= 0x08000000; r0 != 0x00000000; jump firewall
        chain firewall-prerouting filter prerouting -110
          r0 = ct state; r0 &= 0x08000000; r0 != 0x00000000; jump firewall
        chain firewall4
          r0 = network[16..20]; r1 = l4proto; r2 = transport[2..4]; r3 = network[12..16]; r0 in @allowed4; return
          r0 = network[16..20]; r1 = l4proto; r2 = transport[2..4]; r0 in @guarded4; drop
        chain firewall6
          r0 = network[24..40]; r4 = l4proto; r5 = transport[2..4]; r6 = network[8..24]; r0 in @allowed6; return
          r0 = network[24..40]; r4 = l4proto; r5 = transport[2..4]; r0 in @guarded6; drop
        chain guard-localhost filter prerouting -300
          r0 = nfproto; r0 == 0x02; r0 = iifname; r0 != 0x6c6f0000000000000000000000000000; r0 = network[16..20]; r0 &= 0xff000000; r0 == 0x7f000000; drop
          r0 = nfproto; r0 == 0x02; r0 = iifname; r0 != 0x6c6f0000000000000000000000000000; r0 = network[12..16]; r0 &= 0xff000000; r0 == 0x7f000000; drop
        chain hairpins
          r0 = nfproto; r0 == 0x02; goto hairpins4
          r0 = nfproto; r0 == 0x0a; goto hairpins6
        chain hairpins4
          r0 = network[12..16]; r1 = network[16..20]; r0 in @hairpin4; masquerade fully-random
        chain hairpins6
          r0 = network[8..24]; r4 = network[24..40]; r0 in @hairpin6; masquerade fully-random
        chain mark-outsiders4
          r0 = network[12..16]; r0 &= 0xffff0000; r0 == 0x0af40000; return
          r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0
        chain mark-outsiders6
          r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0
        chain nat-output nat output -100
          jump services
        chain nat-postrouting nat postrouting 100
          r0 = mark; r0 &= 0x00400000; r0 != 0x00000000; r0 = mark; r0 &= 0xffbfffff; mark = r0; masquerade fully-random
          r0 = ct status; r0 &= 0x20000000; r0 != 0x00000000; jump hairpins
        chain nat-prerouting nat prerouting -100
          jump services
        chain node-port-local4
          r0 = network[12..16]; r0 &= 0xffff0000; r0 == 0x0af40000; r0 = 0x00000000; r1 = l4proto; r2 = transport[2..4]; r0 vmap @short-circuit4
          r0 = fib saddr type; r0 == 0x02000000; r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0; r0 = 0x00000000; r1 = l4proto; r2 = transport[2..4]; r0 vmap @short-circuit4
          r0 = 0x00000000; r1 = l4proto; r2 = transport[2..4]; r0 vmap @outside4
        chain node-port-local6
          r0 = fib saddr type; r0 == 0x02000000; r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0; r0 = 0x00000000000000000000000000000000; r4 = l4proto; r5 = transport[2..4]; r0 vmap @short-circuit6
          r0 = 0x00000000000000000000000000000000; r4 = l4proto; r5 = transport[2..4]; r0 vmap @outside6
        chain refuse
          r0 = nfproto; r0 == 0x02; goto refuse4
          r0 = nfproto; r0 == 0x0a; goto refuse6
        chain refuse4
          r0 = network[16..20]; r1 = l4proto; r2 = transport[2..4]; r0 vmap @refused4
          r0 = fib daddr type; r0 == 0x02000000; r0 = 0x00000000; r1 = l4proto; r2 = transport[2..4]; r0 vmap @refused4
          r0 = network[16..20]; r0 in @cluster-ip4; goto reject
          r0 = network[16..20]; r0 &= 0xffff0000; r0 == 0x0a600000; goto reject
        chain refuse6
          r0 = network[24..40]; r4 = l4proto; r5 = transport[2..4]; r0 vmap @refused6
          r0 = fib daddr type; r0 == 0x02000000; r0 = network[24..40]; r0 != 0x00000000000000000000000000000001; r0 = 0x00000000000000000000000000000000; r4 = l4proto; r5 = transport[2..4]; r0 vmap @refused6
          r0 = network[24..40]; r0 in @cluster-ip6; goto reject
        chain reject
          r0 = l4proto; r0 == 0x06; reject with tcp reset
          reject
        chain services
          r0 = nfproto; r0 == 0x02; goto services4
          r0 = nfproto; r0 == 0x0a; goto services6
        chain services4
          r0 = network[16..20]; r1 = l4proto; r2 = transport[2..4]; r0 vmap @service4
          r0 = fib daddr type; r0 == 0x02000000; r0 = 0x00000000; r1 = l4proto; r2 = transport[2..4]; r0 vmap @service4
        chain services6
          r0 = network[24..40]; r4 = l4proto; r5 = transport[2..4]; r0 vmap @service6
          r0 = fib daddr type; r0 == 0x02000000; r0 = network[24..40]; r0 != 0x00000000000000000000000000000001; r0 = 0x00000000000000000000000000000000; r4 = l4proto; r5 = transport[2..4]; r0 vmap @service6
        set affinity4 ipv4 . number . ipv4 . protocol . port : ipv4 . port dynamic 262144
        set affinity6 ipv6 . number . ipv6 . protocol . port : ipv6 . port dynamic 262144
        set alias4 ipv4 . protocol . port : ipv4 . protocol . port
        set alias6 ipv6 . protocol . port : ipv6 . protocol . port
        set allowed4 ipv4 . protocol . port . ipv4 interval
        set allowed6 ipv6 . protocol . port . ipv6 interval
        set cluster-ip4 ipv4
        set cluster-ip6 ipv6
        set endpoint4 number . ipv4 . protocol . port . number : ipv4 . port
        set endpoint6 number . ipv6 . protocol . port . number : ipv6 . port
        set guarded4 ipv4 . protocol . port
        set guarded6 ipv6 . protocol . port
        set hairpin4 ipv4 . ipv4
        set hairpin6 ipv6 . ipv6
        set member4 ipv4 . protocol . port . ipv4 . port
        set member6 ipv6 . protocol . port . ipv6 . port
        set outside4 ipv4 . protocol . port : verdict
        set outside6 ipv6 . protocol . port : verdict
        set refused4 ipv4 . protocol . port : verdict
        set refused6 ipv6 . protocol . port : verdict
        set service4 ipv4 . protocol . port : verdict
        set service6 ipv6 . protocol . port : verdict
        set short-circuit4 ipv4 . protocol . port : verdict
        set short-circuit6 ipv6 . protocol . port : verdict
    "#]].assert_eq(&plan(&[], &[], &node()).to_string());
}

#[test]
fn a_service_with_a_node_port() {
    check(
        &[web()],
        &[slice(&["10.244.0.2@a", "10.244.1.2@b"])],
        expect![[r#"
        chain cluster-ip4-any-2-masq-outsiders
          jump mark-outsiders4
          r0 = 0x01000000; r1 = network[16..20]; r2 = l4proto; r3 = transport[2..4]; r4 = random mod 2; r4 = @endpoint4[r0]; dnat ip to r4:r5
        chain node-port4-any-2-masq
          r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0
          r1 = 0x00000000; r2 = l4proto; r3 = transport[2..4]; r1 = @alias4[r1]; r0 = 0x01000000; r4 = random mod 2; r4 = @endpoint4[r0]; dnat ip to r4:r5
        alias4:  0.0.0.0 . tcp . 30080 : 10.96.0.1 . tcp . 80
        cluster-ip4:  10.96.0.1
        endpoint4:  1 . 10.96.0.1 . tcp . 80 . 0 : 10.244.0.2 . 8080
        endpoint4:  1 . 10.96.0.1 . tcp . 80 . 1 : 10.244.1.2 . 8080
        hairpin4:  10.244.0.2 . 10.244.0.2
        hairpin4:  10.244.1.2 . 10.244.1.2
        service4:  0.0.0.0 . tcp . 30080 : goto node-port4-any-2-masq
        service4:  10.96.0.1 . tcp . 80 : goto cluster-ip4-any-2-masq-outsiders
    "#]],
    );
}

#[test]
fn a_service_without_endpoints_refuses() {
    check(
        &[web()],
        &[],
        expect![[r#"
        cluster-ip4:  10.96.0.1
        refused4:  0.0.0.0 . tcp . 30080 : goto reject
        refused4:  10.96.0.1 . tcp . 80 : goto reject
    "#]],
    );
}

#[test]
fn local_policies() {
    let service = ServiceSpec {
        external_traffic_policy: TrafficPolicy::Local,
        internal_traffic_policy: TrafficPolicy::Local,
        ..web()
    };
    check(
        std::slice::from_ref(&service),
        &[slice(&["10.244.0.2@a", "10.244.1.2@b"])],
        expect![[r#"
        chain cluster-ip4-local-1-masq-outsiders
          jump mark-outsiders4
          r0 = 0x02000000; r1 = network[16..20]; r2 = l4proto; r3 = transport[2..4]; r4 = 0x00000000; r4 = @endpoint4[r0]; dnat ip to r4:r5
        chain node-port4-any-2
          r1 = 0x00000000; r2 = l4proto; r3 = transport[2..4]; r1 = @alias4[r1]; r0 = 0x01000000; r4 = random mod 2; r4 = @endpoint4[r0]; dnat ip to r4:r5
        chain node-port4-local-1
          r1 = 0x00000000; r2 = l4proto; r3 = transport[2..4]; r1 = @alias4[r1]; r0 = 0x02000000; r4 = 0x00000000; r4 = @endpoint4[r0]; dnat ip to r4:r5
        alias4:  0.0.0.0 . tcp . 30080 : 10.96.0.1 . tcp . 80
        cluster-ip4:  10.96.0.1
        endpoint4:  1 . 10.96.0.1 . tcp . 80 . 0 : 10.244.0.2 . 8080
        endpoint4:  1 . 10.96.0.1 . tcp . 80 . 1 : 10.244.1.2 . 8080
        endpoint4:  2 . 10.96.0.1 . tcp . 80 . 0 : 10.244.0.2 . 8080
        hairpin4:  10.244.0.2 . 10.244.0.2
        hairpin4:  10.244.1.2 . 10.244.1.2
        outside4:  0.0.0.0 . tcp . 30080 : goto node-port4-local-1
        service4:  0.0.0.0 . tcp . 30080 : goto node-port-local4
        service4:  10.96.0.1 . tcp . 80 : goto cluster-ip4-local-1-masq-outsiders
        short-circuit4:  0.0.0.0 . tcp . 30080 : goto node-port4-any-2
    "#]],
    );
    check(
        &[service],
        &[slice(&["10.244.1.2@b"])],
        expect![[r#"
        chain node-port4-any-1
          r1 = 0x00000000; r2 = l4proto; r3 = transport[2..4]; r1 = @alias4[r1]; r0 = 0x01000000; r4 = 0x00000000; r4 = @endpoint4[r0]; dnat ip to r4:r5
        alias4:  0.0.0.0 . tcp . 30080 : 10.96.0.1 . tcp . 80
        cluster-ip4:  10.96.0.1
        endpoint4:  1 . 10.96.0.1 . tcp . 80 . 0 : 10.244.1.2 . 8080
        hairpin4:  10.244.1.2 . 10.244.1.2
        refused4:  0.0.0.0 . tcp . 30080 : drop
        refused4:  10.96.0.1 . tcp . 80 : drop
        service4:  0.0.0.0 . tcp . 30080 : goto node-port-local4
        short-circuit4:  0.0.0.0 . tcp . 30080 : goto node-port4-any-1
    "#]],
    );
}

#[test]
fn affinity() {
    let mut service = ServiceSpec { affinity_timeout_secs: Some(10800), ..web() };
    service.ports[0].node_port = None;
    check(
        &[service],
        &[slice(&["10.244.0.2@a"])],
        expect![[r#"
            chain cluster-ip4-any-1-sticky-10800s-masq-outsiders
              jump mark-outsiders4
              r1 = 0x01000000; r2 = network[16..20]; r3 = l4proto; r4 = transport[2..4]; r0 = network[12..16]; r5 = @affinity4[r0]; r2 in @member4; update @affinity4[r0] = r5 for 10800000 ms; dnat ip to r5:r6
              r1 = 0x01000000; r2 = network[16..20]; r3 = l4proto; r4 = transport[2..4]; r5 = 0x00000000; r5 = @endpoint4[r1]; r0 = network[12..16]; delete @affinity4[r0]; update @affinity4[r0] = r5 for 10800000 ms; dnat ip to r5:r6
              r0 = 0x01000000; r1 = network[16..20]; r2 = l4proto; r3 = transport[2..4]; r4 = 0x00000000; r4 = @endpoint4[r0]; dnat ip to r4:r5
            cluster-ip4:  10.96.0.1
            endpoint4:  1 . 10.96.0.1 . tcp . 80 . 0 : 10.244.0.2 . 8080
            hairpin4:  10.244.0.2 . 10.244.0.2
            member4:  10.96.0.1 . tcp . 80 . 10.244.0.2 . 8080
            service4:  10.96.0.1 . tcp . 80 : goto cluster-ip4-any-1-sticky-10800s-masq-outsiders
        "#]],
    );
}

#[test]
fn load_balancers_with_source_ranges() {
    let mut service = ServiceSpec {
        load_balancer_ips: vec![ip("203.0.113.1")],
        load_balancer_source_ranges: vec![
            "192.0.2.0/25".parse().unwrap(),
            "192.0.2.128/25".parse().unwrap(),
            "192.0.2.7/32".parse().unwrap(),
        ],
        ..web()
    };
    service.ports[0].node_port = None;
    check(
        &[service],
        &[slice(&["10.244.0.2@a"])],
        expect![[r#"
        chain cluster-ip4-any-1-masq-outsiders
          jump mark-outsiders4
          r0 = 0x01000000; r1 = network[16..20]; r2 = l4proto; r3 = transport[2..4]; r4 = 0x00000000; r4 = @endpoint4[r0]; dnat ip to r4:r5
        chain external4-any-1-masq
          r0 = mark; r0 &= 0xffbfffff ^ 0x00400000; mark = r0
          r1 = network[16..20]; r2 = l4proto; r3 = transport[2..4]; r1 = @alias4[r1]; r0 = 0x01000000; r4 = 0x00000000; r4 = @endpoint4[r0]; dnat ip to r4:r5
        alias4:  203.0.113.1 . tcp . 80 : 10.96.0.1 . tcp . 80
        allowed4:  203.0.113.1 . tcp . 80 . 192.0.2.0 - 203.0.113.1 . tcp . 80 . 192.0.2.255
        cluster-ip4:  10.96.0.1
        endpoint4:  1 . 10.96.0.1 . tcp . 80 . 0 : 10.244.0.2 . 8080
        guarded4:  203.0.113.1 . tcp . 80
        hairpin4:  10.244.0.2 . 10.244.0.2
        service4:  10.96.0.1 . tcp . 80 : goto cluster-ip4-any-1-masq-outsiders
        service4:  203.0.113.1 . tcp . 80 : goto external4-any-1-masq
    "#]],
    );
}

#[test]
fn the_first_of_two_claims_counts() {
    let claim = |name: &str, cluster_ip: &str| {
        let mut service = ServiceSpec {
            name: name.to_owned(),
            cluster_ips: vec![ip(cluster_ip)],
            external_ips: vec![ip("198.51.100.1")],
            ..web()
        };
        service.ports[0].node_port = None;
        service
    };
    let (first, second) = (claim("web", "10.96.0.1"), claim("zzz", "10.96.0.2"));
    let of_second = SliceSpec { service: "zzz".to_owned(), ..slice(&["10.244.0.9@a"]) };
    let slices = [slice(&["10.244.0.2@a"]), of_second];
    let text = plan(&[second.clone(), first.clone()], &slices, &node()).to_string();
    assert!(text.contains("198.51.100.1 . tcp . 80 : 10.96.0.1 . tcp . 80"));
    assert!(!text.contains("198.51.100.1 . tcp . 80 : 10.96.0.2"));
    assert_eq!(text, plan(&[first, second], &slices, &node()).to_string(), "the order of input is nothing");
}

/// How many (chains, sets, elements, rules) change.
fn changes(old: &Ruleset, new: &Ruleset) -> (usize, usize, usize, usize) {
    let changes = diff(old, new).unwrap();
    let elements = changes.old_elements.iter().chain(&changes.new_elements).map(|(_, list)| list.len()).sum();
    (
        changes.new_chains.len() + changes.old_chains.len(),
        changes.new_sets.len() + changes.old_sets.len(),
        elements,
        changes.rules.len(),
    )
}

#[test]
fn a_small_change_is_a_small_difference() {
    let services: Vec<_> = (0..50)
        .map(|i| ServiceSpec {
            name: format!("s{i}"),
            cluster_ips: vec![ip(&format!("10.96.1.{i}"))],
            ..web()
        })
        .collect();
    let endpoints = ["10.244.0.2@a", "10.244.0.3@a", "10.244.0.4@a"];
    let mut slices: Vec<_> =
        (0..50).map(|i| SliceSpec { service: format!("s{i}"), ..slice(&endpoints) }).collect();
    let before = plan(&services, &slices, &node());
    assert_eq!(changes(&before, &before), (0, 0, 0, 0));
    // One endpoint less: its element, the two fronts' verdicts (out and in), and two chains to choose among two.
    slices[7].endpoints.pop();
    let after = plan(&services, &slices, &node());
    assert_eq!(changes(&before, &after), (2, 0, 3, 2));
    // Another one: the chains are there already.
    slices[8].endpoints.pop();
    assert_eq!(changes(&after, &plan(&services, &slices, &node())), (0, 0, 3, 0));
    let other = NodeSpec { table: "other".to_owned(), ..node() };
    assert!(diff(&before, &plan(&services, &slices, &other)).is_none());
}
