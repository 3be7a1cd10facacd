//! Certificates by name (`--tls-sni-cert-key`): which one a client gets that asks for a server of some name.
//!
//! Names that were given trump those that certificates have themselves; of two that claim a name the earlier one has it;
//! a full name trumps a pattern. A client that names nobody but reached an address that was given as a name gets that
//! one's certificate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::pem::{Pair, Pem};

/// Why the text of a pair is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadNamedPair {
    /// A colon without names behind it.
    #[error("empty names list is not allowed")]
    NoNames,
    /// Not two paths.
    #[error("expected comma separated certificate and key file paths")]
    NotAPair,
}

/// A certificate with its key, and the names that it answers to; those in the certificate when none are given.
#[derive(Clone, Debug)]
pub struct NamedPair {
    /// Certificate and key.
    pub pair: Pair,
    /// Names, `*.` patterns and addresses.
    pub names: Vec<String>,
}

impl FromStr for NamedPair {
    type Err = BadNamedPair;

    /// `CERT,KEY` or `CERT,KEY:NAME,NAME`.
    fn from_str(text: &str) -> Result<Self, BadNamedPair> {
        let (files, names) = match text.split_once(':') {
            None => (text, Vec::new()),
            Some((_, names)) if names.trim().is_empty() => return Err(BadNamedPair::NoNames),
            Some((files, names)) => (files, names.split(',').map(|name| name.trim().to_owned()).collect()),
        };
        let files: Vec<&str> = files.split(',').map(str::trim).collect();
        let [certificate, key] = files[..] else { return Err(BadNamedPair::NotAPair) };
        let pem = |path: &str| Pem::File(PathBuf::from(path));
        Ok(NamedPair { pair: Pair { certificate: pem(certificate), key: pem(key) }, names })
    }
}

/// The table that names are looked up in.
#[derive(Debug)]
pub(crate) struct Names {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Names {
    /// A table of pairs in the order of the command line.
    pub(crate) fn new(default: Arc<CertifiedKey>, named: Vec<(Vec<String>, Arc<CertifiedKey>)>) -> Names {
        let (mut given, mut own) = (HashMap::new(), HashMap::new());
        for (names, key) in named.into_iter().rev() {
            if names.is_empty() {
                let names = key.cert.first().map(|leaf| names_of(leaf)).unwrap_or_default();
                own.extend(names.into_iter().map(|name| (name, key.clone())));
            }
            given.extend(names.into_iter().map(|name| (name.to_lowercase(), key.clone())));
        }
        own.extend(given);
        Names { default, by_name: own }
    }

    /// The certificate for a name, if one answers to it.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_lowercase();
        let name = name.trim_end_matches('.');
        let pattern = || name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        self.by_name.get(name).or_else(|| self.by_name.get(&pattern()?))
    }

    /// The addresses that were given as names.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (IpAddr, Arc<CertifiedKey>)> {
        self.by_name.iter().filter_map(|(name, key)| Some((name.parse().ok()?, key.clone())))
    }

    /// The same table with another certificate for those who name nobody.
    pub(crate) fn with_default(&self, default: Arc<CertifiedKey>) -> Names {
        Names { default, by_name: self.by_name.clone() }
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(named.unwrap_or(&self.default).clone())
    }
}

/// The names that a certificate has: its common name where that is a domain, and its DNS names. Addresses in it are not
/// taken, since nobody may ask for one by name (RFC 6066, section 3).
fn names_of(leaf: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).last();
    let mut names: Vec<String> =
        common.filter(|name| is_domain(name)).map(str::to_lowercase).into_iter().collect();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        }));
    }
    names
}

/// Whether a name may stand for servers: a DNS subdomain, a pattern of them, or everything.
fn is_domain(name: &str) -> bool {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name == "*" || (name.parse::<IpAddr>().is_err() && plain.len() <= 253 && plain.split('.').all(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(names: &[&str], common: &str) -> Arc<CertifiedKey> {
        let mut params =
            rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common);
        let pair = rcgen::KeyPair::generate().unwrap();
        let chain = vec![params.self_signed(&pair).unwrap().der().clone()];
        let private = crate::private_key("key", pair.serialize_pem().as_bytes()).unwrap();
        Arc::new(CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider()).unwrap())
    }

    #[test]
    fn options_are_read_as_upstream_reads_them() {
        let parse = |text: &str| {
            text.parse::<NamedPair>()
                .map(|pair| format!("{:?} {:?} {:?}", pair.pair.certificate, pair.pair.key, pair.names))
                .map_err(|error| error.to_string())
        };
        assert_eq!(parse("a.crt,a.key").unwrap(), r#"File("a.crt") File("a.key") []"#);
        assert_eq!(parse(" a , b : *.x.io, x.io ").unwrap(), r#"File("a") File("b") ["*.x.io", "x.io"]"#);
        assert_eq!(parse("a,b:").unwrap_err(), "empty names list is not allowed");
        for bad in ["", "a", "a,b,c", "a:x"] {
            assert_eq!(parse(bad).unwrap_err(), "expected comma separated certificate and key file paths");
        }
    }

    #[test]
    fn given_names_trump_own_ones_earlier_later_ones_and_full_ones_patterns() {
        let keys: Vec<_> = [
            key(&[], "default"),
            key(&["a.io", "own.io"], "common.io"),
            key(&["a.io"], "10.0.0.1"),
            key(&[], "x"),
            key(&[], "y"),
        ]
        .into_iter()
        .collect();
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let named = vec![
            (list(&[]), keys[1].clone()),
            (list(&[]), keys[2].clone()),
            (list(&["*.b.io", "own.io", "192.0.2.1"]), keys[3].clone()),
            (list(&["c.b.io", "own.io"]), keys[4].clone()),
        ];
        let names = Names::new(keys[0].clone(), named);
        for (asked, want) in [
            ("a.io", Some(1)),
            ("common.io", Some(1)),
            ("10.0.0.1", None),
            ("own.io", Some(3)),
            ("c.b.io", Some(4)),
            ("C.B.io.", Some(4)),
            ("d.b.io", Some(3)),
            ("e.d.b.io", None),
            ("b.io", None),
        ] {
            let found =
                names.find(asked).map(|found| keys.iter().position(|key| Arc::ptr_eq(key, found)).unwrap());
            assert_eq!(found, want, "{asked}");
        }
        let addresses: Vec<_> = names.addresses().map(|(address, _)| address.to_string()).collect();
        assert_eq!(addresses, ["192.0.2.1"]);
    }
}
