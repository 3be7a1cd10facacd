//! Functions that take regular expressions, in RE2's language.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

use super::{Call, Row};
use crate::eval::EvalError;
use crate::value::{Text, Value};

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
    crate::pattern::compile(pattern).map_err(|error| error.to_string())
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
