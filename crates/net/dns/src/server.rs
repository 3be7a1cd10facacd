//! The server: UDP and TCP on the given addresses. What the zone knows is answered at once; the rest waits for upstream in a task of
//! its own, of which there is a limited number.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::{Reply, answer};
use crate::cache::Key;
use crate::forward::Forwarder;
pub use crate::forward::Upstream;
use crate::name::Name;
use crate::wire::{self, Answer, Code, MAX_UDP_BYTES, PLAIN_UDP_BYTES, Query, Question};
use crate::zone::Zone;

/// Queries that wait for upstream at the same time; more are refused with SERVFAIL.
const FORWARDS_MAX: usize = 1000;
/// Connections at the same time on one listener.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// The zone, shared between the server and whoever keeps it up to date. Locked for moments only.
pub type SharedZone = Arc<RwLock<Zone>>;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, UDP and TCP. With port 0 both get the same free one.
    pub listen: Vec<SocketAddr>,
    /// Where names outside the cluster are asked.
    pub upstream: Upstream,
    /// Addresses that lead back here (the cluster DNS Service): never asked, so that no query goes round in circles.
    pub never_ask: Vec<IpAddr>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[error("DNS server: listen on {address} ({transport}): {source}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// `UDP` or `TCP`.
    pub transport: &'static str,
    /// Why not.
    pub source: io::Error,
}

/// Ports tried where any will do: one that is free for UDP may be taken for TCP.
const PORTS_TRIED: usize = 16;

/// Listens on one address with both transports.
async fn both(address: SocketAddr) -> Result<(UdpSocket, TcpListener), BindError> {
    let fail = |transport| move |source| BindError { address, transport, source };
    let mut attempts = if address.port() == 0 { PORTS_TRIED } else { 1 };
    loop {
        attempts -= 1;
        let udp = UdpSocket::bind(address).await.map_err(fail("UDP"))?;
        let bound = udp.local_addr().map_err(fail("UDP"))?;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(fail("TCP")(error)),
        }
    }
}

/// A server that listens already; [`Server::run`] answers.
pub struct Server {
    sockets: Vec<(UdpSocket, TcpListener)>,
    state: Arc<State>,
}

struct State {
    zone: SharedZone,
    forwarder: Forwarder,
    forwards: Semaphore,
}

impl Server {
    /// Opens all sockets.
    pub async fn bind(config: Config, zone: SharedZone) -> Result<Server, BindError> {
        let mut sockets = Vec::new();
        for address in &config.listen {
            sockets.push(both(*address).await?);
        }
        let mut never_ask = config.never_ask;
        never_ask.extend(
            config.listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified() && !ip.is_loopback()),
        );
        let forwarder = Forwarder::new(config.upstream, never_ask);
        let state = Arc::new(State { zone, forwarder, forwards: Semaphore::new(FORWARDS_MAX) });
        Ok(Server { sockets, state })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|(udp, _)| udp.local_addr().ok()).collect()
    }

    /// Answers until the future is dropped.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        for (udp, tcp) in self.sockets {
            tasks.spawn(serve_udp(Arc::new(udp), self.state.clone()));
            tasks.spawn(serve_tcp(tcp, self.state.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, state: Arc<State>) {
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; 4096];
    loop {
        while waiting.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(got) => got,
            // Errors here are those of earlier answers to clients that are gone.
            Err(error) => {
                tracing::debug!(%error, "DNS query not received");
                continue;
            }
        };
        match state.begin(&buffer[..length], Transport::Udp) {
            Begun::Nothing => {}
            Begun::Done(bytes) => send(&socket, &bytes, client).await,
            Begun::Ask(pending) => {
                let (socket, state) = (socket.clone(), state.clone());
                waiting.spawn(async move { send(&socket, &state.finish(pending).await, client).await });
            }
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, client).await {
        tracing::debug!(%error, %client, "DNS answer not sent");
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let state = state.clone();
                connections.spawn(async move {
                    if let Err(error) = serve_stream(stream, &state).await {
                        tracing::debug!(%error, %client, "DNS connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_stream(mut stream: TcpStream, state: &State) -> io::Result<()> {
    loop {
        let length = match timeout(IDLE, stream.read_u16()).await? {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut query = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let bytes = match state.begin(&query, Transport::Tcp) {
            Begun::Nothing => return Ok(()),
            Begun::Done(bytes) => bytes,
            Begun::Ask(pending) => state.finish(pending).await,
        };
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        timeout(IDLE, stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat())).await??;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// A query after what the zone can say of it.
enum Begun {
    /// Not a query; no answer.
    Nothing,
    /// Answered.
    Done(Vec<u8>),
    /// Upstream has to be asked.
    Ask(Box<Pending>),
}

struct Pending {
    query: Query,
    max_bytes: usize,
    /// An alias found in the zone: its answer so far, and the name to ask for.
    alias: Option<(Answer, Name)>,
}

impl State {
    fn begin(&self, bytes: &[u8], transport: Transport) -> Begun {
        let query = match wire::read_query(bytes) {
            Ok(query) => query,
            Err(code) => {
                let error = code.and_then(|code| wire::write_error(bytes, code));
                return error.map_or(Begun::Nothing, Begun::Done);
            }
        };
        let max_bytes = match (transport, query.edns_bytes) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => PLAIN_UDP_BYTES,
            (Transport::Udp, Some(bytes)) => usize::from(bytes).clamp(PLAIN_UDP_BYTES, MAX_UDP_BYTES),
        };
        let reply = answer(&query.question, &self.zone.read());
        match reply {
            Reply::Answer(mut answer) => {
                // Clients take the first address: turns spread them over all.
                let count = answer.answers.len();
                if count > 1 && answer.answers.iter().all(|record| record.name == query.question.name) {
                    answer.answers.rotate_left(fastrand::usize(..count));
                }
                Begun::Done(wire::write_answer(&query, &answer, max_bytes))
            }
            Reply::Alias(answer, target) => {
                Begun::Ask(Box::new(Pending { query, max_bytes, alias: Some((answer, target)) }))
            }
            Reply::Forward => Begun::Ask(Box::new(Pending { query, max_bytes, alias: None })),
        }
    }

    async fn finish(&self, pending: Box<Pending>) -> Vec<u8> {
        let Pending { query, max_bytes, alias } = *pending;
        let failed = |answer: Answer| {
            wire::write_answer(&query, &Answer { code: Code::ServFail, ..answer }, max_bytes)
        };
        let Ok(_permit) = self.forwards.try_acquire() else {
            return failed(Answer::default());
        };
        let name = alias.as_ref().map_or(&query.question.name, |(_, target)| target).clone();
        let key = Key {
            question: Question { name, ..query.question.clone() },
            edns: query.edns_bytes.is_some(),
            dnssec: query.dnssec,
            checking_disabled: query.checking_disabled,
        };
        match (self.forwarder.ask(&key).await, alias) {
            (Ok(answered), None) => wire::readdress(answered.bytes, &query, max_bytes),
            (Ok(answered), Some((mut answer, _))) => {
                answer.answers.extend(answered.scan.answers);
                wire::write_answer(&query, &answer, max_bytes)
            }
            (Err(error), alias) => {
                tracing::debug!(%error, name = %key.question.name, "name not resolved");
                failed(alias.map(|(answer, _)| answer).unwrap_or_default())
            }
        }
    }
}
