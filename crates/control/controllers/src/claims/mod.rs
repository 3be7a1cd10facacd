//! ResourceClaims: made from a pod's templates, and given back when the pod has ended.

use std::sync::Arc;

use informer::Key;
use meta::{OwnerReference, Str};
use reconcile::{Answer, Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::core::v1::{Pod, PodResourceClaimStatus};
use types::resource::v1::{ResourceClaim, ResourceClaimTemplate};

use crate::common::owners::{controller_of, controller_ref, is_controlled_by};
use crate::common::pods;
use crate::replicas::namespace_ends;

const POD_CLAIM_NAME: &str = "resource.kubernetes.io/pod-claim-name";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("resource_claim", "resource_claim", context.clone(), Claims)
        .on::<Pod>(|pod, _| if pod.spec.resource_claims.is_empty() { Vec::new() } else { vec![Key::of(pod)] })
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
            users.chain(owner).map(|name| Key::new(namespace, name)).collect()
        })
        .start()
}

pub(crate) struct Claims;

impl Reconciler for Claims {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let pod = world.get_key::<Pod>(key);
        give_back(key, pod.as_deref(), world, plan);
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
                plan.push(Write::update_status(told).ignore(404));
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
                plan.push(Write::update_status(told).ignore(404));
            }
            match outcome.error() {
                Some(status) if namespace_ends(status) => Next::Done,
                _ => outcome.verdict(),
            }
        });
        Next::Done
    }
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
    Write::create(claim).on_failure(move |status| {
        Some(Note::warning(&*about, "FailedResourceClaimCreation", status.message.clone()))
    })
}

/// Takes a pod that is gone or has ended off the claims that it had reserved, and ends the claims that were made for it.
fn give_back(key: &Key, pod: Option<&Pod>, world: &World, plan: &mut Plan) {
    if pod.is_some_and(|pod| !pods::is_finished(pod)) {
        return;
    }
    for claim in world.list::<ResourceClaim>(&key.namespace) {
        let mut freed = (*claim).clone();
        freed.status.reserved_for.retain(|user| user.resource != "pods" || user.name != key.name);
        if freed.status.reserved_for.is_empty() && freed.status.reserved_for != claim.status.reserved_for {
            // Nobody uses the devices any more.
            freed.status.allocation = None;
        }
        if freed != *claim {
            plan.push(Write::update_status(freed).ignore(404));
        }
        let made_for_it = pod.is_some_and(|pod| is_controlled_by(&claim.metadata, &pod.metadata));
        if made_for_it && claim.metadata.deletion_timestamp.is_none() {
            plan.delete(&*claim);
        }
    }
}
