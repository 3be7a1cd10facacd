//! Which TLS versions, cipher suites and key exchanges are spoken, under Go's names and numbers (`--tls-min-version`,
//! `--tls-cipher-suites`, `--tls-curve-preferences`).
//!
//! As with Go, the list of suites is about TLS 1.2 alone: those of TLS 1.3 are always there. What Go knows and rustls does
//! not have (CBC, RC4, 3DES, key exchange by RSA, TLS before 1.2; P-521 and the hybrids with ML-KEM) is refused by name
//! and not passed over, since whoever asks for it would count on it.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// Go's names of the suites that are spoken, the older ones of the same suite too.
const SUITES: [(&str, SupportedCipherSuite); 11] = {
    use ring::cipher_suite::*;
    [
        ("TLS_AES_128_GCM_SHA256", TLS13_AES_128_GCM_SHA256),
        ("TLS_AES_256_GCM_SHA384", TLS13_AES_256_GCM_SHA384),
        ("TLS_CHACHA20_POLY1305_SHA256", TLS13_CHACHA20_POLY1305_SHA256),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ]
};

/// Suites that Go knows and rustls does not have.
const MISSING: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Key exchanges that are spoken, by Go's CurveID, which is that of TLS.
const CURVES: [(i32, &dyn SupportedKxGroup); 3] = {
    use ring::kx_group::{SECP256R1, SECP384R1, X25519};
    [(23, SECP256R1), (24, SECP384R1), (29, X25519)]
};

/// Key exchanges that Go knows and rustls does not have here: P-521, and the hybrids with ML-KEM.
const MISSING_CURVES: [i32; 4] = [25, 4587, 4588, 4589];

static TLS13_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// One of these must be there for HTTP/2 over TLS 1.2 (RFC 9113, section 9.2.2).
const HTTP2: [&str; 2] = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"];

/// Why a choice of versions and suites is refused. The command line must be corrected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadPolicy {
    /// No such version.
    #[error("unknown tls version {0:?}")]
    UnknownVersion(String),
    /// A version that is not spoken.
    #[error("{0} is not spoken by this server: choose VersionTLS12 or VersionTLS13")]
    OldVersion(String),
    /// No such suite.
    #[error("Cipher suite {0} not supported or doesn't exist")]
    UnknownSuite(String),
    /// A suite that Go knows.
    #[error(
        "Cipher suite {0} not supported by this server: it has suites with forward secrecy and authenticated encryption only"
    )]
    MissingSuite(String),
    /// HTTP/2 would be impossible.
    #[error(
        "error configuring http2: http2: TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher (need at least one of {} or {})",
        HTTP2[0],
        HTTP2[1]
    )]
    NoHttp2,
    /// No number of a curve.
    #[error("curve preference {0} is out of range (must be 1-65535)")]
    CurveOutOfRange(i32),
    /// A curve is named twice.
    #[error("duplicate curve preference {0}")]
    DuplicateCurve(i32),
    /// No such curve.
    #[error("curve preference {0} is not supported by the current Go version")]
    UnknownCurve(i32),
    /// A curve that Go knows.
    #[error(
        "curve preference {0} is not supported by this server: it has 23 (P-256), 24 (P-384) and 29 (X25519)"
    )]
    MissingCurve(i32),
}

/// Versions, suites and key exchanges. By default TLS 1.2 and 1.3 with everything that rustls has.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    tls13_only: bool,
    /// `None` for all that rustls has.
    suites: Option<Vec<SupportedCipherSuite>>,
    /// The same.
    curves: Option<Vec<i32>>,
}

impl Policy {
    /// Reads the options; an empty version means TLS 1.2, an empty list all suites.
    ///
    /// # Errors
    /// A name that is unknown or not spoken here, or suites that exclude HTTP/2.
    pub fn parse(min_version: &str, suites: &[String]) -> Result<Policy, BadPolicy> {
        let tls13_only = match min_version {
            "" | "VersionTLS12" => false,
            "VersionTLS13" => true,
            "VersionTLS10" | "VersionTLS11" => return Err(BadPolicy::OldVersion(min_version.to_owned())),
            other => return Err(BadPolicy::UnknownVersion(other.to_owned())),
        };
        let find = |name: &String| match SUITES.iter().find(|(known, _)| known == name) {
            Some((_, suite)) => Ok(*suite),
            None if MISSING.contains(&name.as_str()) => Err(BadPolicy::MissingSuite(name.clone())),
            None => Err(BadPolicy::UnknownSuite(name.clone())),
        };
        let named = suites.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        if !named.is_empty() && !tls13_only && !HTTP2.iter().any(|name| suites.iter().any(|s| s == name)) {
            return Err(BadPolicy::NoHttp2);
        }
        Ok(Policy { tls13_only, suites: (!named.is_empty()).then_some(named), curves: None })
    }

    /// The same with these key exchanges alone, by Go's numbers; their order says nothing, and an empty list means all.
    ///
    /// # Errors
    /// A number that is unknown, not spoken here, or there twice.
    pub fn with_curves(self, curves: &[i32]) -> Result<Policy, BadPolicy> {
        for (index, id) in curves.iter().copied().enumerate() {
            if !(1..=i32::from(u16::MAX)).contains(&id) {
                return Err(BadPolicy::CurveOutOfRange(id));
            }
            if curves[..index].contains(&id) {
                return Err(BadPolicy::DuplicateCurve(id));
            }
            if !CURVES.iter().any(|(known, _)| *known == id) {
                let is_gos = MISSING_CURVES.contains(&id);
                return Err(if is_gos { BadPolicy::MissingCurve(id) } else { BadPolicy::UnknownCurve(id) });
            }
        }
        Ok(Policy { curves: (!curves.is_empty()).then(|| curves.to_vec()), ..self })
    }

    /// Whether a suite may be used.
    fn allows(&self, suite: &SupportedCipherSuite) -> bool {
        suite.version().version == ProtocolVersion::TLSv1_3
            || self.suites.as_ref().is_none_or(|named| named.contains(suite))
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| self.allows(suite));
        if let Some(wanted) = &self.curves {
            let chosen = CURVES.iter().filter(|(id, _)| wanted.contains(id)).map(|(_, group)| group.name());
            let chosen: Vec<_> = chosen.collect();
            provider.kx_groups.retain(|group| chosen.contains(&group.name()));
        }
        Arc::new(provider)
    }

    pub(crate) fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.tls13_only {
            true => &TLS13_ONLY,
            false => rustls::ALL_VERSIONS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gos() {
        let suites =
            |text: &str| text.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let parse =
            |version: &str, text: &str| Policy::parse(version, &suites(text)).map_err(|e| e.to_string());
        let offered = |policy: &Policy| policy.provider().cipher_suites.len();
        assert_eq!(offered(&parse("", "").unwrap()), 9);
        assert_eq!(offered(&parse("VersionTLS12", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256").unwrap()), 4);
        // Suites of TLS 1.3 cannot be chosen, only named.
        assert_eq!(offered(&parse("VersionTLS13", "TLS_AES_128_GCM_SHA256").unwrap()), 3);
        assert_eq!(parse("VersionTLS13", "").unwrap().versions().len(), 1);
        for (version, list, said) in [
            ("VersionTLS14", "", "unknown tls version \"VersionTLS14\""),
            (
                "VersionTLS10",
                "",
                "VersionTLS10 is not spoken by this server: choose VersionTLS12 or VersionTLS13",
            ),
            ("", "TLS_NONE", "Cipher suite TLS_NONE not supported or doesn't exist"),
            (
                "",
                "TLS_RSA_WITH_RC4_128_SHA",
                "Cipher suite TLS_RSA_WITH_RC4_128_SHA not supported by this server: it has suites with forward \
                 secrecy and authenticated encryption only",
            ),
            (
                "",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "error configuring http2: http2: TLSConfig.CipherSuites is missing an HTTP/2-required \
                 AES_128_GCM_SHA256 cipher (need at least one of TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or \
                 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)",
            ),
        ] {
            assert_eq!(parse(version, list).unwrap_err(), said);
        }
    }

    #[test]
    fn curves_are_gos_numbers() {
        let with = |curves: &[i32]| Policy::default().with_curves(curves).map_err(|e| e.to_string());
        let offered = |policy: Policy| {
            policy.provider().kx_groups.iter().map(|group| u16::from(group.name())).collect::<Vec<_>>()
        };
        // The server's own order of preference counts, not that of the list.
        assert_eq!(offered(with(&[]).unwrap()), [29, 23, 24]);
        assert_eq!(offered(with(&[24, 29]).unwrap()), [29, 24]);
        assert_eq!(offered(with(&[23]).unwrap()), [23]);
        for (list, said) in [
            (&[0][..], "curve preference 0 is out of range (must be 1-65535)"),
            (&[-1], "curve preference -1 is out of range (must be 1-65535)"),
            (&[70_000], "curve preference 70000 is out of range (must be 1-65535)"),
            (&[23, 29, 23], "duplicate curve preference 23"),
            (&[9999], "curve preference 9999 is not supported by the current Go version"),
            (
                &[29, 4588],
                "curve preference 4588 is not supported by this server: it has 23 (P-256), 24 (P-384) and 29 (X25519)",
            ),
        ] {
            assert_eq!(with(list).unwrap_err(), said);
        }
    }
}
