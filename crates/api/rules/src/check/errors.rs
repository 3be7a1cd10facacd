//! The list of errors that a validation fills, and the small rules of which most checks are made.

use crate::Path;
use meta::names::Messages;
use meta::{BadValue, FieldError, FieldErrorKind, quote_join};

/// What Kubernetes says of a number below zero.
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// What Kubernetes says of a number that is not above zero.
pub const NOT_POSITIVE: &str = "must be greater than zero";
/// What Kubernetes says when a fixed field changes.
pub const IMMUTABLE: &str = "field is immutable";

/// Errors found so far, in the order in which they are reported.
#[derive(Debug, Default)]
pub struct Errs {
    list: Vec<FieldError>,
}

impl Errs {
    /// No errors yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The errors found.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.list
    }

    /// Adds errors that were found elsewhere.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.list.extend(errors);
    }

    /// How many errors were found so far.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn push(
        &mut self,
        kind: FieldErrorKind,
        at: &Path<'_>,
        value: impl Into<BadValue>,
        detail: impl Into<String>,
    ) {
        self.list.push(FieldError {
            kind,
            field: at.to_string(),
            value: value.into(),
            detail: detail.into(),
        });
    }

    /// The value is absent and must not be.
    pub fn required(&mut self, at: &Path<'_>, detail: impl AsRef<str>) {
        self.push(FieldErrorKind::Required, at, "", detail.as_ref());
    }

    /// The value breaks a rule; `detail` says which.
    pub fn invalid(&mut self, at: &Path<'_>, value: impl Into<BadValue>, detail: impl AsRef<str>) {
        self.push(FieldErrorKind::Invalid, at, value, detail.as_ref());
    }

    /// The value is none of a known few.
    pub fn unsupported(&mut self, at: &Path<'_>, value: impl Into<BadValue>, allowed: &[&str]) {
        let list = quote_join(allowed);
        let detail = if list.is_empty() { list } else { format!("supported values: {list}") };
        self.push(FieldErrorKind::NotSupported, at, value, detail);
    }

    /// The value could not be judged.
    pub fn internal(&mut self, at: &Path<'_>, why: impl AsRef<str>) {
        self.push(FieldErrorKind::Internal, at, "", why.as_ref());
    }

    /// The value may not be set here and now.
    pub fn forbidden(&mut self, at: &Path<'_>, detail: impl AsRef<str>) {
        self.push(FieldErrorKind::Forbidden, at, "", detail.as_ref());
    }

    /// The value occurs more than once where it must be unique.
    pub fn duplicate(&mut self, at: &Path<'_>, value: impl Into<BadValue>) {
        self.push(FieldErrorKind::Duplicate, at, value, "");
    }

    /// As [`Errs::duplicate`], with a reason.
    pub fn duplicate_because(&mut self, at: &Path<'_>, value: impl Into<BadValue>, detail: &str) {
        self.push(FieldErrorKind::Duplicate, at, value, detail);
    }

    /// The value names something that is not there.
    pub fn not_found(&mut self, at: &Path<'_>, value: impl Into<BadValue>) {
        self.push(FieldErrorKind::NotFound, at, value, "");
    }

    /// As [`Errs::not_found`], with a reason.
    pub fn not_found_because(&mut self, at: &Path<'_>, value: impl Into<BadValue>, detail: &str) {
        self.push(FieldErrorKind::NotFound, at, value, detail);
    }

    /// The value is longer than `max` bytes.
    pub fn too_long(&mut self, at: &Path<'_>, max: usize) {
        self.push(FieldErrorKind::TooLong, at, "", format!("may not be more than {max} bytes"));
    }

    /// The list has `count` items, more than `max`.
    pub fn too_many(&mut self, at: &Path<'_>, count: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        self.push(FieldErrorKind::TooMany, at, count, format!("must have at most {max} {unit}"));
    }

    /// The value is invalid once for each message of a format check.
    pub fn each(&mut self, at: &Path<'_>, value: &str, messages: Messages) {
        for message in messages {
            self.invalid(at, value, message);
        }
    }

    /// `value` must be one of `allowed`.
    pub fn one_of(&mut self, at: &Path<'_>, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            self.unsupported(at, value, allowed);
        }
    }

    /// `value` must be present and one of `allowed`.
    pub fn required_one_of(&mut self, at: &Path<'_>, value: &str, allowed: &[&str]) {
        match value {
            "" => self.required(at, ""),
            value => self.one_of(at, value, allowed),
        }
    }

    /// `value` must not be empty. Answers whether it holds.
    pub fn present(&mut self, at: &Path<'_>, value: &str) -> bool {
        if value.is_empty() {
            self.required(at, "");
        }
        !value.is_empty()
    }

    /// `value` must be zero or more.
    pub fn non_negative(&mut self, at: &Path<'_>, value: impl Into<i64>) {
        let value = value.into();
        if value < 0 {
            self.invalid(at, value, NOT_NEGATIVE);
        }
    }

    /// `value`, when set, must be zero or more.
    pub fn non_negative_opt(&mut self, at: &Path<'_>, value: Option<impl Into<i64>>) {
        if let Some(value) = value {
            self.non_negative(at, value);
        }
    }

    /// `value` must lie within `low..=high`.
    pub fn in_range(&mut self, at: &Path<'_>, value: impl Into<i64>, low: i64, high: i64) {
        let value = value.into();
        if value < low || value > high {
            self.invalid(at, value, format!("must be between {low} and {high}, inclusive"));
        }
    }

    /// The two values must be equal; `shown` is quoted when they are not.
    pub fn immutable<T: PartialEq + ?Sized>(
        &mut self,
        at: &Path<'_>,
        new: &T,
        old: &T,
        shown: impl FnOnce() -> BadValue,
    ) {
        if new != old {
            self.invalid(at, shown(), IMMUTABLE);
        }
    }
}

/// A domain, a slash and a path: `acme.io/foo`.
pub fn domain_prefixed_path(e: &mut Errs, at: &Path<'_>, value: &str) {
    if !e.present(at, value) {
        return;
    }
    match value.split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            e.each(at, host, super::dns_subdomain(host));
            if !super::http_path_ok(path) {
                e.invalid(
                    at,
                    path,
                    r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')",
                );
            }
        }
        _ => e.invalid(at, value, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

/// A label key that has a domain.
pub fn domain_prefixed_key(e: &mut Errs, at: &Path<'_>, value: &str) {
    if !e.present(at, value) {
        return;
    }
    let messages = super::qualified_name(value);
    if !messages.is_empty() {
        e.each(at, value, messages);
    } else if !value.contains('/') {
        e.invalid(at, value, "must be a domain-prefixed key (such as \"acme.io/foo\")");
    }
}
