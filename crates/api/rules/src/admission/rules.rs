//! Which requests a webhook or policy is about: operations, groups, versions, resources, scope.

use crate::Path;
use crate::check::Errs;
use meta::{BadValue, List, Str};
use std::collections::BTreeSet;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// The fields that rules of webhooks and of policies share.
pub(super) struct View<'a> {
    pub operations: &'a List<Str>,
    pub api_groups: &'a List<Str>,
    pub api_versions: &'a List<Str>,
    pub resources: &'a List<Str>,
    pub scope: Option<&'a Str>,
}

/// One rule.
pub(super) fn check(e: &mut Errs, at: &Path<'_>, rule: &View<'_>, allow_sub: bool) {
    let wildcard = |list: &List<Str>| list.iter().any(|v| v == "*");
    let operations = at.child("operations");
    if rule.operations.is_empty() {
        e.required(&operations, "");
    }
    if rule.operations.len() > 1 && wildcard(rule.operations) {
        e.invalid(
            &operations,
            BadValue::of(rule.operations),
            "if '*' is present, must not specify other operations",
        );
    }
    for (i, operation) in rule.operations.iter().enumerate() {
        e.one_of(&operations.index(i), operation, &OPERATIONS);
    }
    for (field, list, what, empty_ok) in [
        ("apiGroups", rule.api_groups, "API groups", true),
        ("apiVersions", rule.api_versions, "API versions", false),
    ] {
        let at = at.child(field);
        if list.is_empty() {
            e.required(&at, "");
        }
        if list.len() > 1 && wildcard(list) {
            e.invalid(&at, BadValue::of(list), format!("if '*' is present, must not specify other {what}"));
        }
        for (i, _) in list.iter().enumerate().filter(|(_, v)| v.is_empty() && !empty_ok) {
            e.required(&at.index(i), "");
        }
    }
    resources(e, &at.child("resources"), rule.resources, allow_sub);
    if let Some(scope) = rule.scope {
        e.one_of(&at.child("scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

fn resources(e: &mut Errs, at: &Path<'_>, list: &List<Str>, allow_sub: bool) {
    if list.is_empty() {
        return e.required(at, "");
    }
    let (mut any_sub, mut any_of) = (BTreeSet::new(), BTreeSet::new());
    for (i, name) in list.iter().enumerate() {
        if name.is_empty() {
            e.required(&at.index(i), "");
            continue;
        }
        let Some((resource, sub)) = name.split_once('/').filter(|_| allow_sub || name.contains('/')) else {
            continue;
        };
        if any_of.contains(resource) {
            e.invalid(&at.index(i), name, format!("if '{resource}/*' is present, must not specify {name}"));
        }
        if any_sub.contains(sub) {
            e.invalid(&at.index(i), name, format!("if '*/{sub}' is present, must not specify {name}"));
        }
        if sub == "*" {
            any_of.insert(resource);
        }
        if resource == "*" {
            any_sub.insert(sub);
        }
    }
    if list.len() > 1 && list.iter().any(|r| r == "*/*") {
        e.invalid(at, BadValue::of(list), "if '*/*' is present, must not specify other resources");
    }
    if list.iter().any(|r| r == "*") && list.iter().any(|r| r != "*" && !r.contains('/')) {
        e.invalid(
            at,
            BadValue::of(list),
            "if '*' is present, must not specify other resources without subresources",
        );
    }
}
