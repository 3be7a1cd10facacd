//! Distributed claims (OpenID Connect Core 5.6.2): groups that the token does not hold, but says where to get.
//!
//! The answer is a token itself, which may come from another issuer. It must be meant for this server like the first one.

use std::collections::HashMap;
use std::sync::Arc;

use env::Env;
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::claims::Claims;
use super::provider::{Fetcher, Provider, Search, Trust, VerifyError};
use crate::jws::untrusted_issuer;

/// Issuers of distributed claims that are looked for at once.
const ISSUERS_MAX: usize = 16;

/// Fetches one claim.
pub(super) struct Resolver {
    claim: String,
    trust: Trust,
    fetcher: Arc<Fetcher>,
    env: Env,
    providers: Mutex<HashMap<String, Search>>,
}

impl Resolver {
    pub(super) fn new(claim: String, trust: Trust, fetcher: Arc<Fetcher>, env: Env) -> Self {
        Resolver { claim, trust, fetcher, env, providers: Mutex::default() }
    }

    /// Puts the claim among the others, if it is a distributed one.
    pub(super) async fn expand(&self, claims: &mut Claims, now_s: i64) -> Result<(), String> {
        let claim = self.claim.as_str();
        if claims.contains_key(claim) {
            return Ok(());
        }
        let Some(names) = claims.get("_claim_names") else { return Ok(()) };
        let names = names.as_object().ok_or("oidc: error parsing distributed claim names: no object")?;
        let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let sources = sources.as_object().ok_or("oidc: could not parse claim sources: no object")?;
        let Some(source) = names.get(claim).and_then(Json::as_str) else { return Ok(()) };
        let endpoint = sources.get(source).ok_or_else(|| {
            format!("id token _claim_names contained a source {source} missing in _claims_sources")
        })?;
        // Without an endpoint it is an aggregated claim, which upstream does not read either.
        let Some(url) = endpoint["endpoint"].as_str().filter(|url| !url.is_empty()) else { return Ok(()) };
        let value = self.resolve(url, endpoint["access_token"].as_str().unwrap_or_default(), now_s).await?;
        claims.insert(claim.to_owned(), value);
        Ok(())
    }

    async fn resolve(&self, url: &str, access_token: &str, now_s: i64) -> Result<Json, String> {
        let claim = &self.claim;
        let (_, body) = self
            .fetcher
            .get(url, access_token)
            .await
            .map_err(|error| format!("while getting distributed claim {claim:?}: {error}"))?;
        let token = String::from_utf8_lossy(&body);
        let issuer = untrusted_issuer(&token).ok_or_else(|| {
            format!(
                "getting untrusted issuer from endpoint {url} failed for claim {claim:?}: malformed token"
            )
        })?;
        let provider = self.provider(&issuer);
        let jws = provider.verify(&token, now_s).await.map_err(|error| match error {
            VerifyError::NotReady => format!(
                "verifying untrusted issuer {issuer} failed: verifier not initialized for issuer: {issuer:?}"
            ),
            VerifyError::Refused(why) => format!("verify distributed claim token: {why}"),
        })?;
        jws.claims.get(claim).cloned().ok_or_else(|| {
            format!("jwt returned by distributed claim endpoint {url:?} did not contain claim: {claim}")
        })
    }

    fn provider(&self, issuer: &str) -> Arc<Provider> {
        let mut providers = self.providers.lock();
        if let Some(search) = providers.get(issuer) {
            return search.provider.clone();
        }
        if providers.len() >= ISSUERS_MAX {
            providers.clear();
        }
        let trust = Trust { issuer: issuer.to_owned(), discovery_url: String::new(), ..self.trust.clone() };
        let search = Provider::start(trust, self.fetcher.clone(), self.env.clone());
        let provider = search.provider.clone();
        providers.insert(issuer.to_owned(), search);
        provider
    }
}

#[cfg(test)]
impl Resolver {
    /// Resolves once the keys of an issuer that was asked for are known.
    pub(super) async fn ready(&self, issuer: &str) {
        self.provider(issuer).ready().await;
    }
}
