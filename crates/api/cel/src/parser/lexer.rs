//! Text to tokens. What no token starts with is reported and skipped as the reference's lexer does.

use crate::source::Problem;

/// Kinds of tokens, in the order in which messages list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Eof,
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    String,
    Bytes,
    Ident,
    EscapedIdent,
}

/// Punctuation, longest first where one begins another.
const PUNCTUATION: [(&str, Kind); 24] = [
    ("==", Kind::Equals),
    ("!=", Kind::NotEquals),
    ("<=", Kind::LessEquals),
    (">=", Kind::GreaterEquals),
    ("&&", Kind::And),
    ("||", Kind::Or),
    ("<", Kind::Less),
    (">", Kind::Greater),
    ("[", Kind::OpenBracket),
    ("]", Kind::CloseBracket),
    ("{", Kind::OpenBrace),
    ("}", Kind::CloseBrace),
    ("(", Kind::OpenParen),
    (")", Kind::CloseParen),
    (".", Kind::Dot),
    (",", Kind::Comma),
    ("-", Kind::Minus),
    ("!", Kind::Not),
    ("?", Kind::Question),
    (":", Kind::Colon),
    ("+", Kind::Plus),
    ("*", Kind::Star),
    ("/", Kind::Slash),
    ("%", Kind::Percent),
];

impl Kind {
    /// How messages name the kind.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Eof => "<EOF>",
            Kind::In => "'in'",
            Kind::True => "'true'",
            Kind::False => "'false'",
            Kind::Null => "'null'",
            Kind::Float => "NUM_FLOAT",
            Kind::Int => "NUM_INT",
            Kind::Uint => "NUM_UINT",
            Kind::String => "STRING",
            Kind::Bytes => "BYTES",
            Kind::Ident => "IDENTIFIER",
            Kind::EscapedIdent => "ESC_IDENTIFIER",
            Kind::Equals => "'=='",
            Kind::NotEquals => "'!='",
            Kind::Less => "'<'",
            Kind::LessEquals => "'<='",
            Kind::GreaterEquals => "'>='",
            Kind::Greater => "'>'",
            Kind::And => "'&&'",
            Kind::Or => "'||'",
            Kind::OpenBracket => "'['",
            Kind::CloseBracket => "']'",
            Kind::OpenBrace => "'{'",
            Kind::CloseBrace => "'}'",
            Kind::OpenParen => "'('",
            Kind::CloseParen => "')'",
            Kind::Dot => "'.'",
            Kind::Comma => "','",
            Kind::Minus => "'-'",
            Kind::Not => "'!'",
            Kind::Question => "'?'",
            Kind::Colon => "':'",
            Kind::Plus => "'+'",
            Kind::Star => "'*'",
            Kind::Slash => "'/'",
            Kind::Percent => "'%'",
        }
    }
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Its first byte.
    pub start: usize,
    /// Its first character.
    pub at: u32,
}

/// All tokens of `source`, the last one being [`Kind::Eof`].
pub fn tokens<'a>(source: &'a str, problems: &mut Vec<Problem>) -> Vec<Token<'a>> {
    let mut out = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(first) = source[start..].chars().next() {
        let rest = &source[start..];
        let scanned = scan(rest, first);
        let length = match scanned {
            Scan::Skip(length) => length,
            Scan::Token(kind, length) => {
                out.push(Token { kind, text: &rest[..length], start, at });
                length
            }
            Scan::Bad(length) => {
                let text = quote(&rest[..length]);
                let message = format!("Syntax error: token recognition error at: {text}");
                problems.push(Problem { at: Some(at), message });
                length
            }
        };
        at += rest[..length].chars().count() as u32;
        start += length;
    }
    out.push(Token { kind: Kind::Eof, text: "<EOF>", start, at });
    out
}

/// Text in single quotes, with white space spelled out.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

/// What begins here, with its length in bytes.
enum Scan {
    /// White space or a comment.
    Skip(usize),
    Token(Kind, usize),
    /// No token; this much is given up.
    Bad(usize),
}

fn scan(rest: &str, first: char) -> Scan {
    let bytes = rest.as_bytes();
    match first {
        ' ' | '\t' | '\r' | '\n' | '\u{c}' => {
            return Scan::Skip(prefix(rest, |b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0xc)));
        }
        '/' if bytes.get(1) == Some(&b'/') => return Scan::Skip(rest.find('\n').unwrap_or(rest.len())),
        '0'..='9' => return number(rest),
        '.' if bytes.get(1).is_some_and(u8::is_ascii_digit) => return number(rest),
        '"' | '\'' => {
            return match string(rest) {
                Ok(length) => Scan::Token(Kind::String, length),
                Err(length) => Scan::Bad(length),
            };
        }
        '`' => {
            let inside = prefix(&rest[1..], |b| b.is_ascii_alphanumeric() || b"_.-/ ".contains(&b));
            return match bytes.get(inside + 1) {
                Some(b'`') if inside > 0 => Scan::Token(Kind::EscapedIdent, inside + 2),
                _ => Scan::Bad(upto(rest, inside + 1)),
            };
        }
        'A'..='Z' | 'a'..='z' | '_' => return word(rest),
        _ => {}
    }
    if let Some((text, kind)) = PUNCTUATION.iter().find(|(text, _)| rest.starts_with(text)) {
        return Scan::Token(*kind, text.len());
    }
    // `&`, `|` and `=` begin a token, so that what follows is given up with them.
    Scan::Bad(upto(rest, if matches!(first, '&' | '|' | '=') { 1 } else { 0 }))
}

/// The end of the character at byte `at`, or of the text.
fn upto(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.chars().next()).map_or(text.len(), |c| at + c.len_utf8())
}

fn prefix(text: &str, accept: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|b| !accept(b)).unwrap_or(text.len())
}

fn word(rest: &str) -> Scan {
    let bytes = rest.as_bytes();
    let quoted = |at: usize| matches!(bytes.get(at), Some(b'"' | b'\''));
    let raw = |at: usize| matches!(bytes.get(at), Some(b'r' | b'R')) && quoted(at + 1);
    let is_bytes = matches!(bytes[0], b'b' | b'B') && (quoted(1) || raw(1));
    if raw(0) || is_bytes {
        let skipped = usize::from(is_bytes);
        let kind = if is_bytes { Kind::Bytes } else { Kind::String };
        let found = if raw(skipped) {
            raw_string(&rest[skipped + 1..]).map(|n| n + 1)
        } else {
            string(&rest[skipped..]).ok()
        };
        if let Some(length) = found {
            return Scan::Token(kind, length + skipped);
        }
    }
    let length = prefix(rest, |b| b.is_ascii_alphanumeric() || b == b'_');
    let kind = match &rest[..length] {
        "in" => Kind::In,
        "true" => Kind::True,
        "false" => Kind::False,
        "null" => Kind::Null,
        _ => Kind::Ident,
    };
    Scan::Token(kind, length)
}

fn number(rest: &str) -> Scan {
    let digits = |at: usize| prefix(&rest[at..], |b| b.is_ascii_digit());
    let at = |i: usize| rest.as_bytes().get(i).copied();
    let unsigned = |end: usize| matches!(at(end), Some(b'u' | b'U'));
    if let Some(after) = rest.strip_prefix("0x") {
        let hex = prefix(after, |b| b.is_ascii_hexdigit());
        if hex > 0 {
            let end = hex + 2;
            return if unsigned(end) {
                Scan::Token(Kind::Uint, end + 1)
            } else {
                Scan::Token(Kind::Int, end)
            };
        }
    }
    let whole = digits(0);
    let mut end = whole;
    let mut float = false;
    if at(end) == Some(b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
        float = true;
    }
    if matches!(at(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(at(end + 1), Some(b'+' | b'-')));
        let from = end + 1 + sign;
        let exponent = if from <= rest.len() { digits(from) } else { 0 };
        if exponent > 0 {
            end = from + exponent;
            float = true;
        }
    }
    match float {
        true => Scan::Token(Kind::Float, end),
        false if unsigned(end) => Scan::Token(Kind::Uint, end + 1),
        false => Scan::Token(Kind::Int, end),
    }
}

/// The length of the string literal that begins here, or of what must be given up.
fn string(rest: &str) -> Result<usize, usize> {
    let quote = rest.as_bytes()[0];
    let triple = if quote == b'"' { "\"\"\"" } else { "'''" };
    if rest.starts_with(triple)
        && let Ok(length) = body(&rest[3..], |at| at.starts_with(triple), |_| false)
    {
        return Ok(length + 6);
    }
    body(&rest[1..], |at| at.as_bytes()[0] == quote, |c| matches!(c, '\n' | '\r'))
        .map(|length| length + 2)
        .map_err(|length| length + 1)
}

/// The length of a raw string literal, `None` when it does not end.
fn raw_string(rest: &str) -> Option<usize> {
    let quote = &rest[..1];
    let triple = quote.repeat(3);
    if rest.starts_with(&triple)
        && let Some(length) = rest[3..].find(&triple)
    {
        return Some(length + 6);
    }
    let length = rest[1..].find([quote.chars().next()?, '\n', '\r'])?;
    rest[1 + length..].starts_with(quote).then_some(length + 2)
}

/// The bytes before the end of a string that may hold escapes, or how much must be given up.
fn body(rest: &str, ends: impl Fn(&str) -> bool, forbidden: impl Fn(char) -> bool) -> Result<usize, usize> {
    let mut at = 0;
    while let Some(c) = rest[at..].chars().next() {
        if ends(&rest[at..]) {
            return Ok(at);
        }
        if c == '\\' {
            at += escape(&rest[at..]).map_err(|bad| at + bad)?;
        } else if forbidden(c) {
            return Err(at + c.len_utf8());
        } else {
            at += c.len_utf8();
        }
    }
    Err(rest.len())
}

/// The length of an escape sequence, or the end of the character that spoils it.
fn escape(rest: &str) -> Result<usize, usize> {
    let at = |i: usize| rest.as_bytes().get(i).copied();
    let hex = |count: usize| (2, count, (|b| b.is_ascii_hexdigit()) as fn(u8) -> bool);
    let (from, count, accept) = match at(1) {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => {
            return Ok(2);
        }
        Some(b'x' | b'X') => hex(2),
        Some(b'u') => hex(4),
        Some(b'U') => hex(8),
        Some(b'0'..=b'3') => (2, 2, (|b| (b'0'..=b'7').contains(&b)) as fn(u8) -> bool),
        _ => return Err(upto(rest, 1)),
    };
    match (from..from + count).find(|i| !at(*i).is_some_and(accept)) {
        Some(bad) => Err(upto(rest, bad)),
        None => Ok(from + count),
    }
}
