//! Tokens of OpenID Connect issuers: JWTs that this server verifies with the issuer's published keys, and maps to users.
//!
//! [`Configuration`] is what flags or an AuthenticationConfiguration say, checked as upstream checks it. [`Issuers::start`]
//! makes authenticators of it, which find their keys by discovery in the background ([`provider`]); a token is verified,
//! its distributed claims are fetched, and [`mapping`] makes a user of the claims.

mod claims;
mod configuration;
mod distributed;
mod expressions;
mod file;
mod mapping;
mod provider;
mod validate;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use env::Env;
use outbound::Kept;
use sha2::{Digest, Sha256};
use telemetry::HistogramFamily;

use crate::jws::{Jws, untrusted_issuer};
use crate::user::User;

pub use configuration::{Anonymous, AnonymousError, Configuration, ConfigurationError, Flags};

use distributed::Resolver;
use mapping::Mapping;
use provider::{Fetcher, Provider, Search, VerifyError};

/// How long a token that held is believed without another look, as upstream's token cache does.
const BELIEVED_FOR: Duration = Duration::from_secs(10);
const BELIEVED_MAX: usize = 4096;

static LATENCY: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_authentication_jwt_authenticator_latency_seconds",
        "Time that it takes to authenticate a token that is not remembered, by issuer and result.",
        &["jwt_issuer_hash", "result"],
        &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
    )
});

/// One issuer whose tokens are accepted.
pub(crate) struct Issuer {
    url: String,
    /// How metrics name it.
    hash: String,
    search: Search,
    resolver: Option<Resolver>,
    mapping: Mapping,
    believed: Kept<[u8; 32], Arc<User>>,
    env: Env,
}

/// All of them.
#[derive(Default)]
pub struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Starts to find the keys of every issuer of a configuration that was validated.
    ///
    /// # Errors
    /// When a certificate authority or an expression is unusable after all.
    pub fn start(configuration: &Configuration, env: &Env) -> Result<Self, ConfigurationError> {
        let issuers: Result<Vec<Issuer>, ConfigurationError> = configuration
            .file
            .jwt
            .iter()
            .map(|authenticator| Issuer::start(authenticator, &configuration.algorithms, env))
            .collect();
        issuers.map(Issuers)
    }

    /// Waits until every issuer's keys are known; the error names the first that is not in time.
    ///
    /// # Errors
    /// After `patience`.
    pub async fn ready(&self, patience: Duration) -> Result<(), String> {
        for issuer in &self.0 {
            let ready = std::pin::pin!(issuer.search.provider.ready());
            let late = issuer.env.sleep(patience);
            if let futures::future::Either::Right(_) = futures::future::select(ready, late).await {
                return Err(format!("oidc: authenticator for issuer {:?} is not healthy", issuer.url));
            }
        }
        Ok(())
    }

    /// The user of a token. `Ok(None)` when no issuer here claims it.
    pub(crate) async fn check(&self, token: &str, now_s: i64) -> Result<Option<Arc<User>>, Vec<String>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let Some(claimed) = untrusted_issuer(token) else { return Ok(None) };
        let mut errors = Vec::new();
        for issuer in self.0.iter().filter(|issuer| issuer.url == claimed) {
            match issuer.check(token, now_s).await {
                Ok(user) => return Ok(Some(user)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(None) } else { Err(errors) }
    }
}

impl Issuer {
    fn start(
        authenticator: &file::Authenticator,
        algorithms: &[String],
        env: &Env,
    ) -> Result<Self, ConfigurationError> {
        let issuer = &authenticator.issuer;
        let fetcher = Arc::new(Fetcher::new(issuer.certificate_authority.as_bytes(), env.clone()));
        let mapping = Mapping::new(authenticator).map_err(ConfigurationError::Text)?;
        let trust = provider::Trust {
            issuer: issuer.url.clone(),
            discovery_url: issuer.discovery_url.clone(),
            audiences: issuer.audiences.clone(),
            algorithms: algorithms.to_vec(),
        };
        let resolver = mapping
            .groups_claim()
            .map(|claim| Resolver::new(claim, trust.clone(), fetcher.clone(), env.clone()));
        Ok(Issuer {
            url: issuer.url.clone(),
            hash: format!("sha256:{}", hex(&Sha256::digest(&issuer.url))),
            search: Provider::start(trust, fetcher, env.clone()),
            resolver,
            mapping,
            believed: Kept::new(BELIEVED_MAX),
            env: env.clone(),
        })
    }

    async fn check(&self, token: &str, now_s: i64) -> Result<Arc<User>, String> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(user) = self.believed.get(&key, self.env.clock.monotonic()) {
            return Ok(user);
        }
        let started = Instant::now();
        let result = self.verify(token, now_s).await;
        let label = if result.is_ok() { "success" } else { "failure" };
        LATENCY.with(&[&self.hash, label]).observe_since(started);
        let (user, expires_s) = result?;
        let left = Duration::try_from_secs_f64(expires_s - now_s as f64).unwrap_or_default();
        let until = self.env.clock.monotonic() + left.min(BELIEVED_FOR);
        self.believed.insert(key, user.clone(), until);
        Ok(user)
    }

    /// The user of a token, and when the token ends.
    async fn verify(&self, token: &str, now_s: i64) -> Result<(Arc<User>, f64), String> {
        let verified = self.search.provider.verify(token, now_s).await;
        let Jws { mut claims, .. } = verified.map_err(|error| match error {
            VerifyError::NotReady => "oidc: authenticator not initialized".to_owned(),
            VerifyError::Refused(why) => format!("oidc: verify token: {why}"),
        })?;
        if let Some(resolver) = &self.resolver {
            let expanded = resolver.expand(&mut claims, now_s).await;
            expanded.map_err(|error| format!("oidc: could not expand distributed claims: {error}"))?;
        }
        let expires_s = claims.get("exp").and_then(serde_json::Value::as_f64).unwrap_or_default();
        Ok((Arc::new(self.mapping.user(claims)?), expires_s))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
