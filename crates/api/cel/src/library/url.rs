//! URLs as Go's `net/url` reads them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Key, Map, Opaque, Text, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    Row { name: "url", run: url, overloads: &["string_to_url: (string) -> kubernetes.URL"] },
    Row { name: "isURL", run: is_url, overloads: &["is_url_string: (string) -> bool"] },
    Row { name: "getScheme", run: part, overloads: &["url_get_scheme: kubernetes.URL.() -> string"] },
    Row { name: "getHost", run: part, overloads: &["url_get_host: kubernetes.URL.() -> string"] },
    Row { name: "getHostname", run: part, overloads: &["url_get_hostname: kubernetes.URL.() -> string"] },
    Row { name: "getPort", run: part, overloads: &["url_get_port: kubernetes.URL.() -> string"] },
    Row {
        name: "getEscapedPath",
        run: part,
        overloads: &["url_get_escaped_path: kubernetes.URL.() -> string"],
    },
    Row {
        name: "getQuery",
        run: part,
        overloads: &["url_get_query: kubernetes.URL.() -> map(string,list(string))"],
    },
];

fn url<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = call.str(0)?;
    let parsed = Url::parse(text)
        .map_err(|error| EvalError::new(format!("URL parse error during conversion from string: {error}")))?;
    Ok(Value::Opaque(Opaque::Url(Arc::new(parsed))))
}

fn is_url<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Bool(Url::parse(call.str(0)?).is_ok()))
}

fn part<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Value::Opaque(Opaque::Url(url))) = call.args.first() else { return Err(wrong_type(call)) };
    Ok(Value::from(match call.name {
        "getScheme" => url.scheme.clone(),
        "getHost" => url.host.clone(),
        "getHostname" => url.hostname().to_owned(),
        "getPort" => url.port().to_owned(),
        "getEscapedPath" => url.escaped_path(),
        _ => return Ok(url.query()),
    }))
}

/// A URL in its parts, still escaped.
#[derive(Clone, Debug, PartialEq)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    /// Reads an absolute URL or an absolute path. The error is Go's.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fail = |why: &str| format!("parse {}: {why}", meta::go_quote(text));
        if text.is_empty() {
            return Err(fail("empty url"));
        }
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(fail("net/url: invalid control character in URL"));
        }
        let (scheme, rest) = split_scheme(text).map_err(fail)?;
        let (before_fragment, _) = rest.split_once('#').unwrap_or((rest, ""));
        let (hierarchy, query) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
        if !hierarchy.starts_with('/') {
            if scheme.is_empty() {
                return Err(fail("invalid URI for request"));
            }
            // `mailto:x` has neither host nor path.
            let parts = (String::new(), String::new(), query.to_owned());
            return Ok(Self { text: text.into(), scheme, host: parts.0, path: parts.1, query: parts.2 });
        }
        let authority =
            hierarchy.strip_prefix("//").filter(|rest| !scheme.is_empty() || !rest.starts_with('/'));
        let (host, path) = match authority {
            Some(rest) => {
                let at = rest.find('/').unwrap_or(rest.len());
                (host(&rest[..at]).map_err(|why| fail(&why))?, &rest[at..])
            }
            None => (String::new(), hierarchy),
        };
        unescape(path, false).map_err(|why| fail(&why))?;
        Ok(Self { text: text.into(), scheme, host, path: path.into(), query: query.into() })
    }

    fn hostname(&self) -> &str {
        let bare = self.host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        match bare {
            Some((address, _)) => address,
            None => self.host.split_once(':').map_or(&self.host, |(name, _)| name),
        }
    }

    fn port(&self) -> &str {
        let after = self.host.rfind(']').map_or(0, |at| at + 1);
        self.host[after..].rsplit_once(':').map_or("", |(_, port)| port)
    }

    fn escaped_path(&self) -> String {
        let mut out = String::with_capacity(self.path.len());
        for b in self.path.bytes() {
            if b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&b) {
                out.push(b as char);
            } else {
                out.push_str(&format!("%{b:02X}"));
            }
        }
        out
    }

    fn query<'a>(&self) -> Value<'a> {
        let mut parameters: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Ok(key), Ok(value)) = (unescape(key, true), unescape(value, true)) {
                parameters.entry(Key::String(key.into())).or_default().push(Value::String(Text::from(value)));
            }
        }
        let lists = parameters.into_iter().map(|(key, values)| (key, Value::list(values))).collect();
        Value::Map(Map::Built(Arc::new(lists)))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_scheme(text: &str) -> Result<(String, &str), &'static str> {
    for (at, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn host(authority: &str) -> Result<String, String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("missing ']' in host")?.1,
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let digits = port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    if !port.is_empty() && !digits {
        return Err(format!("invalid port {} after host", meta::go_quote(port)));
    }
    if let Some(bad) =
        host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        return Err(format!("invalid character {} in host name", meta::go_quote(&bad.to_string())));
    }
    unescape(host, false)
}

fn unescape(text: &str, plus: bool) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().enumerate();
    while let Some((at, b)) = bytes.next() {
        match b {
            b'%' => {
                let digits = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let bad = || {
                    let end = (at + 3).min(text.len());
                    let shown = text.get(at..end).unwrap_or("%");
                    format!("invalid URL escape {}", meta::go_quote(shown))
                };
                out.push(digits.ok_or_else(bad)?);
                bytes.next();
                bytes.next();
            }
            b'+' if plus => out.push(b' '),
            b => out.push(b),
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}
