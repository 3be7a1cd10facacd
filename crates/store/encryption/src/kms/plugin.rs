//! The plugin: three calls of gRPC on a unix socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::UnixStream;

use super::metrics;
use super::proto::{self, Field, Writer};

/// What the plugin says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub version: String,
    pub healthz: String,
    pub key_id: String,
}

/// A key, encrypted by the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Encrypted {
    pub ciphertext: Vec<u8>,
    pub key_id: String,
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// A plugin's socket.
pub(crate) struct Plugin {
    socket: PathBuf,
    timeout: Duration,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Plugin {
    pub(crate) fn new(socket: PathBuf, timeout: Duration) -> Self {
        Self { socket, timeout, connection: Mutex::default() }
    }

    pub(crate) async fn status(&self) -> Result<Status, String> {
        let answer = self.call("Status", Vec::new()).await?;
        let mut status = Status::default();
        for (number, field) in proto::fields(&answer).ok_or_else(malformed)? {
            let Field::Bytes(bytes) = field else { continue };
            let text = || String::from_utf8_lossy(bytes).into_owned();
            match number {
                1 => status.version = text(),
                2 => status.healthz = text(),
                3 => status.key_id = text(),
                _ => {}
            }
        }
        Ok(status)
    }

    pub(crate) async fn encrypt(&self, uid: &str, plaintext: &[u8]) -> Result<Encrypted, String> {
        let mut request = Writer::default();
        request.bytes(1, plaintext);
        request.bytes(2, uid.as_bytes());
        let answer = self.call("Encrypt", request.0).await?;
        let mut encrypted = Encrypted::default();
        for (number, field) in proto::fields(&answer).ok_or_else(malformed)? {
            let Field::Bytes(bytes) = field else { continue };
            match number {
                1 => encrypted.ciphertext = bytes.to_vec(),
                2 => encrypted.key_id = String::from_utf8_lossy(bytes).into_owned(),
                3 => encrypted.annotations.extend([proto::entry(bytes).ok_or_else(malformed)?]),
                _ => {}
            }
        }
        Ok(encrypted)
    }

    pub(crate) async fn decrypt(&self, uid: &str, encrypted: &Encrypted) -> Result<Vec<u8>, String> {
        let mut request = Writer::default();
        request.bytes(1, &encrypted.ciphertext);
        request.bytes(2, uid.as_bytes());
        request.bytes(3, encrypted.key_id.as_bytes());
        request.map(4, &encrypted.annotations);
        let answer = self.call("Decrypt", request.0).await?;
        let fields = proto::fields(&answer).ok_or_else(malformed)?;
        let plaintext = fields.into_iter().find_map(|(number, field)| match field {
            Field::Bytes(bytes) if number == 1 => Some(bytes.to_vec()),
            _ => None,
        });
        Ok(plaintext.unwrap_or_default())
    }

    async fn call(&self, method: &str, message: Vec<u8>) -> Result<Bytes, String> {
        metrics::started(method);
        let answer = match tokio::time::timeout(self.timeout, self.exchange(method, message)).await {
            Ok(answer) => answer,
            Err(_) => Err(failure("DeadlineExceeded", "context deadline exceeded")),
        };
        metrics::handled(method, answer.as_ref().map_or_else(|why| code_of(why), |_| "OK"));
        answer
    }

    async fn exchange(&self, method: &str, message: Vec<u8>) -> Result<Bytes, String> {
        let mut body = BytesMut::with_capacity(message.len() + 5);
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        body.extend_from_slice(&message);
        let request = Request::post(format!("http://localhost/v2.KeyManagementService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(body.freeze()))
            .map_err(|error| failure("Internal", &error.to_string()))?;
        let mut sender = self.connected().await?;
        let lost =
            |error: hyper::Error| failure("Unavailable", &format!("error reading from server: {error}"));
        metrics::sent(method);
        let response = sender.send_request(request).await.map_err(lost)?;
        let headers = response.headers().clone();
        if !response.status().is_success() {
            let why = format!("unexpected HTTP status code received from server: {}", response.status());
            return Err(failure("Unknown", &why));
        }
        let mut incoming = response.into_body();
        let (mut answer, mut trailers) = (BytesMut::new(), HeaderMap::new());
        while let Some(frame) = incoming.frame().await {
            match frame.map_err(lost)?.into_data() {
                Ok(data) if answer.len() + data.len() > proto::MESSAGE_BYTES_MAX => {
                    return Err(failure("ResourceExhausted", "received message larger than max"));
                }
                Ok(data) => answer.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        let said = |name: &str| {
            let value = trailers.get(name).or_else(|| headers.get(name))?;
            value.to_str().ok().map(str::to_owned)
        };
        match said("grpc-status").as_deref() {
            Some("0") => {}
            Some(code) => return Err(failure(code_name(code), &said("grpc-message").unwrap_or_default())),
            None => return Err(failure("Internal", "server closed the stream without sending trailers")),
        }
        let answer = answer.freeze();
        let (head, message) = answer.split_first_chunk::<5>().ok_or_else(malformed)?;
        let [compressed, a, b, c, d] = *head;
        if compressed != 0 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
            return Err(malformed());
        }
        metrics::received(method);
        Ok(answer.slice(5..))
    }

    /// The connection, made anew when there is none that works.
    async fn connected(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let kept = self.connection.lock().clone();
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = dial(&self.socket).await.map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                _ => error.to_string(),
            };
            let why = format!("dial unix {}: connect: {why}", self.socket.display());
            failure(
                "Unavailable",
                &format!("connection error: desc = \"transport: Error while dialing: {why}\""),
            )
        })?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| failure("Unavailable", &error.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a KMS plugin ended");
            }
        });
        *self.connection.lock() = Some(sender.clone());
        Ok(sender)
    }
}

/// Connects to a socket in the file system, or, where its name begins with an at sign, in the abstract namespace.
async fn dial(socket: &Path) -> std::io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let text = socket.to_string_lossy();
    let Some(name) = text.strip_prefix("/@").or_else(|| text.strip_prefix('@')) else {
        return UnixStream::connect(socket).await;
    };
    let address = SocketAddr::from_abstract_name(name.as_bytes())?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn failure(code: &str, description: &str) -> String {
    format!("rpc error: code = {code} desc = {description}")
}

/// The code of a failure.
fn code_of(failure: &str) -> &str {
    let rest = failure.strip_prefix("rpc error: code = ").unwrap_or_default();
    rest.split_once(' ').map_or("Unknown", |(code, _)| code)
}

fn malformed() -> String {
    failure("Internal", "grpc: failed to unmarshal the received message")
}

/// The names of gRPC's codes.
fn code_name(code: &str) -> &str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    code.parse::<usize>().ok().and_then(|code| NAMES.get(code)).copied().unwrap_or("Unknown")
}
