//! Takes over new certificates and keys when their files change: those that are served, those of authorities, and those that
//! this server shows to kubelets and extension API servers.

use std::path::PathBuf;
use std::sync::Arc;

use serving::{Followed, Pair, TlsError};
use tokio::task::JoinHandle;

use super::first::Writer;
use super::hooks;
use super::until_stopped;
use crate::identity::TokenKeys;
use crate::serve::tls::TlsFiles;
use crate::server::Server;
use crate::stream::KubeletClient;

/// The files, looked at before they were used.
pub(crate) struct FollowedKeys {
    /// Of the listener and of authorities.
    pub tls: Followed,
    /// Of the certificate for kubelets.
    pub kubelet: Followed,
    /// Of the certificate for extension API servers.
    pub proxy: Followed,
}

/// The files of a certificate and its key.
pub(crate) fn pair_files(pair: &Option<Pair>) -> Vec<PathBuf> {
    pair.iter().flat_map(Pair::files).collect()
}

/// The files by which this server is known to kubelets.
pub(crate) fn kubelet_files(client: &Option<KubeletClient>) -> Vec<PathBuf> {
    client.iter().flat_map(KubeletClient::files).collect()
}

/// A certificate and its key, read.
pub(crate) fn identity(pair: &Pair) -> Result<webhook::Identity, TlsError> {
    Ok(webhook::Identity { certificate: pair.certificate.read()?, key: pair.key.read()? })
}

/// Follows all of them until the server stops.
pub(crate) fn follow_keys(
    server: &Arc<Server>,
    followed: FollowedKeys,
    files: TlsFiles,
    proxy_client: Option<Pair>,
) -> [JoinHandle<()>; 3] {
    let FollowedKeys { mut tls, mut kubelet, mut proxy } = followed;
    let serving = {
        let server = server.clone();
        async move {
            loop {
                tls.changed().await;
                tls.tell(take_over(&server, &files).await);
            }
        }
    };
    let kubelets = {
        let client = server.kubelet_client.clone();
        async move {
            loop {
                kubelet.changed().await;
                kubelet.tell(client.as_ref().map_or(Ok(()), KubeletClient::reload));
            }
        }
    };
    let proxies = {
        let server = server.clone();
        async move {
            loop {
                proxy.changed().await;
                let read = proxy_client.as_ref().map(identity).transpose();
                proxy.tell(read.map(|identity| server.aggregator.set_identity(identity)));
            }
        }
    };
    let tasks =
        [until_stopped(server, serving), until_stopped(server, kubelets), until_stopped(server, proxies)];
    server.hooks.lives(hooks::TRUST, &tasks[0]);
    server.hooks.lives(hooks::PROXY_KEYS, &tasks[2]);
    tasks
}

/// Follows the keys of ServiceAccount tokens until the server stops.
pub(crate) fn follow_token_keys(
    server: &Arc<Server>,
    mut followed: Followed,
    keys: TokenKeys,
) -> JoinHandle<()> {
    let tokens = server.tokens.clone();
    let following = async move {
        loop {
            followed.changed().await;
            let read = keys.read();
            followed.tell(read.map(|(signer, accepted)| tokens.replace_keys(signer, accepted)));
        }
    };
    until_stopped(server, following)
}

async fn take_over(server: &Arc<Server>, files: &TlsFiles) -> Result<(), String> {
    let old = server.tls.load_full();
    let new = old.renewed(files).map_err(|error| error.to_string())?;
    let same = (&old.client_ca, &old.proxy_ca) == (&new.client_ca, &new.proxy_ca);
    server.tls.store(Arc::new(new));
    if same {
        return Ok(());
    }
    // Extension API servers read there whom they trust.
    Writer::new(server, "kube-apiserver").trust().await.map_err(|status| status.message.to_string())
}
