//! What a kubelet is refused, in upstream's words.

use meta::{Kind, Object};
use serde_json::{Value, json};
use types::certificates::v1::CertificateSigningRequest;
use types::core::v1::{Node, PersistentVolumeClaim, Pod};
use types::policy::v1::Eviction;

use super::NodeRestriction;
use crate::testing::{Cluster, ask_subresource};

fn cluster() -> Cluster {
    Cluster::new()
        .with::<Node>(json!({ "metadata": { "name": "n", "uid": "u" } }))
        .with::<Pod>(json!({ "metadata": { "name": "own", "namespace": "ns" }, "spec": { "nodeName": "n" } }))
        .with::<Pod>(
            json!({ "metadata": { "name": "other", "namespace": "ns" }, "spec": { "nodeName": "m" } }),
        )
}

/// What the node `n` is told.
async fn told<K: Kind + Object>(subresource: &str, object: Value, old: Option<Value>) -> String {
    let did =
        ask_subresource::<K>(&NodeRestriction, &cluster(), "system:node:n", subresource, object, old).await;
    did.refusal()
}

fn mirror(owners: Value, spec: Value) -> Value {
    let mut spec = spec;
    spec["nodeName"] = "n".into();
    json!({ "metadata": { "name": "p", "namespace": "ns", "ownerReferences": owners,
        "annotations": { "kubernetes.io/config.mirror": "x" } }, "spec": spec })
}

fn owner(change: Value) -> Value {
    let mut owner =
        json!({ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true });
    for (key, value) in change.as_object().unwrap() {
        owner[key] = value.clone();
    }
    owner
}

#[tokio::test]
async fn mirrors_belong_to_the_node_and_need_nothing() {
    let owned = |change: Value| mirror(json!([owner(change)]), json!({}));
    let with = |volume: Value| {
        let mut volume = volume;
        volume["name"] = "v".into();
        mirror(json!([owner(json!({}))]), json!({ "volumes": [volume] }))
    };
    for (pod, wanted) in [
        (owned(json!({})), ""),
        (
            mirror(json!([]), json!({})),
            "node \"n\" can only create pods with an owner reference set to itself",
        ),
        (
            mirror(json!([owner(json!({})), owner(json!({}))]), json!({})),
            "node \"n\" can only create pods with a single owner reference set to itself",
        ),
        (
            owned(json!({ "name": "m" })),
            "node \"n\" can only create pods with an owner reference set to itself",
        ),
        (
            owned(json!({ "controller": false })),
            "node \"n\" can only create pods with a controller owner reference set to itself",
        ),
        (
            owned(json!({ "blockOwnerDeletion": true })),
            "node \"n\" must not set blockOwnerDeletion on an owner reference",
        ),
        (owned(json!({ "uid": "x" })), "node n UID mismatch: expected x got u"),
        (with(json!({ "hostPath": { "path": "/x" } })), ""),
        (
            with(json!({ "secret": { "secretName": "s" } })),
            "node \"n\" can not create pods that reference secrets",
        ),
        (
            with(json!({ "iscsi": { "secretRef": { "name": "s" } } })),
            "node \"n\" can not create pods that reference secrets",
        ),
        (
            with(json!({ "csi": { "driver": "d" } })),
            "node \"n\" can not create pods that reference csidrivers (via CSI volumes)",
        ),
        (
            with(
                json!({ "projected": { "sources": [{ "downwardAPI": {} }, { "clusterTrustBundle": { "path": "x" } }] } }),
            ),
            "node \"n\" can not create pods that reference clustertrustbundles",
        ),
        (
            with(json!({})),
            "error checking mirror pod for API references: unknown volume type for volume  \"v\"",
        ),
    ] {
        let found = told::<Pod>("", pod.clone(), None).await;
        let wanted =
            if wanted.is_empty() { String::new() } else { format!("403 pods \"p\" is forbidden: {wanted}") };
        assert_eq!(found, wanted, "{pod}");
    }
}

#[tokio::test]
async fn statuses_say_what_happened_and_nothing_else() {
    let pod = |change: Value| {
        let mut pod = json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": { "nodeName": "n" }, "status": {} });
        for (key, value) in change.as_object().unwrap() {
            pod[key] = value.clone();
        }
        pod
    };
    let old = pod(json!({}));
    for (new, old, wanted) in [
        (pod(json!({ "status": { "phase": "Running" } })), old.clone(), ""),
        (
            pod(json!({ "metadata": { "name": "p", "namespace": "ns", "labels": { "a": "b" } } })),
            old.clone(),
            "node \"n\" cannot update labels through pod status",
        ),
        (
            pod(json!({ "status": { "resourceClaimStatuses": [{ "name": "x" }] } })),
            old.clone(),
            "node \"n\" cannot update resource claim statues",
        ),
        (
            old.clone(),
            pod(json!({ "spec": { "nodeName": "m" } })),
            "node \"n\" can only update pod status for pods with spec.nodeName set to itself",
        ),
    ] {
        let found = told::<Pod>("status", new, Some(old)).await;
        assert_eq!(found.strip_prefix("403 pods \"p\" is forbidden: ").unwrap_or_default(), wanted);
    }
    let claim = |status: Value, labels: Value| json!({ "metadata": { "name": "c", "namespace": "ns", "labels": labels }, "status": status });
    let old = claim(json!({}), json!({}));
    let grown = claim(json!({ "capacity": { "storage": "1Gi" } }), json!({}));
    assert_eq!(told::<PersistentVolumeClaim>("status", grown, Some(old.clone())).await, "");
    let labelled = claim(json!({}), json!({ "a": "b" }));
    let found = told::<PersistentVolumeClaim>("status", labelled, Some(old)).await;
    assert!(found.ends_with(
        "node \"n\" is not allowed to update fields other than status.quantity and status.conditions"
    ));
}

#[tokio::test]
async fn evictions_are_of_pods_that_are_there_and_on_the_node() {
    let eviction = |name: &str| json!({ "metadata": { "name": name, "namespace": "ns" } });
    for (name, wanted) in [
        ("own", ""),
        ("other", "node n can only evict pods with spec.nodeName set to itself"),
        ("gone", "404 pod \"gone\" not found"),
    ] {
        let object: Eviction = meta::from_value(eviction(name)).unwrap();
        let user = std::sync::Arc::new(authn::User::node("n"));
        let target = call::Target {
            name: name.into(),
            subresource: "eviction".into(),
            ..call::Target::of::<Pod>("ns")
        };
        let (options, notes) = (call::WriteOptions::default(), crate::notes::Notes::default());
        let review = crate::review::Review {
            operation: crate::review::Operation::Create,
            target: &target,
            user: &user,
            old: None,
            dry_run: false,
            notes: &notes,
            options: crate::review::Options::Write(&options),
            codec: &crate::review::NoCodec,
        };
        let found = super::check(&review, Some(&object), &cluster());
        let found = found.err().map(|s| format!("{} {}", s.code, s.message)).unwrap_or_default();
        assert!(found.ends_with(wanted) && found.is_empty() == wanted.is_empty(), "{found}");
    }
}

#[tokio::test]
async fn nodes_change_themselves_within_bounds() {
    let node = |metadata: Value, spec: Value| {
        let mut metadata = metadata;
        metadata["name"] = "n".into();
        json!({ "metadata": metadata, "spec": spec })
    };
    let old = node(json!({}), json!({}));
    let owners = json!({ "ownerReferences": [owner(json!({}))] });
    for (new, old, wanted) in [
        (node(json!({ "labels": { "x": "y" } }), json!({})), Some(old.clone()), ""),
        (
            node(json!({ "labels": { "kubernetes.io/x": "y" } }), json!({})),
            None,
            "node \"n\" is not allowed to set the following labels: kubernetes.io/x",
        ),
        (
            node(json!({ "labels": { "kubernetes.io/x": "y" } }), json!({})),
            Some(old.clone()),
            "is not allowed to modify labels: kubernetes.io/x",
        ),
        (node(owners, json!({})), Some(old.clone()), "node \"n\" is not allowed to modify ownerReferences"),
        (
            node(json!({}), json!({ "taints": [{ "key": "a", "effect": "NoSchedule" }] })),
            Some(old.clone()),
            "node \"n\" is not allowed to modify taints",
        ),
    ] {
        let found = told::<Node>("", new, old).await;
        assert_eq!(found.strip_prefix("403 nodes \"n\" is forbidden: ").unwrap_or_default(), wanted);
    }
}

#[tokio::test]
async fn certificates_are_for_the_node() {
    use base64::Engine as _;
    let request = |signer: &str, pem: &str| {
        let pem = base64::engine::general_purpose::STANDARD.encode(pem);
        json!({ "metadata": { "name": "c" }, "spec": { "signerName": signer, "request": pem } })
    };
    const SERVING: &str = "kubernetes.io/kubelet-serving";
    // A request for `CN=jane`.
    let jane = "-----BEGIN CERTIFICATE REQUEST-----\n\
        MIHXMH8CAQAwHTEMMAoGA1UECgwDZGV2MQ0wCwYDVQQDDARqYW5lMFkwEwYHKoZI\n\
        zj0CAQYIKoZIzj0DAQcDQgAE/3bdJptHw4UPvrE5koHccQ4sPJta00MpvlEeZDjY\n\
        QtlF7zuhn+h+QJql1xqORhrcRt2wbuWPAO54pOzEG50ynKAAMAoGCCqGSM49BAMC\n\
        A0gAMEUCIEJIUk6/pRFK8sXP/90z4WWSBa6NY1JMvlbmmCWC0PpnAiEAtMre4HOo\n\
        A355XjN02HiOZgbmxfFAbNRxtfmKpx2Jjj8=\n\
        -----END CERTIFICATE REQUEST-----\n";
    for (object, wanted) in [
        (request("example.com/x", jane), ""),
        (request(SERVING, jane), "can only create a node CSR with CN=system:node:n"),
        (request(SERVING, "x"), "unable to parse csr: PEM block type must be CERTIFICATE REQUEST"),
    ] {
        let found = told::<CertificateSigningRequest>("", object, None).await;
        assert!(found.ends_with(wanted) && found.is_empty() == wanted.is_empty(), "{found}");
    }
}
