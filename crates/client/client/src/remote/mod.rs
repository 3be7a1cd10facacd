//! The remote transport: HTTPS to any Kubernetes API server.
//!
//! Built-in kinds travel as protobuf and everything else as JSON, with whatever the server prefers among both on the way
//! back. [`Remote`] is also the raw HTTP client of whoever needs paths outside the resource API ([`Remote::send`]) or a
//! stream of their own ([`Remote::dial_http1`]).

mod codec;
mod connection;
mod kubeconfig;
mod query;
mod tls;
mod watch;

use bytes::Bytes;
use call::{Action, Call, Reply, Transport};
use http::header::{
    ACCEPT as ACCEPT_HEADER, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT,
};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use meta::Status;

pub use connection::{Answer, ConnectionError, Io};
pub use kubeconfig::{Config, ConfigError, Impersonate};

use codec::ACCEPT;

/// One user of one API server, over HTTPS.
pub struct Remote {
    pool: connection::Pool,
    authority: String,
    prefix: String,
    headers: HeaderMap,
    config: Config,
}

impl Remote {
    /// A transport as `config` says. Connections are opened when they are first needed.
    ///
    /// # Errors
    /// When URL, certificates or keys in the configuration cannot be used.
    pub fn new(config: Config) -> Result<Remote, ConfigError> {
        let server: Uri = config
            .server
            .parse()
            .map_err(|error| ConfigError::Tls(format!("server {:?}: {error}", config.server)))?;
        let authority = server.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = server.scheme_str().unwrap_or("https");
        Ok(Remote {
            pool: connection::Pool::new(&config, &server)?,
            authority: format!("{scheme}://{authority}"),
            prefix: server.path().trim_end_matches('/').to_owned(),
            headers: identity(&config)?,
            config,
        })
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sends a request whose URI is a path (and query) below the server's URL, with this user's credentials.
    ///
    /// # Errors
    /// When no answer came. Refusals are answers: look at the response's status.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Answer>, ConnectionError> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        if let Ok(uri) = format!("{}{}{path}", self.authority, self.prefix).parse() {
            *request.uri_mut() = uri;
        }
        self.credentials(request.headers_mut()).await;
        if let Ok(host) = HeaderValue::from_str(self.authority.rsplit('/').next().unwrap_or_default()) {
            request.headers_mut().entry(http::header::HOST).or_insert(host);
        }
        self.pool.send(request.map(Full::new)).await
    }

    /// Opens a connection of its own that speaks HTTP/1.1, for requests that upgrade. The caller writes the request,
    /// with [`Remote::credentials`] among its headers.
    ///
    /// # Errors
    /// When no connection could be made.
    pub async fn dial_http1(&self) -> Result<Box<dyn Io>, ConnectionError> {
        self.pool.dial_http1().await
    }

    /// Adds the headers that say who asks.
    pub async fn credentials(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        // Projected tokens are renewed in place, so the file counts and not what it once held.
        if let Some(path) = &self.config.token_file
            && let Ok(token) = tokio::fs::read_to_string(path).await
            && let Ok(value) = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        {
            headers.insert(AUTHORIZATION, value);
        }
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

fn identity(config: &Config) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: &str| match HeaderValue::from_str(value) {
        Ok(value) => {
            headers.append(name, value);
            Ok(())
        }
        Err(_) => Err(ConfigError::Tls(format!("{name} holds characters that a header cannot"))),
    };
    if let Some(token) = &config.token {
        add(AUTHORIZATION, &format!("Bearer {token}"))?;
    } else if let Some((user, password)) = &config.basic {
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        add(AUTHORIZATION, &format!("Basic {pair}"))?;
    }
    if !config.user_agent.is_empty() {
        add(USER_AGENT, &config.user_agent)?;
    }
    if let Some(who) = &config.impersonate {
        add(HeaderName::from_static("impersonate-user"), &who.user)?;
        if !who.uid.is_empty() {
            add(HeaderName::from_static("impersonate-uid"), &who.uid)?;
        }
        for group in &who.groups {
            add(HeaderName::from_static("impersonate-group"), group)?;
        }
    }
    Ok(headers)
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
