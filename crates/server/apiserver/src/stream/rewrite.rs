//! Links in what a proxied backend answers: a page that was written for its own host gets the proxy's path before its
//! absolute paths, so that its links lead through the proxy again. Pure.

use std::borrow::Cow;

/// Attributes that hold a URL, by element.
const URL_ATTRIBUTES: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text, whatever it looks like.
const RAW_TEXT: [&str; 4] = ["script", "style", "textarea", "title"];

/// Where a page came from, and where it is shown.
pub(crate) struct Place<'a> {
    /// The request's path up to and with `/proxy`.
    pub(crate) prefix: &'a str,
    /// Host and port of the backend.
    pub(crate) backend: &'a str,
    /// Host and port by which the client asked.
    pub(crate) asked: &'a str,
}

impl Place<'_> {
    /// The URL as it must read behind the proxy. Relative ones and those of other hosts stay.
    pub(crate) fn url<'u>(&self, url: &'u str) -> Cow<'u, str> {
        let (host, path) =
            match url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")) {
                Some((_, rest)) => match rest.find(['/', '?', '#']) {
                    Some(at) => rest.split_at(at),
                    None => (rest, ""),
                },
                None => match url.strip_prefix("//") {
                    Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
                    None => ("", url),
                },
            };
        let ours = host.is_empty() || host == self.backend || host == self.asked;
        if !ours || !path.starts_with('/') {
            return Cow::Borrowed(url);
        }
        match path.starts_with(self.prefix) {
            true => Cow::Owned(path.to_owned()),
            false => Cow::Owned(format!("{}{path}", self.prefix)),
        }
    }

    /// The page with its links leading through the proxy. Everything else stays byte for byte.
    pub(crate) fn html(&self, page: &str) -> String {
        let mut out = String::with_capacity(page.len() + 256);
        let mut rest = page;
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(comment) = rest.strip_prefix("<!--") {
                // One that does not end takes the rest of the page, as in a browser.
                let end = comment.find("-->").map_or(rest.len(), |end| "<!--".len() + end + "-->".len());
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            let name = element(rest);
            if name.is_empty() {
                out.push('<');
                rest = &rest[1..];
                continue;
            }
            let length = self.tag(rest, &name, &mut out);
            rest = &rest[length..];
            if RAW_TEXT.contains(&name.as_str()) {
                let end = find_ignoring_case(rest, &format!("</{name}")).unwrap_or(rest.len());
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
        out.push_str(rest);
        out
    }

    /// Copies the start tag that `text` begins with; returns its length.
    fn tag(&self, text: &str, name: &str, out: &mut String) -> usize {
        let attributes = URL_ATTRIBUTES.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, a)| a);
        let bytes = text.as_bytes();
        let mut at = 1 + name.len();
        out.push_str(&text[..at]);
        while at < bytes.len() && bytes[at] != b'>' {
            let start = at;
            while at < bytes.len() && (bytes[at].is_ascii_whitespace() || bytes[at] == b'/') {
                at += 1;
            }
            let key_start = at;
            while at < bytes.len()
                && !bytes[at].is_ascii_whitespace()
                && !matches!(bytes[at], b'=' | b'>' | b'/')
            {
                at += 1;
            }
            let key = &text[key_start..at];
            while at < bytes.len() && bytes[at].is_ascii_whitespace() {
                at += 1;
            }
            if bytes.get(at) != Some(&b'=') {
                out.push_str(&text[start..at]);
                // Something that is no attribute at all must not hold us up.
                if at == start {
                    let next = text[at..].chars().next().map_or(1, char::len_utf8);
                    out.push_str(&text[at..at + next]);
                    at += next;
                }
                continue;
            }
            at += 1;
            while at < bytes.len() && bytes[at].is_ascii_whitespace() {
                at += 1;
            }
            let quote = bytes.get(at).copied().filter(|b| matches!(b, b'"' | b'\''));
            at += usize::from(quote.is_some());
            let value_start = at;
            while at < bytes.len()
                && match quote {
                    Some(quote) => bytes[at] != quote,
                    None => !bytes[at].is_ascii_whitespace() && bytes[at] != b'>',
                }
            {
                at += 1;
            }
            out.push_str(&text[start..value_start]);
            let value = &text[value_start..at];
            match attributes.iter().any(|a| a.eq_ignore_ascii_case(key)) {
                true => out.push_str(&self.url(value)),
                false => out.push_str(value),
            }
            if quote.is_some() && at < bytes.len() {
                out.push_str(&text[at..=at]);
                at += 1;
            }
        }
        if at < bytes.len() {
            out.push('>');
            at += 1;
        }
        at
    }
}

/// The element's name in lower case, if `text` begins with a start tag.
fn element(text: &str) -> String {
    let name = text[1..].bytes().take_while(u8::is_ascii_alphanumeric);
    let name: String = name.map(|b| char::from(b.to_ascii_lowercase())).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { String::new() }
}

fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes().windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { prefix: "/api/v1/x/proxy", backend: "10.0.0.1:80", asked: "server:6443" };

    #[test]
    fn urls() {
        for (url, want) in [
            ("/a", "/api/v1/x/proxy/a"),
            ("/", "/api/v1/x/proxy/"),
            ("a/b", "a/b"),
            ("", ""),
            ("#top", "#top"),
            ("http://10.0.0.1:80/a?b=c#d", "/api/v1/x/proxy/a?b=c#d"),
            ("https://server:6443/a", "/api/v1/x/proxy/a"),
            ("//10.0.0.1:80/a", "/api/v1/x/proxy/a"),
            ("http://example.com/a", "http://example.com/a"),
            ("//example.com", "//example.com"),
            ("/api/v1/x/proxy/a", "/api/v1/x/proxy/a"),
            ("mailto:a@b", "mailto:a@b"),
        ] {
            assert_eq!(PLACE.url(url), want, "{url}");
        }
    }

    #[test]
    fn pages() {
        for (page, want) in [
            ("<a href=\"/x\">t</a>", "<a href=\"/api/v1/x/proxy/x\">t</a>"),
            ("<A class=c HREF = '/x' >t", "<A class=c HREF = '/api/v1/x/proxy/x' >t"),
            ("<img src=/x/><p title=\"/x\">", "<img src=/api/v1/x/proxy/x/><p title=\"/x\">"),
            ("<!-- <a href=\"/x\"> -->", "<!-- <a href=\"/x\"> -->"),
            (
                "<script>'<a href=\"/x\">'</SCRIPT><a href='/x'>",
                "<script>'<a href=\"/x\">'</SCRIPT><a href='/api/v1/x/proxy/x'>",
            ),
            ("1 < 2 <ü <a href=\"/x", "1 < 2 <ü <a href=\"/api/v1/x/proxy/x"),
            ("<a =\"/x\" ü='/x' href", "<a =\"/x\" ü='/x' href"),
            ("<", "<"),
            ("<!-- open", "<!-- open"),
        ] {
            assert_eq!(PLACE.html(page), want, "{page}");
        }
    }
}
