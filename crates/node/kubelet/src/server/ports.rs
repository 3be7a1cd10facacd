//! `/portForward`: connections to ports inside a pod, over WebSocket channels or tunnelled SPDY.

use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, frame::coding::CloseCode};

use super::channel::{self, Protocol, Socket};
use super::route::query;
use super::streams::{ASKING, patiently};
use super::{Body, Request, Server, spdy, text, tunnel};
use crate::backend::ContainerRuntime;

/// The channel form: for each port a data and an error stream.
const CHANNELS: [Protocol; 3] = [
    Protocol { name: "v4.channel.k8s.io", base64: false, status: false, close: false },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, status: false, close: false },
    Protocol { name: "", base64: false, status: false, close: false },
];

/// Begins the names of protocols that are SPDY inside WebSocket messages: what kubectl speaks.
const TUNNEL: &str = "SPDY/3.1+";

/// Most ports of one connection: their streams are numbered in one byte.
const PORTS_MAX: usize = 127;

/// Opens connections into one pod.
#[derive(Clone)]
pub struct Ports {
    /// Opens them.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Where.
    pub sandbox: String,
}

impl Ports {
    /// Connects to a port of the pod.
    ///
    /// # Errors
    /// In the words that kubectl shows.
    pub async fn connect(&self, port: u16) -> Result<tokio::net::TcpStream, String> {
        let failed =
            |why: String| format!("error forwarding port {port} to pod {}, uid : {why}", self.sandbox);
        self.runtime.port_forward(&self.sandbox, port).await.map_err(|e| failed(e.to_string()))
    }
}

/// Serves it.
pub fn serve(
    server: Arc<Server>,
    mut request: Request,
    (namespace, pod, uid): (&str, &str, &str),
) -> Response<Body> {
    let offered = channel::offered(&request);
    let websocket = channel::is_websocket(&request);
    let tunnels = offered.iter().filter_map(|name| name.strip_prefix(TUNNEL));
    let tunnels: Vec<&str> = tunnels.filter(|name| websocket && name.ends_with(".k8s.io")).collect();
    let wanted = match websocket && tunnels.is_empty() {
        true => match wanted(&query(&request)) {
            Ok(wanted) => wanted,
            Err(why) => return text(StatusCode::BAD_REQUEST, &why),
        },
        false => Vec::new(),
    };
    let Some(found) = server.pods.find(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    if !uid.is_empty() && found.metadata.uid != uid {
        return text(StatusCode::NOT_FOUND, "pod not found");
    }
    let runtime = server.shared.runtime.clone();
    let sandboxes = runtime.sandboxes();
    let sandbox = sandboxes.into_iter().find(|s| s.ready && found.metadata.uid == s.config.uid.as_str());
    let Some(sandbox) = sandbox else {
        let why = format!("pod not found (\"{pod}_{namespace}\")");
        return text(StatusCode::INTERNAL_SERVER_ERROR, &why);
    };
    let ports = Ports { runtime, sandbox: sandbox.id };
    if !channel::is_upgrade(&request) {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "Upgrade request required\n");
    }
    if !websocket {
        return spdy::ports(request, ports);
    }
    if !tunnels.is_empty() {
        return tunnelled(request, ports, &tunnels);
    }
    let Some(protocol) = channel::negotiate(&offered, &CHANNELS) else {
        return channel::unsupported();
    };
    match channel::accept(&mut request, protocol.name) {
        Ok((response, upgrade)) => {
            env::spawn_detached("kubelet-ports", async move {
                if let Ok(socket) = channel::socket(upgrade).await {
                    over_channels(socket, protocol, ports, wanted).await;
                }
            });
            response
        }
        Err(response) => *response,
    }
}

/// SPDY inside a WebSocket, if that is what the client means.
fn tunnelled(mut request: Request, ports: Ports, offered: &[&str]) -> Response<Body> {
    if !offered.contains(&spdy::PORTS) {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]\n",
            offered.join(" "),
            spdy::PORTS
        );
        return text(StatusCode::FORBIDDEN, &why);
    }
    match channel::accept(&mut request, &format!("{TUNNEL}{}", spdy::PORTS)) {
        Ok((response, upgrade)) => {
            env::spawn_detached("kubelet-ports", async move {
                if let Ok(socket) = channel::socket(upgrade).await {
                    spdy::serve_ports(tunnel::io(socket), ports).await;
                }
            });
            response
        }
        Err(response) => *response,
    }
}

/// The ports of a request in the channel form.
fn wanted(query: &[(String, String)]) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    let given = query.iter().filter(|(key, _)| key == "port").map(|(_, value)| value.as_str());
    for value in given {
        if value.is_empty() {
            return Err("query parameter \"port\" cannot be empty".into());
        }
        for one in value.split(',') {
            let digits = !one.is_empty() && one.bytes().all(|b| b.is_ascii_digit());
            let port = one.parse::<u16>().ok().filter(|_| digits).ok_or_else(|| {
                let why = if digits { "value out of range" } else { "invalid syntax" };
                let (value, one) = (meta::go_quote(value), meta::go_quote(one));
                format!("unable to parse {value} as a port: strconv.ParseUint: parsing {one}: {why}")
            })?;
            if port == 0 {
                return Err(format!("port {} must be > 0", meta::go_quote(value)));
            }
            ports.push(port);
        }
    }
    match ports.len() {
        0 => Err("query parameter \"port\" is required".into()),
        1..=PORTS_MAX => Ok(ports),
        _ => Err(format!("at most {PORTS_MAX} ports fit into one connection")),
    }
}

async fn over_channels(socket: Socket, protocol: Protocol, ports: Ports, wanted: Vec<u16>) {
    let (mut sink, mut messages) = socket.split();
    let (out, mut queue) = mpsc::channel::<Message>(32);
    let writer = env::spawn("kubelet-ports-writer", async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    });
    let mut inputs = vec![];
    let mut tasks = vec![];
    // Ends when the last port has.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    for (i, port) in wanted.into_iter().enumerate() {
        let (data, error) = (2 * i as u8, 2 * i as u8 + 1);
        // Each stream begins with the number of its port.
        for channel in [data, error] {
            let _ = out.send(protocol.encode(channel, &port.to_le_bytes())).await;
        }
        let (to, from) = mpsc::channel::<Vec<u8>>(16);
        inputs.push(to);
        let (ports, out, alive) = (ports.clone(), out.clone(), alive.clone());
        tasks.push(env::spawn("kubelet-port", async move {
            if let Err(why) = one_port(&ports, port, from, &out, protocol, data).await {
                let _ = out.send(protocol.encode(error, why.as_bytes())).await;
            }
            drop(alive);
        }));
    }
    drop(alive);
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            // Nothing is left to be carried.
            _ = ended.recv() => break,
        };
        let Some(Ok(message)) = message else { break };
        if matches!(message, Message::Close(_)) {
            break;
        }
        if let Some((channel, data)) = protocol.decode(&message)
            && channel % 2 == 0
            && let Some(to) = inputs.get(usize::from(channel / 2))
        {
            let send = async { to.send(data).await.is_ok() };
            if patiently(ASKING, send, || out.send(Message::Ping(Bytes::new()))).await.is_none() {
                break;
            }
        }
    }
    let _ = out.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await;
    drop((tasks, inputs, out));
    writer.join().await;
}

async fn one_port(
    ports: &Ports,
    port: u16,
    mut from: mpsc::Receiver<Vec<u8>>,
    out: &mpsc::Sender<Message>,
    protocol: Protocol,
    channel: u8,
) -> Result<(), String> {
    let (mut read, mut write) = ports.connect(port).await?.into_split();
    let upward = async {
        while let Some(data) = from.recv().await {
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
    };
    let downward = async {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            if out.send(protocol.encode(channel, &buffer[..n])).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = downward => {}
        () = upward => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_request() {
        let of = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|v| ("port".to_owned(), (*v).to_owned())).collect();
            wanted(&pairs)
        };
        assert_eq!(of(&["80,90", "100"]), Ok(vec![80, 90, 100]));
        let parse = |value: &str, one: &str, why: &str| {
            Err(format!("unable to parse {value:?} as a port: strconv.ParseUint: parsing {one:?}: {why}"))
        };
        for (values, want) in [
            (&[][..], Err("query parameter \"port\" is required".to_owned())),
            (&[""], Err("query parameter \"port\" cannot be empty".to_owned())),
            (&["abc"], parse("abc", "abc", "invalid syntax")),
            (&["80,"], parse("80,", "", "invalid syntax")),
            (&["+1"], parse("+1", "+1", "invalid syntax")),
            (&["65536"], parse("65536", "65536", "value out of range")),
            (&["80", "0"], Err("port \"0\" must be > 0".to_owned())),
        ] {
            assert_eq!(of(values), want, "{values:?}");
        }
    }
}
