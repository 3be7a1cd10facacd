//! Looks at ReplicaSets, scripted.

use expect_test::expect;
use serde_json::{Value, json};
use types::apps::v1::ReplicaSet;

use super::Replicas;
use crate::common::testing::look;

fn set(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"namespace": "default", "name": "web", "uid": "set", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main"}]}}}})
}

fn pod(name: &str, app: &str, owner: Option<&str>, spec: Value, ready: &str) -> Value {
    let owners = owner.map(|uid| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}]));
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "uid": name, "labels": {"app": app}, "ownerReferences": owners.unwrap_or(json!([]))},
        "spec": spec, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
}

fn look_at(objects: &[Value]) -> String {
    look(&Replicas::<ReplicaSet>::default(), ("default", "web"), objects)
}

#[test]
fn missing_pods_are_created() {
    expect![[r#"
        slowly create /api/v1/namespaces/default/pods {"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"web-","namespace":"default","labels":{"app":"web"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"set","controller":true,"blockOwnerDeletion":true}]},"spec":{"containers":[{"name":"main","resources":{}}]},"status":{}}
        then ...
        Done
    "#]].assert_eq(&look_at(&[set(1)]));
}

#[test]
fn the_least_useful_pods_go_first() {
    let on = |node: &str| json!({"nodeName": node});
    let objects = [
        set(1),
        pod("good", "web", Some("set"), on("n1"), "True"),
        pod("not-ready", "web", Some("set"), on("n2"), "False"),
        pod("unbound", "web", Some("set"), json!({}), "False"),
    ];
    expect![[r#"
        delete /api/v1/namespaces/default/pods/unbound
        delete /api/v1/namespaces/default/pods/not-ready
        then ...
        Done
    "#]]
    .assert_eq(&look_at(&objects));
}

#[test]
fn orphans_are_adopted_and_strays_released() {
    let objects = [
        set(1),
        pod("orphan", "web", None, json!({}), "True"),
        pod("stray", "other", Some("set"), json!({}), "True"),
        pod("foreign", "web", Some("another"), json!({}), "True"),
    ];
    expect![[r#"
        patch /api/v1/namespaces/default/pods/orphan {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"set"}],"resourceVersion":"","uid":"orphan"}}
        patch /api/v1/namespaces/default/pods/stray {"metadata":{"ownerReferences":null,"resourceVersion":"","uid":"stray"}}
        then ...
        Done
    "#]].assert_eq(&look_at(&objects));
}
