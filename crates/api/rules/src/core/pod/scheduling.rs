//! Checks of what steers scheduling: affinity, tolerations, spreading, gates.

use crate::Path;
use crate::check::{Errs, NOT_POSITIVE, label_value, labels, name_label, name_subdomain, qualified_name};
use meta::v1::LabelSelector;
use meta::{List, Str};
use std::collections::BTreeSet;
use types::core::v1::*;

pub(crate) const TAINT_EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `affinity`.
pub(super) fn affinity(e: &mut Errs, at: &Path<'_>, affinity: &Affinity) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(node) = &affinity.node_affinity {
        let at = at.child("nodeAffinity");
        if let Some(selector) = &node.required_during_scheduling_ignored_during_execution {
            node_selector(e, &at.child(REQUIRED), selector);
        }
        let list = at.child(PREFERRED);
        for (i, term) in node.preferred_during_scheduling_ignored_during_execution.iter().enumerate() {
            let at = list.index(i);
            weight(e, &at, term.weight);
            node_term(e, &at.child("preference"), &term.preference, false);
        }
    }
    let mut pods =
        |field: &str, required: &List<PodAffinityTerm>, preferred: &List<WeightedPodAffinityTerm>| {
            let at = at.child(field);
            let list = at.child(REQUIRED);
            for (i, term) in required.iter().enumerate() {
                pod_term(e, &list.index(i), term);
            }
            let list = at.child(PREFERRED);
            for (i, term) in preferred.iter().enumerate() {
                let at = list.index(i);
                weight(e, &at, term.weight);
                pod_term(e, &at.child("podAffinityTerm"), &term.pod_affinity_term);
            }
        };
    if let Some(a) = &affinity.pod_affinity {
        pods(
            "podAffinity",
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        );
    }
    if let Some(a) = &affinity.pod_anti_affinity {
        pods(
            "podAntiAffinity",
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        );
    }
}

fn weight(e: &mut Errs, at: &Path<'_>, weight: i32) {
    if !(1..=100).contains(&weight) {
        e.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

/// A selector of nodes.
pub(crate) fn node_selector(e: &mut Errs, at: &Path<'_>, selector: &NodeSelector) {
    let list = at.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        return e.required(&list, "must have at least one node selector term");
    }
    for (i, term) in selector.node_selector_terms.iter().enumerate() {
        node_term(e, &list.index(i), term, true);
    }
}

fn node_term(e: &mut Errs, at: &Path<'_>, term: &NodeSelectorTerm, check_values: bool) {
    let list = at.child("matchExpressions");
    for (i, r) in term.match_expressions.iter().enumerate() {
        let at = list.index(i);
        match (r.operator.as_str(), r.values.len()) {
            ("In" | "NotIn", 0) => {
                e.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            ("Exists" | "DoesNotExist", n) if n > 0 => e.forbidden(
                &at.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            ("Gt" | "Lt", n) if n != 1 => {
                e.required(
                    &at.child("values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                );
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
            (other, _) => e.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        e.each(&at.child("key"), &r.key, qualified_name(&r.key));
        let values = at.child("values");
        for (i, value) in r.values.iter().enumerate().filter(|_| check_values) {
            e.each(&values.index(i), value, label_value(value));
        }
    }
    let list = at.child("matchFields");
    for (i, r) in term.match_fields.iter().enumerate() {
        let at = list.index(i);
        match r.operator.as_str() {
            "In" | "NotIn" if r.values.len() != 1 => e.required(
                &at.child("values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ),
            "In" | "NotIn" => {}
            other => e.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        if r.key == "metadata.name" {
            let values = at.child("values");
            for (i, value) in r.values.iter().enumerate() {
                e.each(&values.index(i), value, name_subdomain(value, false));
            }
        } else {
            e.invalid(&at.child("key"), &r.key, "not a valid field selector key");
        }
    }
}

fn pod_term(e: &mut Errs, at: &Path<'_>, term: &PodAffinityTerm) {
    labels::selector_opt(e, &at.child("labelSelector"), term.label_selector.as_deref());
    labels::selector_opt(e, &at.child("namespaceSelector"), term.namespace_selector.as_deref());
    for name in term.namespaces.iter() {
        e.each(&at.child("namespace"), name, name_label(name, false));
    }
    label_keys(e, at, &term.match_label_keys, &term.mismatch_label_keys, term.label_selector.as_deref());
    if term.topology_key.is_empty() {
        e.required(&at.child("topologyKey"), "can not be empty");
    }
    e.each(&at.child("topologyKey"), &term.topology_key, qualified_name(&term.topology_key));
}

fn label_keys(
    e: &mut Errs,
    at: &Path<'_>,
    matched: &List<Str>,
    mismatched: &List<Str>,
    selector: Option<&LabelSelector>,
) {
    for (field, keys) in [("matchLabelKeys", matched), ("mismatchLabelKeys", mismatched)] {
        let list = at.child(field);
        if keys.is_empty() {
            continue;
        }
        if selector.is_none() {
            e.forbidden(&list, "must not be specified when labelSelector is not set");
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            e.each(&list.index(i), key, qualified_name(key));
        }
    }
    if let Some(selector) = selector {
        let mut seen: BTreeSet<&Str> = selector.match_labels.iter().map(|(k, _)| k).collect();
        for r in selector.match_expressions.iter() {
            if let Some(i) = matched.iter().position(|k| *k == r.key).filter(|_| seen.contains(&r.key)) {
                e.invalid(&at.index(i), &r.key, "exists in both matchLabelKeys and labelSelector");
            }
            seen.insert(&r.key);
        }
    }
    let list = at.child("matchLabelKeys");
    for (i, key) in matched.iter().enumerate() {
        if mismatched.contains(key) {
            e.invalid(&list.index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

/// `tolerations`.
pub(crate) fn tolerations(e: &mut Errs, at: &Path<'_>, tolerations: &List<Toleration>) {
    for (i, t) in tolerations.iter().enumerate() {
        let at = at.index(i);
        if !t.key.is_empty() {
            e.each(&at.child("key"), &t.key, qualified_name(&t.key));
        }
        if t.key.is_empty() && t.operator != "Exists" {
            e.invalid(
                &at.child("operator"),
                &t.operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if t.toleration_seconds.is_some() && t.effect != "NoExecute" {
            e.invalid(
                &at.child("effect"),
                &t.effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match t.operator.as_str() {
            "" | "Equal" => {
                let messages = label_value(&t.value);
                if !messages.is_empty() {
                    e.invalid(&at.child("operator"), &t.value, messages.join(";"));
                }
            }
            "Exists" if !t.value.is_empty() => {
                e.invalid(&at.child("operator"), &t.value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            // TaintTolerationComparisonOperators is off, which the text does not say.
            other @ ("Lt" | "Gt") => {
                e.unsupported(&at.child("operator"), other, &["Equal", "Exists", "Lt", "Gt"]);
            }
            other => e.unsupported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !t.effect.is_empty() {
            e.one_of(&at.child("effect"), &t.effect, &TAINT_EFFECTS);
        }
    }
}

/// `topologySpreadConstraints`.
pub(super) fn spreading(e: &mut Errs, at: &Path<'_>, constraints: &List<TopologySpreadConstraint>) {
    for (i, c) in constraints.iter().enumerate() {
        let at = at.index(i);
        if c.max_skew <= 0 {
            e.invalid(&at.child("maxSkew"), c.max_skew, NOT_POSITIVE);
        }
        if c.topology_key.is_empty() {
            e.required(&at.child("topologyKey"), "can not be empty");
        }
        e.one_of(&at.child("whenUnsatisfiable"), &c.when_unsatisfiable, &["DoNotSchedule", "ScheduleAnyway"]);
        let same = |o: &TopologySpreadConstraint| {
            o.topology_key == c.topology_key && o.when_unsatisfiable == c.when_unsatisfiable
        };
        if constraints[i + 1..].iter().any(same) {
            e.duplicate(
                &at.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{}, {}}}", c.topology_key, c.when_unsatisfiable),
            );
        }
        if let Some(domains) = c.min_domains {
            if domains <= 0 {
                e.invalid(&at.child("minDomains"), domains, NOT_POSITIVE);
            }
            if c.when_unsatisfiable != "DoNotSchedule" {
                e.invalid(
                    &at.child("minDomains"),
                    domains,
                    format!(
                        "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                        c.when_unsatisfiable
                    ),
                );
            }
        }
        for (field, policy) in
            [("nodeAffinityPolicy", &c.node_affinity_policy), ("nodeTaintsPolicy", &c.node_taints_policy)]
        {
            if let Some(policy) = policy {
                e.one_of(&at.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        label_keys(e, &at, &c.match_label_keys, &List::new(), c.label_selector.as_deref());
        labels::selector_opt(e, &at.child("labelSelector"), c.label_selector.as_deref());
    }
}

/// `schedulingGates`.
pub(super) fn gates(e: &mut Errs, at: &Path<'_>, gates: &List<PodSchedulingGate>) {
    let mut seen = BTreeSet::new();
    for (i, gate) in gates.iter().enumerate() {
        e.each(&at.index(i), &gate.name, qualified_name(&gate.name));
        if !seen.insert(&gate.name) {
            e.duplicate(&at.index(i), &gate.name);
        }
    }
}
