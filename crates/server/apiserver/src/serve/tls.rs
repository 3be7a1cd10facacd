//! TLS configuration: TLS 1.2 and later, HTTP/2 and HTTP/1.1 by ALPN, client certificates asked for and never required.

use std::sync::Arc;

use authn::{AnyClientCertificate, CertificateAuthority, RequestHeader, RequestHeaderNames};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS could not be set up. The files must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM text does not hold what it should.
    #[error("{what}: {why}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Key and certificate do not go together.
    #[error("serving certificate: {0}")]
    Certificate(#[from] rustls::Error),
}

/// Key material in PEM.
#[derive(Clone)]
pub struct TlsFiles {
    /// Serving certificate, leaf first.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// CA of client certificates; empty turns the method off.
    pub client_ca: Vec<u8>,
    /// CA of the client certificates of proxies that name users in headers; empty turns the method off.
    pub proxy_ca: Vec<u8>,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").finish_non_exhaustive()
    }
}

/// What the listener and authentication need of the files.
pub struct Tls {
    /// For the handshake.
    pub config: Arc<ServerConfig>,
    /// For the verdict on client certificates.
    pub client_authority: Option<CertificateAuthority>,
    /// For the verdict on proxies that name users.
    pub request_header: Arc<RequestHeader>,
}

/// Certificates of a PEM text.
pub fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| TlsError::Pem { what, why: e.to_string() })
}

/// A root store of every certificate in a PEM text.
pub fn roots(what: &'static str, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        store.add(certificate).map_err(|e| TlsError::Pem { what, why: e.to_string() })?;
    }
    Ok(store)
}

/// The private key of a PEM text.
pub fn private_key(what: &'static str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|e| TlsError::Pem { what, why: e.to_string() })
}

impl Tls {
    /// Reads the files.
    pub fn new(files: &TlsFiles, names: RequestHeaderNames) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = roots("client CA", &files.client_ca)?;
        let proxies = roots("CA of proxies", &files.proxy_ca)?;
        // Clients choose their certificate by what is welcome.
        let mut welcome = clients.clone();
        welcome.extend(proxies.roots.iter().cloned());
        let verifier = Arc::new(AnyClientCertificate::new(&welcome));
        let chain = certificates("serving certificate", &files.certificate)?;
        let key = private_key("serving key", &files.key)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let request_header = RequestHeader::new(CertificateAuthority::new(proxies), names);
        Ok(Tls {
            config: Arc::new(config),
            client_authority: CertificateAuthority::new(clients),
            request_header: Arc::new(request_header),
        })
    }
}
