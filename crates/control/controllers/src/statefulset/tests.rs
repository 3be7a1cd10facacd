//! The order in which a StatefulSet's pods come and go.

use std::sync::Arc;

use expect_test::expect;
use meta::{Codec, Str};
use reconcile::Outcome;
use serde_json::{Value, json};
use types::apps::v1::StatefulSet;
use types::core::v1::Pod;

use super::order::{Templates, decide};
use super::without_claim;

fn set(policy: &str, replicas: i32) -> StatefulSet {
    let value = json!({"metadata": {"namespace": "default", "name": "db", "uid": "set"},
        "spec": {"replicas": replicas, "podManagementPolicy": policy, "serviceName": "db",
            "updateStrategy": {"type": "RollingUpdate"}, "selector": {"matchLabels": {"app": "db"}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "main"}]}}}});
    StatefulSet::from_json(value.to_string().as_bytes()).unwrap()
}

fn pod(ordinal: i32, revision: &str, ready: &str) -> Arc<Pod> {
    let value: Value = json!({"metadata": {"namespace": "default", "name": format!("db-{ordinal}"), "uid": format!("{ordinal}"),
        "labels": {"controller-revision-hash": revision}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    Arc::new(Pod::from_json(value.to_string().as_bytes()).unwrap())
}

fn changes(policy: &str, replicas: i32, pods: &[Arc<Pod>]) -> String {
    let templates = Templates { current_name: "db-1".into(), current: None, update_name: "db-2".into() };
    let changes = decide(&set(policy, replicas), pods, &templates, 0);
    let create: Vec<_> = changes.create.iter().map(|pod| format!("+{}", pod.metadata.name)).collect();
    let delete: Vec<_> = changes.delete.iter().map(|pod| format!("-{}", pod.metadata.name)).collect();
    [create, delete].concat().join(" ")
}

#[test]
fn one_after_the_other() {
    assert_eq!(changes("OrderedReady", 3, &[]), "+db-0");
    assert_eq!(changes("OrderedReady", 3, &[pod(0, "db-2", "False")]), "");
    assert_eq!(changes("OrderedReady", 3, &[pod(0, "db-2", "True")]), "+db-1");
    assert_eq!(changes("Parallel", 3, &[pod(1, "db-2", "False")]), "+db-0 +db-2");
    let three = [pod(0, "db-2", "True"), pod(1, "db-2", "True"), pod(2, "db-2", "True")];
    assert_eq!(changes("OrderedReady", 1, &three), "-db-2");
    assert_eq!(changes("Parallel", 1, &three), "-db-2 -db-1");
}

#[test]
fn old_revisions_are_replaced_from_the_end() {
    let old = [pod(0, "db-1", "True"), pod(1, "db-1", "True")];
    assert_eq!(changes("OrderedReady", 2, &old), "-db-1");
    let half = [pod(0, "db-1", "True"), pod(1, "db-2", "False")];
    assert_eq!(changes("Parallel", 2, &half), "");
    let most = [pod(0, "db-1", "True"), pod(1, "db-2", "True")];
    assert_eq!(changes("OrderedReady", 2, &most), "-db-0");
}

#[test]
fn pods_have_lasting_names_and_volumes() {
    let pod = super::identity::pod(&set("OrderedReady", 1), 0, &set("OrderedReady", 1).spec.template, "db-1");
    expect![[r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"db-0","generateName":"db-","namespace":"default","labels":{"app":"db","apps.kubernetes.io/pod-index":"0","controller-revision-hash":"db-1","statefulset.kubernetes.io/pod-name":"db-0"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","uid":"set","controller":true,"blockOwnerDeletion":true}]},"spec":{"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-db-0"}}],"containers":[{"name":"main","resources":{}}],"hostname":"db-0","subdomain":"db"},"status":{}}"#]].assert_eq(&String::from_utf8_lossy(&pod.to_json()));
}

#[test]
fn a_refused_claim_keeps_its_pod_from_being_made() {
    let claimed: Vec<(Str, Str)> = [("db-0", "a-db-0"), ("db-0", "b-db-0"), ("db-1", "a-db-1")]
        .map(|(pod, claim)| (pod.into(), claim.into()))
        .into();
    let refused = || Err(meta::Status { message: "no room".into(), code: 403, ..meta::Status::default() });
    let outcome = |results| Outcome { results };
    assert!(without_claim(&claimed, &outcome(vec![])).is_empty());
    let told = without_claim(&claimed, &outcome(vec![refused(), refused(), Ok(reconcile::Answer::Done)]));
    assert_eq!(told, [("db-0".into(), "failed to create PVC a-db-0: no room".to_owned())]);
}
