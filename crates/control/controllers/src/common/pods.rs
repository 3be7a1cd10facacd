//! Pods as workload controllers see and make them.

use meta::{ObjectMeta, OwnerReference, Str, Time};
use types::core::v1::{Pod, PodCondition, PodTemplateSpec};

/// The condition of this type.
pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether the pod ran to its end.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// Whether the pod counts as a replica: not at its end and not on its way out.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the pod is on its way out but its containers may still run.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod has been ready for at least `min_ready_seconds`.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: i64) -> bool {
    is_ready(pod) && seconds_to_available(pod, min_ready_seconds, now).is_some_and(|seconds| seconds <= 0)
}

/// How long until a ready pod counts as available, in seconds; `None` when it is not ready.
pub(crate) fn seconds_to_available(pod: &Pod, min_ready_seconds: i32, now: i64) -> Option<i64> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    if min_ready_seconds == 0 {
        return Some(0);
    }
    let since = ready.last_transition_time?.seconds;
    Some(since + i64::from(min_ready_seconds) - now)
}

/// Whether every label of `template` is on the pod.
pub(crate) fn is_fully_labeled(pod: &Pod, template: &ObjectMeta) -> bool {
    template.labels.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}

/// A pod that `template` describes, to be created for `parent`.
pub(crate) fn from_template(template: &PodTemplateSpec, parent: &ObjectMeta, owner: OwnerReference) -> Pod {
    let mut pod = Pod { spec: template.spec.clone(), ..Pod::default() };
    pod.metadata.namespace = parent.namespace.clone();
    pod.metadata.generate_name = prefix(&parent.name);
    pod.metadata.labels = template.metadata.labels.clone();
    pod.metadata.annotations = template.metadata.annotations.clone();
    pod.metadata.finalizers = template.metadata.finalizers.clone();
    pod.metadata.owner_references.push(owner);
    pod
}

/// The prefix of the names of a parent's pods. Without the dash when the parent's name is too long for it.
fn prefix(parent: &str) -> Str {
    if parent.len() < 253 { Str::from(format!("{parent}-")) } else { parent.into() }
}

/// Sets a condition, with the time of the transition when its status changes. Returns whether anything changed.
pub(crate) fn set_condition(pod: &mut Pod, mut condition: PodCondition, now: Time) -> bool {
    condition.last_transition_time = Some(now);
    let Some(known) = pod.status.conditions.iter_mut().find(|known| known.type_ == condition.type_) else {
        pod.status.conditions.push(condition);
        return true;
    };
    if known.status == condition.status {
        condition.last_transition_time = known.last_transition_time;
    }
    let changed = *known != condition;
    *known = condition;
    changed
}
