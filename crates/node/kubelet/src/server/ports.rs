//! `/portForward`: connections to ports inside a pod, over WebSocket channels or tunnelled SPDY.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::channel::{self, Protocol, Socket};
use super::route::query;
use super::{Body, Request, Server, spdy, text, tunnel};
use crate::backend::ContainerRuntime;

/// The channel form: for each port a data and an error stream.
const CHANNELS: [Protocol; 4] = [
    Protocol { name: "v4.channel.k8s.io", base64: false, status: false, close: false },
    Protocol { name: "portforward.k8s.io", base64: false, status: false, close: false },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, status: false, close: false },
    Protocol { name: "", base64: false, status: false, close: false },
];

/// SPDY inside WebSocket messages: what kubectl speaks.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

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
pub fn serve(server: Arc<Server>, mut request: Request, namespace: &str, pod: &str) -> Response<Body> {
    let Some(found) = server.pods.find(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist\n");
    };
    let runtime = server.shared.runtime.clone();
    let sandboxes = runtime.sandboxes();
    let sandbox = sandboxes.into_iter().find(|s| s.ready && found.metadata.uid == s.config.uid.as_str());
    let Some(sandbox) = sandbox else {
        return text(StatusCode::NOT_FOUND, "the pod has no sandbox that runs\n");
    };
    let ports = Ports { runtime, sandbox: sandbox.id };
    if spdy::is_upgrade(&request) {
        return spdy::ports(request, ports);
    }
    if !channel::is_websocket(&request) {
        return text(StatusCode::BAD_REQUEST, "Upgrade request required");
    }
    let offered = channel::offered(&request);
    if offered.iter().any(|p| p == TUNNEL) {
        return match channel::accept(&mut request, TUNNEL) {
            Ok((response, upgrade)) => {
                env::spawn_detached("kubelet-ports", async move {
                    if let Ok(socket) = channel::socket(upgrade).await {
                        spdy::serve_ports(tunnel::io(socket), ports).await;
                    }
                });
                response
            }
            Err(response) => *response,
        };
    }
    let Some(protocol) = channel::negotiate(&offered, &CHANNELS) else {
        return text(StatusCode::FORBIDDEN, "no supported protocol");
    };
    let wanted: Vec<u16> = query(&request)
        .into_iter()
        .filter(|(key, _)| key == "port" || key == "ports")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|port| port.parse().ok())
        .collect();
    if wanted.is_empty() || wanted.len() > 60 {
        return text(StatusCode::BAD_REQUEST, "query parameter \"port\" is required");
    }
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
    for (i, port) in wanted.into_iter().enumerate() {
        let (data, error) = (2 * i as u8, 2 * i as u8 + 1);
        // Each stream begins with the number of its port.
        for channel in [data, error] {
            let _ = out.send(protocol.encode(channel, &port.to_le_bytes())).await;
        }
        let (to, from) = mpsc::channel::<Vec<u8>>(16);
        inputs.push(to);
        let (ports, out) = (ports.clone(), out.clone());
        tasks.push(env::spawn("kubelet-port", async move {
            if let Err(why) = one_port(&ports, port, from, &out, protocol, data).await {
                let _ = out.send(protocol.encode(error, why.as_bytes())).await;
            }
        }));
    }
    while let Some(Ok(message)) = messages.next().await {
        if matches!(message, Message::Close(_)) {
            break;
        }
        if let Some((channel, data)) = protocol.decode(&message)
            && channel % 2 == 0
            && let Some(to) = inputs.get(usize::from(channel / 2))
        {
            let _ = to.send(data).await;
        }
    }
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
    // Nothing is connected before the client has something to say.
    let Some(first) = from.recv().await else { return Ok(()) };
    let (mut read, mut write) = ports.connect(port).await?.into_split();
    let upward = async {
        if write.write_all(&first).await.is_err() {
            return;
        }
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
