//! Compact JWS (RFC 7515) of other issuers: reading one, and verifying it with the keys of a JWKS (RFC 7517).
//!
//! Which algorithm a token is verified with is decided by the configuration and the key, never by the token alone: its
//! header must name an algorithm that is allowed and that fits the key. `none` and the symmetric ones are unknown here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Map, Value as Json};

/// The algorithms that tokens may be signed with, as `--oidc-signing-algs` lists them.
pub const ALGORITHMS: [&str; 8] = ["ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 256 << 10;

/// A token whose form is understood. Nothing in it is verified.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    /// What was signed.
    message: &'a str,
    signature: Vec<u8>,
    /// `alg` of the header.
    pub algorithm: String,
    /// `kid` of the header, empty for none.
    pub key_id: String,
    /// The payload.
    pub claims: Map<String, Json>,
}

impl<'a> Jws<'a> {
    /// Reads a token; the error says what is malformed.
    pub(crate) fn parse(token: &'a str) -> Result<Self, String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("token is longer than {TOKEN_BYTES_MAX} bytes"));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            return Err("square/go-jose: compact JWS format must have three parts".to_owned());
        };
        let message = &token[..header.len() + 1 + payload.len()];
        let header = object(header)?;
        // Extensions that must be understood are not.
        if header.contains_key("crit") {
            return Err("square/go-jose: unsupported crit header".to_owned());
        }
        let text = |name: &str| header.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        Ok(Jws {
            message,
            signature: B64.decode(signature).map_err(|_| "illegal base64 data in signature".to_owned())?,
            algorithm: text("alg"),
            key_id: text("kid"),
            claims: object(payload)?,
        })
    }

    /// Whether the signature is that of `key`.
    pub(crate) fn holds(&self, key: &Jwk) -> bool {
        (self.key_id.is_empty() || self.key_id == key.id)
            && key.verify(&self.algorithm, self.message.as_bytes(), &self.signature)
    }
}

/// The `iss` of a token that may be anything; `None` when it is no token.
pub(crate) fn untrusted_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let claims = object(payload).ok()?;
    let issuer = claims.get("iss").map_or(Some(""), Json::as_str)?;
    // Google's tokens may leave the scheme out.
    Some(if issuer == "accounts.google.com" { "https://accounts.google.com" } else { issuer }.to_owned())
}

fn object(part: &str) -> Result<Map<String, Json>, String> {
    let bytes = B64.decode(part).map_err(|_| "illegal base64 data".to_owned())?;
    let value: Unique = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok(value.0)
}

/// An object whose names are each there once: of two, readers could each take another one.
struct Unique(Map<String, Json>);

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Unique;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Json>()? {
                    if map.contains_key(&name) {
                        return Err(serde::de::Error::custom(format_args!("duplicate key {name:?}")));
                    }
                    map.insert(name, value);
                }
                Ok(Unique(map))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A public key of a JWKS that this server can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Jwk {
    pub id: String,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// The keys of a JWKS document. Keys for encryption, symmetric ones and those of unknown types are left out: no token can
/// be verified with them.
pub(crate) fn keys(document: &Json) -> Result<Vec<Jwk>, String> {
    let list = document["keys"].as_array().ok_or("the document has no list of keys")?;
    Ok(list.iter().filter_map(key).collect())
}

fn key(json: &Json) -> Option<Jwk> {
    let bytes = |name: &str| B64.decode(json[name].as_str()?.trim_end_matches('=')).ok();
    if json["use"].as_str().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let point = |size: usize| {
        let (x, y) = (bytes("x")?, bytes("y")?);
        if x.len() > size || y.len() > size {
            return None;
        }
        // Coordinates are padded to the size of the curve.
        let pad = |part: &[u8]| [vec![0; size - part.len()], part.to_vec()].concat();
        Some([vec![4], pad(&x), pad(&y)].concat())
    };
    let material = match (json["kty"].as_str()?, json["crv"].as_str()) {
        ("RSA", _) => Material::Rsa { n: bytes("n")?, e: bytes("e")? },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        _ => return None,
    };
    Some(Jwk { id: json["kid"].as_str().unwrap_or_default().to_owned(), material })
}

impl Jwk {
    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { n, e } => {
                let parameters: &RsaParameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                let trim = |bytes: &[u8]| bytes.iter().copied().skip_while(|b| *b == 0).collect::<Vec<_>>();
                RsaPublicKeyComponents { n: trim(n), e: trim(e) }
                    .verify(parameters, message, signature)
                    .is_ok()
            }
            Material::P256(point) if algorithm == "ES256" => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Material::P384(point) if algorithm == "ES384" => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            Material::P256(_) | Material::P384(_) => false,
        }
    }
}
