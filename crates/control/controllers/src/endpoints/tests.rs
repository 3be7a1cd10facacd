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
    expect![[r#"
        create /apis/discovery.k8s.io/v1/namespaces/default/endpointslices {"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"generateName":"web-","namespace":"default","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web"},"ownerReferences":[{"apiVersion":"v1","kind":"Service","name":"web","uid":"s","controller":true,"blockOwnerDeletion":true}]},"addressType":"IPv4","endpoints":[{"addresses":["10.244.0.2"],"conditions":{"ready":true,"serving":true,"terminating":false},"targetRef":{"kind":"Pod","namespace":"default","name":"a","uid":"a"},"nodeName":"n1","zone":"z1"}],"ports":[{"name":"http","protocol":"TCP","port":8080}]}
        then ...
        Done
    "#]].assert_eq(&look(&Slices::default(), key, &world("True")));
    expect![[r#"
        create /api/v1/namespaces/default/endpoints {"kind":"Endpoints","apiVersion":"v1","metadata":{"name":"web","namespace":"default","labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller"}},"subsets":[{"addresses":[{"ip":"10.244.0.2","nodeName":"n1","targetRef":{"kind":"Pod","namespace":"default","name":"a","uid":"a"}}],"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}]}
        then ...
        Done
    "#]].assert_eq(&look(&Legacy::default(), key, &world("True")));
    expect![[r#"
        create /api/v1/namespaces/default/endpoints {"kind":"Endpoints","apiVersion":"v1","metadata":{"name":"web","namespace":"default","labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller"}},"subsets":[{"notReadyAddresses":[{"ip":"10.244.0.2","nodeName":"n1","targetRef":{"kind":"Pod","namespace":"default","name":"a","uid":"a"}}],"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}]}
        then ...
        Done
    "#]].assert_eq(&look(&Legacy::default(), key, &world("False")));
}

#[test]
fn a_service_without_pods_keeps_an_empty_slice() {
    let service = world("True").remove(1);
    expect![[r#"
        create /apis/discovery.k8s.io/v1/namespaces/default/endpointslices {"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"generateName":"web-","namespace":"default","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web"},"ownerReferences":[{"apiVersion":"v1","kind":"Service","name":"web","uid":"s","controller":true,"blockOwnerDeletion":true}]},"addressType":"IPv4","endpoints":null,"ports":null}
        then ...
        Done
    "#]].assert_eq(&look(&Slices::default(), ("default", "web"), &[service]));
}
