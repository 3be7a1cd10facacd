//! The options of TLS, under upstream's names.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serving::{Material, NamedPair, Pair, Pem, Policy};

/// What a server shows, and how it may be spoken to.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsOptions {
    /// Serving certificate, followed by those of its authorities; read again when it changes [default: one of its own]
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the serving certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Another certificate for some names, such as foo.crt,foo.key:*.foo.com,foo.com; without names for those in it. Given
    /// names trump those in certificates, full ones patterns, earlier certificates later ones (may be repeated)
    #[arg(long, value_name = "CERT,KEY[:NAMES]")]
    pub tls_sni_cert_key: Vec<String>,
    /// Oldest version that is spoken: VersionTLS12 or VersionTLS13 [default: VersionTLS12]
    #[arg(long, default_value = "", hide_default_value = true, value_name = "VERSION")]
    pub tls_min_version: String,
    /// Cipher suites of TLS 1.2 by Go's names, such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; those of TLS 1.3 are always
    /// there [default: all with forward secrecy and authenticated encryption]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub tls_cipher_suites: Vec<String>,
    /// Key exchanges by Go's CurveID: 23 (P-256), 24 (P-384), 29 (X25519); the order says nothing [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST", allow_hyphen_values = true)]
    pub tls_curve_preferences: Vec<i32>,
}

impl TlsOptions {
    /// The serving certificate that was given.
    pub fn given(&self) -> Option<Pair> {
        let pem = |path: &PathBuf| Pem::File(path.clone());
        self.tls_cert_file
            .as_ref()
            .zip(self.tls_private_key_file.as_ref())
            .map(|(certificate, key)| Pair { certificate: pem(certificate), key: pem(key) })
    }

    /// What is served; `own` unless a certificate was given.
    ///
    /// # Errors
    /// A name of a version or suite that is not known, or a pair that is none.
    pub fn material(&self, own: Pair) -> Result<Material> {
        let named = self.tls_sni_cert_key.iter().map(|text| {
            let pair = text.parse::<NamedPair>();
            pair.with_context(|| format!("invalid argument {text:?} for \"--tls-sni-cert-key\" flag"))
        });
        Ok(Material {
            named: named.collect::<Result<_>>()?,
            policy: Policy::parse(&self.tls_min_version, &self.tls_cipher_suites)?
                .with_curves(&self.tls_curve_preferences)?,
            ..Material::new(self.given().unwrap_or(own))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_what_is_served() {
        let own = || Pair { certificate: Pem::File("own.crt".into()), key: Pem::File("own.key".into()) };
        let mut options = TlsOptions::default();
        assert_eq!(options.material(own()).unwrap().files(), [PathBuf::from("own.crt"), "own.key".into()]);
        options.tls_cert_file = Some("a.crt".into());
        options.tls_private_key_file = Some("a.key".into());
        options.tls_sni_cert_key = vec!["b.crt,b.key:*.b".into()];
        let files: Vec<_> = ["a.crt", "a.key", "b.crt", "b.key"].map(PathBuf::from).into();
        assert_eq!(options.material(own()).unwrap().files(), files);
        options.tls_sni_cert_key = vec!["b.crt".into()];
        assert_eq!(
            format!("{:#}", options.material(own()).unwrap_err()),
            "invalid argument \"b.crt\" for \"--tls-sni-cert-key\" flag: expected comma separated certificate and key \
             file paths"
        );
    }
}
