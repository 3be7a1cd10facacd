//! A node, an outside client and pods, each in a network namespace of its own, joined by veth pairs.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test file uses its part, and may stop at the first surprise"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

use cni::{Config, HostGateway, Network, PodRequest};
use netlink::Socket;
use netlink::route::{Route, Veth};
use proxy::{EndpointPort, EndpointSpec, Protocol, SliceSpec};

const CLIENT_WAIT: Duration = Duration::from_millis(700);

/// A network namespace with a server in it that answers `name peer` on TCP and UDP port 8080.
pub struct Space {
    pub name: &'static str,
    pub ips: Vec<IpAddr>,
    file: File,
}

impl Space {
    fn new(name: &'static str) -> Space {
        let open = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Space { name, ips: Vec::new(), file: std::thread::spawn(open).join().unwrap() }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netlink::socket::in_namespace(&self.path(), work).unwrap()
    }

    fn serve(&self) {
        let name = self.name;
        let (tcp, udp) =
            self.run(|| (TcpListener::bind("[::]:8080").unwrap(), UdpSocket::bind("[::]:8080").unwrap()));
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                let _ = write!(stream, "{name} {peer}");
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(format!("{name} {}", peer.ip().to_canonical()).as_bytes(), peer);
            }
        });
    }
}

/// The node's side: the code that `run` calls is in the node's namespace.
pub struct World {
    pub client: Space,
    pub network: Network,
    _state: tempfile::TempDir,
}

impl World {
    /// Runs `test` in a fresh world, or says why not.
    pub fn run(test: impl FnOnce(&mut World) + Send) {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        std::thread::scope(|scope| {
            let node = || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                test(&mut World::new());
            };
            scope.spawn(node).join().unwrap();
        });
    }

    fn new() -> World {
        let client = Space::new("client");
        let state = tempfile::tempdir().unwrap();
        let mut socket = Socket::route().unwrap();
        socket
            .add_veth(&Veth {
                name: "eth0",
                mac: [2, 0, 0, 0, 0, 1],
                peer_name: "eth0",
                peer_mac: [2, 0, 0, 0, 0, 2],
                peer_namespace: client.file.as_fd(),
                mtu: 1500,
            })
            .unwrap();
        let eth0 = socket.link("eth0").unwrap().unwrap();
        for net in ["192.0.2.1/24", "2001:db8::1/64"] {
            socket.add_address(eth0.index, net.parse().unwrap()).unwrap();
        }
        socket.set_up(eth0.index).unwrap();
        let mut outside = Socket::open_in(&client.path()).unwrap();
        let far = outside.link("eth0").unwrap().unwrap();
        for net in ["192.0.2.2/24", "2001:db8::2/64"] {
            outside.add_address(far.index, net.parse().unwrap()).unwrap();
        }
        outside.set_up(far.index).unwrap();
        let service_side = |destination: &str, gateway: IpAddr| Route {
            destination: destination.parse().unwrap(),
            gateway: Some(gateway),
            link: far.index,
            source: None,
            protocol: 4,
        };
        // Load balancer addresses lead to the node.
        outside.set_route(&service_side("192.0.2.64/26", Ipv4Addr::new(192, 0, 2, 1).into())).unwrap();
        let gateway: Ipv6Addr = "2001:db8::1".parse().unwrap();
        outside.set_route(&service_side("fd00::/16", gateway.into())).unwrap();
        let config = Config {
            pod_cidrs: vec!["10.244.0.0/24".parse().unwrap(), "fd00:244::/64".parse().unwrap()],
            cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap(), "fd00:244::/56".parse().unwrap()],
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()],
            node_ips: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            state_dir: state.path().join("pods"),
            ..Config::default()
        };
        let network = Network::open(config, Box::new(HostGateway)).unwrap();
        World { client, network, _state: state }
    }

    /// A pod that serves.
    pub fn pod(&mut self, name: &'static str) -> Space {
        let mut space = Space::new(name);
        let request = PodRequest {
            sandbox_id: name.to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            netns: space.path(),
            host_ports: vec![],
        };
        space.ips = self.network.add(&request).unwrap().ips;
        space.serve();
        space
    }
}

pub fn endpoint_slice(service: &str, endpoints: Vec<EndpointSpec>) -> SliceSpec {
    let port = |protocol| EndpointPort { name: "http".to_owned(), protocol, port: 8080 };
    SliceSpec {
        namespace: "default".to_owned(),
        name: format!("{service}-x"),
        service: service.to_owned(),
        ports: vec![port(Protocol::Tcp), port(Protocol::Udp)],
        endpoints,
    }
}

/// What the server behind `target` says.
pub fn tcp(target: &str) -> io::Result<String> {
    let target: SocketAddr = target.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&target, CLIENT_WAIT)?;
    stream.set_read_timeout(Some(CLIENT_WAIT))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A client that asks again and again from one socket.
pub fn udp(target: &'static str) -> impl Fn() -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(CLIENT_WAIT)).unwrap();
    move || {
        socket.send_to(b"?", target)?;
        let mut buffer = [0; 100];
        let (length, _) = socket.recv_from(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

pub fn refused(result: io::Result<String>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

pub fn timed_out(result: io::Result<String>) -> bool {
    matches!(result, Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock))
}
