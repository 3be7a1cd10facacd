//! A server that a kubeconfig names, asked again after failures.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use env::Env;

use crate::client::Client;
use crate::kubeconfig::{Authorization, Kubeconfig, KubeconfigError};
use crate::tls::client_config;

/// How long one attempt may take (upstream's default).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts in all.
const ATTEMPTS: u32 = 5;
/// By how much each wait is longer than the one before.
const BACKOFF_FACTOR: f64 = 1.5;
/// Each wait is longer by up to this share of itself, so that many clients do not come back at once.
const BACKOFF_JITTER: f64 = 0.2;

/// Why a server gave no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// As upstream's client prints it.
    pub message: String,
    /// Another attempt may help: the server was out of reach, busy or broken.
    pub passing: bool,
}

/// See the module.
pub struct Backend {
    client: Client,
    host: String,
    port: u16,
    /// URL as messages show it.
    url: String,
    target: String,
    authorization: Authorization,
    backoff: Duration,
    env: Env,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Backend {
    /// The server of a kubeconfig file, with the time to wait after a first failure.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn load(path: &Path, backoff: Duration, env: Env) -> Result<Backend, KubeconfigError> {
        let config = Kubeconfig::load(path)?;
        let invalid = || KubeconfigError::Invalid(format!("{:?} is no URL of a server", config.server));
        let (secure, rest) =
            match (config.server.strip_prefix("https://"), config.server.strip_prefix("http://")) {
                (Some(rest), _) => (true, rest),
                (None, Some(rest)) => (false, rest),
                (None, None) => return Err(invalid()),
            };
        let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let default = if secure { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| invalid())?),
            _ => (authority, default),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(invalid());
        }
        let tls =
            match secure {
                false => None,
                true => Some(Ok(client_config(&config.trust, config.identity.as_ref())
                    .map_err(KubeconfigError::Invalid)?)),
            };
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.clone());
        Ok(Backend {
            client: Client::new(name, authority, tls, "kube-apiserver"),
            host,
            port,
            url: config.server.clone(),
            target: target.to_owned(),
            authorization: config.authorization,
            backoff,
            env,
        })
    }

    /// Asks once.
    ///
    /// # Errors
    /// When there is no answer, or one whose status is no success.
    pub async fn ask_once(&self, body: Bytes) -> Result<Bytes, Failure> {
        let header = self.authorization.header();
        let asking = self.client.post(&self.host, self.port, &self.target, header.as_deref(), body);
        let failed = |why: &str, passing| Failure { message: format!("Post {:?}: {why}", self.url), passing };
        match tokio::time::timeout(ATTEMPT_TIMEOUT, asking).await {
            Err(_) => Err(failed("context deadline exceeded", true)),
            Ok(Err(why)) => {
                // A certificate that is wrong will be wrong again.
                let passing = !why.starts_with("tls: ");
                Err(failed(&why, passing))
            }
            Ok(Ok(answer)) => {
                let passing = answer.status.is_server_error() || answer.status.as_u16() == 429;
                answer.into_success().map_err(|message| Failure { message, passing })
            }
        }
    }

    /// Asks, and asks again after waits that get longer while `again` says so of the failure.
    ///
    /// # Errors
    /// The last failure.
    pub async fn ask(&self, body: Bytes, again: impl Fn(&Failure) -> bool) -> Result<Bytes, Failure> {
        let mut wait = self.backoff.as_secs_f64();
        for attempt in 1.. {
            match self.ask_once(body.clone()).await {
                Err(failure) if attempt < ATTEMPTS && again(&failure) => {
                    tracing::debug!(url = self.url, %failure, attempt, "a webhook failed and is asked again");
                    let jitter = (self.env.random.u64() % 1000) as f64 / 1000.0 * BACKOFF_JITTER;
                    self.env.sleep(Duration::from_secs_f64(wait * (1.0 + jitter))).await;
                    wait *= BACKOFF_FACTOR;
                }
                done => return done,
            }
        }
        Err(Failure { message: "never asked".to_owned(), passing: true })
    }
}
