//! The stage itself: credentials in, [`Identified`] out.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use meta::Str;
use telemetry::{Counter, Histogram};

use crate::bootstrap_token;
use crate::oidc::{Anonymous, Issuers};
use crate::service_account::{Directory, TokenError, Tokens};
use crate::token_file::TokenFile;
use crate::token_webhook::TokenWebhook;
use crate::user::{ANONYMOUS, UNAUTHENTICATED, User};

/// How a user was identified; for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Headers of a trusted proxy.
    RequestHeader,
    /// Client certificate.
    Certificate,
    /// Static token file.
    TokenFile,
    /// ServiceAccount token.
    ServiceAccount,
    /// Bootstrap token.
    BootstrapToken,
    /// Token of an OpenID Connect issuer.
    OpenIdConnect,
    /// Token that a webhook knows.
    Webhook,
    /// No credential.
    Anonymous,
    /// A component of this very process.
    InProcess,
    /// Another user acting as this one.
    Impersonated,
}

/// A user whose identity was established. Only this crate can make one.
#[derive(Clone, Debug)]
pub struct Identified {
    user: Arc<User>,
    method: Method,
}

impl Identified {
    /// A component that runs in the server's own process and thus needs no credential. Only in-process transports
    /// call this; what such a component may do is still up to the authorizer.
    pub fn in_process(user: Arc<User>) -> Self {
        Identified { user, method: Method::InProcess }
    }

    /// The identity taken over after the authorizer allowed each part of the impersonation to `self`.
    pub fn impersonating(&self, user: User) -> Self {
        Identified { user: Arc::new(user), method: Method::Impersonated }
    }

    /// Who it is.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// How that was established.
    pub fn method(&self) -> Method {
        self.method
    }
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Whom a trusted proxy names in its headers.
    pub asserted: Option<&'a Arc<User>>,
    /// The verdict on the connection's client certificate, made once a connection.
    pub certificate: &'a CertificateVerdict,
    /// The value of the `Authorization` header.
    pub authorization: Option<&'a str>,
}

/// What the client certificate of a connection says.
pub type CertificateVerdict = Result<Option<Arc<User>>, ()>;

/// A credential was shown and none held: 401.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Unauthorized")]
pub struct Unauthorized;

/// The outcome of a TokenReview.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenCheck {
    /// The token holds for these audiences.
    Valid(Arc<User>, Vec<Str>),
    /// It does not; upstream's texts, in the order in which the methods were asked.
    Refused(Vec<String>),
}

/// Every way to be identified.
pub struct Authenticator {
    /// Static tokens.
    pub token_file: TokenFile,
    /// ServiceAccount tokens.
    pub tokens: Arc<Tokens>,
    /// Where bound objects are looked up.
    pub directory: Arc<dyn Directory>,
    /// Tokens of OpenID Connect issuers.
    pub issuers: ArcSwap<Issuers>,
    /// Tokens that a webhook knows.
    pub webhook: Option<TokenWebhook>,
    /// Which requests without credential are served.
    pub anonymous: Anonymous,
}

/// What became of a token.
enum Checked {
    Valid(Arc<User>, Method, Vec<Str>),
    /// Upstream's texts, in the order in which the methods were asked.
    Refused(Vec<String>),
}

impl Authenticator {
    /// Establishes who sent a request for `path`.
    pub async fn identify(
        &self,
        credentials: Credentials<'_>,
        path: &str,
        now_s: i64,
    ) -> Result<Identified, Unauthorized> {
        let started = Instant::now();
        let identified = self.look(credentials, path, now_s).await;
        match &identified {
            Ok(identified) => {
                crate::uses::user(&identified.user.name);
                SUCCESS.record(started);
            }
            Err(shown) if *shown => ERROR.record(started),
            Err(_) => FAILURE.record(started),
        }
        identified.map_err(|_| Unauthorized)
    }

    /// The error tells whether a credential was shown.
    async fn look(&self, credentials: Credentials<'_>, path: &str, now_s: i64) -> Result<Identified, bool> {
        if let Some(user) = credentials.asserted {
            return Ok(Identified { user: user.clone(), method: Method::RequestHeader });
        }
        let certificate = credentials.certificate;
        if let Ok(Some(user)) = certificate {
            return Ok(Identified { user: user.clone(), method: Method::Certificate });
        }
        if let Some(token) = credentials.authorization.and_then(bearer) {
            let audiences = &self.tokens.issuer().audiences;
            return match self.check(token, audiences, now_s).await {
                Checked::Valid(user, method, _) => Ok(Identified { user, method }),
                Checked::Refused(texts) => {
                    tracing::debug!(?texts, "a token does not hold");
                    Err(true)
                }
            };
        }
        if certificate.is_err() {
            return Err(true);
        }
        if !self.anonymous.allows(path) {
            return Err(false);
        }
        let user = Arc::new(User::new(ANONYMOUS, &[UNAUTHENTICATED]));
        Ok(Identified { user, method: Method::Anonymous })
    }

    /// Asks every method about a token that must be for one of `wanted`. One that fails does not keep the next from being
    /// asked. Methods that know nothing of audiences speak for the server's own.
    async fn check(&self, token: &str, wanted: &[Str], now_s: i64) -> Checked {
        let own = &self.tokens.issuer().audiences;
        let shared: Vec<Str> = own.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        let ours = !shared.is_empty();
        if let Some(user) = self.token_file.find(token).filter(|_| ours) {
            return Checked::Valid(user, Method::TokenFile, shared);
        }
        let mut texts = Vec::new();
        match self.tokens.check(token, wanted, &*self.directory, now_s) {
            Ok(Some((user, matched))) => {
                return Checked::Valid(Arc::new(user), Method::ServiceAccount, matched);
            }
            Ok(None) => {}
            Err(error) => texts.push(error.to_string()),
        }
        if ours && let Some(user) = bootstrap_token::find(token, &*self.directory, now_s) {
            return Checked::Valid(Arc::new(user), Method::BootstrapToken, shared);
        }
        if ours {
            match self.issuers.load_full().check(token, now_s).await {
                Ok(Some(user)) => return Checked::Valid(user, Method::OpenIdConnect, shared),
                Ok(None) => {}
                Err(errors) => texts.extend(errors),
            }
        }
        if let Some(webhook) = &self.webhook {
            match webhook.check(token, wanted, own).await {
                Ok(Some((user, matched))) => return Checked::Valid(user, Method::Webhook, matched),
                Ok(None) => {}
                Err(error) => texts.push(error),
            }
        }
        Checked::Refused(texts)
    }

    /// Answers a TokenReview.
    pub async fn review(&self, token: &str, audiences: &[Str], now_s: i64) -> TokenCheck {
        let own = &self.tokens.issuer().audiences;
        let wanted = if audiences.is_empty() { own } else { audiences };
        match self.check(token, wanted, now_s).await {
            Checked::Valid(user, _, audiences) => TokenCheck::Valid(user, audiences),
            Checked::Refused(found) => {
                let mut texts = vec![TokenError::Invalid.to_string()];
                found.into_iter().for_each(|text| {
                    if !texts.contains(&text) {
                        texts.push(text);
                    }
                });
                TokenCheck::Refused(texts)
            }
        }
    }
}

/// Counter and latency of one result. The cells are kept, for every request comes by here.
struct Attempts {
    result: &'static str,
    cells: OnceLock<(Counter, Histogram)>,
}

static SUCCESS: Attempts = Attempts::of("success");
static FAILURE: Attempts = Attempts::of("failure");
static ERROR: Attempts = Attempts::of("error");

impl Attempts {
    const fn of(result: &'static str) -> Self {
        Attempts { result, cells: OnceLock::new() }
    }

    fn record(&self, started: Instant) {
        let (attempts, duration) = self.cells.get_or_init(|| {
            let attempts = telemetry::counter(
                "authentication_attempts",
                "Authentication attempts by result.",
                &["result"],
            );
            let duration = telemetry::histogram(
                "authentication_duration_seconds",
                "Authentication latency in seconds by result.",
                &["result"],
                &telemetry::exponential_buckets(0.001, 2.0, 15),
            );
            (attempts.with(&[self.result]), duration.with(&[self.result]))
        });
        attempts.inc();
        duration.observe_since(started);
    }
}

/// The token of a bearer header. Other schemes, and an empty token, are no credential.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.split(' ').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn bearer_headers() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc def"), Some("abc"));
        for none in ["Bearer ", "Bearer", "Basic YTpi", ""] {
            assert_eq!(bearer(none), None, "{none}");
        }
    }
}
