//! The options of the front proxy, under upstream's names: whom this server believes when a proxy in front of it names
//! the user, and how it proves to extension API servers that it is such a proxy itself.
//!
//! Without options both sides use the cluster's own front proxy authority, as kubeadm sets it up.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use apiserver::RequestHeaderNames;
use serde::{Deserialize, Serialize};
use serving::{Pair, Pem};

use crate::pki::Pki;

/// The options.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct FrontProxyOptions {
    /// File with the authority of proxies that may name users in headers [default: the cluster's own]
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of those proxies' certificates; empty for any that the authority signed
    #[arg(long, value_delimiter = ',', default_value = "front-proxy-client", value_name = "LIST")]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers that hold the user's name
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-User", value_name = "LIST")]
    pub requestheader_username_headers: Vec<String>,
    /// Headers that hold the user's uid
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers that hold the user's groups
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Group", value_name = "LIST")]
    pub requestheader_group_headers: Vec<String>,
    /// Beginnings of the headers that hold more about the user
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Extra-", value_name = "LIST")]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Certificate by which extension API servers know this server [default: the cluster's own]
    #[arg(long, value_name = "FILE", requires = "proxy_client_key_file")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "proxy_client_cert_file")]
    pub proxy_client_key_file: Option<PathBuf>,
    /// Reach extension API servers by the endpoints of their Service alone, never by its own address
    #[arg(long)]
    pub enable_aggregator_routing: bool,
}

impl Default for FrontProxyOptions {
    fn default() -> Self {
        let list = |text: &str| vec![text.to_owned()];
        FrontProxyOptions {
            requestheader_client_ca_file: None,
            requestheader_allowed_names: list("front-proxy-client"),
            requestheader_username_headers: list("X-Remote-User"),
            requestheader_uid_headers: Vec::new(),
            requestheader_group_headers: list("X-Remote-Group"),
            requestheader_extra_headers_prefix: list("X-Remote-Extra-"),
            proxy_client_cert_file: None,
            proxy_client_key_file: None,
            enable_aggregator_routing: false,
        }
    }
}

/// What the options come to.
pub(crate) struct FrontProxy {
    /// The authority of proxies.
    pub authority: Pem,
    /// The headers by which they name users.
    pub names: RequestHeaderNames,
    /// By what extension API servers know this server.
    pub client: Pair,
}

/// Reads the options.
pub(crate) fn open(options: &FrontProxyOptions, pki: &Pki) -> Result<FrontProxy> {
    let file = |path: &PathBuf| Pem::File(path.clone());
    let client = match (&options.proxy_client_cert_file, &options.proxy_client_key_file) {
        (Some(certificate), Some(key)) => Pair { certificate: file(certificate), key: file(key) },
        _ => pki.files("front-proxy-client"),
    };
    let given = options.requestheader_client_ca_file.as_ref();
    let authority = given.map_or_else(|| pki.files("front-proxy-ca").certificate, file);
    let names = names(|flag| {
        let values = match flag {
            ALLOWED => &options.requestheader_allowed_names,
            USERNAME => &options.requestheader_username_headers,
            UID => &options.requestheader_uid_headers,
            GROUP => &options.requestheader_group_headers,
            _ => &options.requestheader_extra_headers_prefix,
        };
        list(flag, values)
    })?;
    Ok(FrontProxy { authority, names, client })
}

/// What tells about proxies, as flags and as keys of what the cluster publishes.
pub(crate) const ALLOWED: &str = "requestheader-allowed-names";
pub(crate) const USERNAME: &str = "requestheader-username-headers";
pub(crate) const UID: &str = "requestheader-uid-headers";
pub(crate) const GROUP: &str = "requestheader-group-headers";
pub(crate) const EXTRA: &str = "requestheader-extra-headers-prefix";

/// The names that these lists come to.
///
/// # Errors
/// One of them cannot be had.
pub(crate) fn names(mut list: impl FnMut(&'static str) -> Result<Vec<String>>) -> Result<RequestHeaderNames> {
    Ok(RequestHeaderNames {
        allowed: list(ALLOWED)?,
        username: list(USERNAME)?,
        uid: list(UID)?,
        group: list(GROUP)?,
        extra_prefix: list(EXTRA)?,
    })
}

/// The values of a flag. `--flag=` alone means none.
pub(crate) fn list(flag: &str, values: &[String]) -> Result<Vec<String>> {
    if let [only] = values
        && only.is_empty()
    {
        return Ok(Vec::new());
    }
    let blank = values.iter().any(|value| value.trim().is_empty());
    ensure!(!blank, "empty value in {flag:?}");
    Ok(values.iter().map(|value| value.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_header_names() {
        let owned = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (values, want) in [
            (&["a", " b "][..], Some(&["a", "b"][..])),
            (&[""], Some(&[])),
            (&[], Some(&[])),
            (&["a", " "], None),
        ] {
            let got = list("f", &owned(values)).ok();
            assert_eq!(got, want.map(owned), "{values:?}");
        }
    }
}
