//! Who the user is, in the headers that extension API servers read; and what must not reach them.

use authn::User;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";
const IMPERSONATE: &str = "impersonate-";

/// The user's name, a group or a fact cannot stand in a header: it would be another user over there.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("net/http: invalid header field value for {0:?}")]
pub struct Unsayable(String);

/// Says in `headers` who the user is, and takes out credentials and everything that said it before.
pub fn assert_user(headers: &mut HeaderMap, user: &User) -> Result<(), Unsayable> {
    let says_so = |name: &&HeaderName| {
        let text = name.as_str();
        text.starts_with(EXTRA) || text.starts_with(IMPERSONATE) || [USER, UID, GROUP].contains(name)
    };
    let old: Vec<HeaderName> = headers.keys().filter(says_so).cloned().collect();
    for name in old {
        headers.remove(name);
    }
    headers.remove(header::AUTHORIZATION);
    let value = |name: &HeaderName, text: &str| {
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Unsayable(name.to_string()))
    };
    headers.insert(USER, value(&USER, &user.name)?);
    if !user.uid.is_empty() {
        headers.insert(UID, value(&UID, &user.uid)?);
    }
    for group in &user.groups {
        headers.append(GROUP, value(&GROUP, group)?);
    }
    for (key, values) in &user.extra {
        let name = format!("{EXTRA}{}", escape(key));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unsayable(name))?;
        for text in values {
            headers.append(name.clone(), value(&name, text)?);
        }
    }
    Ok(())
}

/// A key as part of a header's name: what may not stand there is percent-encoded.
fn escape(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
    key.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_user_and_nobody_else() {
        let mut said = headers(&[
            ("authorization", "Bearer secret"),
            ("x-remote-user", "mallory"),
            ("x-remote-group", "system:masters"),
            ("x-remote-uid", "0"),
            ("x-remote-extra-scopes", "all"),
            ("impersonate-user", "alice"),
            ("accept", "application/json"),
        ]);
        let mut user = User::new("alice", &["dev", "ops"]);
        user.add_extra("acme.com/project", "a");
        user.add_extra("100%", "b");
        assert_user(&mut said, &user).unwrap();
        let mut lines: Vec<String> =
            said.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "accept: application/json",
                "x-remote-extra-100%25: b",
                "x-remote-extra-acme.com%2fproject: a",
                "x-remote-group: dev",
                "x-remote-group: ops",
                "x-remote-user: alice",
            ]
        );
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        let user = User::new("eve\r\nx-remote-group: system:masters", &[]);
        assert!(assert_user(&mut HeaderMap::new(), &user).is_err());
    }
}
