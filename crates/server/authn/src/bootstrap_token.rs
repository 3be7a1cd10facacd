//! Bootstrap tokens, `<id>.<secret>`: what `join` shows before a machine has a certificate (KEP-130).

use meta::Str;
use sha2::{Digest, Sha256};

use crate::service_account::Directory;
use crate::user::{AUTHENTICATED, User};

/// The user behind a bootstrap token; `None` for text of another form, or a token that is unknown, over or not for
/// authentication.
pub(crate) fn find(token: &str, directory: &dyn Directory, now_s: i64) -> Option<User> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if id.len() != 6 || secret.len() != 16 || !plain(id) || !plain(secret) {
        return None;
    }
    let data = directory.bootstrap_token(id)?;
    let field = |name: &str| data.get(name).map(String::as_str).unwrap_or_default();
    let matches = Sha256::digest(field("token-secret")) == Sha256::digest(secret);
    if field("token-id") != id || !matches || field("usage-bootstrap-authentication") != "true" {
        return None;
    }
    if let Some(text) = data.get("expiration")
        && !meta::Time::parse(text).is_ok_and(|end| end > meta::Time::from_unix(now_s))
    {
        return None;
    }
    let mut user = User::new(format!("system:bootstrap:{id}"), &["system:bootstrappers"]);
    let groups = field("auth-extra-groups").split(',').filter(|g| g.starts_with("system:bootstrappers:"));
    user.groups.extend(groups.map(Str::from));
    user.groups.push(AUTHENTICATED.into());
    Some(user)
}
