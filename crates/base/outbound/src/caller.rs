//! One user of one server.

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full};

use crate::connection::{Answer, ConnectionError, Io, Pool};
use crate::kubeconfig::{Config, ConfigError};
use crate::measured::Measured;
use crate::rate::Limiter;

/// One user of one server, over HTTPS.
pub struct Caller {
    pool: Pool,
    authority: String,
    prefix: String,
    headers: HeaderMap,
    limiter: Option<Limiter>,
    measured: Measured,
    config: Config,
}

/// Why an answer was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It broke off. May be retried.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// It is longer than the reader wants.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Caller {
    /// A caller as `config` says. Connections are opened when they are first needed.
    ///
    /// # Errors
    /// When URL, certificates or keys in the configuration cannot be used.
    pub fn new(config: Config) -> Result<Caller, ConfigError> {
        let server: Uri = config
            .server
            .parse()
            .map_err(|error| ConfigError::Tls(format!("server {:?}: {error}", config.server)))?;
        let authority = server.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = server.scheme_str().unwrap_or("https");
        Ok(Caller {
            pool: Pool::new(&config, &server)?,
            limiter: config.rate.map(Limiter::new),
            measured: Measured::new(&authority),
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
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Answer>, ConnectionError> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        self.send_to(&format!("{}{}{path}", self.authority, self.prefix), request).await
    }

    /// Sends a request to the very URL that the configuration names.
    ///
    /// # Errors
    /// See [`Caller::send`].
    pub async fn send_exact(&self, request: Request<Bytes>) -> Result<Response<Answer>, ConnectionError> {
        self.send_to(&self.config.server, request).await
    }

    async fn send_to(
        &self,
        url: &str,
        mut request: Request<Bytes>,
    ) -> Result<Response<Answer>, ConnectionError> {
        if let Ok(uri) = url.parse() {
            *request.uri_mut() = uri;
        }
        self.credentials(request.headers_mut()).await;
        if let Ok(host) = HeaderValue::from_str(self.authority.rsplit('/').next().unwrap_or_default()) {
            request.headers_mut().entry(http::header::HOST).or_insert(host);
        }
        let asked = self.measured.asked(&request);
        if let Some(limiter) = &self.limiter {
            asked.limited(limiter.wait().await);
        }
        let sent = asked.sent();
        let mut answer = self.pool.send(request.map(Full::new)).await;
        sent.answered(answer.as_mut());
        answer
    }

    /// Opens a connection of its own that speaks HTTP/1.1, for requests that upgrade. The caller writes the request,
    /// with [`Caller::credentials`] among its headers.
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
}

impl Answer {
    /// Reads the whole answer, which must not be longer than `bytes_max`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(mut self, bytes_max: usize) -> Result<Bytes, ReadError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                if whole.len() + data.len() > bytes_max {
                    return Err(ReadError::TooLong(bytes_max));
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole.freeze())
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
