//! Quotas over requests: what is charged, what is refused, and how that reads.

use std::sync::Arc;

use authn::User;
use call::{Target, WriteOptions};
use meta::{Kind, Object};
use serde_json::{Value as Json, json};
use types::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};

use super::Quota;
use crate::notes::Notes;
use crate::review::{NoCodec, Operation, Options, Review};
use crate::testing::Cluster;

fn quota(name: &str, spec: Json, hard: Json, used: Json) -> Json {
    json!({ "metadata": { "name": name, "namespace": "ns", "resourceVersion": "7" }, "spec": spec, "status": { "hard": hard, "used": used } })
}

/// The charges as `quota name=amount`, or the refusal.
fn charge<K: Kind + Object>(quota: &Quota, world: &Cluster, object: Json, old: Option<Json>) -> String {
    let object: K = meta::from_value(object).expect("an object");
    let old: Option<K> = old.map(|old| meta::from_value(old).expect("an object"));
    let target = Target { name: "x".into(), ..Target::of::<K>("ns") };
    let (user, options, notes) = (Arc::new(User::new("u", &[])), WriteOptions::default(), Notes::default());
    let review = Review {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        target: &target,
        user: &user,
        old: old.as_ref().map(|old| old as &dyn Object),
        dry_run: false,
        notes: &notes,
        options: Options::Write(&options),
        codec: &NoCodec,
    };
    match quota.charges(&review, &object, world) {
        Ok(charges) => {
            let shown = charges.iter().map(|charge| {
                let used = charge.used.iter().map(|(name, amount)| format!("{name}={amount}"));
                format!("{} {}", charge.name, used.collect::<Vec<_>>().join(","))
            });
            shown.collect::<Vec<_>>().join("; ")
        }
        Err(status) => format!("{} {}", status.code, status.message),
    }
}

fn pod(spec: Json) -> Json {
    let mut whole = json!({ "spec": { "containers": [{ "name": "a", "image": "i" }] } });
    whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    whole
}

fn sized(cpu: &str) -> Json {
    pod(json!({ "containers": [{ "name": "a", "image": "i", "resources": { "requests": { "cpu": cpu } } }] }))
}

#[test]
fn pods_are_charged_and_refused_as_upstream_words_it() {
    let hard = || json!({ "pods": "2", "requests.cpu": "1" });
    let world = |used: Json| Cluster::new().with::<ResourceQuota>(quota("q", json!({}), hard(), used));
    let plain = Quota::default();
    let rows = [
        (json!({ "pods": "1", "requests.cpu": "500m" }), sized("500m"), "q pods=2,requests.cpu=1"),
        (
            json!({ "pods": "2", "requests.cpu": "500m" }),
            sized("600m"),
            "403 pods \"x\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=600m, used: pods=2,requests.cpu=500m, limited: pods=2,requests.cpu=1",
        ),
        (
            json!({ "pods": "0", "requests.cpu": "0" }),
            pod(json!({})),
            "403 pods \"x\" is forbidden: failed quota: q: must specify requests.cpu for: a",
        ),
        (
            json!({ "pods": "0" }),
            sized("1"),
            "403 pods \"x\" is forbidden: status unknown for quota: q, resources: pods,requests.cpu",
        ),
    ];
    for (used, object, expected) in rows {
        assert_eq!(charge::<Pod>(&plain, &world(used), object, None), expected);
    }
}

#[test]
fn scopes_choose_the_objects() {
    let plain = Quota::default();
    let best_effort = pod(json!({}));
    let critical = || pod(json!({ "priorityClassName": "high" }));
    let crossing = pod(
        json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "k", "namespaces": ["other"] }] } } }),
    );
    let by_class = |operator: &str, values: Json| json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": "PriorityClass", "operator": operator, "values": values }] } });
    let rows = [
        (json!({ "scopes": ["BestEffort"] }), best_effort.clone(), true),
        (json!({ "scopes": ["BestEffort"] }), sized("1"), false),
        (json!({ "scopes": ["NotBestEffort"] }), sized("1"), true),
        (json!({ "scopes": ["Terminating"] }), pod(json!({ "activeDeadlineSeconds": 5 })), true),
        (json!({ "scopes": ["NotTerminating"] }), pod(json!({ "activeDeadlineSeconds": 5 })), false),
        (json!({ "scopes": ["NotTerminating", "BestEffort"] }), best_effort.clone(), true),
        (json!({ "scopes": ["CrossNamespacePodAffinity"] }), crossing, true),
        (json!({ "scopes": ["CrossNamespacePodAffinity"] }), best_effort.clone(), false),
        (by_class("In", json!(["high"])), critical(), true),
        (by_class("NotIn", json!(["high"])), critical(), false),
        (by_class("NotIn", json!(["high"])), best_effort.clone(), true),
        (by_class("Exists", json!([])), best_effort, false),
        (by_class("DoesNotExist", json!([])), critical(), false),
    ];
    for (spec, object, applies) in rows {
        let full = quota("q", spec.clone(), json!({ "pods": "0" }), json!({ "pods": "0" }));
        let said = charge::<Pod>(&plain, &Cluster::new().with::<ResourceQuota>(full), object, None);
        assert_eq!(said.contains("exceeded quota: q"), applies, "{spec}: {said}");
    }
    let classes = json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"] }] } });
    let full = quota(
        "q",
        classes,
        json!({ "persistentvolumeclaims": "0" }),
        json!({ "persistentvolumeclaims": "0" }),
    );
    let world = Cluster::new().with::<ResourceQuota>(full);
    let claim = |class: &str| json!({ "spec": { "volumeAttributesClassName": class, "resources": { "requests": { "storage": "1Gi" } } } });
    assert!(charge::<PersistentVolumeClaim>(&plain, &world, claim("gold"), None).contains("exceeded"));
    assert_eq!(charge::<PersistentVolumeClaim>(&plain, &world, claim("silver"), None), "");
}

#[test]
fn changes_are_charged_by_how_much_they_add() {
    let hard = json!({ "services.nodeports": "3", "count/services": "9", "requests.storage": "10Gi", "fast.storageclass.storage.k8s.io/requests.storage": "5Gi" });
    let used = json!({ "services.nodeports": "1", "count/services": "1", "requests.storage": "2Gi", "fast.storageclass.storage.k8s.io/requests.storage": "2Gi" });
    let world = Cluster::new().with::<ResourceQuota>(quota("q", json!({}), hard, used));
    let plain = Quota::default();
    let service = |kind: &str, ports: usize| {
        let ports: Vec<Json> = (0..ports).map(|n| json!({ "port": n + 1 })).collect();
        json!({ "metadata": { "resourceVersion": "1" }, "spec": { "type": kind, "ports": ports } })
    };
    let said = charge::<Service>(&plain, &world, service("NodePort", 3), Some(service("NodePort", 1)));
    assert!(said.contains("services.nodeports=3") && said.contains("count/services=1"), "{said}");
    let said = charge::<Service>(&plain, &world, service("ClusterIP", 3), Some(service("NodePort", 3)));
    assert_eq!(said, "", "what is given back is told by the controller");
    let claim = |size: &str| json!({ "metadata": { "resourceVersion": "1" }, "spec": { "storageClassName": "fast", "resources": { "requests": { "storage": size } } } });
    let said = charge::<PersistentVolumeClaim>(&plain, &world, claim("6Gi"), Some(claim("2Gi")));
    assert!(
        said.contains("exceeded quota: q, requested: fast.storageclass.storage.k8s.io/requests.storage=4Gi"),
        "{said}"
    );
}

#[test]
fn what_is_limited_by_configuration_needs_a_quota() {
    let document = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration",
        "limitedResources": [
            { "resource": "persistentvolumeclaims", "matchContains": [".storageclass.storage.k8s.io/requests.storage"] },
            { "resource": "pods", "matchScopes": [{ "scopeName": "PriorityClass", "operator": "In", "values": ["high", "top"] }] },
        ],
    });
    let limited = Quota::configured(Some(&document)).expect("a configuration");
    let none = Cluster::new();
    let claim =
        json!({ "spec": { "storageClassName": "fast", "resources": { "requests": { "storage": "1Gi" } } } });
    assert_eq!(
        charge::<PersistentVolumeClaim>(&limited, &none, claim.clone(), None),
        "403 persistentvolumeclaims \"x\" is forbidden: insufficient quota to consume: fast.storageclass.storage.k8s.io/requests.storage"
    );
    let covering = json!({ "fast.storageclass.storage.k8s.io/requests.storage": "5Gi" });
    let used = json!({ "fast.storageclass.storage.k8s.io/requests.storage": "0" });
    let world = Cluster::new().with::<ResourceQuota>(quota("q", json!({}), covering, used));
    assert_eq!(
        charge::<PersistentVolumeClaim>(&limited, &world, claim, None),
        "q fast.storageclass.storage.k8s.io/requests.storage=1Gi"
    );
    let high = pod(json!({ "priorityClassName": "high" }));
    assert_eq!(
        charge::<Pod>(&limited, &none, high.clone(), None),
        "500 insufficient quota to match these scopes: [{PriorityClass In [high top]}]"
    );
    assert_eq!(charge::<Pod>(&limited, &none, pod(json!({})), None), "");
    let scoped = json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "In", "values": ["high"] }] } });
    let world = Cluster::new().with::<ResourceQuota>(quota(
        "q",
        scoped,
        json!({ "pods": "1" }),
        json!({ "pods": "0" }),
    ));
    assert_eq!(charge::<Pod>(&limited, &world, high, None), "q pods=1");
    assert!(Quota::configured(Some(&json!({ "apiVersion": "v1", "kind": "X" }))).is_err());
}
