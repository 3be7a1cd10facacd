//! ResourceQuotas: how much of each limited resource a namespace uses.

mod others;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use informer::{Change, Key};
use meta::{Kind, Map, Object, Quantity};
use others::Others;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use rules::amounts::{limits, requests};
use types::apiextensions::v1::CustomResourceDefinition;
use types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use types::batch::v1::{CronJob, Job};
use types::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, PodStatus, ReplicationController, ResourceQuota,
    ResourceRequirements, Secret, Service, ServiceAccount,
};
use types::resource::v1::ResourceClaim;

use crate::common::pods;

/// Everything is counted anew this often, upstream's resync period.
const PERIOD: Duration = Duration::from_secs(300);

/// Starts the controller.
///
/// What is created is charged by admission, before it exists; counting anew at that moment would give the charge back.
/// So only what frees something, or changes what is limited, is looked at.
pub(crate) fn start(context: &Context) -> Running {
    let others = Others::new(context.informers.clone());
    let (quotas, definitions) = (others.clone(), others.clone());
    let controller = Controller::new(
        "resourcequota_primary",
        "resourcequota-controller",
        context.clone(),
        Quotas { others: others.clone() },
    );
    others.wakes(controller.queue());
    let controller = controller
        .on_change::<ResourceQuota>(move |change, world| match change {
            Change::Updated { old, new } if old.spec == new.spec && new.status.hard == new.spec.hard => {
                Vec::new()
            }
            Change::Deleted(_) => Vec::new(),
            change => {
                quotas.follow(change.object(), world);
                vec![Key::of(&**change.object())]
            }
        })
        .on_change::<CustomResourceDefinition>(move |change, world| {
            definitions.redefined(change.object(), world)
        })
        .on_change::<Pod>(|change, world| {
            freed(change, world, |old, new| {
                (!pods::is_finished(old) && pods::is_finished(new))
                    || old.spec.active_deadline_seconds != new.spec.active_deadline_seconds
                    || ((old.spec != new.spec || held_differs(&old.status, &new.status)) && shrinks(old, new))
            })
        })
        .on_change::<Service>(|change, world| freed(change, world, |old, new| old.spec != new.spec))
        .on_change::<PersistentVolumeClaim>(|change, world| {
            freed(change, world, |old, new| old.spec != new.spec)
        });
    let controller = counted::<ConfigMap>(controller);
    let controller = counted::<Secret>(controller);
    let controller = counted::<ReplicationController>(controller);
    let controller = counted::<ServiceAccount>(controller);
    let controller = counted::<ReplicaSet>(controller);
    let controller = counted::<Deployment>(controller);
    let controller = counted::<StatefulSet>(controller);
    let controller = counted::<DaemonSet>(controller);
    let controller = counted::<Job>(controller);
    let controller = counted::<ResourceClaim>(controller);
    counted::<CronJob>(controller).start()
}

/// Whether containers hold or were granted something else than before, which counts while a pod is resized in place.
fn held_differs(old: &PodStatus, new: &PodStatus) -> bool {
    fn held(
        status: &PodStatus,
    ) -> impl Iterator<Item = (&Option<Box<ResourceRequirements>>, &Map<Quantity>)> {
        let all = status.container_statuses.iter().chain(status.init_container_statuses.iter());
        all.map(|one| (&one.resources, &one.allocated_resources))
    }
    held(old).ne(held(new))
}

/// Whether a pod takes less of something than before.
fn shrinks(old: &Pod, new: &Pod) -> bool {
    let less = |before: Map<Quantity>, after: Map<Quantity>| {
        before.iter().any(|(name, amount)| after.get(name).is_none_or(|now| now < amount))
    };
    less(requests(old), requests(new)) || less(limits(old), limits(new))
}

/// A kind of which only the number counts.
fn counted<K: Kind>(controller: Controller) -> Controller {
    controller.on_change::<K>(|change, world| freed(change, world, |_, _| false))
}

/// The quotas of the namespace of an object that is gone or `uses` something else than before.
fn freed<K: Kind>(change: &Change<K>, world: &World, uses: impl Fn(&K, &K) -> bool) -> Vec<Key> {
    let looked_at = match change {
        Change::Added(_) => false,
        Change::Updated { old, new } => uses(old, new),
        Change::Deleted(_) => true,
    };
    let namespace = &change.object().meta().namespace;
    match looked_at {
        true => world.list::<ResourceQuota>(namespace).iter().map(|quota| Key::of(&**quota)).collect(),
        false => Vec::new(),
    }
}

pub(crate) struct Quotas {
    others: Arc<Others>,
}

impl Reconciler for Quotas {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let quota =
            world.get_key::<ResourceQuota>(key).filter(|quota| quota.metadata.deletion_timestamp.is_none());
        let Some(quota) = quota else { return Next::Done };
        let counted = usage::of(&quota, world);
        let mut used: Map<Quantity> = Map::new();
        for name in quota.spec.hard.keys() {
            // What nobody here counts keeps the count that admission keeps.
            let known = counted
                .get(name)
                .copied()
                .or_else(|| self.others.count(name, &key.namespace).map(usage::number))
                .or_else(|| quota.status.used.get(name).copied());
            used.insert(name.clone(), known.unwrap_or_else(Quantity::zero));
        }
        if quota.status.hard != quota.spec.hard || quota.status.used != used {
            let mut told = (*quota).clone();
            told.status.hard = quota.spec.hard.clone();
            told.status.used = used;
            plan.push(Write::update_status(told).ignore(404));
        }
        Next::After(PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resize_frees_something_only_when_it_shrinks() {
        let pod = |held: serde_json::Value| -> Pod {
            meta::from_value(json!({
                "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"containerStatuses": held}}))
            .unwrap()
        };
        let holds = |cpu: &str| pod(json!([{"name": "a", "resources": {"requests": {"cpu": cpu}}}]));
        let (new, started, grown) = (pod(json!([])), holds("1"), holds("2"));
        let freed = |old: &Pod, new: &Pod| held_differs(&old.status, &new.status) && shrinks(old, new);
        assert!(!freed(&new, &started), "what starts frees nothing");
        assert!(!freed(&started, &grown));
        assert!(freed(&grown, &started));
    }
}
