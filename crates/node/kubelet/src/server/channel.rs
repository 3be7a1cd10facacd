//! The channel protocols of Kubernetes over WebSocket: each message begins with the number of its stream, as a byte or,
//! in the base64 forms, as a digit.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{Body, Request, text};

/// A WebSocket on an upgraded connection.
pub type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Largest message that a client may send, in bytes.
const MAX_MESSAGE: usize = 32 << 20;

/// A negotiated protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// As in the header; empty when the client named none.
    pub name: &'static str,
    /// Text messages with base64 content.
    pub base64: bool,
    /// Errors are `v1.Status` objects.
    pub status: bool,
    /// A stream can be closed by itself.
    pub close: bool,
}

/// What `/exec` and `/attach` speak, best first.
pub const STREAMS: [Protocol; 5] = [
    Protocol { name: "v5.channel.k8s.io", base64: false, status: true, close: true },
    Protocol { name: "v4.channel.k8s.io", base64: false, status: true, close: false },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, status: true, close: false },
    Protocol { name: "channel.k8s.io", base64: false, status: false, close: false },
    Protocol { name: "base64.channel.k8s.io", base64: true, status: false, close: false },
];

/// A client that names no protocol.
const UNNAMED: Protocol = Protocol { name: "", base64: false, status: false, close: false };

/// Protocols that the client offers, in its order.
pub fn offered(request: &Request) -> Vec<String> {
    let values = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let words = values.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    words.map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect()
}

/// The first of the client's protocols that is known. Whoever offers one that can close streams gets that one, wherever it
/// stands: upstream serves it by itself.
pub fn negotiate(offered: &[String], known: &[Protocol]) -> Option<Protocol> {
    if offered.is_empty() {
        return Some(UNNAMED);
    }
    let find = |name: &String| known.iter().find(|p| p.name == name && !p.name.is_empty()).copied();
    let closing = offered.iter().filter_map(find).find(|protocol| protocol.close);
    closing.or_else(|| offered.iter().find_map(find))
}

/// Whether a request wants to become another protocol at all.
pub fn is_upgrade(request: &Request) -> bool {
    let mut values = request.headers().get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    values.any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// Whether a request wants to become a WebSocket.
pub fn is_websocket(request: &Request) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok());
    is_upgrade(request) && upgrade.is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

/// What is wrong with a handshake, in the words of Go's `x/net/websocket`.
fn flaw(request: &Request) -> Option<(StatusCode, &'static str)> {
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match () {
        () if request.method() != Method::GET => Some((StatusCode::METHOD_NOT_ALLOWED, "bad method")),
        () if header(header::SEC_WEBSOCKET_KEY).is_empty() => {
            Some((StatusCode::BAD_REQUEST, "mismatch challenge/response"))
        }
        () if header(header::SEC_WEBSOCKET_VERSION) != "13" => {
            Some((StatusCode::BAD_REQUEST, "missing or bad WebSocket Version"))
        }
        () => None,
    }
}

/// The refusal of a client that offers nothing that is known.
pub fn unsupported() -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

/// The answer that accepts, and the promise of the connection.
///
/// # Errors
/// The request is no WebSocket handshake.
pub fn accept(
    request: &mut Request,
    protocol: &str,
) -> Result<(Response<Body>, OnUpgrade), Box<Response<Body>>> {
    if let Some((status, why)) = flaw(request) {
        let mut refused = text(status, why);
        let version = header::HeaderValue::from_static("13");
        refused.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
        return Err(Box::new(refused));
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(header::HeaderValue::as_bytes);
    let accept = derive_accept_key(key.unwrap_or_default());
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let response = response.body(Empty::new().boxed_unsync());
    let response = response.map_err(|e| Box::new(text(StatusCode::BAD_REQUEST, &e.to_string())))?;
    Ok((response, hyper::upgrade::on(request)))
}

/// The WebSocket of an accepted request.
///
/// # Errors
/// The connection broke.
pub async fn socket(upgrade: OnUpgrade) -> Result<Socket, hyper::Error> {
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgrade.await?), Role::Server, Some(config)).await)
}

impl Protocol {
    /// A message of a stream.
    pub fn encode(&self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let mut out = String::with_capacity(data.len() * 4 / 3 + 4);
            out.push(char::from(b'0' + channel));
            STANDARD.encode_string(data, &mut out);
            return Message::text(out);
        }
        let mut out = Vec::with_capacity(data.len() + 1);
        out.push(channel);
        out.extend_from_slice(data);
        Message::binary(out)
    }

    /// The stream and content of a message; `None` for anything else.
    pub fn decode(&self, message: &Message) -> Option<(u8, Vec<u8>)> {
        let bytes: &[u8] = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.as_bytes(),
            _ => return None,
        };
        let (first, rest) = bytes.split_first()?;
        match self.base64 {
            true => Some((first.checked_sub(b'0')?, STANDARD.decode(rest).ok()?)),
            false => Some((*first, rest.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation() {
        let offer = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let got = negotiate(&offer(&["v5.channel.k8s.io", "v4.channel.k8s.io"]), &STREAMS).unwrap();
        assert_eq!(got.name, "v5.channel.k8s.io");
        assert_eq!(
            negotiate(&offer(&["x", "v4.base64.channel.k8s.io"]), &STREAMS).unwrap().name,
            "v4.base64.channel.k8s.io"
        );
        let late = negotiate(&offer(&["v4.channel.k8s.io", "v5.channel.k8s.io"]), &STREAMS).unwrap();
        assert_eq!(late.name, "v5.channel.k8s.io");
        assert_eq!(negotiate(&offer(&["x"]), &STREAMS), None);
        assert_eq!(negotiate(&[], &STREAMS), Some(UNNAMED));
    }

    #[test]
    fn messages() {
        for protocol in STREAMS {
            let message = protocol.encode(2, b"hi\0");
            assert_eq!(message.is_text(), protocol.base64);
            assert_eq!(protocol.decode(&message), Some((2, b"hi\0".to_vec())), "{}", protocol.name);
        }
        assert_eq!(STREAMS[2].decode(&Message::text("!")), None);
        assert_eq!(STREAMS[0].decode(&Message::binary(vec![])), None);
    }
}
