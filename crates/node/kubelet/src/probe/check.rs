//! One look at a container: exec, http, tcp or grpc.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meta::IntOrString;
use tokio::net::TcpStream;
use types::core::v1::{Container, Probe};

use super::{grpc, http};
use crate::backend::{BackendError, ContainerRuntime};

/// Longest output of a probe that events show, in bytes.
const MAX_OUTPUT: usize = 10 * 1024;

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Good.
    Success(String),
    /// Good, with something to be told: a redirect to another host was not followed.
    Warning(String),
    /// Bad, and why.
    Failure(String),
    /// It could not be found out.
    Unknown(String),
}

impl Outcome {
    /// Whether it was good.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Success(_) | Outcome::Warning(_))
    }
}

/// What is looked at.
#[derive(Clone)]
pub struct Target {
    /// Runs commands.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The running container's id.
    pub container_id: String,
    /// Its specification, for named ports.
    pub container: Arc<Container>,
    /// The pod's address (the node's on its network).
    pub ip: Option<IpAddr>,
}

/// Looks once.
pub async fn check(probe: &Probe, target: &Target, timeout: Duration) -> Outcome {
    if let Some(exec) = &probe.exec {
        let args = exec.command.iter().map(|w| w.to_string()).collect();
        return exec_check(target, args, timeout).await;
    }
    if let Some(get) = &probe.http_get {
        let request = match http::Request::new(get, &target.container, target.ip) {
            Ok(request) => request,
            Err(why) => return Outcome::Unknown(why),
        };
        return http::probe(&request, timeout).await;
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = match port(&tcp.port, &target.container) {
            Ok(port) => port,
            Err(why) => return Outcome::Unknown(why),
        };
        return tcp_check(&host_or(&tcp.host, target.ip), port, timeout).await;
    }
    if let Some(rpc) = &probe.grpc {
        let Some(ip) = target.ip else { return Outcome::Unknown("the pod has no address".into()) };
        let Ok(port) = u16::try_from(rpc.port) else { return Outcome::Unknown("invalid port number".into()) };
        return grpc::probe(ip, port, rpc.service.as_deref().unwrap_or(""), timeout).await;
    }
    Outcome::Unknown("missing probe handler".into())
}

/// The number of a port that may be given by name.
///
/// # Errors
/// The container has no port of that name.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().find(|p| p.name == *name).map(|p| p.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    let number = number.ok_or_else(|| format!("couldn't find port: {port:?}"))?;
    u16::try_from(number).ok().filter(|p| *p > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// The host of a handler, or the pod's address.
pub fn host_or(host: &str, ip: Option<IpAddr>) -> String {
    match (host, ip) {
        ("", Some(ip)) => ip.to_string(),
        ("", None) => String::new(),
        (host, _) => host.to_owned(),
    }
}

async fn exec_check(target: &Target, args: Vec<String>, timeout: Duration) -> Outcome {
    match target.runtime.exec_sync(&target.container_id, args, timeout).await {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            truncate(&mut text, MAX_OUTPUT);
            if output.exit_code == 0 { Outcome::Success(text) } else { Outcome::Failure(text) }
        }
        Err(BackendError::Timeout(text)) => Outcome::Failure(text),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

/// Cuts a text at a character boundary.
pub fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
    }
}

async fn tcp_check(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success(String::new()),
        Ok(Err(error)) => {
            Outcome::Failure(format!("dial tcp {}: {}", address(host, port), connect_error(&error)))
        }
        Err(_) => Outcome::Failure(format!("dial tcp {}: i/o timeout", address(host, port))),
    }
}

/// `host:port`, with brackets around IPv6.
pub fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A failed connection in the words that users search for.
pub fn connect_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::ContainerPort;

    #[test]
    fn ports_by_name_and_number() {
        let mut container = Container::default();
        container.ports.push(ContainerPort {
            name: "web".into(),
            container_port: 8080,
            ..Default::default()
        });
        assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
        assert_eq!(port(&IntOrString::String("web".into()), &container), Ok(8080));
        assert!(port(&IntOrString::String("none".into()), &container).is_err());
        assert!(port(&IntOrString::Int(0), &container).is_err());
    }

    #[tokio::test]
    async fn tcp() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(tcp_check("127.0.0.1", port, Duration::from_secs(5)).await.is_success());
        drop(listener);
        let want = Outcome::Failure(format!("dial tcp 127.0.0.1:{port}: connect: connection refused"));
        assert_eq!(tcp_check("127.0.0.1", port, Duration::from_secs(5)).await, want);
    }
}
