//! Formats of names: each check answers with the messages that Kubernetes gives, none when the value is fine.
//!
//! The regular expressions appear in messages only; matching is by hand, since these run for every
//! name of every request.

use std::borrow::Cow;

/// What is wrong with a value; empty when nothing is.
pub type Messages = Vec<Cow<'static, str>>;

/// A check of a name. The flag says that the name is a `generateName` prefix, to which a suffix is added later.
pub type NameCheck = fn(&str, bool) -> Messages;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const SUBDOMAIN_UNDERSCORE: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const WILDCARD: &str = r"a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
const HTTP_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

/// The message for text of more than `max` bytes.
pub fn max_length(max: usize) -> Cow<'static, str> {
    format!("must be no more than {max} characters").into()
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// Whether `s` is not empty, begins and ends with what `edge` accepts and has only `edge` or `inner` between.
fn bounded(s: &str, edge: impl Fn(u8) -> bool, inner: &[u8]) -> bool {
    match s.as_bytes() {
        [] => false,
        bytes @ [first, .., last] => {
            edge(*first) && edge(*last) && bytes.iter().all(|b| edge(*b) || inner.contains(b))
        }
        [only] => edge(*only),
    }
}

fn is_label(s: &str) -> bool {
    bounded(s, lower_alnum, b"-")
}

fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label)
}

fn is_qualified_part(s: &str) -> bool {
    bounded(s, |b| b.is_ascii_alphanumeric(), b"-_.")
}

/// A DNS label of RFC 1123: up to 63 of `a-z0-9-`.
pub fn dns_label(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 63 {
        out.push(max_length(63));
    }
    if !is_label(value) {
        out.push(if is_subdomain(value) { "must not contain dots" } else { LABEL }.into());
    }
    out
}

/// A DNS subdomain of RFC 1123: labels joined by dots, up to 253 bytes.
pub fn dns_subdomain(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 253 {
        out.push(max_length(253));
    }
    if !is_subdomain(value) {
        out.push(SUBDOMAIN.into());
    }
    out
}

/// A DNS subdomain whose labels may hold and begin with underscores.
pub fn dns_subdomain_underscore(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 253 {
        out.push(max_length(253));
    }
    if !value.split('.').all(|part| bounded(part.strip_prefix('_').unwrap_or(part), lower_alnum, b"-_")) {
        out.push(SUBDOMAIN_UNDERSCORE.into());
    }
    out
}

/// A DNS label of RFC 1035: begins with a letter.
pub fn dns_1035_label(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 63 {
        out.push(max_length(63));
    }
    if !(is_label(value) && value.as_bytes()[0].is_ascii_lowercase()) {
        out.push(LABEL_1035.into());
    }
    out
}

/// `*.` and a DNS subdomain.
pub fn wildcard_subdomain(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 253 {
        out.push(max_length(253));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        out.push(WILDCARD.into());
    }
    out
}

/// A label key: an optional DNS subdomain and `/`, then up to 63 of `A-Za-z0-9-_.`.
pub fn qualified_name(value: &str) -> Messages {
    let mut out = Messages::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".into());
            } else {
                out.extend(dns_subdomain(prefix).into_iter().map(|m| Cow::from(format!("prefix part {m}"))));
            }
            name
        }
        _ => {
            return vec![
                format!("a valid label key {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")
                    .into(),
            ];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 bytes".into());
    }
    if !is_qualified_part(name) {
        out.push(format!("name part {QUALIFIED}").into());
    }
    out
}

/// The value of a label: empty, or up to 63 of `A-Za-z0-9-_.`.
pub fn label_value(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 63 {
        out.push("must be no more than 63 bytes".into());
    }
    if !value.is_empty() && !is_qualified_part(value) {
        out.push(LABEL_VALUE.into());
    }
    out
}

/// An identifier of the C language.
pub fn c_identifier(value: &str) -> Messages {
    let ok = value
        .bytes()
        .enumerate()
        .all(|(i, b)| b == b'_' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit()));
    if ok && !value.is_empty() { Messages::new() } else { vec![C_IDENTIFIER.into()] }
}

/// The name of a port: up to 15 of `a-z0-9-`, at least one letter.
pub fn port_name(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 15 {
        out.push(max_length(15));
    }
    if value.is_empty() || !value.bytes().all(|b| lower_alnum(b) || b == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        out.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        out.push("must not begin or end with a hyphen".into());
    }
    out
}

/// A port number.
pub fn port_number(value: i64) -> Messages {
    if (1..=65535).contains(&value) {
        Messages::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".into()]
    }
}

/// A key of a ConfigMap or Secret.
pub fn config_key(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.len() > 253 {
        out.push(max_length(253));
    }
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        out.push(CONFIG_KEY.into());
    }
    out.extend(leading_dots(value));
    out
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn env_name(value: &str) -> Messages {
    let mut out = Messages::new();
    if value.is_empty() {
        out.push("environment variable name must be non-empty".into());
    }
    if value.bytes().any(|b| !(0x20..0x7f).contains(&b) || b == b'=') {
        out.push(ENV_NAME.into());
    }
    out
}

/// A percentage such as `25%`.
pub fn percent(value: &str) -> Messages {
    let digits = value.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        Messages::new()
    } else {
        vec![PERCENT.into()]
    }
}

/// The name of an HTTP header.
pub fn http_header(value: &str) -> Messages {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Messages::new()
    } else {
        vec![HTTP_HEADER.into()]
    }
}

/// The characters of the path part of an HTTP URL, as `IsDomainPrefixedPath` accepts them.
pub fn http_path_ok(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b))
}

fn leading_dots(value: &str) -> Option<Cow<'static, str>> {
    match value {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        v if v.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// What may stand as one segment of a request path.
pub fn path_segment(value: &str, prefix: bool) -> Messages {
    if !prefix && (value == "." || value == "..") {
        return vec![format!("may not be '{value}'").into()];
    }
    ["/", "%"]
        .iter()
        .filter(|c| value.contains(**c))
        .map(|c| format!("may not contain '{c}'").into())
        .collect()
}

/// A prefix that ends in a dash is judged as if its last two characters were a letter.
fn masked(name: &str, prefix: bool) -> Cow<'_, str> {
    if prefix && name.len() > 1 && name.ends_with('-') && name.is_char_boundary(name.len() - 2) {
        format!("{}a", &name[..name.len() - 2]).into()
    } else {
        name.into()
    }
}

/// Names that must be DNS subdomains.
pub fn name_subdomain(name: &str, prefix: bool) -> Messages {
    dns_subdomain(&masked(name, prefix))
}

/// Names that must be DNS labels.
pub fn name_label(name: &str, prefix: bool) -> Messages {
    dns_label(&masked(name, prefix))
}

/// Names that must be DNS labels of RFC 1035.
pub fn name_1035_label(name: &str, prefix: bool) -> Messages {
    dns_1035_label(&masked(name, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (ok, bad) in [
            (dns_label as fn(&str) -> Messages, ["a-1", "9", "x"], ["", "-a", "a.b"]),
            (dns_subdomain, ["a.b", "9.x-y", "a"], ["", "a..b", "A"]),
            (qualified_name, ["a.b/C_d", "a", "X.y"], ["a b", "/x", "a/b/c"]),
            (label_value, ["", "A_b", "1"], ["-", "a b", "x!"]),
            (port_name, ["http", "a-1", "9p"], ["", "1", "a--b"]),
            (env_name, ["a b", "1", "x.y"], ["", "a=b", "é"]),
            (percent, ["1%", "100%", "0%"], ["%", "1", "a%"]),
        ]
        .map(|(f, good, bad)| ((f, good), (f, bad)))
        {
            for v in ok.1 {
                assert_eq!(ok.0(v), Messages::new(), "{v}");
            }
            for v in bad.1 {
                assert!(!bad.0(v).is_empty(), "{v}");
            }
        }
    }

    #[test]
    fn prefixes_may_end_in_a_dash() {
        assert!(name_subdomain("web-", true).is_empty());
        assert!(!name_subdomain("web-", false).is_empty());
    }
}
