//! Looks at Services, scripted.

use expect_test::expect;
use serde_json::{Value, json};

use super::legacy::Legacy;
use super::slices::Slices;
use crate::common::testing::look;

fn world(ready: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web", "uid": "s"},
            "spec": {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}]}}),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": "a", "uid": "a", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}],
                "conditions": [{"type": "Ready", "status": ready}]}}),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": "lost", "uid": "lost", "labels": {"app": "web"}},
            "spec": {"nodeName": "none"},
            "status": {"phase": "Running", "podIP": "10.244.9.9", "podIPs": [{"ip": "10.244.9.9"}]}}),
    ]
}

#[test]
fn ready_pods_become_endpoints() {
    let key = ("default", "web");
    expect![[""]].assert_eq(&look(&Slices, key, &world("True")));
    expect![[""]].assert_eq(&look(&Legacy, key, &world("True")));
    expect![[""]].assert_eq(&look(&Legacy, key, &world("False")));
}

#[test]
fn a_service_without_pods_keeps_an_empty_slice() {
    let service = world("True").remove(1);
    expect![[""]].assert_eq(&look(&Slices, ("default", "web"), &[service]));
}
