//! The gRPC health protocol (`grpc.health.v1.Health/Check`), by hand: one request of one string, one answer of one number.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::check::{Outcome, address, connect_error};

const SERVING: u64 = 1;

/// Asks once.
pub async fn probe(ip: IpAddr, port: u16, service: &str, timeout: Duration) -> Outcome {
    let to = address(&ip.to_string(), port);
    match tokio::time::timeout(timeout, ask(ip, port, service)).await {
        Err(_) => {
            Outcome::Failure(format!("timeout: health rpc did not complete within {}s", timeout.as_secs()))
        }
        Ok(Err(Failed::Connect(why))) => Outcome::Failure(format!(
            "timeout: failed to connect service {to:?} within {}s: {why}",
            timeout.as_secs()
        )),
        Ok(Err(Failed::Status(12))) => Outcome::Failure(
            "this server does not implement the grpc health protocol (grpc.health.v1.Health)".into(),
        ),
        Ok(Err(Failed::Status(code))) => {
            Outcome::Failure(format!("service {to:?} health rpc failed: code {code}"))
        }
        Ok(Err(Failed::Other(why))) => Outcome::Failure(format!("rpc failed: {why}")),
        Ok(Ok(SERVING)) => Outcome::Success("service healthy".into()),
        Ok(Ok(status)) => {
            let name = match status {
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNKNOWN",
            };
            Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

enum Failed {
    Connect(String),
    Status(u32),
    Other(String),
}

async fn ask(ip: IpAddr, port: u16, service: &str) -> Result<u64, Failed> {
    let other = |e: hyper::Error| Failed::Other(e.to_string());
    let stream = TcpStream::connect((ip, port)).await.map_err(|e| Failed::Connect(connect_error(&e)))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| Failed::Connect(e.to_string()))?;
    let _task = env::spawn("probe-grpc", async move {
        let _ = connection.await;
    });
    let request = hyper::Request::post(format!(
        "http://{}/grpc.health.v1.Health/Check",
        address(&ip.to_string(), port)
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("user-agent", "kube-probe/1.36")
    .body(Full::new(Bytes::from(frame(service))))
    .map_err(|e| Failed::Other(e.to_string()))?;
    let response = sender.send_request(request).await.map_err(other)?;
    if let Some(code) = status(response.headers()).filter(|c| *c != 0) {
        return Err(Failed::Status(code));
    }
    let body =
        Limited::new(response.into_body(), 4096).collect().await.map_err(|e| Failed::Other(e.to_string()))?;
    if let Some(code) = body.trailers().and_then(status).filter(|c| *c != 0) {
        return Err(Failed::Status(code));
    }
    serving(&body.to_bytes()).ok_or_else(|| Failed::Other("malformed answer".into()))
}

fn status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// An uncompressed gRPC frame with `HealthCheckRequest { service = 1 }`.
fn frame(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut out = vec![0];
    out.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    out.extend(message);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The `status` of a `HealthCheckResponse` in a frame; an absent field is 0.
fn serving(frame: &[u8]) -> Option<u64> {
    let message = frame.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, rest @ ..] => {
            let mut value = 0u64;
            for (i, byte) in rest.iter().take(9).enumerate() {
                value |= u64::from(byte & 0x7f) << (7 * i);
                if byte & 0x80 == 0 {
                    return Some(value);
                }
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(frame(""), [0, 0, 0, 0, 0]);
        assert_eq!(frame("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving(&[0]), None);
    }
}
