//! An issuer's server: where its keys are, and the keys.
//!
//! Discovery runs in the background until it succeeds, so that issuers may run in the cluster that they serve. Keys are
//! fetched when a token comes that the known ones do not verify: not while the issuer said that they hold, and not more
//! often than once a second, whatever tokens come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Task};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Request, StatusCode, Uri};
use outbound::{Caller, Config};
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::sync::watch;

use crate::jws::{self, Jwk, Jws};

/// Between two attempts at discovery.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(10);
/// Between two fetches of keys.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// Keys that are about to expire are fetched anew.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest document that is read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Clock difference that is forgiven for `nbf`.
const NOT_BEFORE_LEEWAY_S: f64 = 60.0;
/// Servers to which connections are kept.
const CALLERS_MAX: usize = 16;

/// What tokens must be like.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub issuer: String,
    /// Where discovery starts; empty for the issuer's well-known path.
    pub discovery_url: String,
    pub audiences: Vec<String>,
    pub algorithms: Vec<String>,
}

/// Why a token is not taken.
#[derive(Debug)]
pub(super) enum VerifyError {
    /// The issuer's server was not found yet.
    NotReady,
    /// The token is not good.
    Refused(String),
}

/// GETs documents over TLS.
pub(super) struct Fetcher {
    authority: Option<Vec<u8>>,
    callers: Mutex<HashMap<String, Arc<Caller>>>,
    env: Env,
}

impl Fetcher {
    /// Trusts the PEM certificates, or those that the machine trusts when there are none.
    pub(super) fn new(authority: &[u8], env: Env) -> Self {
        let authority = (!authority.is_empty()).then(|| authority.to_vec());
        Fetcher { authority, callers: Mutex::default(), env }
    }

    /// The body behind a URL.
    pub(super) async fn get(&self, url: &str, token: &str) -> Result<(HeaderMap, bytes::Bytes), String> {
        let failed = |why: &dyn std::fmt::Display| format!("Get {url:?}: {why}");
        let uri: Uri = url.parse().map_err(|error| failed(&error))?;
        let caller = self.caller(&uri).map_err(|error| failed(&error))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path);
        if !token.is_empty() {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(bytes::Bytes::new()).map_err(|error| failed(&error))?;
        let exchange = async {
            let response = caller.send(request).await.map_err(|error| failed(&error))?;
            let (parts, body) = response.into_parts();
            let body = body.read(DOCUMENT_BYTES_MAX).await.map_err(|error| failed(&error))?;
            if parts.status != StatusCode::OK {
                return Err(format!("{}: {}", parts.status, String::from_utf8_lossy(&body).trim()));
            }
            Ok((parts.headers, body))
        };
        let exchange = std::pin::pin!(exchange);
        match futures::future::select(exchange, self.env.sleep(FETCH_TIMEOUT)).await {
            futures::future::Either::Left((answer, _)) => answer,
            futures::future::Either::Right(_) => Err(failed(&"context deadline exceeded")),
        }
    }

    async fn json(&self, url: &str) -> Result<(HeaderMap, Json), String> {
        let (headers, body) = self.get(url, "").await?;
        let json = serde_json::from_slice(&body);
        json.map(|json| (headers, json)).map_err(|error| format!("{url:?} holds no JSON: {error}"))
    }

    fn caller(&self, uri: &Uri) -> Result<Arc<Caller>, String> {
        if uri.scheme_str() != Some("https") {
            return Err("the URL's scheme must be https".to_owned());
        }
        let origin = format!("https://{}", uri.authority().ok_or("the URL has no host")?);
        if let Some(caller) = self.callers.lock().get(&origin) {
            return Ok(caller.clone());
        }
        let config = Config {
            server: origin.clone(),
            certificate_authority: self.authority.clone(),
            user_agent: "kube-apiserver".to_owned(),
            ..Config::default()
        };
        let caller = Arc::new(Caller::new(config).map_err(|error| error.to_string())?);
        let mut callers = self.callers.lock();
        if callers.len() >= CALLERS_MAX {
            callers.clear();
        }
        callers.insert(origin, caller.clone());
        Ok(caller)
    }
}

#[derive(Default)]
struct Keys {
    known: Arc<Vec<Jwk>>,
    /// Until when the issuer said that they hold, by the monotonic clock.
    hold_until: Duration,
    fetched_at: Option<Duration>,
}

/// The keys of one issuer.
pub(super) struct Provider {
    trust: Trust,
    fetcher: Arc<Fetcher>,
    env: Env,
    keys: Mutex<Keys>,
    /// One fetch at a time; who waits for it sees what it brought.
    fetching: tokio::sync::Mutex<()>,
    /// Where the keys are, once that is known.
    place: watch::Sender<Option<String>>,
}

/// A provider and its search for its server, which ends when this is dropped.
pub(super) struct Search {
    pub provider: Arc<Provider>,
    _task: Task,
}

impl Provider {
    /// Starts to look for the server.
    pub(super) fn start(trust: Trust, fetcher: Arc<Fetcher>, env: Env) -> Search {
        let provider = Arc::new(Provider {
            trust,
            fetcher,
            env,
            keys: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            place: watch::Sender::new(None),
        });
        let searching = provider.clone();
        let task = env::spawn("oidc-discovery", async move {
            loop {
                match searching.discover().await {
                    Ok(place) => {
                        searching.place.send_replace(Some(place));
                        return;
                    }
                    Err(error) => {
                        tracing::error!(
                            issuer = searching.trust.issuer,
                            error,
                            "the issuer's keys are not found"
                        );
                    }
                }
                searching.env.sleep(DISCOVERY_PAUSE).await;
            }
        });
        Search { provider, _task: task }
    }

    /// Resolves once tokens can be verified.
    pub(super) async fn ready(&self) {
        // The sender lives as long as this does.
        let _ = self.place.subscribe().wait_for(Option::is_some).await;
    }

    async fn discover(&self) -> Result<String, String> {
        let trust = &self.trust;
        let well_known = format!("{}/.well-known/openid-configuration", trust.issuer.trim_end_matches('/'));
        let url = if trust.discovery_url.is_empty() { &well_known } else { &trust.discovery_url };
        let (_, document) = self.fetcher.json(url).await?;
        let issuer = document["issuer"].as_str().unwrap_or_default();
        if issuer != trust.issuer {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {issuer:?}",
                trust.issuer
            ));
        }
        match document["jwks_uri"].as_str() {
            Some(place) if !place.is_empty() => Ok(place.to_owned()),
            _ => Err("provider did not return JWKS URL".to_owned()),
        }
    }

    /// Verifies a token: issuer, audience, times, algorithm, signature.
    pub(super) async fn verify<'a>(&self, token: &'a str, now_s: i64) -> Result<Jws<'a>, VerifyError> {
        let Some(place) = self.place.borrow().clone() else { return Err(VerifyError::NotReady) };
        let jws =
            Jws::parse(token).map_err(|why| VerifyError::Refused(format!("oidc: malformed jwt: {why}")))?;
        self.check(&jws, now_s as f64).map_err(VerifyError::Refused)?;
        let holds = self.signed(&jws, &place).await;
        holds.map_err(|why| VerifyError::Refused(format!("failed to verify signature: {why}")))?;
        Ok(jws)
    }

    fn check(&self, jws: &Jws<'_>, now_s: f64) -> Result<(), String> {
        let trust = &self.trust;
        let issuer = jws.claims.get("iss").and_then(Json::as_str).unwrap_or_default();
        let google =
            (trust.issuer.as_str(), issuer) == ("https://accounts.google.com", "accounts.google.com");
        if issuer != trust.issuer && !google {
            return Err(format!(
                "oidc: id token issued by a different provider, expected {:?} got {issuer:?}",
                trust.issuer
            ));
        }
        let audiences: Vec<&str> = match jws.claims.get("aud") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        if !audiences.iter().any(|audience| trust.audiences.iter().any(|wanted| wanted == audience)) {
            let found = go_list(&audiences);
            return Err(match &trust.audiences[..] {
                [one] => format!("oidc: expected audience {one:?} got {found}"),
                many => format!("oidc: expected audience in {} got {found}", go_list(many)),
            });
        }
        let time = |name: &str| match jws.claims.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => {
                let number = value.as_f64();
                number
                    .map(Some)
                    .ok_or_else(|| format!("oidc: failed to unmarshal claims: {name} is no number"))
            }
        };
        let expires_s = time("exp")?;
        if expires_s.is_none_or(|end| end < now_s) {
            let shown = expires_s.map_or_else(|| "0001-01-01 00:00:00 +0000 UTC".to_owned(), go_time);
            return Err(format!("oidc: token is expired (Token Expiry: {shown})"));
        }
        if let Some(begin) = time("nbf")?
            && now_s + NOT_BEFORE_LEEWAY_S < begin
        {
            return Err(format!(
                "oidc: current time {} before the nbf (not before) time: {}",
                go_time(now_s),
                go_time(begin)
            ));
        }
        if !trust.algorithms.contains(&jws.algorithm) {
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected {} got {:?}",
                go_list(&trust.algorithms),
                jws.algorithm
            ));
        }
        Ok(())
    }

    async fn signed(&self, jws: &Jws<'_>, place: &str) -> Result<(), String> {
        const BAD: &str = "failed to verify id token signature";
        let before = {
            let keys = self.keys.lock();
            if keys.known.iter().any(|key| jws.holds(key)) {
                return Ok(());
            }
            keys.fetched_at
        };
        let _alone = self.fetching.lock().await;
        let now = self.env.clock.monotonic();
        let fetch = {
            let keys = self.keys.lock();
            let missed = keys.fetched_at == before;
            let rested = keys.fetched_at.is_none_or(|at| now >= at + FETCH_PAUSE);
            missed && rested && now + EXPIRY_MARGIN >= keys.hold_until
        };
        if fetch {
            let fetched = self.fetcher.json(place).await;
            let mut keys = self.keys.lock();
            keys.fetched_at = Some(self.env.clock.monotonic());
            let (headers, document) = fetched.map_err(|error| format!("fetching keys {error}"))?;
            keys.known = Arc::new(jws::keys(&document).map_err(|error| format!("fetching keys {error}"))?);
            keys.hold_until = self.env.clock.monotonic() + freshness(&headers);
        }
        let holds = self.keys.lock().known.iter().any(|key| jws.holds(key));
        if holds { Ok(()) } else { Err(BAD.to_owned()) }
    }
}

/// How long an answer holds, as its Cache-Control says.
fn freshness(headers: &HeaderMap) -> Duration {
    let control = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut seconds = 0;
    for directive in control.split(',').map(str::trim) {
        if matches!(directive, "no-store" | "no-cache") {
            return Duration::ZERO;
        }
        if let Some(age) = directive.strip_prefix("max-age=") {
            seconds = age.parse::<u32>().unwrap_or_default();
        }
    }
    Duration::from_secs(seconds.into())
}

/// Strings as Go's `%q` prints a list.
fn go_list<S: AsRef<str>>(items: &[S]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| meta::go_quote(item.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

/// A time as Go prints it.
fn go_time(seconds: f64) -> String {
    let text = meta::Time::from_unix(seconds as i64).to_string();
    format!("{} +0000 UTC", text.trim_end_matches('Z').replace('T', " "))
}
