//! Tokens of the label selector language.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "(" => Token::Open,
        _ => return None,
    })
}

/// Splits the text; the last token is always [`Token::End`].
pub(super) fn scan(text: &str) -> Vec<(Token, String)> {
    let mut out = Vec::new();
    // A NUL ends the text, as it does upstream.
    let mut rest = text.split('\0').next().unwrap_or_default();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else {
            out.push((Token::End, String::new()));
            return out;
        };
        if is_symbol(first) {
            let run = rest.find(|c| !is_symbol(c)).unwrap_or(rest.len());
            // The longest known symbol that begins the run: all are one or two bytes.
            let len = if run >= 2 && symbol(&rest[..2]).is_some() { 2 } else { 1 };
            out.push(match symbol(&rest[..len]) {
                Some(token) => (token, rest[..len].to_owned()),
                None => (Token::Error, format!("error expected: keyword found '{}'", &rest[..run])),
            });
            rest = &rest[len..];
        } else {
            let end =
                rest.find(|c| is_symbol(c) || matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(rest.len());
            let word = &rest[..end];
            let token = match word {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            out.push((token, word.to_owned()));
            rest = &rest[end..];
        }
    }
}
