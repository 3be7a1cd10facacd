//! Bootstrap tokens, by which machines join (KEP-130): they end when they say, and they sign what a machine must know of
//! the cluster before it trusts it.
//!
//! Neither runs with `--controllers=*` alone; kubeadm names both, and so does `ferrokube up`.

mod cleaner;
mod signer;

use std::collections::BTreeMap;

use meta::{ByteString, Map, Time};
use types::core::v1::Secret;

pub(crate) use cleaner::start as start_cleaner;
pub(crate) use signer::start as start_signer;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";

/// Whether a secret is a bootstrap token.
fn is_token(secret: &Secret) -> bool {
    secret.metadata.namespace == NAMESPACE && secret.type_ == TYPE
}

fn text<'a>(data: &'a Map<ByteString>, key: &str) -> Option<&'a str> {
    data.get(key).and_then(|value| std::str::from_utf8(&value.0).ok())
}

/// Seconds that a token has left at `now_s`; `None` when it never ends. A time that nobody can read is over: a token is not
/// good for ever by a mistake.
fn left_s(secret: &Secret, now_s: i64) -> Option<i64> {
    secret.data.get("expiration")?;
    let end = text(&secret.data, "expiration").and_then(|text| Time::parse(text.trim()).ok());
    Some(end.map_or(0, |end| end.seconds - now_s))
}

/// Ids and secrets of the tokens that sign, and when the first of them ends, in seconds from now.
fn signing<'a>(
    secrets: impl Iterator<Item = &'a Secret>,
    now_s: i64,
) -> (BTreeMap<&'a str, &'a str>, Option<i64>) {
    let (mut tokens, mut first) = (BTreeMap::new(), None::<i64>);
    for secret in secrets.filter(|secret| is_token(secret)) {
        let field = |key| text(&secret.data, key).unwrap_or_default();
        let (id, key) = (field("token-id"), field("token-secret"));
        let plain = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let named = secret.metadata.name.strip_prefix(PREFIX) == Some(id);
        if !named || !plain(id, 6) || !plain(key, 16) || field("usage-bootstrap-signing") != "true" {
            continue;
        }
        match left_s(secret, now_s) {
            Some(left) if left <= 0 => continue,
            Some(left) => first = Some(first.map_or(left, |first| first.min(left))),
            None => {}
        }
        tokens.insert(id, key);
    }
    (tokens, first)
}
