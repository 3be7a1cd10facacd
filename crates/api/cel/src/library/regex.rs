//! Regular expressions, in RE2's language, bounded in size.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

use super::{Call, Row};
use crate::eval::EvalError;
use crate::value::{Text, Value};

/// Largest compiled pattern, in bytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

pub(super) const FUNCTIONS: &[Row] = &[
    Row {
        name: "matches",
        run: matches,
        overloads: &["matches: (string,string) -> bool", "matches_string: string.(string) -> bool"],
    },
    Row { name: "find", run: find, overloads: &["string_find_string: string.(string) -> string"] },
    Row {
        name: "findAll",
        run: find_all,
        overloads: &[
            "string_find_all_string: string.(string) -> list(string)",
            "string_find_all_string_int: string.(string,int) -> list(string)",
        ],
    },
];

/// Compiles a pattern; the error reads as Go's.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .build()
        .map_err(|error| {
            let (why, part) = match error {
                regex::Error::CompiledTooBig(_) => ("expression too large".to_owned(), pattern),
                other => reason(&other.to_string(), pattern),
            };
            format!("error parsing regexp: {why}: `{part}`")
        })
}

/// The last line of the library's explanation, in Go's words where there are such, and the part of the pattern that Go
/// quotes with it.
fn reason<'p>(explanation: &str, pattern: &'p str) -> (String, &'p str) {
    let mut lines = explanation.lines().rev();
    let last = lines.next().unwrap_or_default();
    let last = last.strip_prefix("error: ").unwrap_or(last);
    // The pattern is shown with an indentation of four, and below it a caret.
    let column = lines.next().and_then(|line| line.find('^')?.checked_sub(4));
    let rest = column
        .filter(|_| !pattern.contains('\n'))
        .and_then(|column| pattern.char_indices().nth(column))
        .map_or(pattern, |(at, _)| &pattern[at..]);
    let (why, part) = match last {
        "unclosed group" => ("missing closing )", pattern),
        "unopened group" => ("unexpected )", pattern),
        "unclosed character class" => ("missing closing ]", rest),
        "repetition operator missing expression" => {
            let lazy = rest.chars().nth(1) == Some('?');
            let operator = rest.get(..1 + usize::from(lazy)).unwrap_or(rest);
            ("missing argument to repetition operator", operator)
        }
        other => (other, pattern),
    };
    (why.to_owned(), part)
}

/// Patterns that expressions make as they run, compiled: of what is short, the last so many of the process.
static RECENT: LazyLock<Mutex<Recent>> = LazyLock::new(Mutex::default);
type Recent = VecDeque<(Box<str>, Regex)>;
const RECENT_MAX: usize = 32;
const RECENT_BYTES_MAX: usize = 256;

/// The same as [`compile`], from memory where it may.
fn compiled(pattern: &str, make: impl FnOnce() -> Result<(), EvalError>) -> Result<Regex, EvalError> {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, regex)) = recent.iter().find(|(known, _)| **known == *pattern) {
        return Ok(regex.clone());
    }
    drop(recent);
    make()?;
    let regex = compile(pattern).map_err(EvalError::new)?;
    if pattern.len() <= RECENT_BYTES_MAX {
        recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        recent.truncate(RECENT_MAX - 1);
        recent.push_front((pattern.into(), regex.clone()));
    }
    Ok(regex)
}

fn pattern<'c>(call: &Call<'c, '_>) -> Result<Cow<'c, Regex>, EvalError> {
    match call.regex {
        Some(regex) => Ok(Cow::Borrowed(regex)),
        None => {
            let text = call.str(1)?;
            compiled(text, || call.meter.make(text.len().saturating_mul(256))).map(Cow::Owned)
        }
    }
}

fn matches<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = call.str(0)?;
    Ok(Value::Bool(pattern(call)?.is_match(text)))
}

fn find<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = call.str(0)?;
    Ok(Value::from(pattern(call)?.find(text).map_or("", |found| found.as_str()).to_owned()))
}

fn find_all<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = call.str(0)?;
    let limit = if call.args.len() > 2 { call.int(2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    call.meter.make(text.len().min(limit).saturating_mul(size_of::<Value<'_>>()))?;
    let regex = pattern(call)?;
    let found = regex.find_iter(text).take(limit);
    Ok(Value::list(found.map(|found| Value::String(Text::from(found.as_str().to_owned()))).collect()))
}
