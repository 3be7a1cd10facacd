//! The strings extension, version 2. Places are counted in characters.

use super::{Call, Row};
use crate::eval::EvalError;
use crate::value::{Text, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    Row { name: "charAt", run: char_at, overloads: &["string_char_at_int: string.(int) -> string"] },
    Row {
        name: "indexOf",
        run: index_of,
        overloads: &[
            "string_index_of_string: string.(string) -> int",
            "string_index_of_string_int: string.(string,int) -> int",
        ],
    },
    Row {
        name: "lastIndexOf",
        run: index_of,
        overloads: &[
            "string_last_index_of_string: string.(string) -> int",
            "string_last_index_of_string_int: string.(string,int) -> int",
        ],
    },
    Row { name: "lowerAscii", run: case, overloads: &["string_lower_ascii: string.() -> string"] },
    Row { name: "upperAscii", run: case, overloads: &["string_upper_ascii: string.() -> string"] },
    Row {
        name: "replace",
        run: replace,
        overloads: &[
            "string_replace_string_string: string.(string,string) -> string",
            "string_replace_string_string_int: string.(string,string,int) -> string",
        ],
    },
    Row {
        name: "split",
        run: split,
        overloads: &[
            "string_split_string: string.(string) -> list(string)",
            "string_split_string_int: string.(string,int) -> list(string)",
        ],
    },
    Row {
        name: "substring",
        run: substring,
        overloads: &[
            "string_substring_int: string.(int) -> string",
            "string_substring_int_int: string.(int,int) -> string",
        ],
    },
    Row { name: "trim", run: trim, overloads: &["string_trim: string.() -> string"] },
    Row {
        name: "join",
        run: join,
        overloads: &[
            "list_join: list(string).() -> string",
            "list_join_string: list(string).(string) -> string",
        ],
    },
    Row { name: "strings.quote", run: quote, overloads: &["strings_quote: (string) -> string"] },
];

fn out_of_range(index: i64) -> EvalError {
    EvalError::new(format!("index out of range: {index}"))
}

fn characters(text: &str) -> i64 {
    text.chars().count() as i64
}

/// The byte at which a character begins; the end for those behind it.
fn byte_of(text: &str, index: i64) -> usize {
    let index = usize::try_from(index).unwrap_or(0);
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

fn char_at<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (text, index) = (call.str(0)?, call.int(1)?);
    if index < 0 || index > characters(text) {
        return Err(out_of_range(index));
    }
    Ok(Value::from(text.chars().nth(index as usize).map(String::from).unwrap_or_default()))
}

fn index_of<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (text, part) = (call.str(0)?, call.str(1)?);
    let size = characters(text);
    let last = call.name == "lastIndexOf";
    let from = if call.args.len() > 2 { Some(call.int(2)?) } else { None };
    // Nothing is found wherever it is looked for, even outside of the text.
    if part.is_empty() {
        return Ok(Value::Int(from.unwrap_or(if last { size } else { 0 })));
    }
    if let Some(from) = from.filter(|from| *from < 0) {
        return Err(out_of_range(from));
    }
    let found = match (last, from) {
        (_, Some(from)) if from >= size => None,
        (false, from) => {
            let start = byte_of(text, from.unwrap_or(0));
            text[start..].find(part).map(|at| start + at)
        }
        (true, None) => text.rfind(part),
        (true, Some(from)) => {
            // The part may begin at `from` at the latest.
            let end = (byte_of(text, from) + part.len()).min(text.len());
            (0..=end).rev().find(|end| text.is_char_boundary(*end)).and_then(|end| text[..end].rfind(part))
        }
    };
    Ok(Value::Int(found.map_or(-1, |at| characters(&text[..at]))))
}

fn case<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = call.str(0)?;
    let lower = call.name == "lowerAscii";
    Ok(Value::from(if lower { text.to_ascii_lowercase() } else { text.to_ascii_uppercase() }))
}

fn replace<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (text, old, new) = (call.str(0)?, call.str(1)?, call.str(2)?);
    let limit = if call.args.len() > 3 { call.int(3)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let places = if old.is_empty() { text.len() + 1 } else { text.len() / old.len() };
    call.meter.make(text.len() + places.min(limit).saturating_mul(new.len()))?;
    Ok(Value::from(text.replacen(old, new, limit)))
}

fn split<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (text, separator) = (call.str(0)?, call.str(1)?);
    let limit = if call.args.len() > 2 { call.int(2)? } else { -1 };
    call.meter.make(text.len().saturating_mul(size_of::<Value<'_>>()))?;
    let limit = match limit {
        0 => return Ok(Value::list(Vec::new())),
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let owned = |part: &str| Value::String(Text::from(part.to_owned()));
    if !separator.is_empty() {
        return Ok(Value::list(text.splitn(limit, separator).map(owned).collect()));
    }
    // Without a separator, each character is a part, and the last one takes the rest.
    let count = text.chars().count().min(limit);
    let last = byte_of(text, count.saturating_sub(1) as i64);
    let mut parts: Vec<Value<'a>> = text[..last].chars().map(|c| Value::from(c.to_string())).collect();
    if count > 0 {
        parts.push(owned(&text[last..]));
    }
    Ok(Value::list(parts))
}

fn substring<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let (text, start) = (call.str(0)?, call.int(1)?);
    let size = characters(text);
    if call.args.len() == 2 {
        if start < 0 || start > size {
            return Err(out_of_range(start));
        }
        return Ok(Value::from(text[byte_of(text, start)..].to_owned()));
    }
    let end = call.int(2)?;
    if start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    if start < 0 || start > size {
        return Err(out_of_range(start));
    }
    if end < 0 || end > size {
        return Err(out_of_range(end));
    }
    Ok(Value::from(text[byte_of(text, start)..byte_of(text, end)].to_owned()))
}

fn trim<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::from(call.str(0)?.trim().to_owned()))
}

fn join<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let list = call.list(0)?;
    let separator = if call.args.len() > 1 { call.str(1)? } else { "" };
    let mut out = String::new();
    for (i, part) in list.iter().enumerate() {
        let Some(part) = part.as_str() else {
            return Err(EvalError::new(format!("join: invalid input: {}", part.type_name())));
        };
        call.meter.make(part.len() + separator.len())?;
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(part);
    }
    Ok(Value::from(out))
}

fn quote<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = call.str(0)?;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(Value::from(out))
}
