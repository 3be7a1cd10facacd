//! How the node comes to its credentials and keeps up with them.
//!
//! As upstream's kubelet: a kubeconfig whose client certificate still holds is used as it is. Otherwise the bootstrap
//! kubeconfig asks for a certificate, and a kubeconfig is written that points to the link under which it is kept. Files are
//! read again when they change, so that a new certificate is in use at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use call::{Call, Reply, Transport};
use client::Client;
use client::remote::{Config, ConfigError, Remote};
use env::{Env, Task};
use kubelet::credentials::{self, Purpose};
use meta::Status;
use parking_lot::RwLock;
use serving::Followed;

use super::options::Plan;
use crate::kubeconfig;

/// Gets a client certificate with the bootstrap kubeconfig, unless there is one that holds. Answers whether it did.
///
/// # Errors
/// When the bootstrap kubeconfig is of no use, or nothing can be kept. A server that does not answer is waited for.
pub(super) async fn bootstrap(plan: &Plan, env: &Env) -> Result<bool> {
    let Some(path) = &plan.bootstrap_kubeconfig else { return Ok(false) };
    if still_holds(&plan.kubeconfig, env.unix_ms().div_euclid(1000)) {
        return Ok(false);
    }
    let config = Config::from_kubeconfig(path, None)
        .with_context(|| format!("unable to load bootstrap kubeconfig: {}", path.display()))?;
    let access = kubeconfig::Following {
        server: config.server.clone(),
        ca_pem: config.certificate_authority.clone(),
        tls_server_name: config.tls_server_name.clone(),
        insecure: config.insecure_skip_tls_verify,
    };
    let client = Client::new(Arc::new(Remote::new(config)?));
    plan.rotation(&client, env, Purpose::Client).obtain().await;
    access.write(&plan.kubeconfig, &credentials::current(&plan.cert_dir, &Purpose::Client))?;
    Ok(true)
}

/// Whether a kubeconfig is there whose client certificate has not ended.
pub(super) fn still_holds(path: &Path, now_s: i64) -> bool {
    match Config::from_kubeconfig(path, None) {
        Ok(config) => config.client_certificate.is_some_and(|(pem, _)| credentials::holds(&pem, now_s)),
        Err(ConfigError::Read { .. }) if !path.exists() => false,
        Err(error) => {
            tracing::warn!(%error, "the kubeconfig is of no use; bootstrapping anew");
            false
        }
    }
}

/// A client that follows its kubeconfig and, where its certificate is rotated, the link to that.
///
/// # Errors
/// When the kubeconfig is of no use.
pub(super) fn open(
    path: &Path,
    rotated: Option<PathBuf>,
    user_agent: &'static str,
) -> Result<(Client, Vec<Task>)> {
    let mut files = vec![path.to_owned()];
    files.extend(rotated.clone());
    let mut followed = Followed::new("kubeconfig", files);
    let source = Source { kubeconfig: path.to_owned(), rotated, user_agent };
    let first = source.load().with_context(|| format!("unable to load kubeconfig: {}", path.display()))?;
    let current = Arc::new(Current(RwLock::new(Arc::new(first))));
    let client = Client::new(current.clone());
    let following = env::spawn("kubeconfig", async move {
        loop {
            followed.changed().await;
            // Requests that are under way, watches too, end on the connections that they have.
            followed.tell(source.load().map(|remote| *current.0.write() = Arc::new(remote)));
        }
    });
    Ok((client, vec![following]))
}

struct Source {
    kubeconfig: PathBuf,
    rotated: Option<PathBuf>,
    user_agent: &'static str,
}

impl Source {
    fn load(&self) -> Result<Remote, ConfigError> {
        let mut config = Config::from_kubeconfig(&self.kubeconfig, None)?;
        // Until the first rotation, the kubeconfig's own certificate counts.
        if let Some(pem) = self.rotated.as_ref().and_then(|link| std::fs::read(link).ok()) {
            config.client_certificate = Some((pem.clone(), pem));
        }
        config.user_agent =
            format!("{}/{} (linux/{})", self.user_agent, crate::VERSION, std::env::consts::ARCH);
        Remote::new(config)
    }
}

/// The transport as the files last said.
struct Current(RwLock<Arc<Remote>>);

#[async_trait::async_trait]
impl Transport for Current {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        let remote = self.0.read().clone();
        remote.call(call).await
    }
}
