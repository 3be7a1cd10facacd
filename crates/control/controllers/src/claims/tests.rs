//! Claims whose pods have gone, have ended, were replaced or are not known yet.

use serde_json::{Value, json};

use super::Claims;
use crate::common::testing::look;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/x/resourceclaims";

fn claim(metadata: Value, status: Value) -> Value {
    let mut claim = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": "c", "namespace": "x", "uid": "c"}, "spec": {}, "status": status});
    for (key, value) in metadata.as_object().into_iter().flatten() {
        claim["metadata"][key] = value.clone();
    }
    claim
}

fn reserved() -> Value {
    json!({"allocation": {"devices": {"results": []}}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "p1"}]})
}

fn pod(uid: &str, phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x", "uid": uid},
        "spec": {}, "status": {"phase": phase}})
}

#[test]
fn what_nobody_uses_is_given_back_and_may_go() {
    let goes = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["resource.kubernetes.io/delete-protection"]});
    let status = format!("update {CLAIMS}/c/status");
    let whole = format!("update {CLAIMS}/c ");
    for (what, metadata, state, pods, want) in [
        ("in use", json!({}), reserved(), vec![pod("p1", "Running")], ""),
        ("its pod has ended", json!({}), reserved(), vec![pod("p1", "Succeeded")], status.as_str()),
        ("its pod was replaced", json!({}), reserved(), vec![pod("p2", "Running")], status.as_str()),
        ("its pod may be gone", json!({}), reserved(), vec![], "get /api/v1/namespaces/x/pods/p"),
        ("it goes, in use", goes.clone(), reserved(), vec![pod("p1", "Running")], ""),
        (
            "it goes, with devices",
            goes.clone(),
            json!({"allocation": {"devices": {"results": []}}}),
            vec![],
            status.as_str(),
        ),
        ("it goes", goes, json!({}), vec![], whole.as_str()),
        (
            "being allocated",
            json!({"finalizers": ["resource.kubernetes.io/delete-protection"]}),
            json!({}),
            vec![],
            "",
        ),
    ] {
        let objects: Vec<Value> = [claim(metadata, state)].into_iter().chain(pods).collect();
        let plan = look(&Claims, ("x", "claim:c"), &objects);
        assert!(if want.is_empty() { plan == "Done\n" } else { plan.contains(want) }, "{what}: {plan:?}");
    }
}
