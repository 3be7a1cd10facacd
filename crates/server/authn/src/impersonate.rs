//! Impersonation headers: acting as somebody else, for those who are allowed to.
//!
//! This file only reads the headers. Whether the requester may take the identity is asked of the authorizer by the
//! pipeline, part by part, before it is taken.

use meta::Str;

/// The identity that a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonation {
    /// `Impersonate-User`.
    pub user: Str,
    /// Each `Impersonate-Group`.
    pub groups: Vec<Str>,
    /// `Impersonate-Uid`.
    pub uid: Str,
    /// Each `Impersonate-Extra-<key>`, keys in lower case and percent-decoded, sorted.
    pub extra: Vec<(Str, Vec<Str>)>,
}

/// The headers ask for something without naming a user. A 400.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("requested {0} without impersonating a user name")]
pub struct ImpersonationError(String);

impl Impersonation {
    /// Reads the headers; names are compared without case. `None` when there are none.
    pub fn from_headers<'a>(
        headers: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, ImpersonationError> {
        let mut found = Impersonation::default();
        for (name, value) in headers {
            let Some(what) = strip_prefix_ignore_case(name, "impersonate-") else { continue };
            if what.eq_ignore_ascii_case("user") {
                found.user = value.into();
            } else if what.eq_ignore_ascii_case("group") {
                found.groups.push(value.into());
            } else if what.eq_ignore_ascii_case("uid") {
                found.uid = value.into();
            } else if let Some(key) = strip_prefix_ignore_case(what, "extra-") {
                let key = header_value_to_key(key);
                match found.extra.binary_search_by(|(k, _)| k.as_str().cmp(&key)) {
                    Ok(at) => found.extra[at].1.push(value.into()),
                    Err(at) => found.extra.insert(at, (key.into(), vec![value.into()])),
                }
            }
        }
        if found == Impersonation::default() {
            return Ok(None);
        }
        if found.user.is_empty() {
            return Err(ImpersonationError(found.go_syntax()));
        }
        Ok(Some(found))
    }

    /// The requested identity in Go's `%#v` notation, which upstream's message embeds.
    fn go_syntax(&self) -> String {
        let list = |items: &[Str]| {
            let quoted: Vec<String> = items.iter().map(|s| format!("{:?}", s.as_str())).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        };
        let groups = if self.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&self.groups) };
        let extra = if self.extra.is_empty() {
            "map[string][]string(nil)".to_owned()
        } else {
            let entries: Vec<String> =
                self.extra.iter().map(|(k, v)| format!("{:?}:{}", k.as_str(), list(v))).collect();
            format!("map[string][]string{{{}}}", entries.join(", "))
        };
        format!("&user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{groups}, Extra:{extra}}}", self.uid.as_str())
    }
}

/// The key of an extra header: lower case, percent-decoded where that works.
pub fn header_value_to_key(key: &str) -> String {
    let key = key.to_ascii_lowercase();
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).map(|d| d as u8);
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return key,
        }
    }
    String::from_utf8(out).unwrap_or(key)
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<Option<Impersonation>, ImpersonationError> {
        Impersonation::from_headers(headers.iter().copied())
    }

    #[test]
    fn a_user_is_required() {
        let message = |headers| read(headers).unwrap_err().to_string();
        assert_eq!(
            message(&[("Impersonate-Group", "devs")]),
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"devs\"}, Extra:map[string][]string(nil)} without impersonating a user name"
        );
        assert_eq!(
            message(&[("impersonate-extra-a", "b")]),
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string(nil), Extra:map[string][]string{\"a\":[]string{\"b\"}}} without impersonating a user name"
        );
        assert_eq!(read(&[("accept", "x")]), Ok(None));
    }

    #[test]
    fn extra_keys_are_decoded() {
        assert_eq!(header_value_to_key("Example.com%2fKey"), "example.com/key");
        assert_eq!(header_value_to_key("a%zz"), "a%zz");
    }
}
