//! [`FieldError`]: one finding of validation, with upstream's wording.

use std::fmt;

use crate::{FieldPath, IntOrString, Quantity, Str, Struct, go_quote, quote_join};

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldErrorKind {
    /// A value that should exist elsewhere does not.
    NotFound,
    /// A value is missing.
    Required,
    /// A value that must be unique is there twice.
    Duplicate,
    /// A value breaks a rule.
    Invalid,
    /// A value is not among the allowed ones.
    NotSupported,
    /// A value is not allowed here and now.
    Forbidden,
    /// A value is longer than allowed.
    TooLong,
    /// A value is shorter than allowed.
    TooShort,
    /// A list has more items than allowed.
    TooMany,
    /// A list has fewer items than needed.
    TooFew,
    /// Something else failed.
    Internal,
    /// A value has the wrong type.
    TypeInvalid,
}

impl FieldErrorKind {
    /// The machine-readable reason in a status cause.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }
}

/// The offending value as the message shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadValue {
    /// Not shown.
    Omitted,
    /// Shown as it stands: numbers, booleans, JSON.
    Plain(String),
    /// Shown in quotes.
    Text(String),
}

impl BadValue {
    /// The JSON of a struct.
    pub fn json<T: Struct>(value: &T) -> Self {
        let mut w = crate::json::JsonWriter { as_sent: true, ..Default::default() };
        value.write_json_value(&mut w);
        Self::Plain(String::from_utf8_lossy(&w.out).into_owned())
    }

    /// The JSON of any value that a field can hold: lists, maps, pointers.
    pub fn of<V: crate::Value>(value: &V) -> Self {
        let mut w = crate::json::JsonWriter { as_sent: true, ..Default::default() };
        value.write_json(&mut w);
        Self::Plain(String::from_utf8_lossy(&w.out).into_owned())
    }
}

macro_rules! bad_value {
    (text: $($t:ty)*; plain: $($p:ty)*) => {
        $( impl From<$t> for BadValue { fn from(v: $t) -> Self { Self::Text(v.to_string()) } } )*
        $( impl From<$p> for BadValue { fn from(v: $p) -> Self { Self::Plain(v.to_string()) } } )*
    };
}
bad_value!(text: &str &String String Str &Str; plain: bool i32 i64 u16 u32 u64 usize f64 serde_json::Value &serde_json::Value);

impl From<&Quantity> for BadValue {
    fn from(v: &Quantity) -> Self {
        Self::Plain(go_quote(&v.to_string()))
    }
}

impl From<&IntOrString> for BadValue {
    fn from(v: &IntOrString) -> Self {
        Self::of(v)
    }
}

/// One finding of validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// Where: `spec.containers[0].name`.
    pub field: String,
    /// The offending value.
    pub value: BadValue,
    /// More about it; may be empty.
    pub detail: String,
}

/// Findings in the order in which upstream reports them.
pub type FieldErrors = Vec<FieldError>;

impl FieldError {
    /// Any finding.
    pub fn new(
        kind: FieldErrorKind,
        path: &FieldPath,
        value: impl Into<BadValue>,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, field: path.to_string(), value: value.into(), detail: detail.into() }
    }

    /// A value that should exist elsewhere does not.
    pub fn not_found(path: &FieldPath, value: impl Into<BadValue>) -> Self {
        Self::new(FieldErrorKind::NotFound, path, value, "")
    }

    /// A value is missing.
    pub fn required(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, "", detail)
    }

    /// A value that must be unique is there twice.
    pub fn duplicate(path: &FieldPath, value: impl Into<BadValue>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, value, "")
    }

    /// A value breaks a rule.
    pub fn invalid(path: &FieldPath, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, path, value, detail)
    }

    /// A value has the wrong type.
    pub fn type_invalid(path: &FieldPath, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, path, value, detail)
    }

    /// A value is not among the allowed ones, which the message lists in the order given.
    pub fn not_supported<S: AsRef<str>>(
        path: &FieldPath,
        value: impl Into<BadValue>,
        supported: impl IntoIterator<Item = S>,
    ) -> Self {
        let list = quote_join(supported);
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {list}") };
        Self::new(FieldErrorKind::NotSupported, path, value, detail)
    }

    /// A value is not allowed here and now.
    pub fn forbidden(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, "", detail)
    }

    /// A value is longer than `max` bytes; a negative `max` says only that it is too long.
    pub fn too_long(path: &FieldPath, max: i64) -> Self {
        Self::new(FieldErrorKind::TooLong, path, "<value omitted>", too_long_detail(max, "byte"))
    }

    /// A value is longer than `max` characters.
    pub fn too_long_characters(path: &FieldPath, max: i64) -> Self {
        Self::new(FieldErrorKind::TooLong, path, "<value omitted>", too_long_detail(max, "character"))
    }

    /// A list has `actual` items where `max` are allowed; negative numbers are not shown.
    pub fn too_many(path: &FieldPath, actual: i64, max: i64) -> Self {
        let detail = match max {
            i64::MIN..=-1 => "has too many items".to_owned(),
            1 => "must have at most 1 item".to_owned(),
            _ => format!("must have at most {max} items"),
        };
        let value = if actual < 0 { BadValue::Omitted } else { actual.into() };
        Self::new(FieldErrorKind::TooMany, path, value, detail)
    }

    /// A list has `actual` items where `min` are needed; negative numbers are not shown.
    pub fn too_few(path: &FieldPath, actual: i64, min: i64) -> Self {
        let detail = match min {
            i64::MIN..=-1 => "has too few items".to_owned(),
            1 => "must have at least 1 item".to_owned(),
            _ => format!("must have at least {min} items"),
        };
        let value = if actual < 0 { BadValue::Omitted } else { actual.into() };
        Self::new(FieldErrorKind::TooFew, path, value, detail)
    }

    /// Something else failed.
    pub fn internal(path: &FieldPath, error: impl fmt::Display) -> Self {
        Self::new(FieldErrorKind::Internal, path, BadValue::Omitted, error.to_string())
    }

    /// The message without the field: `Invalid value: "y": msg`.
    pub fn body(&self) -> String {
        use FieldErrorKind as K;
        let mut text = self.kind.words().to_owned();
        if !matches!(self.kind, K::Required | K::Forbidden | K::TooLong | K::TooShort | K::Internal) {
            match &self.value {
                BadValue::Omitted => {}
                BadValue::Plain(v) => text.push_str(&format!(": {v}")),
                BadValue::Text(v) => text.push_str(&format!(": {}", go_quote(v))),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

fn too_long_detail(max: i64, unit: &str) -> String {
    match max {
        i64::MIN..=-1 => "value is too long".to_owned(),
        1 => format!("may not be more than 1 {unit}"),
        _ => format!("may not be more than {max} {unit}s"),
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// Several messages as Go's aggregate prints them: alone, or in brackets, each once.
pub fn aggregate_message<S: AsRef<str>>(messages: impl IntoIterator<Item = S>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for m in messages {
        if !seen.iter().any(|s| s == m.as_ref()) {
            seen.push(m.as_ref().to_owned());
        }
    }
    match &seen[..] {
        [one] => one.clone(),
        _ => format!("[{}]", seen.join(", ")),
    }
}
