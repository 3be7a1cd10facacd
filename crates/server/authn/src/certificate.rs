//! Client certificates: the subject's CN is the user, its O values are the groups.
//!
//! As upstream, the TLS handshake asks for a certificate and takes any, or none ([`AnyClientCertificate`]); whether
//! it was issued by the client CA is decided here, once a connection, so that a bad certificate is an HTTP 401 that
//! a client can read instead of a broken handshake.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::*;

use crate::user::{AUTHENTICATED, User};

/// Object identifier of the subject attribute that carries a user's uid (KEP-5018).
const UID_ATTRIBUTE: &str = "1.3.6.1.4.1.57683.2";

/// Decides whether a chain was issued by the configured client CA, and whom it names.
#[derive(Debug, Clone)]
pub struct CertificateAuthority {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl CertificateAuthority {
    /// Trusts the certificates in `roots`. `None` when there is none to trust.
    pub fn new(roots: RootCertStore) -> Option<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
        Some(CertificateAuthority { verifier })
    }

    /// The user whom the chain names, leaf first. `Err` when the chain does not hold; `Ok(None)` when it holds
    /// and names nobody.
    pub fn user(&self, chain: &[CertificateDer<'_>], now_s: u64) -> Result<Option<Arc<User>>, rustls::Error> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(None) };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
        self.verifier.verify_client_cert(leaf, intermediates, now)?;
        Ok(subject(leaf).map(Arc::new))
    }
}

/// When the first certificate of a chain ends, in seconds since 1970; at once for what cannot be read.
pub fn ends_s(chain: &[CertificateDer<'_>]) -> u64 {
    let end = |der: &CertificateDer<'_>| {
        let parsed = X509Certificate::from_der(der).ok();
        parsed.map_or(0, |(_, one)| u64::try_from(one.validity().not_after.timestamp()).unwrap_or(0))
    };
    chain.iter().map(end).min().unwrap_or(u64::MAX)
}

/// Reads the user out of a certificate's subject; `None` without a common name.
fn subject(leaf: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().filter_map(|a| a.as_str().ok()).last()?;
    if name.is_empty() {
        return None;
    }
    let mut user = User::new(name, &[]);
    user.groups = subject.iter_organization().filter_map(|a| a.as_str().ok()).map(Into::into).collect();
    user.uid = subject
        .iter_attributes()
        .find(|a| a.attr_type().to_id_string() == UID_ATTRIBUTE)
        .and_then(|a| a.as_str().ok())
        .unwrap_or_default()
        .into();
    if !user.in_group(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    let fingerprint = Sha256::digest(leaf);
    let hex: String = fingerprint.iter().map(|b| format!("{b:02x}")).collect();
    user.add_extra("authentication.kubernetes.io/credential-id", format!("X509SHA256={hex}"));
    Some(user)
}

/// The handshake's verifier: asks for a certificate, checks that the client holds its key, and leaves the chain to
/// [`CertificateAuthority`].
#[derive(Debug)]
pub struct AnyClientCertificate {
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
}

impl AnyClientCertificate {
    /// Tells clients that certificates of `roots` are welcome.
    pub fn new(roots: &RootCertStore) -> Self {
        AnyClientCertificate {
            algorithms: rustls::crypto::ring::default_provider().signature_verification_algorithms,
            hints: roots.subjects(),
        }
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };

    fn authority() -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        let certificate = params.self_signed(&key).unwrap().der().clone();
        (certificate, Issuer::new(params, key))
    }

    fn client(issuer: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
        made(issuer, |_| {})
    }

    /// A client certificate for `alice` of `dev`, changed.
    fn made(
        issuer: &Issuer<'_, KeyPair>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "alice");
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    #[test]
    fn odd_certificates_name_nobody_or_do_not_hold() {
        let (root, issuer) = authority();
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let authority = CertificateAuthority::new(roots).unwrap();
        let now = 1_900_000_000;
        let user =
            |certificate| authority.user(&[certificate], now).map(|user| user.map(|u| u.name.to_string()));
        let subject = |parts: &[(DnType, &str)]| {
            let mut name = rcgen::DistinguishedName::new();
            parts.iter().for_each(|(kind, value)| name.push(kind.clone(), *value));
            name
        };
        // Names that a server's certificate has say nothing about a user.
        let with_names = made(&issuer, |params| {
            let name = "system:masters".try_into().unwrap();
            params.subject_alt_names =
                vec![rcgen::SanType::DnsName(name), rcgen::SanType::Rfc822Name("root@x".try_into().unwrap())];
        });
        assert_eq!(user(with_names), Ok(Some("alice".to_owned())));
        let nobody = made(&issuer, |params| {
            params.distinguished_name = subject(&[(DnType::OrganizationName, "system:masters")])
        });
        assert_eq!(user(nobody), Ok(None));
        let empty = made(&issuer, |params| params.distinguished_name = subject(&[(DnType::CommonName, "")]));
        assert_eq!(user(empty), Ok(None));
        let server =
            made(&issuer, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        assert!(user(server).is_err());
        let over = made(&issuer, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
        assert!(user(over).is_err());
        let to_come = made(&issuer, |params| params.not_before = rcgen::date_time_ymd(2100, 1, 1));
        assert!(user(to_come).is_err());
        let mut damaged = client(&issuer).to_vec();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(user(damaged.into()).is_err());
        assert!(user(vec![0x30, 0x03, 0x02, 0x01].into()).is_err());
        // A client cannot sign for others.
        let (leaf_key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, "mallory");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&leaf_key, &issuer).unwrap().der().clone();
        let forged = client(&Issuer::new(params, leaf_key));
        assert!(authority.user(&[forged, leaf], now).is_err());
    }

    #[test]
    fn subject_becomes_user_when_the_chain_holds() {
        let (root, issuer) = authority();
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let authority = CertificateAuthority::new(roots).unwrap();
        let now = 1_900_000_000;
        let user = authority.user(&[client(&issuer)], now).unwrap().unwrap();
        assert_eq!(user.name, "alice");
        assert_eq!(user.groups, vec![meta::Str::from("dev"), AUTHENTICATED.into()]);
        let (_, stranger) = self::authority();
        assert!(authority.user(&[client(&stranger)], now).is_err());
    }
}
