//! Request headers: an authenticating proxy in front says who the user is.
//!
//! The headers count only over a connection whose client certificate was issued by an authority that signs for proxies
//! alone, and that names one of the allowed proxies. Whoever else sends them is not heard: the pipeline takes them out
//! of every request ([`RequestHeader::is_own`]), so that no backend behind this server takes them for ours.

use std::sync::Arc;

use meta::Str;
use rustls_pki_types::CertificateDer;

use crate::certificate::CertificateAuthority;
use crate::impersonate::header_value_to_key;
use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};

/// What is taken out of requests whatever else is configured.
const STANDARD: [&str; 3] = ["x-remote-user", "x-remote-group", "x-remote-uid"];
const STANDARD_EXTRA: &str = "x-remote-extra-";

/// The names of the headers, and which proxies may send them (`--requestheader-*`).
#[derive(Clone, Debug, Default)]
pub struct RequestHeaderNames {
    /// Common names of the proxies' certificates; empty for any that the authority signed.
    pub allowed: Vec<String>,
    /// Headers that hold the user's name; the first that is there counts.
    pub username: Vec<String>,
    /// Headers that hold the user's uid; the first that is there counts.
    pub uid: Vec<String>,
    /// Headers that hold a group each.
    pub group: Vec<String>,
    /// Beginnings of the names of headers that hold an extra fact each.
    pub extra_prefix: Vec<String>,
}

/// The method itself. Without an authority no proxy is trusted, and the headers are only taken out.
#[derive(Clone, Debug, Default)]
pub struct RequestHeader {
    authority: Option<CertificateAuthority>,
    names: RequestHeaderNames,
}

impl RequestHeader {
    /// Trusts the proxies that `authority` vouches for.
    pub fn new(authority: Option<CertificateAuthority>, names: RequestHeaderNames) -> Self {
        RequestHeader { authority, names }
    }

    /// The names of the headers.
    pub fn names(&self) -> &RequestHeaderNames {
        &self.names
    }

    /// Whether a connection with this certificate, leaf first, is that of an allowed proxy.
    pub fn trusts(&self, chain: &[CertificateDer<'_>], now_s: u64) -> bool {
        let Some(authority) = &self.authority else { return false };
        if chain.is_empty() {
            return false;
        }
        match authority.user(chain, now_s) {
            Ok(named) => {
                let name = named.as_ref().map_or("", |user| user.name.as_str());
                self.names.allowed.is_empty() || self.names.allowed.iter().any(|allowed| allowed == name)
            }
            Err(_) => false,
        }
    }

    /// The user whom a trusted proxy names; `None` when it names nobody.
    pub fn user(&self, headers: &[(&str, &str)]) -> Option<Arc<User>> {
        let first = |names: &[String]| {
            names.iter().find_map(|wanted| {
                let mut values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
                values.next().map(|(_, value)| *value).filter(|value| !value.is_empty())
            })
        };
        let mut user = User::new(first(&self.names.username)?, &[]);
        user.uid = first(&self.names.uid).unwrap_or_default().into();
        for wanted in &self.names.group {
            let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            user.groups.extend(values.map(|(_, value)| *value).filter(|v| !v.is_empty()).map(Str::from));
        }
        for prefix in &self.names.extra_prefix {
            for (name, value) in headers {
                if let Some(key) = without_prefix(name, prefix) {
                    user.add_extra(&header_value_to_key(key), (*value).to_owned());
                }
            }
        }
        let known = user.name == ANONYMOUS || user.in_group(AUTHENTICATED) || user.in_group(UNAUTHENTICATED);
        if !known {
            user.groups.push(AUTHENTICATED.into());
        }
        Some(Arc::new(user))
    }

    /// Whether a header, in lower case, is one by which proxies name users.
    pub fn is_own(&self, name: &str) -> bool {
        if STANDARD.contains(&name) || name.starts_with(STANDARD_EXTRA) {
            return true;
        }
        let names = &self.names;
        [&names.username, &names.uid, &names.group]
            .into_iter()
            .flatten()
            .any(|n| n.eq_ignore_ascii_case(name))
            || names.extra_prefix.iter().any(|prefix| without_prefix(name, prefix).is_some())
    }
}

fn without_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let begins = name.get(..prefix.len())?.eq_ignore_ascii_case(prefix);
    begins.then(|| &name[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method() -> RequestHeader {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let names = RequestHeaderNames {
            allowed: list("front-proxy-client"),
            username: list("X-Other-User,X-Remote-User"),
            uid: list("X-Remote-Uid"),
            group: list("X-Remote-Group"),
            extra_prefix: list("X-Remote-Extra-"),
        };
        RequestHeader::new(None, names)
    }

    #[test]
    fn headers_name_the_user() {
        let headers = [
            ("x-remote-user", "alice"),
            ("x-remote-group", "dev"),
            ("x-remote-group", ""),
            ("x-remote-group", "ops"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-acme.com%2fproject", "a"),
            ("x-remote-extra-acme.com%2fproject", "b"),
            ("x-remote-extra-%zz", "c"),
        ];
        let user = method().user(&headers).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("alice", "7"));
        assert_eq!(user.groups, ["dev", "ops", AUTHENTICATED].map(Str::from));
        let extra: Vec<(&str, usize)> = user.extra.iter().map(|(k, v)| (k.as_str(), v.len())).collect();
        assert_eq!(extra, [("%zz", 1), ("acme.com/project", 2)]);
    }

    #[test]
    fn the_first_header_with_a_name_counts() {
        let name = |headers: &[(&'static str, &'static str)]| Some(method().user(headers)?.name.to_string());
        assert_eq!(name(&[("x-remote-user", "b"), ("x-other-user", "a")]).as_deref(), Some("a"));
        assert_eq!(name(&[("x-remote-user", "b"), ("x-other-user", "")]).as_deref(), Some("b"));
        assert_eq!(name(&[("x-remote-group", "b")]), None);
        let anonymous = method().user(&[("x-remote-user", ANONYMOUS)]).unwrap();
        assert!(anonymous.groups.is_empty(), "the unauthenticated are not among the authenticated");
    }

    #[test]
    fn own_headers() {
        for (name, own) in [
            ("x-remote-user", true),
            ("x-remote-uid", true),
            ("x-remote-extra-scopes", true),
            ("x-other-user", true),
            ("x-remote", false),
            ("authorization", false),
        ] {
            assert_eq!(method().is_own(name), own, "{name}");
        }
        assert!(RequestHeader::default().is_own("x-remote-group"), "without any configuration too");
    }

    #[test]
    fn without_an_authority_nobody_is_trusted() {
        assert!(!method().trusts(&[CertificateDer::from(vec![1, 2, 3])], 0));
    }
}
