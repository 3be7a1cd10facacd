//! A streamed answer over WebSocket, for browsers: each chunk of a log, or each event of a watch, becomes a message.

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

/// Subprotocols of one-way streams, with what their messages are.
const PROTOCOLS: [(&str, Form); 2] = [("binary.k8s.io", Form::Bytes), ("base64.binary.k8s.io", Form::Base64)];

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A chunk as it came.
    Bytes,
    /// A chunk as base64 text.
    Base64,
    /// A line without its end, as text.
    Line,
}

/// A client's wish for a WebSocket, taken out of its request: what remains is a plain GET.
pub(crate) struct Wish {
    upgrade: OnUpgrade,
    accept: String,
    protocol: Option<(&'static str, Form)>,
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
        let form = self.protocol.map_or(Form::Bytes, |(_, form)| form);
        self.accept(body, form)
    }

    /// Accepts, and sends the lines of `body`, the events of a watch in JSON.
    pub(crate) fn answer_events(self, body: Body) -> Response<Body> {
        self.accept(body, Form::Line)
    }

    fn accept(self, body: Body, form: Form) -> Response<Body> {
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
        env::spawn_detached("websocket-answer", async move {
            match self.upgrade.await {
                Ok(upgraded) => send(upgraded, body, form).await,
                Err(error) => tracing::debug!(%error, "the connection broke before its answer began"),
            }
        });
        response
    }
}

async fn send(upgraded: hyper::upgrade::Upgraded, body: Body, form: Form) {
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut sink, mut source) = socket.split();
    let copy = async {
        if form != Form::Line {
            // The first, empty message tells the client that the connection stands.
            for message in messages(form, &Bytes::new()) {
                sink.send(message).await?;
            }
        }
        let mut chunks = body.into_stream();
        while let Some(chunk) = chunks.next().await {
            for message in messages(form, &chunk) {
                sink.feed(message).await?;
            }
            sink.flush().await?;
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

/// The messages for one chunk. A watch puts whole lines into its chunks.
fn messages(form: Form, chunk: &Bytes) -> Vec<Message> {
    match form {
        Form::Bytes => vec![Message::binary(chunk.clone())],
        Form::Base64 => vec![Message::text(STANDARD.encode(chunk))],
        Form::Line => {
            let lines = chunk.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| Message::text(String::from_utf8_lossy(line).into_owned())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let chunk = Bytes::from_static(b"{}\n[]\n");
        assert_eq!(messages(Form::Bytes, &chunk), [Message::binary(chunk.clone())]);
        assert_eq!(messages(Form::Base64, &chunk), [Message::text("e30KW10K")]);
        assert_eq!(messages(Form::Line, &chunk), [Message::text("{}"), Message::text("[]")]);
        assert_eq!(messages(Form::Base64, &Bytes::new()), [Message::text("")]);
    }
}
