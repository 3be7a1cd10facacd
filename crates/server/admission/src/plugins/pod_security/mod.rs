//! PodSecurity: pods keep to the Pod Security Standard that their namespace's labels ask for.
//!
//! Pods that break the enforced standard are refused; those that break the one to warn of are let in with a warning,
//! as are workloads whose pods would. A namespace whose enforced standard gets stricter answers with what its pods
//! break. [`policy`] reads labels, [`checks`] is the table of rules, `baseline` and `restricted` are the rules.

mod baseline;
mod checks;
mod existing;
mod policy;
mod restricted;
mod subject;
#[cfg(test)]
mod tests;
mod words;

use meta::{GroupKind, Map, Object, Status, Str};
use types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use types::batch::v1::{CronJob, Job};
use types::core::v1::{Namespace, Pod, PodSpec, PodTemplate, PodTemplateSpec, ReplicationController};

use self::checks::violations;
use self::policy::{Level, Policy};
use self::subject::Subject;
use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::{World, WorldExt};

/// Subresources through which the spec of a pod does not change.
const IGNORED: &[&str] = &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// See the module.
pub struct PodSecurity;

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        if !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        if let Some(namespace) = as_ref::<Namespace>(object) {
            return if review.target.subresource.is_empty() {
                validate_namespace(review, namespace, world)
            } else {
                Ok(())
            };
        }
        if let Some(pod) = as_ref::<Pod>(object) {
            return validate_pod(review, pod, world);
        }
        if review.target.subresource.is_empty()
            && let Some((annotations, spec)) = template(object)
        {
            inform(review, annotations, spec, world);
        }
        Ok(())
    }
}

fn validate_namespace(review: &Review<'_>, namespace: &Namespace, world: &dyn World) -> Result<(), Status> {
    let (policy, errors) = Policy::of_labels(&namespace.metadata.labels, Policy::default());
    let old = review.old.and_then(as_ref::<Namespace>).filter(|_| review.operation == Operation::Update);
    let before = old.map(|old| Policy::of_labels(&old.metadata.labels, Policy::default()));
    if !errors.is_empty() && before.as_ref().is_none_or(|(_, old)| *old != errors) {
        let kind = GroupKind::new("", "Namespace");
        return Err(Status::invalid(&kind, &namespace.metadata.name, errors));
    }
    let Some((before, _)) = before else { return Ok(()) };
    let (new, old) = (policy.enforce, before.enforce);
    let relaxed = new.version == old.version && new.level <= old.level;
    if new != old && new.level != Level::Privileged && !relaxed {
        existing::warnings(&namespace.metadata.name, new, world)
            .into_iter()
            .for_each(|text| review.notes.warn(text));
    }
    Ok(())
}

/// The policy of the review's namespace.
fn policy_of(review: &Review<'_>, world: &dyn World) -> Option<Policy> {
    let namespace = world.get::<Namespace>("", review.namespace())?;
    let (policy, errors) = Policy::of_labels(&namespace.metadata.labels, Policy::default());
    if !errors.is_empty() {
        let texts = meta::aggregate_message(errors.iter().map(ToString::to_string));
        review.notes.annotate("pod-security.kubernetes.io/error", format!("Failed to parse policy: {texts}"));
    }
    Some(policy)
}

fn validate_pod(review: &Review<'_>, pod: &Pod, world: &dyn World) -> Result<(), Status> {
    if IGNORED.contains(&review.target.subresource.as_str()) {
        return Ok(());
    }
    let Some(policy) = policy_of(review, world) else {
        let why = format!("failed to lookup namespace {:?}", review.namespace().as_str());
        return Err(Status::internal_error(why));
    };
    if policy.is_privileged() {
        review.notes.annotate("pod-security.kubernetes.io/enforce-policy", "privileged:latest".into());
        return Ok(());
    }
    let old = review.old.and_then(as_ref::<Pod>).filter(|_| review.operation == Operation::Update);
    if old.is_some_and(|old| !matters(&pod.spec, &old.spec)) {
        return Ok(());
    }
    let subject = Subject::new(&pod.metadata.annotations, &pod.spec);
    review.notes.annotate("pod-security.kubernetes.io/enforce-policy", policy.enforce.to_string());
    let broken = violations(policy.enforce, &subject);
    if broken.is_empty() {
        tell(review, policy, &subject, true);
        return Ok(());
    }
    tell(review, policy, &subject, false);
    let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, words::details(&broken));
    Err(forbidden(review, Some(pod), &why))
}

/// What a workload's author should know about the pods that it would make.
fn inform(review: &Review<'_>, annotations: &Map<Str>, spec: &PodSpec, world: &dyn World) {
    let Some(policy) = policy_of(review, world) else { return };
    if policy.warn.level != Level::Privileged || policy.audit.level != Level::Privileged {
        tell(review, policy, &Subject::new(annotations, spec), true);
    }
}

/// Notes for the audit log, and, unless the request is refused anyway, the warning for the client.
fn tell(review: &Review<'_>, policy: Policy, subject: &Subject<'_>, warn: bool) {
    let text = |standard| {
        let broken = violations(standard, subject);
        let text = || format!("would violate PodSecurity \"{standard}\": {}", words::details(&broken));
        (!broken.is_empty()).then(text)
    };
    if let Some(text) = text(policy.audit) {
        review.notes.annotate("pod-security.kubernetes.io/audit-violations", text);
    }
    if let Some(text) = text(policy.warn).filter(|_| warn) {
        review.notes.warn(text);
    }
}

/// Whether an update of a pod could break what its creation did not: containers that are new or have a new image.
fn matters(new: &PodSpec, old: &PodSpec) -> bool {
    let lists = [(&new.containers, &old.containers), (&new.init_containers, &old.init_containers)];
    let changed = lists.iter().any(|(new, old)| {
        new.len() != old.len() || new.iter().zip(old.iter()).any(|(a, b)| a.image != b.image)
    });
    changed
        || new.ephemeral_containers.iter().any(|c| {
            let before = old.ephemeral_containers.iter().find(|old| old.name == c.name);
            before.is_none_or(|old| old.image != c.image)
        })
}

/// The template of the pods that an object makes.
fn template(object: &dyn Object) -> Option<(&Map<Str>, &PodSpec)> {
    fn of(template: &PodTemplateSpec) -> Option<(&Map<Str>, &PodSpec)> {
        Some((&template.metadata.annotations, &template.spec))
    }
    if let Some(o) = as_ref::<Deployment>(object) {
        return of(&o.spec.template);
    }
    if let Some(o) = as_ref::<ReplicaSet>(object) {
        return of(&o.spec.template);
    }
    if let Some(o) = as_ref::<StatefulSet>(object) {
        return of(&o.spec.template);
    }
    if let Some(o) = as_ref::<DaemonSet>(object) {
        return of(&o.spec.template);
    }
    if let Some(o) = as_ref::<Job>(object) {
        return of(&o.spec.template);
    }
    if let Some(o) = as_ref::<CronJob>(object) {
        return of(&o.spec.job_template.spec.template);
    }
    if let Some(o) = as_ref::<PodTemplate>(object) {
        return of(&o.template);
    }
    as_ref::<ReplicationController>(object).and_then(|o| of(o.spec.template.as_ref()?))
}
