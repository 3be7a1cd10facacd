//! The formats of strings that schemas can name, as upstream's registry reads them. Dashes in names do not matter.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;

type Check = fn(&str) -> bool;

const FORMATS: &[(&str, Check)] = &[
    ("bsonobjectid", |s| s.len() == 24 && hexadecimal(s)),
    ("byte", |s| !s.is_empty() && STANDARD.decode(s).is_ok()),
    ("cidr", is_cidr),
    ("creditcard", is_credit_card),
    ("date", is_date),
    ("datetime", is_date_time),
    ("duration", is_duration),
    ("email", is_email),
    ("hexcolor", |s| {
        let digits = s.strip_prefix('#').unwrap_or(s);
        matches!(digits.len(), 3 | 6) && hexadecimal(digits)
    }),
    ("hostname", is_hostname),
    ("ipv4", |s| ipv4_sloppy(s).is_some()),
    ("ipv6", |s| s.contains(':') && s.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |s| is_isbn10(s) || is_isbn13(s)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("k8slongname", |s| s.len() <= 253 && s.split('.').all(is_name_part)),
    ("k8sshortname", |s| s.len() <= 63 && is_name_part(s)),
    ("mac", is_mac),
    ("password", |_| true),
    ("rgbcolor", |s| RGB.is_match(s)),
    ("ssn", |s| SSN.is_match(s)),
    ("uri", is_request_uri),
    ("uuid", |s| is_uuid(s, None)),
    ("uuid3", |s| is_uuid(s, Some('3'))),
    ("uuid4", |s| is_uuid(s, Some('4'))),
    ("uuid5", |s| is_uuid(s, Some('5'))),
];

fn find(format: &str) -> Option<Check> {
    let plain: String = format.chars().filter(|c| *c != '-').collect();
    FORMATS.iter().find(|(name, _)| *name == plain).map(|(_, check)| *check)
}

/// Whether the server knows the format.
pub(crate) fn is_known(format: &str) -> bool {
    find(format).is_some()
}

/// Whether the server knows the format, and it means something for the type.
pub fn is_known_of(type_: &str, format: &str) -> bool {
    match type_ {
        "" | "string" => is_known(format),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// Whether a text has the format; formats that are not known hold for every text.
pub(super) fn holds(format: &str, text: &str) -> bool {
    find(format).is_none_or(|check| check(text))
}

macro_rules! patterns {
    ($($name:ident = $text:expr;)*) => {
        $( static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($text).expect("the pattern is part of the program")); )*
    };
}

patterns! {
    RGB = r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";
    SSN = r"^\d{3}[- ]?\d{2}[- ]?\d{4}$";
    HOST = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    TIME = r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    AMOUNT = r"(\d+)\s*([A-Za-zµ]+)";
    CARD = r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$";
}

fn hexadecimal(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_name_part(s: &str) -> bool {
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = s.as_bytes();
    bytes.first().is_some_and(alnum)
        && bytes.last().is_some_and(alnum)
        && bytes.iter().all(|b| alnum(b) || *b == b'-')
}

/// An IPv4 address whose numbers may begin with zeros.
fn ipv4_sloppy(s: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = s.split('.').collect();
    let [a, b, c, d] = parts[..] else { return None };
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u8>().ok()).flatten()
    };
    Some(Ipv4Addr::new(number(a)?, number(b)?, number(c)?, number(d)?))
}

fn is_cidr(s: &str) -> bool {
    let Some((address, length)) = s.split_once('/') else { return false };
    let max = if ipv4_sloppy(address).is_some() {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    length.bytes().all(|b| b.is_ascii_digit()) && length.parse::<u32>().is_ok_and(|length| length <= max)
}

fn is_hostname(s: &str) -> bool {
    s.len() <= 255 && HOST.is_match(s) && s.split('.').all(|part| part.len() <= 63)
}

/// `RFC 3339` full-date with a day that exists.
fn is_date(s: &str) -> bool {
    let bytes = s.as_bytes();
    let digits = |range: std::ops::Range<usize>| -> Option<u32> {
        let part = s.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (digits(0..4), digits(5..7), digits(8..10)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn is_date_time(s: &str) -> bool {
    let lower = s.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    if !is_date(date) {
        return false;
    }
    TIME.captures(time).is_some_and(|m| &m[1] <= "23" && &m[2] <= "59" && &m[3] <= "59")
}

/// Go's durations, and amounts with units in words: `3 days`.
fn is_duration(s: &str) -> bool {
    if meta::Duration::parse(s).is_ok() {
        return true;
    }
    const EXACT: [&str; 15] =
        ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk", "nano", "micro", "milli", "sec"];
    const BEGINNINGS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let mut any = false;
    for m in AMOUNT.captures_iter(s) {
        if m[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = m[2].to_lowercase();
        any |= EXACT.contains(&unit.as_str()) || BEGINNINGS.iter().any(|b| unit.starts_with(b));
    }
    any
}

/// An address as in mail headers: `name@host`, or `Some One <name@host>`.
fn is_email(s: &str) -> bool {
    let s = s.trim();
    let address = match (s.rfind('<'), s.strip_suffix('>')) {
        (Some(open), Some(_)) => &s[open + 1..s.len() - 1],
        (None, None) => s,
        _ => return false,
    };
    let Some((local, host)) = address.rsplit_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part.split('.').all(|word| {
                !word.is_empty()
                    && word.chars().all(|c| {
                        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
                    })
            })
    };
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let literal = host.starts_with('[') && host.ends_with(']');
    (quoted || atom(local)) && (literal || atom(host))
}

/// An absolute URI or an absolute path.
fn is_request_uri(s: &str) -> bool {
    if s.is_empty() || s.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return false;
    }
    let escapes = s.match_indices('%').all(|(i, _)| {
        s.as_bytes().get(i + 1..i + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes {
        return false;
    }
    if s.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = s.split_once(':') else { return false };
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let authority =
        rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let port_fits = authority.is_none_or(|authority| {
        let host = authority.rsplit('@').next().unwrap_or_default();
        let after = if host.starts_with('[') { host.split(']').nth(1) } else { Some(host) };
        after.is_some_and(|after| {
            let port = after.split_once(':').map_or("", |(_, port)| port);
            port.bytes().all(|b| b.is_ascii_digit())
        })
    });
    scheme_fits && port_fits
}

/// Twelve, sixteen or forty digits in pairs or fours with one separator.
fn is_mac(s: &str) -> bool {
    let (separator, width) = match s.find([':', '-', '.']) {
        Some(2) => (s.as_bytes()[2] as char, 2),
        Some(4) if s.as_bytes()[4] == b'.' => ('.', 4),
        _ => return false,
    };
    if (width == 2) == (separator == '.') {
        return false;
    }
    let parts: Vec<&str> = s.split(separator).collect();
    parts.iter().all(|part| part.len() == width && hexadecimal(part))
        && matches!(parts.len() * width / 2, 6 | 8 | 20)
}

fn is_uuid(s: &str, version: Option<char>) -> bool {
    let mut digits = String::with_capacity(32);
    for (at, c) in s.char_indices() {
        match c {
            // A dash may stand after 8, 12, 16 and 20 digits.
            '-' if matches!(digits.len(), 8 | 12 | 16 | 20) && !s[..at].ends_with('-') => {}
            c if c.is_ascii_hexdigit() => digits.push(c.to_ascii_lowercase()),
            _ => return false,
        }
    }
    let variant = digits.as_bytes().get(16).is_some_and(|b| b"89ab".contains(b));
    digits.len() == 32
        && version.is_none_or(|v| digits.as_bytes()[12] == v as u8)
        && (!matches!(version, Some('4' | '5')) || variant)
}

fn isbn_digits(s: &str) -> String {
    s.chars().filter(|c| !matches!(c, '-' | ' ' | '\t' | '\n')).collect()
}

fn is_isbn10(s: &str) -> bool {
    let digits = isbn_digits(s);
    let bytes = digits.as_bytes();
    if bytes.len() != 10 || !bytes[..9].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let last = match bytes[9] {
        b'X' => 10,
        d if d.is_ascii_digit() => u32::from(d - b'0'),
        _ => return false,
    };
    let sum: u32 = (1..).zip(&bytes[..9]).map(|(weight, d)| weight * u32::from(d - b'0')).sum();
    (sum + 10 * last).is_multiple_of(11)
}

fn is_isbn13(s: &str) -> bool {
    let digits = isbn_digits(s);
    if digits.len() != 13 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let weights = [1, 3].into_iter().cycle();
    weights.zip(digits.bytes()).map(|(weight, d)| weight * u32::from(d - b'0')).sum::<u32>() % 10 == 0
}

fn is_credit_card(s: &str) -> bool {
    let digits: String = s.chars().filter(char::is_ascii_digit).collect();
    if !CARD.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(d - b'0');
            if i % 2 == 0 { d } else { d * 2 / 10 + d * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn formats_hold() {
        let table = [
            ("date-time", "2014-12-15T19:30:20.000Z", "soon"),
            ("date", "2024-02-29", "2023-02-29"),
            ("duration", "1h30m", "long"),
            ("duration", "3 days", "3 apples"),
            ("email", "a@example.com", "a.example.com"),
            ("hostname", "www.example.com", "-a"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:1b:63:84:45:e6", "00:1b:63"),
            ("uuid", "a987fbc9-4bed-3078-cf07-9141ba07c9f3", "a987fbc9"),
            ("uuid4", "57b73598-8764-4ad0-a76a-679bb6640eb1", "a987fbc9-4bed-3078-cf07-9141ba07c9f3"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("hexcolor", "#FFFFFF", "#FFFF"),
            ("rgbcolor", "rgb(100, 30, 12)", "rgb(300,1,1)"),
            ("byte", "YWJj", "a"),
            ("ssn", "111-11-1111", "11-1"),
            ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
            ("uri", "http://example.com/a?b", "no uri"),
            ("k8s-short-name", "a-b", "A"),
            ("unheard-of", "x", ""),
        ];
        for (format, good, bad) in table {
            assert!(holds(format, good), "{format}: {good}");
            assert!(!holds(format, bad) || bad.is_empty(), "{format}: {bad}");
        }
    }
}
