//! TLS towards kubelets: the server's client certificate, and what it trusts.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use outbound::tls::AnyServer;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use serving::{Pair, Pem, TlsError, certificates, private_key, roots};

/// How the server identifies itself to kubelets, and whom it takes for one. Follows its files.
#[derive(Clone)]
pub struct KubeletClient {
    pair: Pair,
    authority: Option<Pem>,
    current: Arc<ArcSwap<ClientConfig>>,
    trusting: Arc<ArcSwap<ClientConfig>>,
    /// For proxies to pods and services, whose certificates nobody vouches for.
    pub(crate) unchecked: Arc<ClientConfig>,
}

impl std::fmt::Debug for KubeletClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletClient").finish_non_exhaustive()
    }
}

impl KubeletClient {
    /// Reads the files. Without `authority`, serving certificates of kubelets are not checked, which is upstream's
    /// default too (`--kubelet-certificate-authority`).
    pub fn new(pair: Pair, authority: Option<Pem>) -> Result<Self, TlsError> {
        let current = Arc::new(ArcSwap::from(config(&pair, authority.as_ref())?));
        let trusting = Arc::new(ArcSwap::from(config(&pair, None)?));
        let unchecked =
            builder()?.dangerous().with_custom_certificate_verifier(AnyServer::new()).with_no_client_auth();
        Ok(KubeletClient { pair, authority, current, trusting, unchecked: Arc::new(unchecked) })
    }

    /// For a new connection to a kubelet.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.current.load_full()
    }

    /// For logs whose reader asked not to check the kubelet (`insecureSkipTLSVerifyBackend`).
    pub(crate) fn trusting(&self) -> Arc<ClientConfig> {
        self.trusting.load_full()
    }

    /// Reads the files again.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        self.current.store(config(&self.pair, self.authority.as_ref())?);
        self.trusting.store(config(&self.pair, None)?);
        Ok(())
    }

    /// The files that it follows.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let authority = self.authority.as_ref().and_then(|pem| pem.file().map(ToOwned::to_owned));
        self.pair.files().chain(authority)
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}

fn config(pair: &Pair, authority: Option<&Pem>) -> Result<Arc<ClientConfig>, TlsError> {
    let chain = certificates("kubelet client certificate", &pair.certificate.read()?)?;
    let key = private_key("kubelet client key", &pair.key.read()?)?;
    let builder = match authority {
        Some(pem) => builder()?.with_root_certificates(roots("kubelet CA", &pem.read()?)?),
        None => builder()?.dangerous().with_custom_certificate_verifier(AnyServer::new()),
    };
    Ok(Arc::new(builder.with_client_auth_cert(chain, key)?))
}
