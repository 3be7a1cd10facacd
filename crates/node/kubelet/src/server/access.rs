//! TLS and who may use the kubelet's API: the API server by its client certificate, and administrators.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Common name of the API server's client certificate.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
/// Groups that may do everything.
const MASTERS: [&str; 2] = ["system:masters", "kubeadm:cluster-admins"];

/// Certificates of the kubelet's API, in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The serving certificate, with its chain.
    pub cert_pem: Vec<u8>,
    /// Its key.
    pub key_pem: Vec<u8>,
    /// CA of the certificates that clients show.
    pub client_ca_pem: Vec<u8>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Common name.
    pub name: String,
    /// Organizations.
    pub groups: Vec<String>,
}

impl User {
    /// Whether this user may use the kubelet's API.
    pub fn may_use_kubelet(&self) -> bool {
        self.name == API_SERVER || self.groups.iter().any(|g| MASTERS.contains(&g.as_str()))
    }
}

/// A TLS acceptor that takes clients without a certificate too; these are refused with 401 later.
///
/// # Errors
/// A certificate or key cannot be used.
pub fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certs = |pem: &[u8], what: &str| {
        let certs: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(pem).collect();
        certs.map_err(|e| format!("{what}: {e}"))
    };
    let mut roots = RootCertStore::empty();
    for ca in certs(&tls.client_ca_pem, "client CA")? {
        roots.add(ca).map_err(|e| format!("client CA: {e}"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| format!("client CA: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(|e| format!("serving key: {e}"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certs(&tls.cert_pem, "serving certificate")?, key)
        .map_err(|e| format!("serving certificate: {e}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The user of a verified client certificate.
pub fn user(certs: Option<&[CertificateDer<'_>]>) -> Option<User> {
    let (_, cert) = X509Certificate::from_der(certs?.first()?).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(User { name, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may() {
        let user = |name: &str, group: &str| User { name: name.into(), groups: vec![group.into()] };
        assert!(user(API_SERVER, "").may_use_kubelet());
        assert!(user("admin", "system:masters").may_use_kubelet());
        assert!(!user("alice", "dev").may_use_kubelet());
    }
}
