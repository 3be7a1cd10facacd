//! PodSecurity: pods keep to the Pod Security Standard that their namespace's labels ask for.
//!
//! Pods that break the enforced standard are refused; those that break the one to warn of are let in with a warning,
//! as are workloads whose pods would. A namespace whose enforced standard gets stricter answers with what its pods
//! break. [`policy`] reads labels, [`checks`] is the table of rules, `baseline` and `restricted` are the rules.

mod baseline;
mod checks;
mod configuration;
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
use self::configuration::Exemptions;
use self::policy::{Level, Policy, Standard};
use self::subject::Subject;
use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::{World, WorldExt};

/// Audit annotation: the standard that was enforced.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
/// Audit annotation: why nothing was looked at.
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";

/// Subresources through which the spec of a pod does not change.
const IGNORED: &[&str] = &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// See the module.
#[derive(Default)]
pub struct PodSecurity {
    /// What namespaces without labels ask for.
    defaults: Policy,
    exemptions: Exemptions,
}

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
                self.validate_namespace(review, namespace, world)
            } else {
                Ok(())
            };
        }
        if let Some(pod) = as_ref::<Pod>(object) {
            return self.validate_pod(review, pod, world);
        }
        if review.target.subresource.is_empty()
            && let Some((annotations, spec)) = template(object)
        {
            self.inform(review, annotations, spec, world);
        }
        Ok(())
    }
}

impl PodSecurity {
    fn validate_namespace(
        &self,
        review: &Review<'_>,
        namespace: &Namespace,
        world: &dyn World,
    ) -> Result<(), Status> {
        let (policy, errors) = Policy::of_labels(&namespace.metadata.labels, self.defaults);
        let old = review.old.and_then(as_ref::<Namespace>).filter(|_| review.operation == Operation::Update);
        let before = old.map(|old| Policy::of_labels(&old.metadata.labels, self.defaults));
        if !errors.is_empty() && before.as_ref().is_none_or(|(_, old)| *old != errors) {
            let kind = GroupKind::new("", "Namespace");
            return Err(Status::invalid(&kind, &namespace.metadata.name, errors));
        }
        let name = &namespace.metadata.name;
        let tightened = before.as_ref().is_some_and(|(before, _)| policy.enforce.tightens(before.enforce));
        if self.exemptions.has_namespace(name) {
            let labelled = policy.labelled(&namespace.metadata.labels);
            if let Some(labelled) = labelled.filter(|_| before.is_none() || tightened) {
                review.notes.warn(format!(
                    "namespace {:?} is exempt from Pod Security, and the policy ({labelled}) will be ignored",
                    name.as_str()
                ));
            }
            return Ok(());
        }
        if tightened {
            let exempt = |pod: &Pod| self.exemptions.has_runtime_class(&pod.spec);
            existing::warnings(name, policy.enforce, world, exempt)
                .into_iter()
                .for_each(|text| review.notes.warn(text));
        }
        Ok(())
    }

    /// The policy of the review's namespace, and what cannot be read of it.
    fn policy_of(&self, review: &Review<'_>, world: &dyn World) -> Option<(Policy, Option<String>)> {
        let namespace = world.get::<Namespace>("", review.namespace())?;
        let (policy, errors) = Policy::of_labels(&namespace.metadata.labels, self.defaults);
        let texts = (!errors.is_empty()).then(|| {
            let texts = meta::aggregate_message(errors.iter().map(ToString::to_string));
            format!("Failed to parse policy: {texts}")
        });
        Some((policy, texts))
    }

    fn validate_pod(&self, review: &Review<'_>, pod: &Pod, world: &dyn World) -> Result<(), Status> {
        if IGNORED.contains(&review.target.subresource.as_str()) || self.exempts(review, None) {
            return Ok(());
        }
        let Some((policy, unreadable)) = self.policy_of(review, world) else {
            let why = format!("failed to lookup namespace {:?}", review.namespace().as_str());
            return Err(Status::internal_error(why));
        };
        if unreadable.is_none() && policy.is_privileged() {
            count(review, policy.enforce, "enforce", true);
            review.notes.annotate(ENFORCED, "privileged:latest".into());
            return Ok(());
        }
        let old = review.old.and_then(as_ref::<Pod>).filter(|_| review.operation == Operation::Update);
        if old.is_some_and(|old| !matters(&pod.spec, &old.spec)) || self.exempts(review, Some(&pod.spec)) {
            return Ok(());
        }
        note_unreadable(review, unreadable);
        let subject = Subject::new(&pod.metadata.annotations, &pod.spec);
        let mut verdicts = Verdicts::new(&subject);
        review.notes.annotate(ENFORCED, policy.enforce.to_string());
        let broken = verdicts.details(policy.enforce);
        count(review, policy.enforce, "enforce", broken.is_none());
        tell(review, policy, &mut verdicts, broken.is_none());
        let Some(broken) = broken else { return Ok(()) };
        let why = format!("violates PodSecurity \"{}\": {broken}", policy.enforce);
        Err(forbidden(review, Some(pod), &why))
    }

    /// What a workload's author should know about the pods that it would make.
    fn inform(&self, review: &Review<'_>, annotations: &Map<Str>, spec: &PodSpec, world: &dyn World) {
        if self.exempts(review, None) {
            return;
        }
        let Some((policy, unreadable)) = self.policy_of(review, world) else { return };
        let silent = policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged;
        if unreadable.is_none() && silent || self.exempts(review, Some(spec)) {
            return;
        }
        note_unreadable(review, unreadable);
        tell(review, policy, &mut Verdicts::new(&Subject::new(annotations, spec)), true);
    }

    /// Whether nothing is looked at: for the namespace or the user, or, given a pod, for its runtime class.
    fn exempts(&self, review: &Review<'_>, spec: Option<&PodSpec>) -> bool {
        let exemptions = &self.exemptions;
        let why = match spec {
            Some(spec) => exemptions.has_runtime_class(spec).then_some("runtimeClass"),
            None if exemptions.has_namespace(review.namespace()) => Some("namespace"),
            None => exemptions.has_user(&review.user.name).then_some("user"),
        };
        let Some(why) = why else { return false };
        review.notes.annotate(EXEMPT, why.into());
        let operation = review.operation.name().to_lowercase();
        crate::metrics::exempted(&operation, resource(review), &review.target.subresource);
        true
    }
}

/// What standards say of a pod: each is asked once, however many modes ask for it.
struct Verdicts<'s> {
    subject: &'s Subject<'s>,
    known: Vec<(Standard, Option<String>)>,
}

impl<'s> Verdicts<'s> {
    fn new(subject: &'s Subject<'s>) -> Self {
        Self { subject, known: Vec::with_capacity(3) }
    }

    /// What the pod breaks of a standard, in words.
    fn details(&mut self, standard: Standard) -> Option<String> {
        if let Some((_, known)) = self.known.iter().find(|(asked, _)| *asked == standard) {
            return known.clone();
        }
        let broken = violations(standard, self.subject);
        let details = (!broken.is_empty()).then(|| words::details(&broken));
        self.known.push((standard, details.clone()));
        details
    }
}

/// Notes for the audit log, and, unless the request is refused anyway, the warning for the client.
fn tell(review: &Review<'_>, policy: Policy, verdicts: &mut Verdicts<'_>, warn: bool) {
    let mut text = |standard, mode| {
        let broken = verdicts.details(standard)?;
        count(review, standard, mode, false);
        Some(format!("would violate PodSecurity \"{standard}\": {broken}"))
    };
    if let Some(text) = text(policy.audit, "audit") {
        review.notes.annotate("pod-security.kubernetes.io/audit-violations", text);
    }
    if warn && let Some(text) = text(policy.warn, "warn") {
        review.notes.warn(text);
    }
}

fn note_unreadable(review: &Review<'_>, unreadable: Option<String>) {
    if let Some(texts) = unreadable {
        review.notes.annotate("pod-security.kubernetes.io/error", texts);
    }
}

/// Pods are told apart from what makes them.
fn resource(review: &Review<'_>) -> &'static str {
    match (review.on("", "pods"), review.on("", "namespaces")) {
        (true, _) => "pod",
        (_, true) => "namespace",
        _ => "controller",
    }
}

fn count(review: &Review<'_>, standard: Standard, mode: &str, allowed: bool) {
    crate::metrics::Evaluation {
        allowed,
        level: standard.level.name(),
        version: &standard.version.to_string(),
        mode,
        operation: &review.operation.name().to_lowercase(),
        resource: resource(review),
        subresource: &review.target.subresource,
    }
    .count();
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
