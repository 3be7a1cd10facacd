//! Keys that sign and verify ServiceAccount tokens, and the JWKS document that publishes them.
//!
//! RSA keys make RS256 tokens, P-256 keys ES256. A key's id is the base64url SHA-256 of its SubjectPublicKeyInfo, as
//! upstream names keys, so tokens stay valid across a change from one server to the other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer as _;

/// DER prefix of a P-256 SubjectPublicKeyInfo up to its 65-byte point (RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// DER of the AlgorithmIdentifier rsaEncryption (RFC 3279).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Why a key could not be used. The file must be replaced; retrying does not help.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text holds no PEM key.
    #[error("no key in the PEM text: {0}")]
    Pem(String),
    /// The key is neither RSA nor ECDSA P-256.
    #[error("the ServiceAccount key must be RSA (2048 bits or more) or ECDSA P-256: {0}")]
    Unsupported(String),
    /// The random source failed while signing.
    #[error("signing failed")]
    Sign,
}

/// JWS algorithms in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256, signature as r‖s.
    Es256,
}

impl Algorithm {
    /// The name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
        }
    }
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

/// A private key that signs tokens.
pub struct SigningKey {
    pair: Pair,
    random: SystemRandom,
    public: VerifyingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.public.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads the first private key of a PEM text: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|e| KeyError::Pem(e.to_string()))?;
        Self::from_der(&key)
    }

    fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let unsupported = |e: &dyn std::fmt::Display| KeyError::Unsupported(e.to_string());
        let pair = match key {
            PrivateKeyDer::Pkcs1(der) => Pair::Rsa(Box::new(
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|e| unsupported(&e))?,
            )),
            PrivateKeyDer::Pkcs8(der) => match RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()) {
                Ok(pair) => Pair::Rsa(Box::new(pair)),
                Err(_) => Pair::Ec(Box::new(
                    EcdsaKeyPair::from_pkcs8(
                        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                        der.secret_pkcs8_der(),
                        &random,
                    )
                    .map_err(|e| unsupported(&e))?,
                )),
            },
            PrivateKeyDer::Sec1(der) => Pair::Ec(Box::new(
                EcdsaKeyPair::from_pkcs8(
                    &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                    &sec1_to_pkcs8(der.secret_sec1_der()),
                    &random,
                )
                .map_err(|e| unsupported(&e))?,
            )),
            _ => return Err(KeyError::Unsupported("unknown key format".into())),
        };
        let public = match &pair {
            Pair::Rsa(pair) => VerifyingKey::new(Algorithm::Rs256, pair.public_key().as_ref()),
            Pair::Ec(pair) => VerifyingKey::new(Algorithm::Es256, pair.public_key().as_ref()),
        };
        Ok(SigningKey { pair, random, public })
    }

    /// The public half.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs `payload` (a JSON document) as a compact JWS.
    pub fn sign(&self, payload: &[u8]) -> Result<String, KeyError> {
        let header =
            format!("{{\"alg\":\"{}\",\"kid\":\"{}\"}}", self.public.algorithm.name(), self.public.id);
        let mut token = B64.encode(header);
        token.push('.');
        B64.encode_string(payload, &mut token);
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &self.random, token.as_bytes(), &mut signature)
                    .map_err(|_| KeyError::Sign)?;
                signature
            }
            Pair::Ec(pair) => {
                pair.sign(&self.random, token.as_bytes()).map_err(|_| KeyError::Sign)?.as_ref().to_vec()
            }
        };
        token.push('.');
        B64.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// A public key that verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    /// The only algorithm that this key accepts.
    pub algorithm: Algorithm,
    /// The `kid` of tokens signed with it.
    pub id: String,
    /// RSAPublicKey DER, or the uncompressed EC point.
    material: Vec<u8>,
}

impl VerifyingKey {
    /// Every key of a PEM text: public keys, the keys of certificates, and the public halves of private keys.
    ///
    /// # Errors
    /// When there is none, or one is of a type that tokens are not signed with here.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        let items = rustls_pki_types::pem::SliceIter::<(SectionKind, Vec<u8>)>::new(pem);
        for item in items {
            let (kind, der) = item.map_err(|error| KeyError::Pem(error.to_string()))?;
            match kind {
                SectionKind::PublicKey => keys.push(Self::from_spki(&der)?),
                SectionKind::Certificate => {
                    let (_, certificate) = x509_parser::parse_x509_certificate(&der)
                        .map_err(|error| KeyError::Pem(error.to_string()))?;
                    keys.push(Self::from_spki(certificate.public_key().raw)?);
                }
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    let key = match kind {
                        SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(der.into()),
                        SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(der.into()),
                        _ => PrivateKeyDer::Sec1(der.into()),
                    };
                    keys.push(SigningKey::from_der(&key)?.public);
                }
                _ => {}
            }
        }
        if keys.is_empty() {
            return Err(KeyError::Pem("data does not contain any valid RSA or ECDSA public keys".into()));
        }
        Ok(keys)
    }

    /// Reads a SubjectPublicKeyInfo.
    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(point) = der.strip_prefix(&P256_SPKI_PREFIX[..]) {
            return Ok(Self::new(Algorithm::Es256, point));
        }
        let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der)
            .map_err(|error| KeyError::Pem(error.to_string()))?;
        match info.parsed() {
            Ok(x509_parser::public_key::PublicKey::RSA(_)) => {
                Ok(Self::new(Algorithm::Rs256, &info.subject_public_key.data))
            }
            _ => Err(KeyError::Unsupported("unknown type of public key".into())),
        }
    }

    fn new(algorithm: Algorithm, material: &[u8]) -> Self {
        let spki = match algorithm {
            Algorithm::Es256 => [&P256_SPKI_PREFIX[..], material].concat(),
            Algorithm::Rs256 => {
                let bits = der(0x03, &[&[0][..], material].concat());
                der(0x30, &[&RSA_ALGORITHM[..], &bits].concat())
            }
        };
        VerifyingKey { algorithm, id: B64.encode(Sha256::digest(spki)), material: material.to_vec() }
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::Rs256 => {
                UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &self.material)
                    .verify(message, signature)
                    .is_ok()
            }
            Algorithm::Es256 => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &self.material)
                .verify(message, signature)
                .is_ok(),
        }
    }

    /// The key as a member of a JWKS document (RFC 7517).
    pub fn jwk(&self) -> serde_json::Value {
        match self.algorithm {
            Algorithm::Es256 => serde_json::json!({
                "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
                "x": B64.encode(self.material.get(1..33).unwrap_or_default()),
                "y": B64.encode(self.material.get(33..65).unwrap_or_default()),
            }),
            Algorithm::Rs256 => {
                let (n, e) = rsa_components(&self.material).unwrap_or_default();
                serde_json::json!({
                    "use": "sig", "kty": "RSA", "kid": self.id, "alg": "RS256",
                    "n": B64.encode(n), "e": B64.encode(e),
                })
            }
        }
    }
}

/// One DER element with a definite length.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 128 {
        out.push(length as u8);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// Wraps a SEC1 P-256 key as PKCS#8, the only form that ring reads.
fn sec1_to_pkcs8(sec1: &[u8]) -> Vec<u8> {
    let algorithm = &P256_SPKI_PREFIX[2..23];
    der(0x30, &[&[0x02, 0x01, 0x00][..], algorithm, &der(0x04, sec1)].concat())
}

/// Modulus and exponent out of an RSAPublicKey, without leading zeros.
fn rsa_components(key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (&found, rest) = input.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if count > 4 || rest.len() < count {
                return None;
            }
            length = rest[..count].iter().fold(0, |n, b| n << 8 | usize::from(*b));
            rest = &rest[count..];
        }
        (found == tag && rest.len() >= length).then(|| rest.split_at(length))
    }
    let (sequence, _) = element(key, 0x30)?;
    let (modulus, rest) = element(sequence, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    let trim = |b: &[u8]| b.iter().copied().skip_while(|b| *b == 0).collect::<Vec<u8>>();
    Some((trim(modulus), trim(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p256_round_trip_and_jwk() {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
        let token = key.sign(b"{}").unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = B64.decode(signature).unwrap();
        assert!(key.verifying_key().verify(message.as_bytes(), &signature));
        assert!(!key.verifying_key().verify(b"other", &signature));
        assert_eq!(key.verifying_key().jwk()["x"].as_str().unwrap().len(), 43);
    }

    #[test]
    fn keys_are_read_from_every_form() {
        let ec = rcgen::KeyPair::generate().unwrap();
        let signer = SigningKey::from_pem(ec.serialize_pem().as_bytes()).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&ec).unwrap().pem();
        let rsa = include_str!("testdata/rsa.pem");
        let both = format!("{}{rsa}", ec.public_key_pem());
        for (pem, ids) in [(ec.serialize_pem(), 1), (ec.public_key_pem(), 1), (certificate, 1), (both, 2)] {
            let keys = VerifyingKey::all_from_pem(pem.as_bytes()).unwrap();
            assert_eq!((keys.len(), &keys[0].id), (ids, &signer.verifying_key().id));
        }
        assert_eq!(
            VerifyingKey::all_from_pem(b"nothing").unwrap_err().to_string(),
            "no key in the PEM text: data does not contain any valid RSA or ECDSA public keys"
        );
    }

    #[test]
    fn der_lengths() {
        assert_eq!(der(4, &[1]), [4, 1, 1]);
        assert_eq!(der(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(der(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }
}
