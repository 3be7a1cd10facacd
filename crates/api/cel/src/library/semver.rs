//! Semantic versions.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Opaque, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    Row {
        name: "semver",
        run: semver,
        overloads: &[
            "string_to_semver: (string) -> kubernetes.Semver",
            "string_bool_to_semver: (string,bool) -> kubernetes.Semver",
        ],
    },
    Row {
        name: "isSemver",
        run: is_semver,
        overloads: &["is_semver_string: (string) -> bool", "is_semver_string_bool: (string,bool) -> bool"],
    },
    Row {
        name: "isGreaterThan",
        run: compare,
        overloads: &["semver_is_greater_than: kubernetes.Semver.(kubernetes.Semver) -> bool"],
    },
    Row {
        name: "isLessThan",
        run: compare,
        overloads: &["semver_is_less_than: kubernetes.Semver.(kubernetes.Semver) -> bool"],
    },
    Row {
        name: "compareTo",
        run: compare,
        overloads: &["semver_compare_to: kubernetes.Semver.(kubernetes.Semver) -> int"],
    },
    Row { name: "major", run: number, overloads: &["semver_major: kubernetes.Semver.() -> int"] },
    Row { name: "minor", run: number, overloads: &["semver_minor: kubernetes.Semver.() -> int"] },
    Row { name: "patch", run: number, overloads: &["semver_patch: kubernetes.Semver.() -> int"] },
];

fn parsed(call: &Call<'_, '_>) -> Result<Result<Semver, &'static str>, EvalError> {
    let text = call.str(0)?;
    let normalize = match call.args.get(1) {
        Some(Value::Bool(normalize)) => *normalize,
        Some(_) => return Err(wrong_type(call)),
        None => false,
    };
    Ok(if normalize { normalized(text).and_then(|text| Semver::parse(&text)) } else { Semver::parse(text) })
}

fn semver<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let version = parsed(call)?.map_err(EvalError::new)?;
    Ok(Value::Opaque(Opaque::Semver(Arc::new(version))))
}

fn is_semver<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Bool(parsed(call)?.is_ok()))
}

fn compare<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let [Value::Opaque(Opaque::Semver(one)), Value::Opaque(Opaque::Semver(other))] = call.args else {
        return Err(wrong_type(call));
    };
    let order = one.precedence(other);
    Ok(match call.name {
        "isGreaterThan" => Value::Bool(order == Ordering::Greater),
        "isLessThan" => Value::Bool(order == Ordering::Less),
        _ => Value::Int(order as i64),
    })
}

fn number<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let Some(Value::Opaque(Opaque::Semver(version))) = call.args.first() else {
        return Err(wrong_type(call));
    };
    let index = match call.name {
        "major" => 0,
        "minor" => 1,
        _ => 2,
    };
    Ok(Value::Int(version.numbers[index] as i64))
}

/// A version by the rules of semver.org.
#[derive(Clone, Debug)]
pub struct Semver {
    text: String,
    numbers: [u64; 3],
    pre_release: Vec<String>,
}

impl Semver {
    /// Reads a version; the error is what the reference's library says.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("Version string empty");
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts[..] else { return Err("No Major.Minor.Patch elements found") };
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let pre_release: Vec<String> =
            pre.map_or_else(Vec::new, |pre| pre.split('.').map(str::to_owned).collect());
        let named =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        for part in &pre_release {
            if !named(part) {
                return Err("Invalid character(s) found in prerelease");
            }
            if part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()) {
                return Err("Numeric PreRelease version must not contain leading zeroes");
            }
        }
        if build.is_some_and(|build| !build.split('.').all(named)) {
            return Err("Invalid character(s) found in build meta data");
        }
        let numbers = [number_part(major)?, number_part(minor)?, number_part(patch)?];
        Ok(Self { text: text.to_owned(), numbers, pre_release })
    }

    /// Which comes first; build metadata does not count.
    fn precedence(&self, other: &Self) -> Ordering {
        let identifier = |one: &String, other: &String| match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => one.cmp(other),
        };
        let pre = || match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.pre_release.iter().zip(&other.pre_release);
                pairs
                    .map(|(one, other)| identifier(one, other))
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| self.pre_release.len().cmp(&other.pre_release.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}

impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.precedence(other) == Ordering::Equal
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn number_part(text: &str) -> Result<u64, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("Invalid character(s) found in version number");
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err("Version number must not contain leading zeroes");
    }
    text.parse().map_err(|_| "Version number is too large")
}

/// Takes off a `v` and leading zeros, and puts in the parts that are missing.
fn normalized(text: &str) -> Result<String, &'static str> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            let bare = part.trim_start_matches('0');
            let zero = part.len() > 1 && !bare.starts_with(|c: char| c.is_ascii_digit());
            if part.len() <= 1 { part.to_owned() } else { format!("{}{bare}", if zero { "0" } else { "" }) }
        })
        .collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data");
    }
    while parts.len() < 3 {
        parts.push("0".to_owned());
    }
    Ok(parts.join("."))
}
