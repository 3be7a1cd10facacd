//! Names of properties as CEL identifiers.

use crate::parser::RESERVED;

/// Whether CEL keeps a word for itself, as a keyword or as a literal.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word) || ["true", "false", "null"].contains(&word)
}

const ESCAPES: [(&str, &str); 4] =
    [("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")];

/// The identifier of a property; `None` when there is none.
pub fn escape(name: &str) -> Option<String> {
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let first = name.bytes().next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-/".contains(&b);
    if first.is_ascii_digit() || !name.bytes().all(plain) {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        match ESCAPES.iter().find(|(text, _)| rest.starts_with(text)) {
            Some((text, escaped)) => {
                out.push_str(escaped);
                rest = &rest[text.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Some(out)
}

/// The property that an identifier stands for; `None` when it stands for none.
pub fn unescape(name: &str) -> Option<String> {
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && is_reserved(word)
    {
        return Some(word.to_owned());
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("__") {
        out.push_str(&rest[..at]);
        let (text, escaped) = ESCAPES.iter().find(|(_, escaped)| rest[at..].starts_with(escaped))?;
        out.push_str(text);
        rest = &rest[at + escaped.len()..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for (name, escaped) in [
            ("spec", "spec"),
            ("namespace", "__namespace__"),
            ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
            ("x__y", "x__underscores__y"),
            ("_z", "_z"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped));
            assert_eq!(unescape(escaped).as_deref(), Some(name));
        }
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("a b"), None);
        assert_eq!(unescape("a__b"), None);
    }
}
