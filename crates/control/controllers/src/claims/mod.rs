//! ResourceClaims: made from a pod's templates, and given back when the pod has ended.

use std::sync::{Arc, LazyLock};

use call::Target;
use informer::Key;
use meta::{OwnerReference, Str};
use reconcile::{Answer, Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use telemetry::CounterFamily;
use types::core::v1::{Pod, PodResourceClaimStatus};
use types::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};

use crate::common::owners::{controller_of, controller_ref, is_controlled_by};
use crate::common::pods;
use crate::replicas::namespace_ends;

/// What the keys of claims begin with.
const CLAIM: &str = "claim:";
/// Keeps a claim with devices from going away.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Whose field in a pod's status the claims are.
const MANAGER: &str = "ResourceClaimController";
const POD_CLAIM_NAME: &str = "resource.kubernetes.io/pod-claim-name";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("resource_claim", "resource_claim", context.clone(), Claims)
        .on::<Pod>(|pod, _| keys_of(pod))
        .on::<ResourceClaimTemplate>(|template, world| {
            let mut pods = world.list::<Pod>(&template.metadata.namespace);
            let name = &template.metadata.name;
            pods.retain(|pod| {
                pod.spec
                    .resource_claims
                    .iter()
                    .any(|claim| claim.resource_claim_template_name.as_ref() == Some(name))
            });
            pods.iter().map(|pod| Key::of(&**pod)).collect()
        })
        .on::<ResourceClaim>(|claim, _| {
            let namespace = &claim.metadata.namespace;
            let owner =
                controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod").map(|owner| &owner.name);
            let users = claim
                .status
                .reserved_for
                .iter()
                .filter(|user| user.resource == "pods")
                .map(|user| &user.name);
            let pods = users.chain(owner).map(|name| Key::new(namespace, name));
            pods.chain([claim_key(namespace, &claim.metadata.name)]).collect()
        })
        .start()
}

/// A claim, beside the pods, whose names have no colon.
fn claim_key(namespace: &Str, name: &str) -> Key {
    Key::new(namespace, &Str::from(format!("{CLAIM}{name}")))
}

/// The pod and the claims that it uses.
fn keys_of(pod: &Pod) -> Vec<Key> {
    let generated = pod.status.resource_claim_statuses.iter();
    let claims = pod.spec.resource_claims.iter().filter_map(|claim| claim.resource_claim_name.as_ref());
    let claims = claims.chain(generated.filter_map(|status| status.resource_claim_name.as_ref()));
    let extended = pod.status.extended_resource_claim_status.as_ref();
    let claims = claims.chain(extended.map(|status| &status.resource_claim_name));
    let namespace = &pod.metadata.namespace;
    let mut keys: Vec<Key> = claims.map(|name| claim_key(namespace, name)).collect();
    if !pod.spec.resource_claims.is_empty() || !keys.is_empty() {
        keys.push(Key::of(pod));
    }
    keys
}

pub(crate) struct Claims;

impl Reconciler for Claims {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if let Some(name) = key.name.strip_prefix(CLAIM) {
            if let Some(claim) = world.get::<ResourceClaim>(&key.namespace, name) {
                give_back(&claim, world, plan);
            }
            return Next::Done;
        }
        let pod = world.get_key::<Pod>(key);
        if let Some(pod) = &pod {
            end(pod, world, plan);
        }
        let Some(pod) = pod.filter(|pod| pods::is_active(pod)) else { return Next::Done };
        let existing = world.list::<ResourceClaim>(&key.namespace);
        let mut told = (*pod).clone();
        let mut making: Vec<Str> = Vec::new();
        for wanted in &pod.spec.resource_claims {
            let Some(template_name) = &wanted.resource_claim_template_name else { continue };
            let made = existing.iter().find(|claim| {
                is_controlled_by(&claim.metadata, &pod.metadata)
                    && claim.metadata.annotation(POD_CLAIM_NAME) == wanted.name.as_str()
            });
            if let Some(made) = made {
                tell(&mut told, &wanted.name, &made.metadata.name);
                continue;
            }
            let Some(template) = world.get::<ResourceClaimTemplate>(&key.namespace, template_name) else {
                let message = format!(
                    "PodResourceClaim {}: resource claim template \"{template_name}\": resourceclaimtemplate.resource.k8s.io \"{template_name}\" not found",
                    wanted.name
                );
                plan.event(Note::warning(&*pod, "FailedResourceClaimCreation", message));
                continue;
            };
            making.push(wanted.name.clone());
            plan.push(create(&pod, &wanted.name, &template));
        }
        if making.is_empty() {
            if told.status != pod.status {
                plan.push(apply(&told));
            }
            return Next::Done;
        }
        plan.then(move |outcome, plan| {
            let made: Vec<_> = outcome.results.iter().rev().take(making.len()).rev().cloned().collect();
            for (name, result) in making.iter().zip(made) {
                if let Ok(Answer::Object(claim)) = result {
                    tell(&mut told, name, &claim.meta().name.clone());
                }
            }
            if told.status != pod.status {
                plan.push(apply(&told));
            }
            match outcome.error() {
                Some(status) if namespace_ends(status) => Next::Done,
                _ => outcome.verdict(),
            }
        });
        Next::Done
    }
}

/// Writes which claims were made for the pod.
fn apply(pod: &Pod) -> Write {
    let claims: Vec<serde_json::Value> =
        pod.status.resource_claim_statuses.iter().map(meta::to_value).collect();
    let fields = serde_json::json!({ "status": { "resourceClaimStatuses": claims } });
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    Write::apply::<Pod>(namespace, name, "status", MANAGER, fields).ignore(404)
}

fn tell(pod: &mut Pod, name: &Str, claim: &Str) {
    let statuses = &mut pod.status.resource_claim_statuses;
    match statuses.iter_mut().find(|status| status.name == *name) {
        Some(known) => known.resource_claim_name = Some(claim.clone()),
        None => statuses
            .push(PodResourceClaimStatus { name: name.clone(), resource_claim_name: Some(claim.clone()) }),
    }
}

fn create(pod: &Arc<Pod>, name: &Str, template: &ResourceClaimTemplate) -> Write {
    let mut claim = ResourceClaim { spec: template.spec.spec.clone(), ..ResourceClaim::default() };
    claim.metadata.namespace = pod.metadata.namespace.clone();
    claim.metadata.generate_name = Str::from(format!("{}-{name}-", pod.metadata.name));
    claim.metadata.labels = template.spec.metadata.labels.clone();
    claim.metadata.annotations = template.spec.metadata.annotations.clone();
    claim.metadata.annotations.insert(POD_CLAIM_NAME, name.clone());
    let owner = OwnerReference { block_owner_deletion: None, ..controller_ref(&**pod) };
    claim.metadata.owner_references.push(owner);
    let about = pod.clone();
    let admin = if wants_admin_access(&claim) { "true" } else { "false" };
    Write::create(claim)
        .on_failure(move |status| {
            Some(Note::warning(&*about, "FailedResourceClaimCreation", status.message.clone()))
        })
        .measured(move |refusal| {
            CREATES.with(&[admin, if refusal.is_none() { "success" } else { "failure" }]).inc();
        })
}

static CREATES: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Claims that were made for pods, or could not be.";
    telemetry::counter("resourceclaim_controller_creates_total", help, &["admin_access", "status"])
});

fn wants_admin_access(claim: &ResourceClaim) -> bool {
    let exactly = claim.spec.devices.requests.iter().filter_map(|request| request.exactly.as_ref());
    exactly.into_iter().any(|exactly| exactly.admin_access == Some(true))
}

/// Ends the claims that were made for a pod that has ended.
fn end(pod: &Pod, world: &World, plan: &mut Plan) {
    if !pods::is_finished(pod) {
        return;
    }
    for claim in world.list::<ResourceClaim>(&pod.metadata.namespace) {
        if is_controlled_by(&claim.metadata, &pod.metadata) && claim.metadata.deletion_timestamp.is_none() {
            plan.delete(&*claim);
        }
    }
}

/// Whether the user of a claim is a pod.
fn is_pod(user: &ResourceClaimConsumerReference) -> bool {
    user.api_group.is_empty() && user.resource == "pods"
}

/// Takes pods that are gone or have ended off a claim. One that nobody uses any more gives its devices back, and may go
/// when it is to be deleted.
fn give_back(claim: &Arc<ResourceClaim>, world: &World, plan: &mut Plan) {
    let namespace = &claim.metadata.namespace;
    let mut ended: Vec<Str> = Vec::new();
    let mut unknown: Vec<Str> = Vec::new();
    for user in claim.status.reserved_for.iter().filter(|user| is_pod(user)) {
        match world.get::<Pod>(namespace, &user.name) {
            None => unknown.push(user.name.clone()),
            Some(pod) if pod.metadata.uid != user.uid || pods::is_finished(&pod) => {
                ended.push(user.uid.clone())
            }
            Some(_) => {}
        }
    }
    if unknown.is_empty() {
        return free(claim, |user| ended.contains(&user.uid), plan);
    }
    // The cache of pods may be behind the one of claims: only the server knows which are gone.
    for name in &unknown {
        plan.push(Write::get(Target::of::<Pod>(namespace.as_str()).named(name)).ignore(404));
    }
    let claim = claim.clone();
    plan.then(move |outcome, plan| {
        if outcome.error().is_some() {
            return outcome.verdict();
        }
        let there: Vec<Str> = outcome
            .results
            .iter()
            .filter_map(|result| match result {
                Ok(Answer::Object(pod)) => Some(pod.meta().uid.clone()),
                _ => None,
            })
            .collect();
        let gone = |user: &ResourceClaimConsumerReference| {
            ended.contains(&user.uid) || unknown.contains(&user.name) && !there.contains(&user.uid)
        };
        free(&claim, gone, plan);
        Next::Done
    });
}

/// Takes the pods off the claim that have ended.
fn free(claim: &ResourceClaim, ended: impl Fn(&ResourceClaimConsumerReference) -> bool, plan: &mut Plan) {
    let mut freed = claim.clone();
    freed.status.reserved_for.retain(|user| !is_pod(user) || !ended(user));
    let goes = claim.metadata.deletion_timestamp.is_some();
    let unused = freed.status.reserved_for.is_empty();
    if unused && (goes || freed.status.reserved_for != claim.status.reserved_for) {
        freed.status.allocation = None;
        freed.status.devices = Default::default();
    }
    if freed.status != claim.status {
        plan.push(Write::update_status(freed).ignore(404));
    } else if goes && unused && freed.metadata.has_finalizer(FINALIZER) {
        freed.metadata.finalizers.retain(|one| one != FINALIZER);
        plan.push(Write::update(freed).ignore(404));
    }
}

#[cfg(test)]
mod tests;
