//! ResourceQuotas: how much of each limited resource a namespace uses.

mod usage;

use std::time::Duration;

use informer::Key;
use meta::{Map, Quantity, Str};
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret, Service,
    ServiceAccount,
};

/// Everything is counted anew this often, upstream's resync period.
const PERIOD: Duration = Duration::from_secs(300);

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    fn quotas(namespace: &Str, world: &World) -> Vec<Key> {
        world.list::<ResourceQuota>(namespace).iter().map(|quota| Key::of(&**quota)).collect()
    }
    Controller::new("resourcequota_primary", "resourcequota-controller", context.clone(), Quotas)
        .of::<ResourceQuota>()
        .on::<Pod>(|object, world| quotas(&object.metadata.namespace, world))
        .on::<Service>(|object, world| quotas(&object.metadata.namespace, world))
        .on::<PersistentVolumeClaim>(|object, world| quotas(&object.metadata.namespace, world))
        .on::<ConfigMap>(|object, world| quotas(&object.metadata.namespace, world))
        .on::<Secret>(|object, world| quotas(&object.metadata.namespace, world))
        .on::<ReplicationController>(|object, world| quotas(&object.metadata.namespace, world))
        .on::<ServiceAccount>(|object, world| quotas(&object.metadata.namespace, world))
        .start()
}

pub(crate) struct Quotas;

impl Reconciler for Quotas {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let quota =
            world.get_key::<ResourceQuota>(key).filter(|quota| quota.metadata.deletion_timestamp.is_none());
        let Some(quota) = quota else { return Next::Done };
        let mut used: Map<Quantity> = Map::new();
        for name in quota.spec.hard.keys() {
            // What nobody here counts keeps the count that admission keeps.
            let known = usage::of(name, &quota, world).or_else(|| quota.status.used.get(name).copied());
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
