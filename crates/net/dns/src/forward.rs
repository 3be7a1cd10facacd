//! Names outside the cluster: asked of the node's name servers, over UDP and, where an answer does not fit, TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::cache::{Cache, Key};
use crate::resolv::ResolvConf;
use crate::wire::{self, Scan};

/// How long one server gets for one answer.
const SERVER_WAIT: Duration = Duration::from_secs(2);
/// How often the list of servers is gone through.
const ROUNDS: usize = 2;
/// How long the file of servers is trusted before looking whether it changed.
const FILE_CHECK: Duration = Duration::from_secs(5);
const CACHE_ENTRIES: usize = 4096;
const DNS_PORT: u16 = 53;

/// Where names outside the cluster are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// The `nameserver` lines of a file, read again when it changes.
    File(PathBuf),
    /// These.
    Servers(Vec<SocketAddr>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node has no name server besides this one; asking again helps once it has.
    #[error("no upstream name server")]
    NoServer,
    /// No server answered in time.
    #[error("no upstream name server answered: {0}")]
    Silent(#[source] io::Error),
}

/// An answer with what is known of it.
pub struct Answered {
    /// The message.
    pub bytes: Vec<u8>,
    /// Its parts.
    pub scan: Scan,
}

/// The client of upstream servers.
pub struct Forwarder {
    upstream: Upstream,
    never_ask: Vec<IpAddr>,
    cache: Mutex<Cache>,
    file: Mutex<FileState>,
}

#[derive(Default)]
struct FileState {
    checked: Option<Instant>,
    modified: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

impl Forwarder {
    /// A client that never asks the addresses in `never_ask`, which lead back to this server.
    pub fn new(upstream: Upstream, never_ask: Vec<IpAddr>) -> Forwarder {
        let cache = Mutex::new(Cache::new(CACHE_ENTRIES));
        Forwarder { upstream, never_ask, cache, file: Mutex::new(FileState::default()) }
    }

    /// The answer to a query.
    pub async fn ask(&self, key: &Key) -> Result<Answered, Error> {
        let now = Instant::now();
        let cached = self.cache.lock().get(key, now);
        if let Some((bytes, scan)) = cached.and_then(|bytes| wire::scan(&bytes).map(|scan| (bytes, scan))) {
            return Ok(Answered { bytes, scan });
        }
        let servers = self.servers(now);
        let mut failure = None;
        let mut last = None;
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            match exchange(*server, key).await {
                Ok((bytes, scan)) if is_failure(&scan) => last = Some(Answered { bytes, scan }),
                Ok((bytes, scan)) => {
                    self.cache.lock().put(key.clone(), &bytes, &scan, Instant::now());
                    return Ok(Answered { bytes, scan });
                }
                Err(error) => failure = Some(error),
            }
        }
        match (last, failure) {
            (Some(answered), _) => Ok(answered),
            (None, Some(error)) => Err(Error::Silent(error)),
            (None, None) => Err(Error::NoServer),
        }
    }

    fn servers(&self, now: Instant) -> Vec<SocketAddr> {
        let path = match &self.upstream {
            Upstream::Servers(servers) => return self.allowed(servers.clone()),
            Upstream::File(path) => path,
        };
        let mut file = self.file.lock();
        if file.checked.is_some_and(|checked| now.duration_since(checked) < FILE_CHECK) {
            return file.servers.clone();
        }
        file.checked = Some(now);
        let modified = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        if modified.is_none() || modified != file.modified {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let servers = ResolvConf::parse(&text).servers;
            let servers = servers.iter().filter_map(|server| server.parse().ok());
            file.servers = self.allowed(servers.map(|ip| SocketAddr::new(ip, DNS_PORT)).collect());
            file.modified = modified;
        }
        file.servers.clone()
    }

    fn allowed(&self, mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        servers.retain(|server| !self.never_ask.contains(&server.ip()));
        servers
    }
}

/// Whether another server may do better: SERVFAIL, NOTIMP and REFUSED.
fn is_failure(scan: &Scan) -> bool {
    matches!(scan.code, 2 | 4 | 5)
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn belongs(scan: &Scan, id: u16, key: &Key) -> bool {
    scan.id == id && scan.question == key.question
}

async fn exchange(server: SocketAddr, key: &Key) -> io::Result<(Vec<u8>, Scan)> {
    let id = fastrand::u16(..);
    let query = wire::write_query(id, &key.question, key.checking_disabled, key.edns, key.dnssec);
    let (bytes, scan) = timeout(SERVER_WAIT, over_udp(server, &query, id, key)).await??;
    match scan.truncated {
        false => Ok((bytes, scan)),
        true => timeout(SERVER_WAIT, over_tcp(server, &query, id, key)).await?,
    }
}

/// A socket for each query: its random port, next to the random identity, is what makes forged answers hard.
async fn over_udp(server: SocketAddr, query: &[u8], id: u16, key: &Key) -> io::Result<(Vec<u8>, Scan)> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(scan) = wire::scan(&buffer[..length]).filter(|scan| belongs(scan, id, key)) {
            buffer.truncate(length);
            return Ok((buffer, scan));
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8], id: u16, key: &Key) -> io::Result<(Vec<u8>, Scan)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| bad("query too long"))?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let scan = wire::scan(&bytes).filter(|scan| belongs(scan, id, key));
    scan.map(|scan| (bytes, scan)).ok_or_else(|| bad("malformed answer"))
}
