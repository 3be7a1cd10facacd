//! How fast a typical pod decodes and encodes: `cargo bench -p ferrokube-types`.
//!
//! Prints nanoseconds per operation (median of several rounds) and megabytes of input or output per second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use meta::{Codec as _, DecodeContext};
use types::core::v1::Pod;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(60);

fn measure(name: &str, bytes: usize, mut run: impl FnMut()) {
    let mut per_op: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut count = 0u32;
        while start.elapsed() < ROUND {
            for _ in 0..16 {
                run();
            }
            count += 16;
        }
        per_op.push(start.elapsed().as_nanos() as f64 / f64::from(count));
    }
    per_op.sort_by(f64::total_cmp);
    let ns = per_op[ROUNDS / 2];
    println!("{name:<28} {ns:>9.0} ns/op {:>8.0} MB/s", bytes as f64 * 1e3 / ns);
}

/// A pod as a running cluster has it: two containers, volumes, conditions, managed fields.
fn pod() -> Vec<u8> {
    let container = |name: &str| {
        format!(
            r#"{{"name":"{name}","image":"registry.example.com/team/{name}:v1.2.3","args":["--port=8080","--verbose"],"ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}}],"env":[{{"name":"POD_NAME","valueFrom":{{"fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.name"}}}}}},{{"name":"MODE","value":"production"}}],"resources":{{"limits":{{"cpu":"1","memory":"512Mi"}},"requests":{{"cpu":"250m","memory":"256Mi"}}}},"volumeMounts":[{{"name":"kube-api-access-abcde","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],"livenessProbe":{{"httpGet":{{"path":"/healthz","port":"http","scheme":"HTTP"}},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}}"#
        )
    };
    let status = |name: &str| {
        format!(
            r#"{{"name":"{name}","state":{{"running":{{"startedAt":"2026-01-02T03:04:06Z"}}}},"lastState":{{}},"ready":true,"restartCount":0,"image":"registry.example.com/team/{name}:v1.2.3","imageID":"registry.example.com/team/{name}@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","containerID":"containerd://0123456789abcdef0123456789abcdef","started":true}}"#
        )
    };
    let condition = |kind: &str| {
        format!(
            r#"{{"type":"{kind}","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:04:05Z"}}"#
        )
    };
    let json = format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web-7c5ddbdf54-x2x7q","generateName":"web-7c5ddbdf54-","namespace":"default","uid":"0f5a7c1e-1c1b-4f5e-9d3a-3d5f5c6b7a89","resourceVersion":"123456","creationTimestamp":"2026-01-02T03:04:05Z","labels":{{"app":"web","app.kubernetes.io/name":"web-frontend","pod-template-hash":"7c5ddbdf54"}},"annotations":{{"kubernetes.io/config.seen":"2026-01-02T03:04:05.000000000Z"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7c5ddbdf54","uid":"1f5a7c1e-1c1b-4f5e-9d3a-3d5f5c6b7a89","controller":true,"blockOwnerDeletion":true}}],"managedFields":[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:generateName":{{}},"f:labels":{{".":{{}},"f:app":{{}}}}}},"f:spec":{{"f:containers":{{"k:{{\"name\":\"web\"}}":{{".":{{}},"f:image":{{}}}}}}}}}}}}]}},"spec":{{"volumes":[{{"name":"kube-api-access-abcde","projected":{{"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}}],"defaultMode":420}}}}],"containers":[{},{}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default","nodeName":"node-1","securityContext":{{}},"schedulerName":"default-scheduler","tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}},{{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"}},"status":{{"phase":"Running","conditions":[{},{},{},{}],"hostIP":"10.0.0.5","hostIPs":[{{"ip":"10.0.0.5"}}],"podIP":"10.244.1.17","podIPs":[{{"ip":"10.244.1.17"}}],"startTime":"2026-01-02T03:04:05Z","containerStatuses":[{},{}],"qosClass":"Burstable"}}}}"#,
        container("web"),
        container("sidecar"),
        condition("Initialized"),
        condition("Ready"),
        condition("ContainersReady"),
        condition("PodScheduled"),
        status("web"),
        status("sidecar"),
    );
    json.into_bytes()
}

fn main() {
    let json = pod();
    let mut context = DecodeContext::strict();
    let pod = Pod::from_json_with(&json, &mut context).expect("the pod is valid");
    assert!(context.findings.is_empty(), "{:?}", context.findings);
    assert_eq!(String::from_utf8_lossy(&pod.to_json()), String::from_utf8_lossy(&json));
    let proto = pod.to_proto();
    println!("JSON {} bytes, protobuf {} bytes", json.len(), proto.len());
    measure("decode JSON", json.len(), || drop(black_box(Pod::from_json(black_box(&json)))));
    measure("decode JSON, strict", json.len(), || {
        let mut context = DecodeContext::strict();
        drop(black_box(Pod::from_json_with(black_box(&json), &mut context)));
    });
    measure("encode JSON", json.len(), || drop(black_box(black_box(&pod).to_json())));
    measure("decode protobuf", proto.len(), || drop(black_box(Pod::from_proto(black_box(&proto)))));
    measure("encode protobuf", proto.len(), || drop(black_box(black_box(&pod).to_proto())));
    measure("clone", json.len(), || drop(black_box(black_box(&pod).clone())));
    measure("JSON tree (serde_json)", json.len(), || {
        drop(black_box(serde_json::from_slice::<serde_json::Value>(black_box(&json))));
    });
}
