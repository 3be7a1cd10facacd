//! TLS settings of a connection: whom to trust and which certificate to show.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::kubeconfig::{Config, ConfigError};

/// Where Linux distributions keep the certificates that the machine trusts.
const SYSTEM_STORES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Settings for connections that offer the protocols `alpn`, most wanted first.
pub(crate) fn client_config(config: &Config, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(error.to_string()))?;
    let builder = if config.insecure_skip_tls_verify {
        builder.dangerous().with_custom_certificate_verifier(AnyServer::new())
    } else {
        builder.with_root_certificates(roots(config)?)
    };
    let mut settings = match &config.client_certificate {
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| ConfigError::Tls(format!("client key: {error}")))?;
            builder
                .with_client_auth_cert(certificates(chain, "client certificate")?, key)
                .map_err(|error| ConfigError::Tls(format!("client certificate: {error}")))?
        }
        None => builder.with_no_client_auth(),
    };
    settings.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(settings))
}

fn roots(config: &Config) -> Result<RootCertStore, ConfigError> {
    let Some(pem) = &config.certificate_authority else { return Ok(system_roots()) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "certificate authority")? {
        roots
            .add(certificate)
            .map_err(|error| ConfigError::Tls(format!("certificate authority: {error}")))?;
    }
    Ok(roots)
}

/// The authorities that the machine trusts.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = SYSTEM_STORES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    roots
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let list: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| ConfigError::Tls(format!("{what}: {error}")))?;
    if list.is_empty() {
        Err(ConfigError::Tls(format!("{what}: no certificate in the PEM data")))
    } else {
        Ok(list)
    }
}

/// Any certificate is good, as `insecure-skip-tls-verify` asks for; signatures still have to match it.
#[derive(Debug)]
pub struct AnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyServer {
    /// It checks signatures with the algorithms of `ring`.
    pub fn new() -> Arc<Self> {
        Arc::new(AnyServer { algorithms: ring::default_provider().signature_verification_algorithms })
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
