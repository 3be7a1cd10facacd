//! Counting what a quota limits.

use meta::{Kind, Map, Object, Quantity, Time};
use reconcile::World;
use rules::amounts::Amounts as _;
use rules::quota::{all_match, measures, selectors, usage};
use types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use types::batch::v1::{CronJob, Job};
use types::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret, Service,
    ServiceAccount,
};
use types::resource::v1::ResourceClaim;

/// How much is used in the quota's namespace of each name that it limits; what is not counted here is left out.
pub(super) fn of(quota: &ResourceQuota, world: &World) -> Map<Quantity> {
    let mut count = Count { quota, world, now: world.now(), used: Map::new() };
    count.add::<Pod>();
    count.add::<Service>();
    count.add::<PersistentVolumeClaim>();
    count.add::<ResourceClaim>();
    count.add::<ConfigMap>();
    count.add::<Secret>();
    count.add::<ReplicationController>();
    count.add::<ResourceQuota>();
    count.add::<ServiceAccount>();
    count.add::<ReplicaSet>();
    count.add::<Deployment>();
    count.add::<StatefulSet>();
    count.add::<DaemonSet>();
    count.add::<Job>();
    count.add::<CronJob>();
    count.used
}

struct Count<'a> {
    quota: &'a ResourceQuota,
    world: &'a World,
    now: Time,
    used: Map<Quantity>,
}

impl Count<'_> {
    /// Adds what the objects of a kind use, if the quota limits any of that.
    fn add<K: Kind + Object>(&mut self) {
        let kind = call::Target::of::<K>("");
        let (group, resource) = (kind.group.as_str(), kind.resource.as_str());
        let limited: Vec<_> =
            self.quota.spec.hard.keys().filter(|name| measures(group, resource, name)).collect();
        if limited.is_empty() {
            return;
        }
        let selectors = selectors(self.quota);
        let mut sum = Map::new();
        for object in self.world.list::<K>(&self.quota.metadata.namespace) {
            if all_match(&*object, &selectors) {
                sum.add(&usage(group, resource, &*object, Some(self.now)));
            }
        }
        for name in limited {
            self.used.insert(name.clone(), sum.get(name).copied().unwrap_or_else(Quantity::zero));
        }
    }
}

/// A number of objects as a quota writes it.
pub(super) fn number(count: usize) -> Quantity {
    Quantity::new(count as i64, Quantity::zero().format())
}

#[cfg(test)]
mod tests {
    use informer::Informers;
    use serde_json::{Value, json};

    use super::*;
    use crate::common::testing::object;

    /// What a quota over these names and scopes counts of these objects of its namespace.
    fn used(hard: &[&str], spec: Value, objects: &[Value]) -> String {
        let hard: serde_json::Map<String, Value> =
            hard.iter().map(|name| ((*name).to_owned(), json!("9"))).collect();
        let mut quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": spec,
            "metadata": {"namespace": "ns", "name": "q"}});
        quota["spec"]["hard"] = hard.into();
        let quota = meta::downcast_ref::<ResourceQuota>(&*object(quota)).cloned().unwrap();
        let mut given = Vec::new();
        for (index, one) in objects.iter().enumerate() {
            let mut one = one.clone();
            one["metadata"]["namespace"] = "ns".into();
            one["metadata"]["name"] = format!("o{index}").into();
            one["metadata"]["uid"] = format!("u{index}").into();
            given.push(object(one));
        }
        // 2001-09-09T01:46:40Z
        let world = World::new(Informers::fixed(given), 1_000_000_000_000);
        let counted = of(&quota, &world);
        counted.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(" ")
    }

    fn pod(more: Value) -> Value {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {},
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}});
        for (key, value) in more.as_object().unwrap() {
            for (name, value) in value.as_object().unwrap() {
                pod[key][name] = value.clone();
            }
        }
        pod
    }

    #[test]
    fn pods_count_until_their_end_or_until_they_should_be_gone() {
        let going =
            |at: &str| pod(json!({"metadata": {"deletionTimestamp": at, "deletionGracePeriodSeconds": 30}}));
        let pods = [
            pod(json!({})),
            pod(json!({"status": {"phase": "Succeeded"}})),
            going("2001-09-09T01:46:20Z"),
            going("2001-09-09T01:46:00Z"),
        ];
        let names = ["pods", "count/pods", "cpu", "limits.cpu"];
        assert_eq!(used(&names, json!({}), &pods), "count/pods=4 cpu=2 limits.cpu=0 pods=2");
    }

    #[test]
    fn scopes_select_what_admission_charges() {
        let across = json!({"spec": {"affinity": {"podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x", "namespaces": ["b"]}]}}}});
        let pods = [
            pod(json!({})),
            pod(across),
            pod(json!({"spec": {"activeDeadlineSeconds": 5, "priorityClassName": "high"}})),
            pod(json!({"spec": {"containers": [{"name": "a"}]}})),
        ];
        let scoped = |scope: &str| used(&["pods"], json!({"scopes": [scope]}), &pods);
        assert_eq!(scoped("CrossNamespacePodAffinity"), "pods=1");
        assert_eq!(scoped("Terminating"), "pods=1");
        assert_eq!(scoped("BestEffort"), "pods=1");
        assert_eq!(scoped("NotBestEffort"), "pods=3");
        let high = json!([{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]);
        assert_eq!(used(&["pods"], json!({"scopeSelector": {"matchExpressions": high}}), &pods), "pods=1");
    }

    #[test]
    fn services_claims_and_devices_count_as_admission_charges_them() {
        let service =
            |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": spec});
        let ports = json!([{"port": 1}, {"port": 2}]);
        let objects = [
            service(json!({"type": "NodePort", "ports": ports})),
            service(json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false})),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {},
                "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "3Gi"}}}}),
            json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {},
                "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu", "count": 2,
                    "allocationMode": "ExactCount"}}]}}}),
        ];
        let names = [
            "count/services",
            "services.nodeports",
            "services.loadbalancers",
            "requests.storage",
            "fast.storageclass.storage.k8s.io/persistentvolumeclaims",
            "slow.storageclass.storage.k8s.io/requests.storage",
            "gpu.deviceclass.resource.k8s.io/devices",
        ];
        assert_eq!(
            used(&names, json!({}), &objects),
            "count/services=2 fast.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
             gpu.deviceclass.resource.k8s.io/devices=2 requests.storage=3Gi services.loadbalancers=1 \
             services.nodeports=2 slow.storageclass.storage.k8s.io/requests.storage=0"
        );
    }
}
