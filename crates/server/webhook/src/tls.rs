//! Whom we trust on the way out, and who we say that we are.

use std::sync::Arc;

use outbound::tls::{AnyServer, system_roots};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

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
    let builder = match trust {
        Trust::Bundle(bundle) => {
            let mut roots = RootCertStore::empty();
            let (added, _) =
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).flatten());
            if added == 0 {
                return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
            }
            let bundle = CertificateDer::pem_slice_iter(bundle).flatten().collect();
            let checked = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|error| error.to_string())?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Bundled { checked, bundle }))
        }
        Trust::System => builder.with_root_certificates(system_roots()),
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(AnyServer::new()),
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

/// Takes what the authorities of a bundle vouch for, and, as Go does, a certificate that is in the bundle itself though
/// it is that of an authority: whoever signs for themselves is often trusted so.
#[derive(Debug)]
struct Bundled {
    checked: Arc<WebPkiServerVerifier>,
    bundle: Vec<CertificateDer<'static>>,
}

impl Bundled {
    /// Whether the certificate itself is in the bundle, holds now, and has the name.
    fn has(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let Ok((_, read)) = x509_parser::parse_x509_certificate(leaf) else { return false };
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = read.validity();
        let holds = validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp();
        holds && self.bundle.contains(leaf) && is_for(&read, name)
    }
}

/// Whether a certificate's alternative names have this one. Reading it as an end entity's is what failed, so it is compared
/// here: exactly, or with `*` for the first label.
fn is_for(certificate: &x509_parser::certificate::X509Certificate<'_>, name: &ServerName<'_>) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|candidate| match (candidate, name) {
        (GeneralName::DNSName(pattern), ServerName::DnsName(wanted)) => {
            let wanted = wanted.as_ref();
            let below = wanted.split_once('.').map(|(_, rest)| rest);
            pattern.eq_ignore_ascii_case(wanted)
                || pattern
                    .strip_prefix("*.")
                    .is_some_and(|rest| below.is_some_and(|b| rest.eq_ignore_ascii_case(b)))
        }
        (GeneralName::IPAddress(bytes), ServerName::IpAddress(wanted)) => {
            match std::net::IpAddr::from(*wanted) {
                std::net::IpAddr::V4(ip) => *bytes == ip.octets(),
                std::net::IpAddr::V6(ip) => *bytes == ip.octets(),
            }
        }
        _ => false,
    })
}

impl ServerCertVerifier for Bundled {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.checked.verify_server_cert(leaf, intermediates, name, ocsp, now);
        match verified {
            Err(_) if self.has(leaf, name, now) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.checked.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.checked.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.checked.supported_verify_schemes()
    }
}
