//! Looks at nodes, scripted.

use expect_test::expect;
use serde_json::{Value, json};

use super::eviction::Eviction;
use super::ipam::Ipam;
use super::lifecycle::Lifecycle;
use super::pod_gc::PodGc;
use crate::common::testing::look;

fn node(name: &str, ready: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": name, "creationTimestamp": "2025-12-31T23:59:30Z"}, "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

fn pod(name: &str, node: &str, tolerations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": name, "uid": name},
        "spec": {"nodeName": node, "tolerations": tolerations}})
}

#[test]
fn conditions_become_taints() {
    let look_at = |ready: &str| {
        let objects = [node("a", ready, json!({})), node("b", "True", json!({}))];
        look(&Lifecycle::default(), ("", "a"), &objects)
    };
    expect![[r#"
        event Normal Node a RegisteredNode: Node a event: Registered Node a in Controller
        update /api/v1/nodes/a {"kind":"Node","apiVersion":"v1","metadata":{"name":"a","uid":"a","creationTimestamp":"2025-12-31T23:59:30Z"},"spec":{"taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule","timeAdded":"2026-01-01T00:00:00Z"},{"key":"node.kubernetes.io/not-ready","effect":"NoExecute","timeAdded":"2026-01-01T00:00:00Z"}]},"status":{"conditions":[{"type":"Ready","status":"False","lastHeartbeatTime":null,"lastTransitionTime":null}],"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}}
        After(5s)
    "#]].assert_eq(&look_at("False"));
    expect![[r#"
        event Normal Node a RegisteredNode: Node a event: Registered Node a in Controller
        After(5s)
    "#]]
    .assert_eq(&look_at("True"));
}

#[test]
fn a_new_node_keeps_its_taint_until_it_reports() {
    let look_at = |created: &str, conditions: Value| {
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "a", "uid": "a", "creationTimestamp": created},
            "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
            "status": {"conditions": conditions}});
        let log = look(&Lifecycle::default(), ("", "a"), &[node]);
        log.contains(r#""metadata":{"name":"a""#) && !log.contains("not-ready")
    };
    assert!(!look_at("2025-12-31T23:59:59Z", json!([])), "it has a moment to report");
    assert!(look_at("2025-12-31T23:59:57Z", json!([])), "it never reports");
    assert!(look_at("2025-12-31T23:59:59Z", json!([{"type": "Ready", "status": "True"}])), "it has");
}

#[test]
fn with_every_node_down_nobody_is_evicted() {
    let objects = [node("a", "Unknown", json!({})), node("b", "Unknown", json!({}))];
    expect![[r#"
        event Normal Node a RegisteredNode: Node a event: Registered Node a in Controller
        update /api/v1/nodes/a {"kind":"Node","apiVersion":"v1","metadata":{"name":"a","uid":"a","creationTimestamp":"2025-12-31T23:59:30Z"},"spec":{"taints":[{"key":"node.kubernetes.io/unreachable","effect":"NoSchedule","timeAdded":"2026-01-01T00:00:00Z"}]},"status":{"conditions":[{"type":"Ready","status":"Unknown","lastHeartbeatTime":null,"lastTransitionTime":null}],"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}}
        After(5s)
    "#]].assert_eq(&look(&Lifecycle::default(), ("", "a"), &objects));
}

#[test]
fn pods_leave_when_they_do_not_tolerate() {
    let tainted = node("a", "True", json!({"taints": [{"key": "bad", "effect": "NoExecute"}]}));
    let look_at = |tolerations: Value| {
        look(&Eviction::default(), ("default", "p"), &[tainted.clone(), pod("p", "a", tolerations)])
    };
    expect![[r#"
        event Normal Pod p TaintManagerEviction: Marking for deletion Pod default/p
        update /api/v1/namespaces/default/pods/p/status {"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"default","uid":"p"},"spec":{"containers":null,"nodeName":"a"},"status":{"conditions":[{"type":"DisruptionTarget","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:00:00Z","reason":"DeletionByTaintManager","message":"Taint manager: deleting due to NoExecute taint"}]}}
        delete /api/v1/namespaces/default/pods/p
        Done
    "#]].assert_eq(&look_at(json!([])));
    expect![[r#"
        Done
    "#]]
    .assert_eq(&look_at(json!([{"key": "bad", "operator": "Exists"}])));
    expect![[r#"
        After(60s)
    "#]]
    .assert_eq(&look_at(json!([{"key": "bad", "operator": "Exists", "tolerationSeconds": 60}])));
}

#[test]
fn ranges_are_given_once() {
    let ipam = Ipam::new("10.244.0.0/16".parse().unwrap());
    let taken = node("a", "True", json!({"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}));
    expect![[r#"
        patch /api/v1/nodes/b {"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}
        Done
    "#]]
    .assert_eq(&look(&ipam, ("", "b"), &[taken, node("b", "True", json!({}))]));
}

#[test]
fn pods_of_missing_nodes_wait_out_the_quarantine() {
    let mut unbound = pod("unbound", "", json!([]));
    unbound["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    expect![[r#"
        patch /api/v1/namespaces/default/pods/unbound/status {"metadata":{"resourceVersion":"","uid":"unbound"},"status":{"phase":"Failed"}}
        delete /api/v1/namespaces/default/pods/unbound grace 0
        After(20s)
    "#]].assert_eq(&look(&PodGc::default(), ("", ""), &[pod("lost", "gone", json!([])), unbound]));
}
