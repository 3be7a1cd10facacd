//! Cluster DNS as pods meet it: through the address of Service `kube-dns`, answered by the server on their own node. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod world;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use dns::name::Name;
use dns::objects::{DnsNode, service, slices};
use dns::wire::{self, Data, Question, Scan, kind};
use dns::{Config, Server, Upstream, Zone};
use proxy::{NodeSpec, Objects, Proxy};
use world::World;

fn query(name: &str) -> Vec<u8> {
    let question = Question { name: Name::parse(name).unwrap(), kind: kind::A, class: 1 };
    wire::write_query(3, &question, false, false, false)
}

fn udp(server: &str, name: &str) -> Scan {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&query(name), server).unwrap();
    let mut buffer = [0; 1500];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, server.parse::<SocketAddr>().unwrap(), "the answer comes from where it was asked");
    wire::scan(&buffer[..length]).unwrap()
}

fn tcp(server: &str, name: &str) -> Scan {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let query = query(name);
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), query.as_slice()].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    wire::scan(&bytes).unwrap()
}

#[test]
fn pods_ask_through_the_service() {
    World::run(|world| {
        let pod = world.pod("p0");
        let cluster_dns: IpAddr = "10.96.0.10".parse().unwrap();
        let gateways = world.network.gateways();
        let kube_dns = service(&[cluster_dns]);
        let node = |name: &str, addresses: Vec<IpAddr>| DnsNode {
            name: name.to_owned(),
            addresses,
            port: 53,
            ready: true,
        };
        // The other node does not exist: the hint keeps queries away from it.
        let nodes = [node("a", gateways.clone()), node("b", vec!["10.244.9.1".parse().unwrap()])];
        let mut zone = Zone::new("cluster.local", 5).unwrap();
        zone.apply_service(&kube_dns);
        let mut objects = Objects::default();
        objects.set_service(&kube_dns);
        for slice in slices(&nodes) {
            zone.apply_slice(&slice);
            objects.set_slice(&slice);
        }
        let node = NodeSpec {
            name: "a".to_owned(),
            pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            ..NodeSpec::default()
        };
        Proxy::new(node).apply(&objects.snapshot()).unwrap();
        let config = Config {
            listen: gateways.iter().map(|ip| SocketAddr::new(*ip, 53)).collect(),
            upstream: Upstream::Servers(vec![]),
            never_ask: vec![cluster_dns],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server =
            runtime.block_on(Server::bind(config, Arc::new(parking_lot::RwLock::new(zone)))).unwrap();
        std::thread::scope(|scope| {
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            scope.spawn(|| {
                runtime.block_on(async {
                    tokio::select! { () = server.run() => {}, _ = stopped => {} }
                })
            });
            for _ in 0..10 {
                let answer = pod.run(|| udp("10.96.0.10:53", "kube-dns.kube-system.svc.cluster.local"));
                assert_eq!(answer.answers[0].data, Data::A([10, 96, 0, 10].into()));
            }
            assert_eq!(
                pod.run(|| tcp("10.96.0.10:53", "kube-dns.kube-system.svc.cluster.local")).answer_count,
                1
            );
            assert_eq!(udp("10.96.0.10:53", "nothing.default.svc.cluster.local").code, 3);
            stop.send(()).unwrap();
        });
    });
}
