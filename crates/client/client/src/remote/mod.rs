//! The remote transport: HTTPS to any Kubernetes API server.
//!
//! Built-in kinds travel as protobuf and everything else as JSON, with whatever the server prefers among both on the way
//! back. [`Remote`] is also the raw HTTP client of whoever needs paths outside the resource API ([`Remote::send`]) or a
//! stream of their own ([`Remote::dial_http1`]).

mod codec;
mod query;
mod watch;

use bytes::Bytes;
use call::{Action, Call, Reply, Transport};
use http::header::{ACCEPT as ACCEPT_HEADER, CONTENT_TYPE};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use meta::Status;
use outbound::Caller;

pub use outbound::{Answer, Config, ConfigError, ConnectionError, Impersonate, Io};

use codec::ACCEPT;

/// One user of one API server, over HTTPS.
pub struct Remote(Caller);

impl Remote {
    /// A transport as `config` says. Connections are opened when they are first needed.
    ///
    /// # Errors
    /// When URL, certificates or keys in the configuration cannot be used.
    pub fn new(config: Config) -> Result<Remote, ConfigError> {
        Caller::new(config).map(Remote)
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        self.0.config()
    }

    /// Sends a request whose URI is a path (and query) below the server's URL, with this user's credentials.
    ///
    /// # Errors
    /// When no answer came. Refusals are answers: look at the response's status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Answer>, ConnectionError> {
        self.0.send(request).await
    }

    /// Opens a connection of its own that speaks HTTP/1.1, for requests that upgrade. The caller writes the request,
    /// with [`Remote::credentials`] among its headers.
    ///
    /// # Errors
    /// When no connection could be made.
    pub async fn dial_http1(&self) -> Result<Box<dyn Io>, ConnectionError> {
        self.0.dial_http1().await
    }

    /// Adds the headers that say who asks.
    pub async fn credentials(&self, headers: &mut HeaderMap) {
        self.0.credentials(headers).await;
    }

    async fn perform(&self, call: Call) -> Result<Reply, Status> {
        let watch = matches!(call.action, Action::Watch(_));
        let list = matches!(call.action, Action::List(_));
        let request = encode(call)?;
        let response = self.send(request).await.map_err(|error| unavailable(&error))?;
        let (parts, body) = response.into_parts();
        let protobuf = codec::is_protobuf(&parts.headers);
        if parts.status.is_success() && watch {
            return Ok(Reply::Watch(watch::events(body, protobuf)));
        }
        let body = body.collect().await.map_err(|error| unavailable(&error))?.to_bytes();
        if !parts.status.is_success() {
            return Err(codec::refusal(parts.status, &parts.headers, protobuf, &body));
        }
        if list { codec::list(protobuf, &body) } else { codec::object(protobuf, &body) }
    }
}

#[async_trait::async_trait]
impl Transport for Remote {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        self.perform(call).await
    }
}

/// A call as an HTTP request, with a path for URI.
fn encode(call: Call) -> Result<Request<Bytes>, Status> {
    let Call { target, action } = call;
    let (method, query) = (query::method(&action), query::of(&action));
    let body = match &action {
        Action::Create(object, _) | Action::Update(object, _) => Some(codec::encode(&**object)),
        Action::Patch(kind, document, _) => Some((kind.content_type(), document.clone())),
        Action::Delete(options) | Action::DeleteCollection(_, options) => {
            Some(codec::delete_options(options))
        }
        Action::Get { .. } | Action::List(_) | Action::Watch(_) => None,
    };
    let mut uri = target.path();
    if !query.is_empty() {
        uri.push('?');
        uri.push_str(&query);
    }
    let mut request = Request::builder().method(method).uri(uri).header(ACCEPT_HEADER, ACCEPT);
    let bytes = match body {
        Some((content_type, bytes)) => {
            request = request.header(CONTENT_TYPE, content_type);
            bytes
        }
        None => Bytes::new(),
    };
    request.body(bytes).map_err(|error| Status::bad_request(error.to_string()))
}

fn unavailable(error: &dyn std::fmt::Display) -> Status {
    Status::service_unavailable(format!("reach the API server: {error}"))
}
