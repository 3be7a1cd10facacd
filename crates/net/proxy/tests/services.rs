//! Services in the kernel: a node, pods and an outside client, each in a network namespace of its own, talk TCP and UDP through the
//! rules. Needs root; everything vanishes with the namespaces.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod world;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use proxy::{EndpointSpec, NodeSpec, Protocol, Proxy, ServicePort, ServiceSpec, Snapshot, TrafficPolicy};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use world::{World, endpoint_slice, refused, tcp, timed_out, udp};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn service(name: &str, cluster_ip: &str, node_port: Option<u16>) -> ServiceSpec {
    ServiceSpec {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        cluster_ips: vec![ip(cluster_ip)],
        ports: vec![ServicePort { name: "http".to_owned(), protocol: Protocol::Tcp, port: 80, node_port }],
        ..ServiceSpec::default()
    }
}

fn node() -> NodeSpec {
    NodeSpec {
        name: "a".to_owned(),
        pod_cidrs: vec!["10.244.0.0/16".parse().unwrap(), "fd00:244::/56".parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()],
        ..NodeSpec::default()
    }
}

/// The name of the pod that answered, out of `name peer`.
fn who(answer: std::io::Result<String>) -> String {
    answer.unwrap().split(' ').next().unwrap().to_owned()
}

fn peer(answer: std::io::Result<String>) -> String {
    answer.unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn services_work_end_to_end() {
    World::run(|world| {
        let pods: Vec<_> = ["p0", "p1", "p2"].iter().map(|name| world.pod(name)).collect();
        let v4: Vec<_> = pods.iter().map(|pod| pod.ips[0]).collect();
        let on_a = |list: &[IpAddr]| list.iter().map(|ip| EndpointSpec::ready(*ip, "a")).collect::<Vec<_>>();
        let mut proxy = Proxy::new(node());

        let web = service("web", "10.96.0.1", Some(30080));
        let alone = service("alone", "10.96.0.2", None);
        let empty = service("empty", "10.96.0.3", Some(30083));
        let mut sticky = service("sticky", "10.96.0.4", Some(30084));
        sticky.affinity_timeout_secs = Some(60);
        let mut local = service("local", "10.96.0.5", Some(30085));
        local.external_traffic_policy = TrafficPolicy::Local;
        let mut away = service("away", "10.96.0.6", Some(30086));
        away.external_traffic_policy = TrafficPolicy::Local;
        let mut balanced = service("balanced", "10.96.0.7", None);
        balanced.external_ips = vec![ip("192.0.2.70")];
        balanced.load_balancer_ips = vec![ip("192.0.2.71"), ip("192.0.2.72")];
        let mut guarded = service("guarded", "10.96.0.8", None);
        guarded.load_balancer_ips = vec![ip("192.0.2.80")];
        guarded.load_balancer_source_ranges =
            vec!["198.51.100.0/24".parse().unwrap(), "198.51.100.7/32".parse().unwrap()];
        let mut six = service("six", "fd00:96::1", Some(30090));
        six.affinity_timeout_secs = Some(60);
        let mut dns = service("dns", "10.96.0.10", Some(30053));
        dns.ports[0].protocol = Protocol::Udp;

        let far = vec![EndpointSpec::ready(v4[0], "b")];
        let mut snapshot = Snapshot {
            services: vec![web, alone, empty, sticky, local, away, balanced, guarded, six, dns],
            slices: vec![
                endpoint_slice("web", on_a(&v4)),
                endpoint_slice("alone", on_a(&v4[..1])),
                endpoint_slice("sticky", on_a(&v4)),
                endpoint_slice("local", on_a(&v4[1..2])),
                endpoint_slice("away", far),
                endpoint_slice("balanced", on_a(&v4)),
                endpoint_slice("guarded", on_a(&v4)),
                endpoint_slice("six", on_a(&pods.iter().map(|pod| pod.ips[1]).collect::<Vec<_>>())),
                endpoint_slice("dns", on_a(&v4[..1])),
            ],
        };
        proxy.apply(&snapshot).unwrap();

        // Cluster addresses, from the node and from a pod: every endpoint gets its share.
        let all: BTreeSet<String> = ["p0", "p1", "p2"].map(str::to_owned).into();
        let from_node: BTreeSet<_> = (0..60).map(|_| who(tcp("10.96.0.1:80"))).collect();
        assert_eq!(from_node, all);
        let from_pod: BTreeSet<_> = pods[0].run(|| (0..60).map(|_| who(tcp("10.96.0.1:80"))).collect());
        assert_eq!(from_pod, all);
        assert_eq!(
            pods[1].run(|| peer(tcp("10.96.0.2:80"))),
            v4[1].to_string(),
            "pods are seen with their own address"
        );
        assert_eq!(
            pods[0].run(|| who(tcp("10.96.0.2:80"))),
            "p0",
            "a pod reaches itself through its service"
        );

        // Node ports: from outside, on the node's address, and on its loopback.
        for target in ["192.0.2.1:30080", "127.0.0.1:30080"] {
            let answers: BTreeSet<_> = (0..60).map(|_| who(tcp(target))).collect();
            assert_eq!(answers, all, "{target}");
        }
        let outside: BTreeSet<_> =
            world.client.run(|| (0..60).map(|_| who(tcp("192.0.2.1:30080"))).collect());
        assert_eq!(outside, all);
        assert_eq!(pods[2].run(|| who(tcp("192.0.2.1:30085"))), "p1", "pods use node ports too");

        // Addresses outside.
        for target in ["192.0.2.70:80", "192.0.2.71:80", "192.0.2.72:80"] {
            assert!(all.contains(&world.client.run(|| who(tcp(target)))), "{target}");
        }
        assert!(timed_out(world.client.run(|| tcp("192.0.2.80:80"))), "the client's address is not allowed");

        // No endpoints: refused at once. Endpoints elsewhere only: silence for outside, service for inside.
        for target in ["10.96.0.3:80", "192.0.2.1:30083", "127.0.0.1:30083", "10.96.0.1:81", "10.96.7.7:80"] {
            assert!(refused(tcp(target)), "{target} from the node");
        }
        for target in ["10.96.0.3:80", "192.0.2.1:30083", "10.96.0.1:81", "10.96.7.7:80"] {
            assert!(pods[0].run(|| refused(tcp(target))), "{target} from a pod");
        }
        assert!(timed_out(world.client.run(|| tcp("192.0.2.1:30086"))));
        assert_eq!(who(tcp("192.0.2.1:30086")), "p0");

        // externalTrafficPolicy: Local keeps the client's address; Cluster hides it.
        assert_eq!(world.client.run(|| peer(tcp("192.0.2.1:30085"))), "192.0.2.2");
        assert_ne!(world.client.run(|| peer(tcp("192.0.2.1:30080"))), "192.0.2.2");

        // Affinity: one endpoint for all fronts of a service, until it is gone; then one again.
        let stays =
            |target: &'static str| -> BTreeSet<String> { (0..20).map(|_| who(tcp(target))).collect() };
        let chosen = pods[0].run(|| stays("10.96.0.4:80"));
        assert_eq!(chosen.len(), 1);
        assert_eq!(pods[0].run(|| stays("192.0.2.1:30084")), chosen);
        let six = pods[0].run(|| stays("[fd00:96::1]:80"));
        assert_eq!(six.len(), 1);
        assert_eq!(world.client.run(|| stays("[2001:db8::1]:30090")).len(), 1);
        let gone = pods.iter().position(|pod| chosen.contains(pod.name)).unwrap();
        snapshot.slices[2].endpoints.remove(gone);
        proxy.apply(&snapshot).unwrap();
        let next = pods[0].run(|| stays("10.96.0.4:80"));
        assert_eq!(next.len(), 1);
        assert_ne!(next, chosen);

        // UDP: a flow moves when its endpoint goes, though the client keeps its socket.
        let client = udp("10.96.0.10:80");
        assert_eq!(who(client()), "p0");
        assert_eq!(who(client()), "p0");
        let at = snapshot.slices.iter().position(|slice| slice.service == "dns").unwrap();
        snapshot.slices[at].endpoints = on_a(&v4[1..2]);
        proxy.apply(&snapshot).unwrap();
        assert_eq!(who(client()), "p1");

        // A new process replaces the rules, and clients keep their endpoint; removal leaves nothing.
        for _ in 0..6 {
            Proxy::new(node()).apply(&snapshot).unwrap();
            assert_eq!(pods[0].run(|| who(tcp("10.96.0.4:80"))), *next.first().unwrap());
        }
        assert!(all.contains(&who(tcp("10.96.0.1:80"))));
        Proxy::remove(&node()).unwrap();
        let mut socket = netlink::Socket::netfilter().unwrap();
        assert!(!netlink::nft::table_exists(&mut socket, &node().table).unwrap());
        assert_eq!(
            std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap().trim(),
            "0"
        );
        Proxy::remove(&node()).unwrap();
    });
}

/// Waits for events of nftables until the proxy's table is there, or is not.
async fn table(monitor: &AsyncFd<netlink::Socket>, wanted: bool) {
    let mut socket = netlink::Socket::netfilter().unwrap();
    while netlink::nft::table_exists(&mut socket, &node().table).unwrap() != wanted {
        monitor.readable().await.unwrap().clear_ready();
        while let Ok(Some(_)) = monitor.get_ref().try_receive() {}
    }
}

async fn health_check() -> String {
    let mut stream = tokio::net::TcpStream::connect("127.0.0.1:31000").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn removed_rules_come_back_and_balancers_hear_of_endpoints() {
    World::run(|world| {
        let pod = world.pod("p0");
        let mut web = service("web", "10.96.0.1", None);
        web.external_traffic_policy = TrafficPolicy::Local;
        web.health_check_node_port = Some(31000);
        let on = |node: &str| {
            let slices = vec![endpoint_slice("web", vec![EndpointSpec::ready(pod.ips[0], node)])];
            Arc::new(Snapshot { services: vec![web.clone()], slices })
        };
        let scenario = async {
            // SAFETY: the socket owns its descriptor until it is dropped.
            let monitor = unsafe { AsyncFd::register(netlink::nft::monitor().unwrap()) }.unwrap();
            let (snapshots, received) = watch::channel(on("a"));
            let running = tokio::spawn(proxy::run(node(), received));
            table(&monitor, true).await;
            let healthy = health_check().await;
            assert!(
                healthy.starts_with("HTTP/1.1 200") && healthy.contains("\"localEndpoints\":1"),
                "{healthy}"
            );

            let mut socket = netlink::Socket::netfilter().unwrap();
            netlink::nft::delete_table(&mut socket, &node().table).unwrap();
            table(&monitor, true).await;

            snapshots.send_replace(on("b"));
            while !health_check().await.starts_with("HTTP/1.1 503") {
                tokio::task::yield_now().await;
            }
            drop(snapshots);
            running.await.unwrap();
            Proxy::remove(&node()).unwrap();
            table(&monitor, false).await;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let limited =
            async { tokio::time::timeout(std::time::Duration::from_secs(15), scenario).await.unwrap() };
        runtime.block_on(limited);
    });
}

#[test]
fn a_thousand_services_load_and_change_quickly() {
    World::run(|_world| {
        let services: Vec<_> = (0..1000)
            .map(|i| service(&format!("s{i}"), &format!("10.96.{}.{}", 1 + i / 200, 1 + i % 200), None))
            .collect();
        let endpoints = |i: usize| -> Vec<EndpointSpec> {
            (0..10).map(|j| EndpointSpec::ready(ip(&format!("10.244.{}.{}", i % 250, j + 2)), "b")).collect()
        };
        let slices = (0..1000).map(|i| endpoint_slice(&format!("s{i}"), endpoints(i))).collect();
        let mut snapshot = Snapshot { services, slices };
        let mut proxy = Proxy::new(node());
        let start = std::time::Instant::now();
        proxy.apply(&snapshot).unwrap();
        let load = start.elapsed();
        snapshot.slices[500].endpoints.truncate(9);
        let start = std::time::Instant::now();
        proxy.apply(&snapshot).unwrap();
        println!("1,000 services of 10 endpoints: loaded in {load:?}, one changed in {:?}", start.elapsed());
        assert!(load.as_secs() < 20, "{load:?}");
    });
}
