//! The server over real sockets on loopback: UDP, TCP, EDNS, forwarding, cache, aliases, failures.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dns::name::Name;
use dns::wire::{self, Answer, Code, Data, Question, Record, Scan, kind};
use dns::zone::{Endpoint, Service, Slice};
use dns::{Config, Server, Upstream, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

fn question(name: &str, kind: u16) -> Question {
    Question { name: Name::parse(name).unwrap(), kind, class: 1 }
}

/// An upstream server: `www.example.org` has one address, `big.example.org` too many for UDP, anything else does not exist.
async fn upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    // A port that is free for UDP may be taken for TCP.
    let (udp, address, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        if let Ok(tcp) = TcpListener::bind(address).await {
            break (udp, address, tcp);
        }
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let reply = |bytes: &[u8], max: usize| {
        let query = wire::read_query(bytes).unwrap();
        let count = match query.question.name.to_string().as_str() {
            "www.example.org." => 1,
            "big.example.org." => 200,
            _ => 0,
        };
        let record = |i: u32| Record {
            name: query.question.name.clone(),
            ttl: 60,
            data: Data::A((0xc633_6400 + i).into()),
        };
        let code = if count == 0 { Code::NxDomain } else { Code::NoError };
        wire::write_answer(
            &query,
            &Answer { code, answers: (1..=count).map(record).collect(), ..Answer::default() },
            max,
        )
    };
    let counter = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            udp.send_to(&reply(&buffer[..length], 512), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            let bytes = reply(&query, 65535);
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (address, asked)
}

async fn start(upstream: Upstream) -> SocketAddr {
    let mut zone = Zone::new("cluster.local", 5).unwrap();
    zone.set_service("default", "many", Service::default());
    let endpoints = (0..100)
        .map(|i| Endpoint { addresses: vec![[10, 0, 0, i].into()], hostname: None, ready: true })
        .collect();
    zone.set_slice("default", "many", Slice { service: "many".to_owned(), ports: vec![], endpoints });
    zone.set_service(
        "default",
        "alias",
        Service { external_name: Some("www.example.org".to_owned()), ..Service::default() },
    );
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], upstream, never_ask: vec![] };
    let server = Server::bind(config, Arc::new(parking_lot::RwLock::new(zone))).await.unwrap();
    let address = server.addresses()[0];
    tokio::spawn(server.run());
    address
}

async fn udp_raw(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(query, server).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length =
        tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    buffer
}

async fn udp(server: SocketAddr, name: &str, edns: bool) -> Scan {
    let bytes = udp_raw(server, &wire::write_query(7, &question(name, kind::A), false, edns, false)).await;
    let scan = wire::scan(&bytes).unwrap();
    assert_eq!((scan.id, &scan.question), (7, &question(name, kind::A)));
    scan
}

async fn tcp(server: SocketAddr, name: &str) -> Scan {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let query = wire::write_query(9, &question(name, kind::A), false, false, false);
    stream.write_u16(query.len() as u16).await.unwrap();
    stream.write_all(&query).await.unwrap();
    let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut bytes).await.unwrap();
    wire::scan(&bytes).unwrap()
}

#[tokio::test]
async fn cluster_names_over_udp_and_tcp() {
    let server = start(Upstream::Servers(vec![])).await;
    let many = "many.default.svc.cluster.local";
    let plain = udp(server, many, false).await;
    assert!(plain.truncated && plain.answer_count == 29, "{}", plain.answer_count);
    let edns = udp(server, many, true).await;
    assert!(edns.truncated && edns.answer_count > plain.answer_count);
    let whole = tcp(server, many).await;
    assert!(!whole.truncated && whole.answer_count == 100);
    // Letters keep the client's case.
    let mut query = wire::write_query(1, &question(many, kind::A), false, false, false);
    query[13..17].copy_from_slice(b"mAnY");
    assert_eq!(&udp_raw(server, &query).await[13..17], b"mAnY");
    // Without upstream, names outside fail.
    assert_eq!(udp(server, "www.example.org", false).await.code, 2);
    // What is no query of ours is told so, or dropped.
    assert_eq!(udp_raw(server, &[0, 1, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await[3] & 0xf, 4);
    assert_eq!(udp_raw(server, &[0, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0]).await[3] & 0xf, 1);
}

#[tokio::test]
async fn other_names_come_from_upstream_once() {
    let (address, asked) = upstream().await;
    let server = start(Upstream::Servers(vec![address])).await;
    assert_eq!(
        udp(server, "www.example.org", false).await.answers[0].data,
        Data::A([198, 51, 100, 1].into())
    );
    assert_eq!(tcp(server, "WWW.example.org").await.answer_count, 1);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "the second answer was remembered");
    // Too much for UDP: fetched by TCP, cut for a UDP client, whole for a TCP client.
    let cut = udp(server, "big.example.org", false).await;
    assert!(cut.truncated && cut.answer_count == 0);
    assert_eq!(tcp(server, "big.example.org").await.answer_count, 200);
    assert_eq!(udp(server, "missing.example.org", false).await.code, 3);
    // An ExternalName service: the alias and what it stands for.
    let alias = udp(server, "alias.default.svc.cluster.local", false).await;
    let data: Vec<_> = alias.answers.into_iter().map(|record| record.data).collect();
    assert_eq!(
        data,
        [Data::Cname(Name::parse("www.example.org").unwrap()), Data::A([198, 51, 100, 1].into())]
    );
}

#[tokio::test]
async fn a_dead_server_is_passed_over() {
    let (address, _) = upstream().await;
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = start(Upstream::Servers(vec![dead, address])).await;
    assert_eq!(udp(server, "www.example.org", false).await.answer_count, 1);
}
