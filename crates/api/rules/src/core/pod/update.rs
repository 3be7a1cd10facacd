//! What may change in a pod that exists, through the pod itself and through its subresources.

use super::container::image_whitespace;
use super::{scheduling, template};
use crate::Path;
use crate::check::Errs;
use crate::diff;
use meta::{BadValue, List};
use types::core::v1::*;

const MUTABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of the pod: few fields of the spec, and each in few ways.
pub(super) fn pod(new: &Pod, old: &Pod, e: &mut Errs) {
    let metadata = Path::root("metadata");
    template::annotations_update(e, &metadata.child("annotations"), new, old);
    let at = Path::root("spec");
    let (spec, before) = (&*new.spec, &*old.spec);
    for (field, list, old_list) in [
        ("containers", &spec.containers, &before.containers),
        ("initContainers", &spec.init_containers, &before.init_containers),
    ] {
        let at = at.child(field);
        if list.len() != old_list.len() {
            return e.forbidden(&at, "pod updates may not add or remove containers");
        }
        for (i, c) in list.iter().enumerate() {
            e.present(&at.index(i).child("image"), &c.image);
            image_whitespace(e, &at.index(i), &c.into());
        }
    }
    let deadline = at.child("activeDeadlineSeconds");
    match (spec.active_deadline_seconds, before.active_deadline_seconds) {
        (Some(s), _) if !(0..=i64::from(i32::MAX)).contains(&s) => {
            return e.in_range(&deadline, s, 0, i32::MAX.into());
        }
        (Some(s), Some(b)) if b < s => {
            return e.invalid(&deadline, s, "must be less than or equal to previous value");
        }
        (None, Some(_)) => e.invalid(
            &deadline,
            BadValue::Plain("null".into()),
            "must not update from a positive integer to nil value",
        ),
        _ => {}
    }
    tolerations(e, &at.child("tolerations"), &spec.tolerations, &before.tolerations);
    let gates = at.child("schedulingGates");
    for (i, gate) in
        spec.scheduling_gates.iter().enumerate().filter(|(_, g)| !before.scheduling_gates.contains(g))
    {
        e.forbidden(
            &gates.index(i).child("name"),
            format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name),
        );
    }
    if spec == before {
        return;
    }
    let rest = without_mutable(e, &at, spec, before);
    if rest != *before {
        let difference = diff::internal(before, &rest);
        e.forbidden(&at, format!("pod updates may not change fields other than {MUTABLE}\n{difference}"));
    }
}

/// The new spec with everything that may change set back, so that what still differs may not.
fn without_mutable(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, before: &PodSpec) -> PodSpec {
    let mut rest = spec.clone();
    for (list, old) in
        [(&mut rest.containers, &before.containers), (&mut rest.init_containers, &before.init_containers)]
    {
        for (c, old) in list.iter_mut().zip(old.iter()) {
            c.image = old.image.clone();
        }
    }
    rest.active_deadline_seconds = before.active_deadline_seconds;
    rest.scheduling_gates.clone_from(&before.scheduling_gates);
    rest.tolerations.clone_from(&before.tolerations);
    let was_negative = before.termination_grace_period_seconds.is_some_and(|s| s < 0);
    if was_negative && rest.termination_grace_period_seconds == Some(1) {
        rest.termination_grace_period_seconds = before.termination_grace_period_seconds;
    }
    if before.scheduling_gates.is_empty() {
        return rest;
    }
    // A pod that waits at a gate may still be steered to fewer nodes.
    if before.node_selector.iter().any(|(k, v)| rest.node_selector.get(k) != Some(v)) {
        e.invalid(
            &at.child("nodeSelector"),
            BadValue::of(&rest.node_selector),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    rest.node_selector.clone_from(&before.node_selector);
    let old_node = before.affinity.as_ref().and_then(|a| a.node_affinity.as_deref());
    let new_node = rest.affinity.as_ref().and_then(|a| a.node_affinity.as_deref());
    if old_node != new_node {
        let affinity = at.child("affinity");
        node_affinity(e, &affinity.child("nodeAffinity"), new_node, old_node);
        let mut affinity = rest.affinity.take().unwrap_or_default();
        affinity.node_affinity = old_node.map(|a| Box::new(a.clone()));
        let none_before = before.affinity.is_none() && *affinity == Affinity::default();
        rest.affinity = (!none_before).then_some(affinity);
    }
    rest
}

fn required_terms(affinity: Option<&NodeAffinity>) -> Option<&List<NodeSelectorTerm>> {
    let selector = affinity?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&selector.node_selector_terms)
}

fn node_affinity(e: &mut Errs, at: &Path<'_>, new: Option<&NodeAffinity>, old: Option<&NodeAffinity>) {
    let none = List::new();
    let old = required_terms(old).unwrap_or(&none);
    let new = required_terms(new).unwrap_or(&none);
    let at = at.child("requiredDuringSchedulingIgnoredDuringExecution");
    let list = at.child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return e.invalid(&list, diff::shown_list(new), detail);
    }
    for (i, (new, old)) in new.iter().zip(old.iter()).enumerate() {
        let was_empty = old.match_expressions.is_empty() && old.match_fields.is_empty();
        let grew = new.match_expressions.starts_with(&old.match_expressions)
            && new.match_fields.starts_with(&old.match_fields);
        if (was_empty && new != old) || !grew {
            e.invalid(
                &list.index(i),
                diff::shown(new),
                "only additions are allowed (no mutations or deletions)",
            );
        }
    }
}

fn tolerations(e: &mut Errs, at: &Path<'_>, new: &List<Toleration>, old: &List<Toleration>) {
    let same_but_seconds = |a: &Toleration, b: &Toleration| {
        (&a.key, &a.operator, &a.value, &a.effect) == (&b.key, &b.operator, &b.value, &b.effect)
    };
    if !old.iter().all(|o| new.iter().any(|n| same_but_seconds(n, o))) {
        return e.forbidden(at, "existing toleration can not be modified except its tolerationSeconds");
    }
    scheduling::tolerations(e, at, new);
}

/// An update through `ephemeralcontainers`: only additions.
pub(super) fn ephemeral_containers(new: &Pod, old: &Pod, e: &mut Errs) {
    let metadata = Path::root("metadata");
    template::annotations_update(e, &metadata.child("annotations"), new, old);
    if template::is_mirror(old) {
        *e = Errs::new();
        return e.forbidden(&Path::WHOLE, "static pods do not support ephemeral containers");
    }
    let spec = Path::root("spec");
    let at = spec.child("ephemeralContainers");
    for before in old.spec.ephemeral_containers.iter() {
        match new.spec.ephemeral_containers.iter().find(|c| c.name == before.name) {
            None => e.forbidden(
                &at,
                format!("existing ephemeral containers \"{}\" may not be removed\n", before.name),
            ),
            Some(after) if after != before => {
                let difference = diff::internal(before, after);
                e.forbidden(
                    &at,
                    format!(
                        "existing ephemeral containers \"{}\" may not be changed\n{difference}",
                        before.name
                    ),
                );
            }
            Some(_) => {}
        }
    }
}
