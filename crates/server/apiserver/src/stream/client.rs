//! TLS towards kubelets: the server's client certificate, and what it trusts.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::serve::tls::{TlsError, certificates, private_key, roots};

/// How the server identifies itself to kubelets, and whom it takes for one.
#[derive(Clone)]
pub struct KubeletClient {
    pub(crate) config: Arc<ClientConfig>,
    /// For proxies to pods and services, whose certificates nobody vouches for.
    pub(crate) unchecked: Arc<ClientConfig>,
}

impl std::fmt::Debug for KubeletClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletClient").finish_non_exhaustive()
    }
}

impl KubeletClient {
    /// From PEM texts. Without `authority`, serving certificates of kubelets are not checked, which is upstream's
    /// default too (`--kubelet-certificate-authority`).
    pub fn new(certificate: &[u8], key: &[u8], authority: Option<&[u8]>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(TlsError::from)
        };
        let chain = certificates("kubelet client certificate", certificate)?;
        let own_key = private_key("kubelet client key", key)?;
        let anything = Arc::new(AnyServer { algorithms });
        let config = match authority {
            Some(pem) => builder()?
                .with_root_certificates(roots("kubelet CA", pem)?)
                .with_client_auth_cert(chain, own_key)?,
            None => builder()?
                .dangerous()
                .with_custom_certificate_verifier(anything.clone())
                .with_client_auth_cert(chain, own_key)?,
        };
        let unchecked =
            builder()?.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth();
        Ok(KubeletClient { config: Arc::new(config), unchecked: Arc::new(unchecked) })
    }
}

/// Takes any server certificate whose key the server holds.
#[derive(Debug)]
struct AnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
