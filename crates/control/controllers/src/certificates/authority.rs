//! The cluster's certificate authority, and the certificates that it makes of requests.
//!
//! Subject, public key and alternative names are taken over byte for byte; everything else in the certificate is this
//! module's: a client decides who it says that it is, which the approver looked at, and nothing more.

use meta::{ByteString, Str, Time};
use rcgen::{KeyPair, SigningKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::der::{BIT_STRING, INTEGER, extension, oid, sequence, time, unsigned, value};

/// Certificates are valid from a little before now, so that machines whose clocks differ trust them at once.
const BACKDATE_S: i64 = 5 * 60;
/// Certificates that live at most this long get their whole life from now on.
const SHORT_S: i64 = 8 * 3600;

const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
const EXTENDED_KEY_USAGE: &[u32] = &[2, 5, 29, 37];
const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
const AUTHORITY_KEY_ID: &[u32] = &[2, 5, 29, 35];
const ALTERNATIVE_NAMES: &[u32] = &[2, 5, 29, 17];

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The authority's own certificate or key is unusable.
    #[error("the signing certificate or key is unusable: {0}")]
    Authority(String),
    /// The request is none. The same request fails again.
    #[error("unable to parse the certificate request: {0}")]
    Request(String),
    /// The request was not made by the owner of its key. The same request fails again.
    #[error("the signature of the certificate request does not hold")]
    Signature,
    /// The key failed.
    #[error("cannot sign: {0}")]
    Key(#[from] rcgen::Error),
}

/// A certificate with the key to sign others.
pub struct Authority {
    key: KeyPair,
    /// The certificate in DER.
    certificate: Vec<u8>,
}

/// What a certificate is to be like, beyond what the request says.
pub(super) struct Terms<'a> {
    /// Usages by their names in the API.
    pub usages: &'a [Str],
    /// Life in seconds.
    pub lifetime_s: i64,
    /// Now.
    pub now: Time,
    /// Number of the certificate, unique for the authority.
    pub serial: [u8; 16],
}

/// What a request says of who asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: usize,
    pub addresses: usize,
    pub emails: usize,
    pub uris: usize,
}

impl Authority {
    /// Reads certificate and key, both PEM.
    ///
    /// # Errors
    /// When either is none, or of an algorithm that is not supported: P-256, P-384, Ed25519 and RSA are.
    pub fn new(certificate_pem: &str, key_pem: &str) -> Result<Self, SignError> {
        let unusable = |error: &dyn std::fmt::Display| SignError::Authority(error.to_string());
        let key = KeyPair::from_pem(key_pem).map_err(|e| unusable(&e))?;
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).map_err(|e| unusable(&e))?;
        x509_parser::parse_x509_certificate(&pem.contents).map_err(|e| unusable(&e))?;
        algorithm(&key)?;
        Ok(Authority { key, certificate: pem.contents })
    }

    /// The PEM certificate of a PEM request.
    pub(super) fn sign(&self, request_pem: &[u8], terms: &Terms<'_>) -> Result<ByteString, SignError> {
        let der = request_der(request_pem)?;
        let request = parse(&der)?;
        request.verify_signature().map_err(|_| SignError::Signature)?;
        let authority = x509_parser::parse_x509_certificate(&self.certificate);
        let (_, authority) = authority.map_err(|e| SignError::Authority(e.to_string()))?;
        let begins = terms.now.seconds - BACKDATE_S;
        let ends = if terms.lifetime_s <= SHORT_S { terms.now.seconds } else { begins } + terms.lifetime_s;
        let ends = ends.min(authority.validity().not_after.timestamp());
        let algorithm = algorithm(&self.key)?;
        let tbs = sequence(&[
            &value(0xa0, &[&value(INTEGER, &[&[2]])]),
            &unsigned(&positive(terms.serial)),
            &algorithm,
            authority.subject().as_raw(),
            &sequence(&[&time(Time::from_unix(begins)), &time(Time::from_unix(ends))]),
            request.certification_request_info.subject.as_raw(),
            request.certification_request_info.subject_pki.raw,
            &value(0xa3, &[&extensions(&request, &authority, terms.usages)]),
        ]);
        let signature = self.key.sign(&tbs)?;
        let certificate = sequence(&[&tbs, &algorithm, &value(BIT_STRING, &[&[0], &signature])]);
        Ok(ByteString(pem("CERTIFICATE", &certificate).into_bytes()))
    }
}

/// Serial numbers are positive and not zero (RFC 5280, 4.1.2.2).
fn positive(mut serial: [u8; 16]) -> [u8; 16] {
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// The AlgorithmIdentifier of what the key signs with.
fn algorithm(key: &KeyPair) -> Result<Vec<u8>, SignError> {
    let null: &[u8] = &[5, 0];
    let known: [(&rcgen::SignatureAlgorithm, &[u32], &[u8]); 4] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, &[1, 2, 840, 10045, 4, 3, 2], &[]),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &[1, 2, 840, 10045, 4, 3, 3], &[]),
        (&rcgen::PKCS_ED25519, &[1, 3, 101, 112], &[]),
        (&rcgen::PKCS_RSA_SHA256, &[1, 2, 840, 113_549, 1, 1, 11], null),
    ];
    let own = rcgen::PublicKeyData::algorithm(key);
    let found = known.iter().find(|(algorithm, ..)| *algorithm == own);
    let (_, arcs, parameters) =
        found.ok_or_else(|| SignError::Authority("the key's algorithm is not supported".into()))?;
    Ok(sequence(&[&oid(arcs), parameters]))
}

fn extensions(
    request: &X509CertificationRequest<'_>,
    authority: &x509_parser::certificate::X509Certificate<'_>,
    usages: &[Str],
) -> Vec<u8> {
    let mut list = Vec::new();
    let (bits, purposes) = super::usages::encode(usages);
    if let Some(bits) = bits {
        list.push(extension(KEY_USAGE, true, &value(BIT_STRING, &[&bits])));
    }
    if !purposes.is_empty() {
        let purposes: Vec<&[u8]> = purposes.iter().map(Vec::as_slice).collect();
        list.push(extension(EXTENDED_KEY_USAGE, false, &sequence(&purposes)));
    }
    list.push(extension(BASIC_CONSTRAINTS, true, &sequence(&[])));
    for found in authority.extensions() {
        if let ParsedExtension::SubjectKeyIdentifier(id) = found.parsed_extension() {
            list.push(extension(AUTHORITY_KEY_ID, false, &sequence(&[&value(0x80, &[id.0])])));
        }
    }
    for attribute in request.certification_request_info.attributes() {
        if let x509_parser::cri_attributes::ParsedCriAttribute::ExtensionRequest(asked) =
            attribute.parsed_attribute()
        {
            let names = asked
                .extensions
                .iter()
                .find(|e| matches!(e.parsed_extension(), ParsedExtension::SubjectAlternativeName(_)));
            list.extend(names.map(|names| extension(ALTERNATIVE_NAMES, names.critical, names.value)));
        }
    }
    let list: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
    sequence(&list)
}

/// Who a PEM request is for.
pub(super) fn subject(request_pem: &[u8]) -> Result<Subject, SignError> {
    use x509_parser::extensions::GeneralName;
    let der = request_der(request_pem)?;
    let request = parse(&der)?;
    let name = &request.certification_request_info.subject;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned).ok();
    let mut subject = Subject {
        // The last one counts, as in Go.
        common_name: name.iter_common_name().filter_map(text).last().unwrap_or_default(),
        organizations: name.iter_organization().filter_map(text).collect(),
        ..Subject::default()
    };
    for found in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = found else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => subject.dns_names += 1,
                GeneralName::IPAddress(_) => subject.addresses += 1,
                GeneralName::RFC822Name(_) => subject.emails += 1,
                GeneralName::URI(_) => subject.uris += 1,
                _ => {}
            }
        }
    }
    Ok(subject)
}

/// When a PEM certificate ends.
pub(super) fn expiry(certificate_pem: &[u8]) -> Option<i64> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&pem.contents).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn request_der(request_pem: &[u8]) -> Result<Vec<u8>, SignError> {
    let wrong = |error: String| SignError::Request(error);
    let (_, pem) = x509_parser::pem::parse_x509_pem(request_pem).map_err(|e| wrong(e.to_string()))?;
    if pem.label != "CERTIFICATE REQUEST" {
        return Err(wrong("PEM block type must be CERTIFICATE REQUEST".into()));
    }
    Ok(pem.contents)
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, SignError> {
    let parsed = X509CertificationRequest::from_der(der);
    parsed.map(|(_, request)| request).map_err(|e| SignError::Request(e.to_string()))
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    const LINE: usize = 64;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for start in (0..text.len()).step_by(LINE) {
        out.push_str(&text[start..text.len().min(start + LINE)]);
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, SanType};

    use super::*;

    pub(in super::super) fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority::new(&pem, &key.serialize_pem()).unwrap()
    }

    pub(in super::super) fn request(name: &str, organization: &str, names: Vec<SanType>) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.subject_alt_names = names;
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    fn sign(authority: &Authority, request: &str, lifetime_s: i64) -> Result<ByteString, SignError> {
        let usages = [Str::from("digital signature"), Str::from("client auth")];
        let now = Time::from_unix(1_767_225_600);
        authority.sign(request.as_bytes(), &Terms { usages: &usages, lifetime_s, now, serial: [0xff; 16] })
    }

    #[test]
    fn a_certificate_says_what_the_request_says_and_no_more() {
        let authority = authority();
        let names = vec![SanType::DnsName("n1".try_into().unwrap())];
        let asked = request("system:node:n1", "system:nodes", names);
        let made = sign(&authority, &asked, 86_400).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&made.0).unwrap();
        let (_, made) = x509_parser::parse_x509_certificate(&pem.contents).unwrap();
        let (_, ca) = x509_parser::parse_x509_certificate(&authority.certificate).unwrap();
        made.verify_signature(Some(ca.public_key())).unwrap();
        assert_eq!(made.subject().to_string(), "CN=system:node:n1, O=system:nodes");
        assert_eq!(made.issuer(), ca.subject());
        assert!(!made.is_ca());
        assert!(made.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(made.extended_key_usage().unwrap().unwrap().value.client_auth);
        assert_eq!(made.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 1);
        assert_eq!(made.validity().not_before.timestamp(), 1_767_225_300);
        assert_eq!(made.validity().not_after.timestamp(), 1_767_225_300 + 86_400);
    }

    #[test]
    fn short_lives_are_whole() {
        let authority = authority();
        let asked = request("a", "b", vec![]);
        let made = sign(&authority, &asked, 3600).unwrap();
        assert_eq!(expiry(&made.0), Some(1_767_225_600 + 3600));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let authority = authority();
        let good = request("a", "b", vec![]);
        let (_, pem_of_good) = x509_parser::pem::parse_x509_pem(good.as_bytes()).unwrap();
        let mut forged = pem_of_good.contents.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let forged = pem("CERTIFICATE REQUEST", &forged);
        assert!(matches!(sign(&authority, &forged, 3600), Err(SignError::Signature)));
        for bad in ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n"]
        {
            assert!(matches!(sign(&authority, bad, 3600), Err(SignError::Request(_))), "{bad}");
        }
    }
}
