//! Query parameters, percent-decoded, in order.

/// A parsed query string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what follows the `?`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Query(pairs.collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean as the API reads one: given without value, or with any value but `0` and `false`, it is true.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "0" | "false"))
    }

    /// Whether the parameter is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A parameter as an integer; the error is Go's.
    pub fn integer(&self, key: &str) -> Result<Option<i64>, String> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|error: std::num::ParseIntError| {
                use std::num::IntErrorKind::{NegOverflow, PosOverflow};
                let far = matches!(error.kind(), PosOverflow | NegOverflow);
                let why = if far { "value out of range" } else { "invalid syntax" };
                format!("strconv.ParseInt: parsing {}: {why}", meta::go_quote(text))
            }),
        }
    }
}

/// Percent-decodes; `form` turns `+` into a space. Bytes that are no UTF-8 are replaced.
pub fn decode(text: &str, form: bool) -> String {
    if !text.bytes().any(|b| b == b'%' || (form && b == b'+')) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).map(|d| d as u8);
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', ..) if form => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let q = Query::parse("a=1&b=x%2Cy+z&c&a=2&watch=false");
        assert_eq!(q.get("b"), Some("x,y z"));
        assert_eq!(q.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(q.flag("c") && !q.flag("watch") && !q.flag("none"));
        assert_eq!(q.integer("a"), Ok(Some(1)));
        assert_eq!(q.integer("b").unwrap_err(), "strconv.ParseInt: parsing \"x,y z\": invalid syntax");
        assert_eq!(decode("%zz%41", false), "%zzA");
    }
}
