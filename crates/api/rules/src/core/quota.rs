//! ResourceQuotas and LimitRanges.

use super::names;
use crate::check::{Errs, IMMUTABLE, qualified_name};
use crate::fill::{missing, round_up};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{BadValue, Map, Quantity, Str};
use std::collections::BTreeSet;
use types::core::v1::*;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const CONFLICTING: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["NotTerminating", "Terminating"]];
const COMPUTE: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

impl Rules for ResourceQuota {
    spec_and_status!();

    fn default(&mut self) {
        for list in [&mut self.spec.hard, &mut self.status.hard, &mut self.status.used] {
            round_up(list);
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        amounts(e, &spec.child("hard"), &self.spec.hard);
        scopes(e, &spec.child("scopes"), &self.spec);
        if let Some(selector) = &self.spec.scope_selector {
            let at = spec.child("scopeSelector");
            scope_selector(e, &at.child("matchExpressions"), &self.spec, selector);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        let set = |s: &ResourceQuotaSpec| s.scopes.iter().cloned().collect::<BTreeSet<Str>>();
        if set(&self.spec) != set(&old.spec) {
            let spec = Path::root("spec");
            e.invalid(&spec.child("scopes"), BadValue::of(&self.spec.scopes), IMMUTABLE);
        }
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        amounts(e, &status.child("hard"), &self.status.hard);
        amounts(e, &status.child("used"), &self.status.used);
    }
}

fn amounts(e: &mut Errs, at: &Path<'_>, list: &Map<Quantity>) {
    for (name, value) in list.iter() {
        names::quota_name(e, &at.key(name), name);
        names::amount(e, &at.key(name), name, value);
    }
}

fn scope_fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => resource == "pods" || COMPUTE.contains(&resource),
        "VolumeAttributesClass" => resource == "persistentvolumeclaims" || resource == "requests.storage",
        _ => true,
    }
}

fn misfits(spec: &ResourceQuotaSpec, scope: &str) -> usize {
    spec.hard.keys().filter(|k| names::is_standard_quota(k) && !scope_fits(scope, k)).count()
}

fn scopes(e: &mut Errs, at: &Path<'_>, spec: &ResourceQuotaSpec) {
    let shown = || BadValue::of(&spec.scopes);
    for scope in spec.scopes.iter() {
        if !SCOPES.contains(&scope.as_str()) {
            e.invalid(at, shown(), "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            e.invalid(at, shown(), "unsupported scope applied to resource");
        }
    }
    for pair in CONFLICTING {
        if pair.iter().all(|s| spec.scopes.iter().any(|o| o == s)) {
            e.invalid(at, shown(), "conflicting scopes");
        }
    }
}

fn scope_selector(e: &mut Errs, at: &Path<'_>, spec: &ResourceQuotaSpec, selector: &ScopeSelector) {
    const EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    for r in selector.match_expressions.iter() {
        let scope = r.scope_name.as_str();
        if !SCOPES.contains(&scope) {
            e.invalid(&at.child("scopeName"), scope, "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            e.invalid(at, crate::diff::shown(selector), "unsupported scope applied to resource");
        }
        let by_existence = SCOPES[..4].contains(&scope) || scope == "CrossNamespacePodAffinity";
        if by_existence && r.operator != "Exists" {
            e.invalid(&at.child("operator"), &r.operator, EXISTS);
        }
        match (r.operator.as_str(), r.values.is_empty()) {
            ("In" | "NotIn", true) => e.required(
                &at.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            ("Exists" | "DoesNotExist", false) => e.invalid(
                &at.child("values"),
                BadValue::of(&r.values),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            (other, _) => e.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
    }
    for pair in CONFLICTING {
        if pair.iter().all(|s| selector.match_expressions.iter().any(|r| r.scope_name == *s)) {
            e.invalid(at, BadValue::of(&spec.scopes), "conflicting scopes");
        }
    }
}

impl Rules for LimitRange {
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const CREATE_ON_UPDATE: bool = true;

    fn default(&mut self) {
        for item in self.spec.limits.iter_mut() {
            if item.type_ == "Container" {
                missing(&mut item.default, &item.max);
                missing(&mut item.default_request, &item.default);
                missing(&mut item.default_request, &item.min);
            }
            for list in [
                &mut item.max,
                &mut item.min,
                &mut item.default,
                &mut item.default_request,
                &mut item.max_limit_request_ratio,
            ] {
                round_up(list);
            }
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        let list = spec.child("limits");
        let mut kinds = BTreeSet::new();
        for (i, item) in self.spec.limits.iter().enumerate() {
            let at = list.index(i);
            let before = e.len();
            e.each(&at.child("type"), &item.type_, qualified_name(&item.type_));
            let known = ["Pod", "Container", "PersistentVolumeClaim"].contains(&item.type_.as_str());
            if e.len() == before && !item.type_.contains('/') && !known {
                e.invalid(&at.child("type"), &item.type_, "must be a standard limit type or fully qualified");
            }
            if !kinds.insert(&item.type_) {
                e.duplicate(&at.child("type"), &item.type_);
            }
            limit(e, &at, item);
        }
    }
}

fn limit(e: &mut Errs, at: &Path<'_>, item: &LimitRangeItem) {
    let check_names = |e: &mut Errs, field: &str, list: &Map<Quantity>| {
        let at = at.child(field);
        for name in list.keys() {
            if item.type_ == "Pod" || item.type_ == "Container" {
                names::container_name(e, &at.key(name), name);
            } else {
                names::name(e, &at.key(name), name);
            }
        }
    };
    check_names(e, "max", &item.max);
    check_names(e, "min", &item.min);
    let of_pod = item.type_ == "Pod";
    for (field, list) in [("default", &item.default), ("defaultRequest", &item.default_request)] {
        if !of_pod {
            check_names(e, field, list);
        } else if !list.is_empty() {
            e.forbidden(&at.child(field), "may not be specified when `type` is 'Pod'");
        }
    }
    let has_storage = |list: &Map<Quantity>| list.contains_key("storage");
    if item.type_ == "PersistentVolumeClaim" && !has_storage(&item.min) && !has_storage(&item.max) {
        e.required(
            &at.child("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    check_names(e, "maxLimitRequestRatio", &item.max_limit_request_ratio);
    let mut all: BTreeSet<&Str> =
        item.max.keys().chain(item.min.keys()).chain(item.max_limit_request_ratio.keys()).collect();
    if !of_pod {
        all.extend(item.default.keys().chain(item.default_request.keys()));
    }
    for name in all {
        compare(e, at, item, name, of_pod);
    }
}

fn compare(e: &mut Errs, at: &Path<'_>, item: &LimitRangeItem, name: &Str, of_pod: bool) {
    let (min, max) = (item.min.get(name), item.max.get(name));
    let default = item.default.get(name).filter(|_| !of_pod);
    let request = item.default_request.get(name).filter(|_| !of_pod);
    let mut above =
        |low: Option<&Quantity>, high: Option<&Quantity>, field: &str, shown: u8, words: [&str; 2]| {
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                let value = if shown == 0 { low } else { high };
                e.invalid(
                    &at.child(field).key(name),
                    value,
                    format!("{} value {low} is greater than {} value {high}", words[0], words[1]),
                );
            }
        };
    above(min, max, "min", 0, ["min", "max"]);
    above(min, request, "defaultRequest", 1, ["min", "default request"]);
    above(request, max, "defaultRequest", 0, ["default request", "max"]);
    above(request, default, "defaultRequest", 0, ["default request", "default limit"]);
    above(min, default, "default", 0, ["min", "default"]);
    above(default, max, "default", 1, ["default", "max"]);
    let ratio_at = at.child("maxLimitRequestRatio");
    if let Some(ratio) = item.max_limit_request_ratio.get(name) {
        if ratio.nanos() < 1_000_000_000 {
            e.invalid(&ratio_at.key(name), ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let limit = max.as_f64() / min.as_f64();
            if ratio.as_f64() > limit {
                e.invalid(
                    &ratio_at.key(name),
                    ratio,
                    format!("ratio {ratio} is greater than max/min = {limit:.6}"),
                );
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !names::may_overcommit(name)
        && default != request
    {
        e.invalid(
            &at.child("defaultRequest").key(name),
            request,
            format!("default value {default} must equal to defaultRequest value {request} in {name}"),
        );
    }
}
