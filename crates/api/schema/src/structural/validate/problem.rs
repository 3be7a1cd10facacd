//! The findings of a walk, and what clients read of them.

use std::collections::HashSet;

use meta::{BadValue, FieldError, FieldErrorKind, FieldPath};
use serde_json::Value;

use super::super::place::Place;
use super::super::{bad, shown};

/// Findings that are kept of one walk; what comes after them does not help anybody.
const FINDINGS_MAX: usize = 1000;

struct Problem {
    kind: FieldErrorKind,
    /// Where, without the leading dot; nothing for findings that only have a text.
    name: Option<String>,
    value: BadValue,
    detail: String,
    /// Tells equal findings apart.
    text: String,
}

/// What was found, and how many checks went well.
#[derive(Default)]
pub(super) struct Findings {
    problems: Vec<Problem>,
    /// Checks that were made without finding anything.
    pub(super) matches: usize,
}

impl Findings {
    pub(super) fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn count(&mut self) {
        self.matches += 1;
    }

    pub(super) fn forgive(&mut self) {
        self.problems.clear();
    }

    pub(super) fn merge(&mut self, other: Findings) {
        self.matches += other.matches;
        let room = FINDINGS_MAX.saturating_sub(self.problems.len());
        self.problems.extend(other.problems.into_iter().take(room));
    }

    pub(super) fn merge_some(&mut self, other: Option<Findings>) {
        if let Some(other) = other {
            self.merge(other);
        }
    }

    fn push(&mut self, kind: FieldErrorKind, at: &Place<'_>, value: BadValue, text: String) {
        if self.problems.len() < FINDINGS_MAX {
            let name = Some(at.to_string());
            self.problems.push(Problem { kind, name, value, detail: text.clone(), text });
        }
    }

    /// A finding with a text alone.
    pub(super) fn other(&mut self, text: String) {
        if self.problems.len() < FINDINGS_MAX {
            let (kind, value) = (FieldErrorKind::Invalid, BadValue::Text(String::new()));
            self.problems.push(Problem { kind, name: None, value, detail: text.clone(), text });
        }
    }

    pub(super) fn invalid(&mut self, at: &Place<'_>, value: BadValue, rest: &str) {
        self.push(FieldErrorKind::Invalid, at, value, format!("{at} in body {rest}"));
    }

    pub(super) fn invalid_text(&mut self, at: &Place<'_>, value: BadValue, text: String) {
        self.push(FieldErrorKind::Invalid, at, value, text);
    }

    pub(super) fn wrong_type(&mut self, at: &Place<'_>, wanted: &str, found: &str) {
        let text = format!("{at} in body must be of type {wanted}: {}", meta::go_quote(found));
        self.push(FieldErrorKind::TypeInvalid, at, found.into(), text);
    }

    pub(super) fn required(&mut self, at: &Place<'_>, name: &str) {
        let text = format!("{at}.{name} in body is required");
        if self.problems.len() < FINDINGS_MAX {
            let (kind, value) = (FieldErrorKind::Required, BadValue::Text(String::new()));
            let name = Some(format!("{at}.{name}"));
            self.problems.push(Problem { kind, name, value, detail: String::new(), text });
        }
    }

    pub(super) fn not_among(&mut self, at: &Place<'_>, value: &Value, values: &[Value]) {
        let allowed = values.iter().map(|v| v.as_str().map_or_else(|| shown(v), str::to_owned));
        let detail = format!("supported values: {}", meta::quote_join(allowed));
        let text = format!("{at} in body should be one of {detail}");
        if self.problems.len() < FINDINGS_MAX {
            let (kind, name) = (FieldErrorKind::NotSupported, Some(at.to_string()));
            self.problems.push(Problem { kind, name, value: bad(value), detail, text });
        }
    }

    pub(super) fn too_long(&mut self, at: &Place<'_>, max: i64, value: &str) {
        let detail = match max {
            ..=-1 => "value is too long".to_owned(),
            1 => "may not be more than 1 byte".to_owned(),
            max => format!("may not be more than {max} bytes"),
        };
        self.push(FieldErrorKind::TooLong, at, value.into(), detail);
    }

    pub(super) fn too_short(&mut self, at: &Place<'_>, min: i64, value: &str) {
        self.invalid(at, value.into(), &format!("should be at least {min} chars long"));
    }

    pub(super) fn no_match(&mut self, at: &Place<'_>, pattern: &str, value: &str) {
        self.invalid(at, value.into(), &format!("should match '{pattern}'"));
    }

    pub(super) fn repeated(&mut self, at: &Place<'_>) {
        self.invalid(at, "".into(), "shouldn't contain duplicates");
    }

    pub(super) fn too_few_items(&mut self, at: &Place<'_>, min: i64, size: i64) {
        self.invalid(at, size.into(), &format!("should have at least {min} items"));
    }

    pub(super) fn too_many_items(&mut self, at: &Place<'_>, max: i64, size: i64) {
        self.too_many(at, max, size);
    }

    pub(super) fn too_few_fields(&mut self, at: &Place<'_>, min: i64, size: i64) {
        self.invalid(at, size.into(), &format!("should have at least {min} properties"));
    }

    pub(super) fn too_many_fields(&mut self, at: &Place<'_>, max: i64, size: i64) {
        self.too_many(at, max, size);
    }

    fn too_many(&mut self, at: &Place<'_>, max: i64, size: i64) {
        let items = if max == 1 { "item" } else { "items" };
        self.push(FieldErrorKind::TooMany, at, size.into(), format!("must have at most {max} {items}"));
    }

    pub(super) fn not_allowed(&mut self, at: &Place<'_>, name: &str) {
        let text = format!("{at}.{name} in body is a forbidden property");
        self.push(FieldErrorKind::Invalid, at, name.into(), text);
    }

    /// The findings as clients read them, each once.
    pub(super) fn into_errors(self, at: &FieldPath) -> Vec<FieldError> {
        let mut seen = HashSet::new();
        let place = |name: Option<&String>| match name.map(|n| n.strip_prefix('.').unwrap_or(n)) {
            None | Some("") => at.to_string(),
            Some(name) if at.is_root() => name.to_owned(),
            Some(name) => format!("{at}.{name}"),
        };
        let once = self.problems.into_iter().filter(|p| seen.insert((p.name.clone(), p.text.clone())));
        once.map(|p| FieldError {
            kind: p.kind,
            field: place(p.name.as_ref()),
            value: p.value,
            detail: p.detail,
        })
        .collect()
    }
}
