//! Tokens that a webhook knows: each is asked about with a TokenReview, and the answer is remembered for a while.
//!
//! A token never leaves this process but in the question itself; it is remembered and compared by its hash.

use std::sync::Arc;
use std::time::Duration;

use env::Env;
use meta::Str;
use outbound::{Config, ConfigError, Hook, HookError, Kept};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::user::User;

const REMEMBERED_MAX: usize = 32 << 10;
/// Longest answer that is waited for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How the webhook is asked.
#[derive(Clone, Debug)]
pub struct TokenWebhookSettings {
    /// Version of TokenReview: `v1` or `v1beta1`.
    pub version: String,
    /// How long answers are remembered; zero for not at all.
    pub ttl: Duration,
}

/// Why the webhook cannot be asked. The options must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum TokenWebhookError {
    /// The version is unknown.
    #[error("unsupported authentication webhook version {0:?}, supported versions are \"v1\", \"v1beta1\"")]
    Version(String),
    /// The kubeconfig is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// What the webhook said of a token.
#[derive(Clone, Debug)]
enum Verdict {
    Valid(Arc<User>, Vec<Str>),
    Refused,
}

/// See the module.
pub struct TokenWebhook {
    hook: Hook,
    api_version: String,
    ttl: Duration,
    env: Env,
    remembered: Kept<[u8; 32], Verdict>,
}

impl TokenWebhook {
    /// The webhook that a kubeconfig names.
    ///
    /// # Errors
    /// See [`TokenWebhookError`].
    pub fn new(server: Config, settings: &TokenWebhookSettings, env: Env) -> Result<Self, TokenWebhookError> {
        if !matches!(settings.version.as_str(), "v1" | "v1beta1") {
            return Err(TokenWebhookError::Version(settings.version.clone()));
        }
        Ok(TokenWebhook {
            hook: Hook::new(server, TIMEOUT, env.clone())?,
            api_version: format!("authentication.k8s.io/{}", settings.version),
            ttl: settings.ttl,
            env,
            remembered: Kept::new(REMEMBERED_MAX),
        })
    }

    /// The user of a token and the audiences among `wanted` that it is for; `Ok(None)` when the webhook does not know it.
    /// `own` are the audiences that count where the webhook names none.
    pub(crate) async fn check(
        &self,
        token: &str,
        wanted: &[Str],
        own: &[Str],
    ) -> Result<Option<(Arc<User>, Vec<Str>)>, String> {
        let key = key(token, wanted);
        let verdict = match self.remembered.get(&key, self.env.clock.monotonic()) {
            Some(verdict) => verdict,
            None => {
                let verdict = self.ask(token, wanted, own).await?;
                if !self.ttl.is_zero() {
                    let until = self.env.clock.monotonic() + self.ttl;
                    self.remembered.insert(key, verdict.clone(), until);
                }
                verdict
            }
        };
        Ok(match verdict {
            Verdict::Valid(user, audiences) => Some((user, audiences)),
            Verdict::Refused => None,
        })
    }

    async fn ask(&self, token: &str, wanted: &[Str], own: &[Str]) -> Result<Verdict, String> {
        let audiences: Vec<&str> = wanted.iter().map(Str::as_str).collect();
        let question = json!({
            "kind": "TokenReview", "apiVersion": self.api_version,
            "metadata": { "creationTimestamp": null },
            "spec": { "token": token, "audiences": audiences },
            "status": { "user": {} },
        });
        let answer = self.hook.ask(&question, |_| {});
        // What the server says may repeat the token, which must not get into a log or to whoever asked.
        let hidden = |text: &str| text.replace(token, "<token>");
        let answer = answer.await.map_err(|error: HookError| {
            let error = hidden(&error.to_string());
            tracing::error!(error, "the token webhook failed");
            error
        })?;
        let (kind, version) = (&answer["kind"], &answer["apiVersion"]);
        if kind != "TokenReview" || *version != self.api_version {
            return Err(format!(
                "the webhook answered with kind {kind} of version {version} to a TokenReview of version {:?}",
                self.api_version
            ));
        }
        let status = &answer["status"];
        let named = texts(&status["audiences"])?;
        let named = if named.is_empty() { own } else { &named };
        let matched: Vec<Str> = wanted.iter().filter(|audience| named.contains(audience)).cloned().collect();
        if matched.is_empty() {
            return Ok(Verdict::Refused);
        }
        match &status["authenticated"] {
            Json::Bool(true) => Ok(Verdict::Valid(Arc::new(user(&status["user"])?), matched)),
            Json::Bool(false) | Json::Null => match status["error"].as_str() {
                Some(error) if !error.is_empty() => Err(hidden(error)),
                _ => Ok(Verdict::Refused),
            },
            _ => Err("status.authenticated of the webhook's answer is no boolean".to_owned()),
        }
    }
}

fn key(token: &str, audiences: &[Str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(token).chain(audiences.iter().map(Str::as_str)) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn texts(json: &Json) -> Result<Vec<Str>, String> {
    match json {
        Json::Null => Ok(Vec::new()),
        Json::Array(items) => items
            .iter()
            .map(|item| {
                item.as_str().map(Str::from).ok_or("the webhook's answer has a list with no strings".into())
            })
            .collect(),
        _ => Err("the webhook's answer has something else where a list must be".to_owned()),
    }
}

fn user(json: &Json) -> Result<User, String> {
    let text = |name: &str| json[name].as_str().unwrap_or_default();
    let mut user = User::new(text("username"), &[]);
    user.uid = text("uid").into();
    user.groups = texts(&json["groups"])?;
    for (key, values) in json["extra"].as_object().into_iter().flatten() {
        texts(values)?.into_iter().for_each(|value| user.add_extra(key, value));
    }
    user.authenticated();
    Ok(user)
}

#[cfg(test)]
mod tests;
