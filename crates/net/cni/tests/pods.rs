//! Pods on nodes, each in a network namespace of its own: they talk to each other, to other nodes and to the outside; networks are
//! adopted, repaired and removed. Needs root; everything vanishes with the namespaces.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{Config, HostGateway, HostPort, Network, Peer, PodRequest, Protocol};
use netlink::Socket;
use netlink::route::Veth;

/// A network namespace.
struct Space(File);

impl Space {
    fn new() -> Space {
        let open = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut socket = Socket::route().unwrap();
            let lo = socket.link("lo").unwrap().unwrap();
            socket.set_up(lo.index).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Space(std::thread::spawn(open).join().unwrap())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netlink::socket::in_namespace(&self.path(), work).unwrap()
    }

    /// Answers `name peer` on port 8080.
    fn serve(&self, name: &'static str) {
        let listener = self.run(|| TcpListener::bind("[::]:8080").unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                let _ = write!(stream, "{name} {peer}");
            }
        });
    }
}

fn join(a: &Space, b: &Space, name: &str, nets: [&str; 2]) {
    let mut socket = Socket::open_in(&a.path()).unwrap();
    let mac = |last| [2, 0, 0, 0, nets[0].len() as u8, last];
    let veth = Veth {
        name,
        mac: mac(1),
        peer_name: "eth0",
        peer_mac: mac(2),
        peer_namespace: b.0.as_fd(),
        mtu: 1400,
    };
    socket.add_veth(&veth).unwrap();
    for (space, name, net) in [(a, name, nets[0]), (b, "eth0", nets[1])] {
        let mut socket = Socket::open_in(&space.path()).unwrap();
        let link = socket.link(name).unwrap().unwrap();
        socket.add_address(link.index, net.parse().unwrap()).unwrap();
        socket.set_up(link.index).unwrap();
    }
}

fn ask(target: &str) -> io::Result<String> {
    let wait = Duration::from_millis(700);
    let mut stream = TcpStream::connect_timeout(&target.parse::<SocketAddr>().unwrap(), wait)?;
    stream.set_read_timeout(Some(wait))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn config(dir: &Path, node: &str, range: &str) -> Config {
    Config {
        pod_cidrs: vec![range.parse().unwrap()],
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        node_ips: vec![node.parse().unwrap()],
        state_dir: dir.join("pods"),
        ..Config::default()
    }
}

fn request(id: &str, space: &Space, host_ports: &[HostPort]) -> PodRequest {
    PodRequest {
        sandbox_id: id.to_owned(),
        namespace: "default".to_owned(),
        name: id.to_owned(),
        netns: space.path(),
        host_ports: host_ports.to_vec(),
    }
}

fn port(host_ip: Option<&str>, host_port: u16) -> HostPort {
    let host_ip = host_ip.map(|text| text.parse().unwrap());
    HostPort { host_ip, protocol: Protocol::Tcp, host_port, container_port: 8080 }
}

#[test]
fn pods_of_two_nodes_and_the_outside() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let (a, b, outside) = (Space::new(), Space::new(), Space::new());
    join(&a, &b, "nodes", ["192.0.2.1/24", "192.0.2.2/24"]);
    join(&a, &outside, "world", ["198.51.100.1/24", "198.51.100.9/24"]);
    outside.serve("outside");
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config_a = config(dir_a.path(), "192.0.2.1", "10.244.1.0/24");
    let open = |space: &Space, config: &Config| {
        let config = config.clone();
        space.run(move || Network::open(config, Box::new(HostGateway)).unwrap())
    };
    let net_a = open(&a, &config_a);
    let net_b = open(&b, &config(dir_b.path(), "192.0.2.2", "10.244.2.0/24"));
    let (one, two, three) = (Space::new(), Space::new(), Space::new());
    for (space, name) in [(&one, "one"), (&two, "two"), (&three, "three")] {
        space.serve(name);
    }
    let ports = [port(None, 9000), port(Some("198.51.100.1"), 9001)];
    let pod_one = a.run(|| net_a.add(&request("one", &one, &ports)).unwrap());
    assert_eq!((pod_one.ips[0].to_string().as_str(), pod_one.mtu), ("10.244.1.2", 1400));
    a.run(|| net_a.add(&request("two", &two, &[])).unwrap());
    b.run(|| net_b.add(&request("three", &three, &[])).unwrap());

    // Between pods of one node, and between pod and node.
    assert_eq!(one.run(|| ask("10.244.1.3:8080").unwrap()), "two 10.244.1.2");
    assert_eq!(a.run(|| ask("10.244.1.2:8080").unwrap()), "one 10.244.1.1");
    // To the outside behind the node's address; to pods of another node as themselves, once there is a route.
    assert_eq!(one.run(|| ask("198.51.100.9:8080").unwrap()), "outside 198.51.100.1");
    assert!(one.run(|| ask("10.244.2.2:8080")).is_err());
    let peer = |name: &str, address: &str, range: &str| Peer {
        name: name.to_owned(),
        addresses: vec![address.parse().unwrap()],
        pod_cidrs: vec![range.parse().unwrap()],
    };
    a.run(|| net_a.set_peers(&[peer("b", "192.0.2.2", "10.244.2.0/24")]).unwrap());
    b.run(|| net_b.set_peers(&[peer("a", "192.0.2.1", "10.244.1.0/24")]).unwrap());
    assert_eq!(one.run(|| ask("10.244.2.2:8080").unwrap()), "three 10.244.1.2");
    a.run(|| net_a.set_peers(&[]).unwrap());
    assert!(one.run(|| ask("10.244.2.2:8080")).is_err());

    // Host ports: from outside, from the node, from the pod itself.
    let from_outside = |target: &'static str| outside.run(move || ask(target));
    assert_eq!(from_outside("198.51.100.1:9000").unwrap(), "one 198.51.100.9");
    assert_eq!(from_outside("198.51.100.1:9001").unwrap(), "one 198.51.100.9");
    assert!(a.run(|| ask("192.0.2.1:9000").unwrap().starts_with("one ")));
    assert!(a.run(|| ask("192.0.2.1:9001")).is_err());
    assert!(one.run(|| ask("192.0.2.1:9000").unwrap().starts_with("one ")));
    let taken = a.run(|| net_a.add(&request("four", &two, &[port(None, 9001)])).unwrap_err());
    assert_eq!(taken.to_string(), "host port TCP 9001 is in use by pod default/one");

    // A new process adopts: same addresses, host ports work, a half-made pod is repaired.
    drop(net_a);
    let net_a = open(&a, &config_a);
    assert_eq!(from_outside("198.51.100.1:9000").unwrap(), "one 198.51.100.9");
    let mut socket = Socket::open_in(&a.path()).unwrap();
    let broken = socket.link(&pod_one.node_link).unwrap().unwrap();
    socket.delete_link(broken.index).unwrap();
    assert_eq!(a.run(|| net_a.add(&request("one", &one, &ports)).unwrap()), pod_one);
    assert_eq!(two.run(|| ask("10.244.1.2:8080").unwrap()), "one 10.244.1.3");
    assert_eq!(net_a.leases().len(), 2);

    // Removal, twice, and of a pod whose namespace is gone.
    drop(two);
    a.run(|| net_a.remove("two").unwrap());
    a.run(|| net_a.remove("two").unwrap());
    a.run(|| net_a.remove("one").unwrap());
    assert!(from_outside("198.51.100.1:9000").is_err());
    let four = Space::new();
    let pod_four = a.run(|| net_a.add(&request("four", &four, &[])).unwrap());
    assert_eq!(pod_four.ips[0].to_string(), "10.244.1.4", "a freed address is not reused at once");

    // A sandbox that is gone already: an error, and nothing is kept.
    let gone = PodRequest { netns: "/nonexistent".into(), ..request("gone", &one, &[]) };
    let error = a.run(|| net_a.add(&gone).unwrap_err()).to_string();
    assert!(error.contains("connect pod default/gone"), "{error}");
    assert_eq!(net_a.leases().len(), 1);

    // Reset leaves nothing.
    drop(net_a);
    let forgetful = Config { pod_cidrs: vec![], ..config_a.clone() };
    a.run(|| Network::reset(&forgetful).unwrap());
    a.run(|| Network::reset(&config_a).unwrap());
    assert!(
        socket.addresses().unwrap().iter().all(|address| !address.net.to_string().starts_with("10.244."))
    );
    let names: Vec<_> = socket.links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo", "nodes", "world"]);
    assert!(socket.routes().unwrap().iter().all(|route| route.protocol != cni::link::ROUTE_PROTOCOL));
    assert!(!config_a.state_dir.exists());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = config(dir.path(), "192.0.2.1", "10.244.1.0/24");
    let cases = [
        (Config { link_prefix: "toolong".to_owned(), ..good.clone() }, "link prefix"),
        (Config { link_prefix: "a/b".to_owned(), ..good.clone() }, "link prefix"),
        (Config { pod_cidrs: vec!["10.244.1.0/31".parse().unwrap()], ..good.clone() }, "no room"),
        (
            Config {
                pod_cidrs: vec!["10.1.0.0/24".parse().unwrap(), "10.2.0.0/24".parse().unwrap()],
                ..good
            },
            "more than one IPv4",
        ),
    ];
    for (config, text) in cases {
        let error = Network::open(config, Box::new(HostGateway)).err().unwrap().to_string();
        assert!(error.contains(text), "{error}");
    }
}
