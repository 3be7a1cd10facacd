//! Labels, annotations and label selectors.

use super::{Errs, label_value, qualified_name};
use crate::Path;
use meta::v1::LabelSelector;
use meta::{Map, Str};

/// The most bytes that all annotations of an object may hold together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// A set of labels.
pub fn labels(e: &mut Errs, at: &Path<'_>, labels: &Map<Str>) {
    for (key, value) in labels.iter() {
        e.each(at, key, qualified_name(key));
        e.each(at, value, label_value(value));
    }
}

/// A set of annotations: keys in any case, and a limit for all together.
pub fn annotations(e: &mut Errs, at: &Path<'_>, annotations: &Map<Str>) {
    for (key, _) in annotations.iter() {
        e.each(at, key, qualified_name(&key.to_ascii_lowercase()));
    }
    if annotations.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > ANNOTATIONS_BYTES_MAX {
        e.too_long(at, ANNOTATIONS_BYTES_MAX);
    }
}

/// As [`selector`]; answers whether nothing is wrong with it, so that it can be used to choose.
pub fn usable_selector(e: &mut Errs, at: &Path<'_>, chosen: &LabelSelector) -> bool {
    let before = e.len();
    selector(e, at, chosen);
    e.len() == before
}

/// A label selector.
pub fn selector(e: &mut Errs, at: &Path<'_>, selector: &LabelSelector) {
    labels(e, &at.child("matchLabels"), &selector.match_labels);
    let expressions = at.child("matchExpressions");
    for (i, requirement) in selector.match_expressions.iter().enumerate() {
        let at = expressions.index(i);
        match requirement.operator.as_str() {
            "In" | "NotIn" if requirement.values.is_empty() => {
                e.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !requirement.values.is_empty() => e.forbidden(
                &at.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => e.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        e.each(&at.child("key"), &requirement.key, qualified_name(&requirement.key));
        let values = at.child("values");
        for (i, value) in requirement.values.iter().enumerate() {
            e.each(&values.index(i), value, label_value(value));
        }
    }
}

/// A label selector that may be absent.
pub fn selector_opt(e: &mut Errs, at: &Path<'_>, value: Option<&LabelSelector>) {
    if let Some(value) = value {
        selector(e, at, value);
    }
}

/// Whether the selector chooses everything because it says nothing.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.is_empty() && selector.match_expressions.is_empty()
}

/// Whether a selector that passed [`selector`] chooses these labels. A malformed requirement chooses nothing.
pub fn matches(selector: &LabelSelector, labels: &Map<Str>) -> bool {
    selector.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
        && selector.match_expressions.iter().all(|r| {
            let value = labels.get(&r.key);
            match r.operator.as_str() {
                "In" => value.is_some_and(|v| r.values.contains(v)),
                "NotIn" => value.is_none_or(|v| !r.values.contains(v)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// A selector as JSON, to be quoted in an error.
pub fn json(selector: &LabelSelector) -> String {
    match meta::BadValue::json(selector) {
        meta::BadValue::Plain(text) | meta::BadValue::Text(text) => text,
        meta::BadValue::Omitted => String::new(),
    }
}
