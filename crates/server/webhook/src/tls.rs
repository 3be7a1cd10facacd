//! Whom we trust on the way out, and who we say that we are.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// Where Linux distributions keep the certificates that the machine trusts.
const SYSTEM_STORES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Which servers are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that an authority of this PEM text vouches for.
    Bundle(Vec<u8>),
    /// Those that the machine trusts.
    System,
    /// Anybody (`insecure-skip-tls-verify`).
    Anybody,
}

/// A client certificate with its key, both PEM. Never logged.
#[derive(Clone)]
pub struct Identity {
    /// Certificate chain, leaf first.
    pub certificate: Vec<u8>,
    /// Private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The configuration of a client.
///
/// # Errors
/// When the PEM texts hold nothing usable.
pub fn client_config(trust: &Trust, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let builder = match trust {
        Trust::Bundle(bundle) => {
            let (added, _) =
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).flatten());
            if added == 0 {
                return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
            }
            builder.with_root_certificates(roots)
        }
        Trust::System => {
            let pem = SYSTEM_STORES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
            builder.with_root_certificates(roots)
        }
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider))),
    };
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(&identity.certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("tls: failed to find any PEM data in certificate input: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|error| format!("tls: failed to find any PEM data in key input: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("tls: {error}"))?
        }
    };
    Ok(Arc::new(config))
}

/// Takes any certificate, but still only from who holds its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
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
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
