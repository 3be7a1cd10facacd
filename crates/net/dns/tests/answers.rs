//! The Kubernetes DNS specification as a table: a zone, questions, and what is answered.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use dns::answer::{Reply, answer};
use dns::name::Name;
use dns::wire::{Code, Data, Question, Record, kind};
use dns::zone::{Endpoint, Port, Service, Slice, Zone};
use expect_test::{Expect, expect};

fn ips(list: &[&str]) -> Vec<std::net::IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn port(name: &str, protocol: &str, port: u16) -> Port {
    Port { name: name.to_owned(), protocol: protocol.to_owned(), port }
}

fn endpoint(address: &str, hostname: Option<&str>, ready: bool) -> Endpoint {
    Endpoint { addresses: ips(&[address]), hostname: hostname.map(str::to_owned), ready }
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", 5).unwrap();
    zone.set_namespace("default");
    zone.set_namespace("bare");
    let ports = vec![port("http", "tcp", 80), port("dns", "udp", 53)];
    zone.set_service(
        "default",
        "web",
        Service { cluster_ips: ips(&["10.96.0.1", "fd00::1"]), ports, ..Service::default() },
    );
    let web = Slice {
        service: "web".to_owned(),
        ports: vec![port("http", "tcp", 8080), port("dns", "udp", 5353)],
        endpoints: vec![endpoint("10.244.0.9", None, true)],
    };
    zone.set_slice("default", "web-1", web);
    zone.set_service(
        "default",
        "db",
        Service { ports: vec![port("sql", "tcp", 5432)], ..Service::default() },
    );
    let db = |endpoints| Slice { service: "db".to_owned(), ports: vec![port("sql", "tcp", 5432)], endpoints };
    zone.set_slice(
        "default",
        "db-1",
        db(vec![endpoint("10.244.0.2", Some("db-0"), true), endpoint("10.244.0.3", Some("db-1"), false)]),
    );
    zone.set_slice(
        "default",
        "db-2",
        db(vec![endpoint("10.244.0.4", None, true), endpoint("fd00::4", None, true)]),
    );
    zone.set_service("default", "early", Service { publish_not_ready: true, ..Service::default() });
    let early = Slice {
        service: "early".to_owned(),
        ports: vec![],
        endpoints: vec![endpoint("10.244.0.5", None, false)],
    };
    zone.set_slice("default", "early-1", early);
    zone.set_service("default", "nobody", Service::default());
    let alias = |target: &str| Service { external_name: Some(target.to_owned()), ..Service::default() };
    zone.set_service("default", "outside", alias("www.example.org"));
    zone.set_service("default", "inside", alias("web.default.svc.cluster.local"));
    zone.set_service("default", "loop", alias("loop.default.svc.cluster.local"));
    zone
}

fn show(record: &Record) -> String {
    let data = match &record.data {
        Data::A(address) => format!("A {address}"),
        Data::Aaaa(address) => format!("AAAA {address}"),
        Data::Cname(name) => format!("CNAME {name}"),
        Data::Ptr(name) => format!("PTR {name}"),
        Data::Ns(name) => format!("NS {name}"),
        Data::Txt(text) => format!("TXT {text:?}"),
        Data::Srv { priority, weight, port, target } => format!("SRV {priority} {weight} {port} {target}"),
        Data::Soa { .. } => "SOA".to_owned(),
    };
    format!("{} {data}", record.name)
}

fn ask(zone: &Zone, name: &str, kind: u16) -> String {
    let reply = answer(&Question { name: Name::parse(name).unwrap(), kind, class: 1 }, zone);
    let (answer, more) = match reply {
        Reply::Forward => return "forward".to_owned(),
        Reply::Answer(answer) => (answer, String::new()),
        Reply::Alias(answer, target) => (answer, format!(" then ask upstream for {target}")),
    };
    assert_eq!(
        answer.code != Code::NoError || answer.answers.is_empty(),
        !answer.authority.is_empty(),
        "SOA with nothing"
    );
    let records: Vec<_> = answer.answers.iter().map(show).collect();
    let additional: Vec<_> = answer.additional.iter().map(show).collect();
    let mut text = match (answer.code, records.is_empty()) {
        (Code::NoError, true) => "NODATA".to_owned(),
        (Code::NoError, false) => records.join(", "),
        (code, _) => format!("{code:?}"),
    };
    if !additional.is_empty() {
        text.push_str(&format!(" + {}", additional.join(", ")));
    }
    text + &more
}

fn check(questions: &[(&str, u16)], expected: Expect) {
    let zone = zone();
    let lines: Vec<_> = questions
        .iter()
        .map(|(name, kind)| format!("{name} {kind} -> {}\n", ask(&zone, name, *kind)))
        .collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn cluster_ip_services() {
    check(
        &[
            ("web.default.svc.cluster.local", kind::A),
            ("WEB.Default.svc.Cluster.LOCAL.", kind::A),
            ("web.default.svc.cluster.local", kind::AAAA),
            ("web.default.svc.cluster.local", kind::TXT),
            ("_http._tcp.web.default.svc.cluster.local", kind::SRV),
            ("_http._tcp.web.default.svc.cluster.local", kind::A),
            ("_http._udp.web.default.svc.cluster.local", kind::SRV),
            ("_tcp.web.default.svc.cluster.local", kind::SRV),
            ("10-244-0-9.web.default.svc.cluster.local", kind::A),
            ("x.web.default.svc.cluster.local", kind::A),
            ("missing.default.svc.cluster.local", kind::A),
            ("web.other.svc.cluster.local", kind::A),
        ],
        expect![[r#"
            web.default.svc.cluster.local 1 -> web.default.svc.cluster.local. A 10.96.0.1
            WEB.Default.svc.Cluster.LOCAL. 1 -> web.default.svc.cluster.local. A 10.96.0.1
            web.default.svc.cluster.local 28 -> web.default.svc.cluster.local. AAAA fd00::1
            web.default.svc.cluster.local 16 -> NODATA
            _http._tcp.web.default.svc.cluster.local 33 -> _http._tcp.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local. + web.default.svc.cluster.local. A 10.96.0.1, web.default.svc.cluster.local. AAAA fd00::1
            _http._tcp.web.default.svc.cluster.local 1 -> NODATA
            _http._udp.web.default.svc.cluster.local 33 -> NxDomain
            _tcp.web.default.svc.cluster.local 33 -> NODATA
            10-244-0-9.web.default.svc.cluster.local 1 -> 10-244-0-9.web.default.svc.cluster.local. A 10.244.0.9
            x.web.default.svc.cluster.local 1 -> NxDomain
            missing.default.svc.cluster.local 1 -> NxDomain
            web.other.svc.cluster.local 1 -> NxDomain
        "#]],
    );
}

#[test]
fn headless_services() {
    check(
        &[
            ("db.default.svc.cluster.local", kind::A),
            ("db.default.svc.cluster.local", kind::AAAA),
            ("db-0.db.default.svc.cluster.local", kind::A),
            ("db-0.db.default.svc.cluster.local", kind::AAAA),
            ("db-1.db.default.svc.cluster.local", kind::A),
            ("10-244-0-4.db.default.svc.cluster.local", kind::A),
            ("10-244-0-2.db.default.svc.cluster.local", kind::A),
            ("fd00--4.db.default.svc.cluster.local", kind::AAAA),
            ("_sql._tcp.db.default.svc.cluster.local", kind::SRV),
            ("early.default.svc.cluster.local", kind::A),
            ("nobody.default.svc.cluster.local", kind::A),
        ],
        expect![[r#"
            db.default.svc.cluster.local 1 -> db.default.svc.cluster.local. A 10.244.0.2, db.default.svc.cluster.local. A 10.244.0.4
            db.default.svc.cluster.local 28 -> db.default.svc.cluster.local. AAAA fd00::4
            db-0.db.default.svc.cluster.local 1 -> db-0.db.default.svc.cluster.local. A 10.244.0.2
            db-0.db.default.svc.cluster.local 28 -> NODATA
            db-1.db.default.svc.cluster.local 1 -> NxDomain
            10-244-0-4.db.default.svc.cluster.local 1 -> 10-244-0-4.db.default.svc.cluster.local. A 10.244.0.4
            10-244-0-2.db.default.svc.cluster.local 1 -> NxDomain
            fd00--4.db.default.svc.cluster.local 28 -> fd00--4.db.default.svc.cluster.local. AAAA fd00::4
            _sql._tcp.db.default.svc.cluster.local 33 -> _sql._tcp.db.default.svc.cluster.local. SRV 0 33 5432 db-0.db.default.svc.cluster.local., _sql._tcp.db.default.svc.cluster.local. SRV 0 33 5432 10-244-0-4.db.default.svc.cluster.local., _sql._tcp.db.default.svc.cluster.local. SRV 0 33 5432 fd00--4.db.default.svc.cluster.local. + db-0.db.default.svc.cluster.local. A 10.244.0.2, 10-244-0-4.db.default.svc.cluster.local. A 10.244.0.4, fd00--4.db.default.svc.cluster.local. AAAA fd00::4
            early.default.svc.cluster.local 1 -> early.default.svc.cluster.local. A 10.244.0.5
            nobody.default.svc.cluster.local 1 -> NxDomain
        "#]],
    );
}

#[test]
fn aliases_pods_and_the_zone_itself() {
    check(
        &[
            ("outside.default.svc.cluster.local", kind::A),
            ("outside.default.svc.cluster.local", kind::CNAME),
            ("inside.default.svc.cluster.local", kind::A),
            ("loop.default.svc.cluster.local", kind::A),
            ("10-244-0-7.default.pod.cluster.local", kind::A),
            ("10-244-0-7.default.pod.cluster.local", kind::AAAA),
            ("fd00--7.bare.pod.cluster.local", kind::AAAA),
            ("10-244-0-7.nowhere.pod.cluster.local", kind::A),
            ("something.default.pod.cluster.local", kind::A),
            ("cluster.local", kind::A),
            ("cluster.local", kind::SOA),
            ("cluster.local", kind::NS),
            ("svc.cluster.local", kind::A),
            ("default.svc.cluster.local", kind::A),
            ("nowhere.svc.cluster.local", kind::A),
            ("default.cluster.local", kind::A),
            ("dns-version.cluster.local", kind::TXT),
            ("example.org", kind::A),
            ("local", kind::A),
        ],
        expect![[r#"
            outside.default.svc.cluster.local 1 -> outside.default.svc.cluster.local. CNAME www.example.org. then ask upstream for www.example.org.
            outside.default.svc.cluster.local 5 -> outside.default.svc.cluster.local. CNAME www.example.org.
            inside.default.svc.cluster.local 1 -> inside.default.svc.cluster.local. CNAME web.default.svc.cluster.local., web.default.svc.cluster.local. A 10.96.0.1
            loop.default.svc.cluster.local 1 -> loop.default.svc.cluster.local. CNAME loop.default.svc.cluster.local.
            10-244-0-7.default.pod.cluster.local 1 -> 10-244-0-7.default.pod.cluster.local. A 10.244.0.7
            10-244-0-7.default.pod.cluster.local 28 -> NODATA
            fd00--7.bare.pod.cluster.local 28 -> fd00--7.bare.pod.cluster.local. AAAA fd00::7
            10-244-0-7.nowhere.pod.cluster.local 1 -> NxDomain
            something.default.pod.cluster.local 1 -> NxDomain
            cluster.local 1 -> NODATA
            cluster.local 6 -> cluster.local. SOA
            cluster.local 2 -> cluster.local. NS ns.dns.cluster.local.
            svc.cluster.local 1 -> NODATA
            default.svc.cluster.local 1 -> NODATA
            nowhere.svc.cluster.local 1 -> NxDomain
            default.cluster.local 1 -> NxDomain
            dns-version.cluster.local 16 -> dns-version.cluster.local. TXT "1.1.0"
            example.org 1 -> forward
            local 1 -> forward
        "#]],
    );
}

#[test]
fn names_of_addresses() {
    check(
        &[
            ("1.0.96.10.in-addr.arpa", kind::PTR),
            ("2.0.244.10.in-addr.arpa", kind::PTR),
            ("4.0.244.10.in-addr.arpa", kind::PTR),
            ("3.0.244.10.in-addr.arpa", kind::PTR),
            ("1.0.96.10.in-addr.arpa", kind::A),
            ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", kind::PTR),
            ("1.2.0.192.in-addr.arpa", kind::PTR),
            ("999.0.96.10.in-addr.arpa", kind::PTR),
        ],
        expect![[r#"
            1.0.96.10.in-addr.arpa 12 -> 1.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local.
            2.0.244.10.in-addr.arpa 12 -> 2.0.244.10.in-addr.arpa. PTR db-0.db.default.svc.cluster.local.
            4.0.244.10.in-addr.arpa 12 -> 4.0.244.10.in-addr.arpa. PTR 10-244-0-4.db.default.svc.cluster.local.
            3.0.244.10.in-addr.arpa 12 -> forward
            1.0.96.10.in-addr.arpa 1 -> NODATA
            1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa 12 -> 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR web.default.svc.cluster.local.
            1.2.0.192.in-addr.arpa 12 -> forward
            999.0.96.10.in-addr.arpa 12 -> forward
        "#]],
    );
}

#[test]
fn the_zone_follows_changes() {
    let mut zone = zone();
    let name = "db.default.svc.cluster.local";
    zone.remove_slice("default", "db-1");
    assert_eq!(ask(&zone, name, kind::A), "db.default.svc.cluster.local. A 10.244.0.4");
    assert_eq!(ask(&zone, "2.0.244.10.in-addr.arpa", kind::PTR), "forward");
    // A slice that moves to another service leaves its old one.
    let slice = Slice {
        service: "nobody".to_owned(),
        ports: vec![],
        endpoints: vec![endpoint("10.244.0.4", None, true)],
    };
    zone.set_slice("default", "db-2", slice);
    assert_eq!(ask(&zone, name, kind::A), "NxDomain");
    assert_eq!(
        ask(&zone, "nobody.default.svc.cluster.local", kind::A),
        "nobody.default.svc.cluster.local. A 10.244.0.4"
    );
    // Slices may come before their service.
    zone.remove_service("default", "nobody");
    assert_eq!(ask(&zone, "4.0.244.10.in-addr.arpa", kind::PTR), "forward");
    zone.set_service("default", "nobody", Service { cluster_ips: ips(&["10.96.0.9"]), ..Service::default() });
    assert_eq!(
        ask(&zone, "nobody.default.svc.cluster.local", kind::A),
        "nobody.default.svc.cluster.local. A 10.96.0.9"
    );
    zone.remove_namespace("bare");
    assert_eq!(ask(&zone, "10-0-0-1.bare.pod.cluster.local", kind::A), "NxDomain");
}
