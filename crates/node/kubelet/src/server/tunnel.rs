//! A byte stream inside binary WebSocket messages, whose boundaries mean nothing.

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::protocol::Message;

use super::channel::Socket;

const BUFFER: usize = 64 * 1024;

/// The stream inside `socket`.
pub fn io(socket: Socket) -> DuplexStream {
    let (near, far) = duplex(BUFFER);
    let (mut read, mut write) = tokio::io::split(far);
    let (mut sink, mut messages) = socket.split();
    env::spawn_detached("kubelet-tunnel", async move {
        let outward = async {
            let mut buffer = vec![0; BUFFER];
            while let Ok(n @ 1..) = read.read(&mut buffer).await {
                if sink.send(Message::binary(buffer[..n].to_vec())).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        };
        let inward = async {
            while let Some(Ok(message)) = messages.next().await {
                match message {
                    Message::Binary(data) if write.write_all(&data).await.is_err() => return,
                    Message::Close(_) => break,
                    _ => {}
                }
            }
            let _ = write.shutdown().await;
        };
        tokio::join!(outward, inward);
    });
    near
}
