//! Whose certificates the scheduler's endpoint believes: those of clients, and those of proxies in front that name the user
//! in headers.
//!
//! What no flag says is looked up, once at the start, where the cluster publishes it for all its extensions
//! (`kube-system/extension-apiserver-authentication`); files that flags name are followed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use apiserver::RequestHeaderNames;
use authn::RequestHeader;
use client::Client;
use delegated::User;
use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use serving::{Live, Pem};
use types::core::v1::ConfigMap;

use super::flags::AccessFlags;
use crate::front_proxy::{self, ALLOWED, GROUP, UID, USERNAME, list};

/// Index of the authorities in [`Live`].
const CLIENTS: usize = 0;
const PROXIES: usize = 1;

/// The flags about proxies in front.
#[derive(Clone, Debug, clap::Args)]
pub struct RequestHeaderFlags {
    /// Authority of proxies that may name users in headers; the cluster's own without
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of those proxies' certificates; any that the authority signed without
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers that hold the user's name
    #[arg(long, value_delimiter = ',', default_value = "x-remote-user", value_name = "LIST")]
    pub requestheader_username_headers: Vec<String>,
    /// Headers that hold the user's uid
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers that hold the user's groups
    #[arg(long, value_delimiter = ',', default_value = "x-remote-group", value_name = "LIST")]
    pub requestheader_group_headers: Vec<String>,
    /// Beginnings of the headers that hold more about the user
    #[arg(long, value_delimiter = ',', default_value = "x-remote-extra-", value_name = "LIST")]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

impl RequestHeaderFlags {
    fn names(&self) -> Result<RequestHeaderNames> {
        front_proxy::names(|flag| {
            let values = match flag {
                ALLOWED => &self.requestheader_allowed_names,
                USERNAME => &self.requestheader_username_headers,
                UID => &self.requestheader_uid_headers,
                GROUP => &self.requestheader_group_headers,
                _ => &self.requestheader_extra_headers_prefix,
            };
            list(flag, values)
        })
    }
}

/// See the module.
pub(super) struct Trust {
    /// The authority of clients; empty for none.
    pub(super) clients: Pem,
    /// The authority of proxies; empty for none.
    pub(super) proxies: Pem,
    /// The headers by which proxies name users; TLS judges the proxies.
    pub(super) headers: RequestHeader,
}

impl Trust {
    /// As the flags say, and the cluster where they say nothing.
    ///
    /// # Errors
    /// A flag is wrong, or the cluster cannot be asked although it must.
    pub(super) async fn find(flags: &AccessFlags, cluster: &Client) -> Result<Trust> {
        let file = |path: &Option<PathBuf>| path.clone().map(Pem::File);
        let headers = &flags.request_header;
        let (clients, proxies) = (file(&flags.client_ca_file), file(&headers.requestheader_client_ca_file));
        let mut trust = Trust {
            clients: clients.clone().unwrap_or_default(),
            proxies: proxies.clone().unwrap_or_default(),
            headers: RequestHeader::new(None, headers.names()?),
        };
        if flags.authentication_skip_lookup || (clients.is_some() && proxies.is_some()) {
            return Ok(trust);
        }
        let maps = cluster.namespaced::<ConfigMap>("kube-system");
        match maps.get("extension-apiserver-authentication").await {
            Ok(published) => trust.complete(&published, clients.is_none(), proxies.is_none())?,
            Err(status) if flags.authentication_tolerate_lookup_failure => {
                tracing::info!(reason = %status.message, "the cluster's authorities of certificates are not known");
            }
            Err(status) => {
                bail!("unable to load configmap based request-header-client-ca-file: {}", status.message)
            }
        }
        Ok(trust)
    }

    /// Takes from the cluster what the flags leave open.
    fn complete(&mut self, published: &ConfigMap, clients: bool, proxies: bool) -> Result<()> {
        let text = |key: &str| published.data.get(key).map(meta::Str::as_str).filter(|text| !text.is_empty());
        let pem = |key: &str| text(key).map(|pem| Pem::from(pem.as_bytes().to_vec()));
        if clients {
            self.clients = pem("client-ca-file").unwrap_or_default();
        }
        if proxies && let Some(authority) = pem("requestheader-client-ca-file") {
            // A list that cannot be read is no empty one, which would let every proxy in.
            let names = front_proxy::names(|key| {
                let Some(json) = text(key) else { return Ok(Vec::new()) };
                serde_json::from_str(json)
                    .with_context(|| format!("kube-system/extension-apiserver-authentication: {key}"))
            })?;
            self.headers = RequestHeader::new(None, names);
            self.proxies = authority;
        }
        Ok(())
    }

    /// The authorities, as [`Live`] takes them.
    pub(super) fn authorities(&self) -> Vec<Pem> {
        vec![self.clients.clone(), self.proxies.clone()]
    }

    /// What a connection's certificates, leaf first, prove.
    pub(super) fn judge(&self, tls: &Live, chain: Option<Vec<CertificateDer<'static>>>, now_s: i64) -> Peer {
        let now_s = u64::try_from(now_s).unwrap_or_default();
        let chain = chain.unwrap_or_default();
        let named = User::of_certificate(Some(&chain));
        let allowed = &self.headers.names().allowed;
        let listed = allowed.is_empty()
            || named.as_ref().is_some_and(|user| allowed.iter().any(|name| *name == user.name.as_str()));
        Peer {
            proxy: listed && tls.vouches(PROXIES, &chain, now_s),
            user: named.filter(|_| tls.vouches(CLIENTS, &chain, now_s)),
        }
    }

    /// The user whom a proxy names.
    pub(super) fn named(&self, headers: &HeaderMap) -> Option<User> {
        let readable: Vec<(&str, &str)> =
            headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
        let user = self.headers.user(&readable)?;
        Some(User {
            name: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        })
    }
}

/// Who is at the other end of a connection.
pub(super) struct Peer {
    /// A proxy that may name users.
    pub(super) proxy: bool,
    /// The user whom the certificate names.
    pub(super) user: Option<User>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust() -> Trust {
        Trust { clients: Pem::default(), proxies: Pem::default(), headers: RequestHeader::default() }
    }

    #[test]
    fn what_flags_leave_open_the_cluster_says() {
        let mut published = ConfigMap::default();
        for (key, value) in [
            ("client-ca-file", "clients"),
            ("requestheader-client-ca-file", "proxies"),
            ("requestheader-username-headers", "[\"X-A\",\"X-B\"]"),
            ("requestheader-group-headers", "[]"),
        ] {
            published.data.insert(key, value.into());
        }
        let mut open = trust();
        open.complete(&published, true, true).unwrap();
        let names = open.headers.names();
        assert_eq!(names.username, ["X-A", "X-B"]);
        assert!(names.group.is_empty() && names.allowed.is_empty());
        let read = |pem: &Pem| String::from_utf8(pem.read().unwrap()).unwrap();
        assert_eq!((read(&open.clients), read(&open.proxies)), ("clients".into(), "proxies".into()));
        let mut given = trust();
        given.complete(&published, false, false).unwrap();
        assert_eq!(read(&given.clients), "");
        assert!(given.headers.names().username.is_empty());
        published.data.insert("requestheader-allowed-names", "no JSON".into());
        let mut wrong = trust();
        assert!(wrong.complete(&published, true, true).is_err());
        assert_eq!(read(&wrong.proxies), "");
    }

    #[test]
    fn proxies_name_users_by_headers() {
        let mut trust = trust();
        let names = RequestHeaderNames { username: vec!["X-Remote-User".into()], ..Default::default() };
        trust.headers = RequestHeader::new(None, names);
        let mut headers = HeaderMap::new();
        assert_eq!(trust.named(&headers), None);
        headers.insert("x-remote-user", http::HeaderValue::from_static("jane"));
        let jane = trust.named(&headers).unwrap();
        assert_eq!((jane.name.as_str(), jane.is_in("system:authenticated")), ("jane", true));
    }
}
