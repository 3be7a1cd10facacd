//! Names of a CustomResourceDefinition, and the annotation by which groups of the community are approved.

use crate::check::{Errs, dns_1035_label};
use crate::{Path, check};
use meta::{Map, Str};
use types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionNames};

/// Annotation with which APIs in groups of the community say that they are approved (KEP-1111).
pub const APPROVED: &str = "api-approved.kubernetes.io";

/// Checks names that are there.
pub(super) fn names(e: &mut Errs, at: &Path<'_>, names: &CustomResourceDefinitionNames) {
    let label = |e: &mut Errs, at: &Path<'_>, value: &Str| {
        let messages = dns_1035_label(value);
        if !messages.is_empty() {
            e.invalid(at, value, messages.join(","));
        }
    };
    let mixed = |e: &mut Errs, at: &Path<'_>, value: &Str| {
        let messages = dns_1035_label(&value.to_lowercase());
        if !messages.is_empty() {
            e.invalid(
                at,
                value,
                format!("may have mixed case, but should otherwise match: {}", messages.join(",")),
            );
        }
    };
    if !names.plural.is_empty() {
        label(e, &at.child("plural"), &names.plural);
    }
    if !names.singular.is_empty() {
        label(e, &at.child("singular"), &names.singular);
    }
    if !names.kind.is_empty() {
        mixed(e, &at.child("kind"), &names.kind);
    }
    if !names.list_kind.is_empty() {
        mixed(e, &at.child("listKind"), &names.list_kind);
    }
    let list = at.child("shortNames");
    for (i, name) in names.short_names.iter().enumerate() {
        label(e, &list.index(i), name);
    }
    if !names.kind.is_empty() && names.kind == names.list_kind {
        e.invalid(&at.child("listKind"), &names.list_kind, "kind and listKind may not be the same");
    }
    let list = at.child("categories");
    for (i, name) in names.categories.iter().enumerate() {
        label(e, &list.index(i), name);
    }
}

/// How far an API in a group of the community is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// The annotation says something else.
    Invalid,
    /// It has the address of the approval.
    Approved,
    /// It says why there is none.
    Bypassed,
    /// There is no annotation.
    Missing,
}

/// Whether APIs of the group need approval.
pub fn needs_approval(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// The state of approval, and what to say of it.
pub fn approval(annotations: &Map<Str>) -> (Approval, String) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let said = annotations.get(APPROVED).map(Str::as_str).unwrap_or_default();
    let host = said.split_once("://").filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    let host = host.and_then(|(_, rest)| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    if said.is_empty() {
        let text = format!("protected groups must have approval annotation {APPROVED:?}, {SEE}");
        (Approval::Missing, text)
    } else if said.starts_with("unapproved") {
        (Approval::Bypassed, format!("not approved: {}", meta::go_quote(said)))
    } else if !host.is_empty() && !said.contains(' ') {
        (Approval::Approved, format!("approved in {said}"))
    } else {
        let text = format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
        );
        (Approval::Invalid, text)
    }
}

/// Checks the annotation, unless it is as it was.
pub(super) fn approved(e: &mut Errs, crd: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>) {
    if !needs_approval(&crd.spec.group) {
        return;
    }
    let (state, text) = approval(&crd.metadata.annotations);
    if old.is_some_and(|old| approval(&old.metadata.annotations).0 == state) {
        return;
    }
    let metadata = Path::root("metadata");
    let annotations = metadata.child("annotations");
    let at = annotations.key(APPROVED);
    match state {
        Approval::Approved | Approval::Bypassed => {}
        Approval::Missing => e.required(&at, text),
        Approval::Invalid => {
            let said = crd.metadata.annotations.get(APPROVED).map(Str::as_str).unwrap_or_default();
            e.invalid(&at, check::BadValue::from(said), text);
        }
    }
}
