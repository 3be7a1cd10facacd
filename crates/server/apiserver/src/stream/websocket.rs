//! A streamed answer over WebSocket, for browsers: each chunk becomes a message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use meta::Status;
use registry::errors;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::http::body::Body;

/// Subprotocols of one-way streams, with whether their messages are base64 text.
const PROTOCOLS: [(&str, bool); 2] = [("binary.k8s.io", false), ("base64.binary.k8s.io", true)];

/// A client's wish for a WebSocket, taken out of its request: what remains is a plain GET.
pub(crate) struct Wish {
    upgrade: OnUpgrade,
    accept: String,
    protocol: Option<(&'static str, bool)>,
}

fn has(headers: &HeaderMap, name: header::HeaderName, want: &str) -> bool {
    let text = headers.get(name).and_then(|value| value.to_str().ok());
    text.is_some_and(|text| text.to_ascii_lowercase().contains(want))
}

/// Takes the wish out of a request; `None` when it has none.
///
/// # Errors
/// The handshake is incomplete, or none of the offered subprotocols is known.
pub(crate) fn take(request: &mut Request<Incoming>) -> Result<Option<Wish>, Status> {
    let headers = request.headers();
    if !has(headers, header::UPGRADE, "websocket") || !has(headers, header::CONNECTION, "upgrade") {
        return Ok(None);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| errors::bad_request("missing Sec-WebSocket-Key"))?;
    let accept = derive_accept_key(key.as_bytes());
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<String> = offers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|name| name.trim().to_owned())
        // A browser's token travels as one more subprotocol.
        .filter(|name| !name.is_empty() && !name.starts_with("base64url.bearer."))
        .collect();
    let protocol = offered.iter().find_map(|name| PROTOCOLS.iter().find(|(known, _)| known == name).copied());
    if protocol.is_none() && !offered.is_empty() {
        let known: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        return Err(errors::bad_request(format!(
            "requested protocol(s) are not supported: {offered:?}; server supports {known:?}"
        )));
    }
    let upgrade = hyper::upgrade::on(&mut *request);
    for name in [
        header::UPGRADE,
        header::CONNECTION,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        request.headers_mut().remove(name);
    }
    Ok(Some(Wish { upgrade, accept, protocol }))
}

impl Wish {
    /// Accepts, and sends `body` as it comes.
    pub(crate) fn answer(self, body: Body) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
        if let Ok(accept) = self.accept.parse() {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some((name, _)) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, header::HeaderValue::from_static(name));
        }
        let base64 = self.protocol.is_some_and(|(_, base64)| base64);
        env::spawn_detached("websocket-answer", async move {
            match self.upgrade.await {
                Ok(upgraded) => send(upgraded, body, base64).await,
                Err(error) => tracing::debug!(%error, "the connection broke before its answer began"),
            }
        });
        response
    }
}

async fn send(upgraded: hyper::upgrade::Upgraded, body: Body, base64: bool) {
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut sink, mut source) = socket.split();
    let message = |chunk: Bytes| {
        if base64 { Message::text(STANDARD.encode(&chunk)) } else { Message::binary(chunk) }
    };
    let copy = async {
        // The first, empty message tells the client that the connection stands.
        sink.send(message(Bytes::new())).await?;
        let mut chunks = body.into_stream();
        while let Some(chunk) = chunks.next().await {
            sink.send(message(chunk)).await?;
        }
        sink.close().await
    };
    tokio::select! {
        result = copy => if let Err(error) = result {
            tracing::debug!(%error, "a client went away before the end of its answer");
        },
        // Nothing is expected of the client but that it closes.
        () = async { while let Some(Ok(message)) = source.next().await {
            if message.is_close() {
                return;
            }
        } } => {}
    }
}
