//! Scopes: which objects a quota is about, beyond their kind.

use types::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, ResourceQuota, ScopedResourceSelectorRequirement,
};

use super::as_ref;
use meta::{Object, Str};

/// What a quota asks of an object: its scopes and its selectors as one list.
pub fn selectors(quota: &ResourceQuota) -> Vec<ScopedResourceSelectorRequirement> {
    let exists = |scope: &Str| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".into(),
        ..ScopedResourceSelectorRequirement::default()
    };
    let named = quota.spec.scopes.iter().map(exists);
    let selected = quota.spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter());
    named.chain(selected.cloned()).collect()
}

/// Those of the selectors that hold of an object.
pub fn matching(
    object: &dyn Object,
    selectors: &[ScopedResourceSelectorRequirement],
) -> Vec<ScopedResourceSelectorRequirement> {
    selectors.iter().filter(|selector| holds(object, selector)).cloned().collect()
}

/// Whether all selectors hold of an object.
pub fn all_match(object: &dyn Object, selectors: &[ScopedResourceSelectorRequirement]) -> bool {
    selectors.iter().all(|selector| holds(object, selector))
}

fn holds(object: &dyn Object, selector: &ScopedResourceSelectorRequirement) -> bool {
    if let Some(pod) = as_ref::<Pod>(object) {
        return match selector.scope_name.as_str() {
            "Terminating" => is_terminating(pod),
            "NotTerminating" => !is_terminating(pod),
            "BestEffort" => crate::qos(pod) == "BestEffort",
            "NotBestEffort" => crate::qos(pod) != "BestEffort",
            "PriorityClass" => selects(selector, &[&pod.spec.priority_class_name]),
            "CrossNamespacePodAffinity" => crosses_namespaces(pod),
            _ => false,
        };
    }
    if let Some(claim) = as_ref::<PersistentVolumeClaim>(object)
        && selector.scope_name == "VolumeAttributesClass"
    {
        let current = claim.status.current_volume_attributes_class_name.as_ref();
        let target =
            claim.status.modify_volume_status.as_ref().map(|s| &s.target_volume_attributes_class_name);
        let wanted = claim.spec.volume_attributes_class_name.as_ref();
        let names: Vec<&Str> = [wanted, current, target].into_iter().flatten().collect();
        return selects(selector, &names);
    }
    false
}

/// Whether a selector by name fits any of the names that an object has; empty ones are none.
fn selects(selector: &ScopedResourceSelectorRequirement, names: &[&Str]) -> bool {
    let mut names = names.iter().filter(|name| !name.is_empty()).peekable();
    match selector.operator.as_str() {
        "Exists" => names.peek().is_some(),
        "DoesNotExist" => names.peek().is_none(),
        "In" => names.any(|name| selector.values.contains(*name)),
        "NotIn" => names.all(|name| !selector.values.contains(*name)),
        _ => false,
    }
}

fn is_terminating(pod: &Pod) -> bool {
    pod.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0)
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = &pod.spec.affinity else { return false };
    let crosses = |term: &PodAffinityTerm| !term.namespaces.is_empty() || term.namespace_selector.is_some();
    let affinity_terms = affinity.pod_affinity.iter().any(|a| {
        a.required_during_scheduling_ignored_during_execution.iter().any(crosses)
            || a.preferred_during_scheduling_ignored_during_execution
                .iter()
                .any(|w| crosses(&w.pod_affinity_term))
    });
    affinity_terms
        || affinity.pod_anti_affinity.iter().any(|a| {
            a.required_during_scheduling_ignored_during_execution.iter().any(crosses)
                || a.preferred_during_scheduling_ignored_during_execution
                    .iter()
                    .any(|w| crosses(&w.pod_affinity_term))
        })
}
