//! Looks at autoscalers, scripted: the first step of a look as a plan, and the decisions behind the answers as tables.

use std::sync::Arc;

use expect_test::expect;
use meta::{Map, Status, Str};
use reconcile::Answer;
use serde_json::{Value, json};
use types::autoscaling::v2::{HorizontalPodAutoscalerSpec, MetricSpec};
use types::core::v1::Pod;

use super::Autoscalers;
use super::calculate::{Tolerances, Workload};
use super::history::Memory;
use super::metrics::{Sample, Samples};
use super::propose::propose;
use super::{limits, requests};
use crate::common::testing::{NOW_MS, look};

const NOW_S: i64 = NOW_MS / 1000;

fn autoscaler(target: Value) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "default", "name": "web", "uid": "hpa"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 5}})
}

#[test]
fn a_look_begins_with_the_scale_of_the_target() {
    let at = |target: Value| look(&Autoscalers::default(), ("default", "web"), &[autoscaler(target)]);
    expect![[r#"
        get /apis/apps/v1/namespaces/default/deployments/web/scale
        then ...
        After(15s)
    "#]]
    .assert_eq(&at(json!({"apiVersion": "apps/v1beta9", "kind": "Deployment", "name": "web"})));
    expect![[r#"
        event Warning HorizontalPodAutoscaler web FailedGetScale: no matches for kind "Widget" in group "example.com"
        update /apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/web/status {"kind":"HorizontalPodAutoscaler","apiVersion":"autoscaling/v2","metadata":{"name":"web","namespace":"default","uid":"hpa"},"spec":{"scaleTargetRef":{"kind":"Widget","name":"web","apiVersion":"example.com/v1"},"maxReplicas":5},"status":{"desiredReplicas":0,"currentMetrics":null,"conditions":[{"type":"AbleToScale","status":"False","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"FailedGetScale","message":"the HPA controller was unable to get the target's current scale: no matches for kind \"Widget\" in group \"example.com\""}]}}
        then ...
        After(15s)
    "#]]
    .assert_eq(&at(json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "web"})));
}

fn pod(name: &str, phase: &str, ready: &str, age_s: i64) -> Arc<Pod> {
    let time = |s: i64| meta::Time::from_unix(s).to_string();
    let value = json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {"phase": phase, "startTime": time(NOW_S - age_s),
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": time(NOW_S - age_s + 40)}]}});
    Arc::new(meta::from_value(value).unwrap())
}

fn samples(values: &[(&str, i64)]) -> Samples {
    let sample = |value| Sample { value, at_s: NOW_S, window_s: 30 };
    values.iter().map(|(name, value)| (Str::from(*name), sample(*value))).collect()
}

/// Replicas and percentage at a target of 50 percent.
fn utilization(pods: &[Arc<Pod>], values: &[(&str, i64)]) -> String {
    let workload = Workload {
        pods,
        replicas: pods.len() as i32,
        present: pods.len() as i32,
        tolerances: Tolerances { down: 0.1, up: 0.1 },
        now_s: NOW_S,
    };
    let asked = || requests::requests(pods, "cpu", "");
    match workload.by_utilization("cpu", samples(values), asked, 50) {
        Ok(found) => format!("{} at {}%", found.replicas, found.utilization.unwrap()),
        Err(why) => why,
    }
}

#[test]
fn unknown_pods_hold_a_change_back() {
    let old = |name| pod(name, "Running", "True", 3600);
    let two = [old("a"), old("b")];
    let cases: &[(&str, &[Arc<Pod>], &[(&str, i64)])] = &[
        ("twice the target", &two, &[("a", 100), ("b", 100)]),
        ("within tolerance", &two, &[("a", 54), ("b", 54)]),
        ("half the target", &two, &[("a", 20), ("b", 20)]),
        ("up, one missing", &two, &[("a", 100)]),
        ("down, one missing", &two, &[("a", 10)]),
        ("up, one pending", &[old("a"), pod("b", "Pending", "False", 10)], &[("a", 200)]),
        ("one failed", &[old("a"), pod("b", "Failed", "False", 3600)], &[("a", 100), ("b", 900)]),
        ("one warms up", &[old("a"), pod("b", "Running", "True", 50)], &[("a", 50), ("b", 900)]),
        ("nothing measured", &two, &[]),
        ("no pods", &[], &[]),
    ];
    let text: String =
        cases.iter().map(|(name, pods, values)| format!("{name}: {}\n", utilization(pods, values))).collect();
    expect![[r#"
        twice the target: 4 at 100%
        within tolerance: 2 at 54%
        half the target: 1 at 20%
        up, one missing: 2 at 100%
        down, one missing: 2 at 10%
        up, one pending: 4 at 200%
        one failed: 2 at 100%
        one warms up: 2 at 50%
        nothing measured: did not receive metrics for targeted pods (pods might be unready)
        no pods: no pods returned by selector while calculating replica count
    "#]]
    .assert_eq(&text);
}

fn spec(behavior: Value) -> HorizontalPodAutoscalerSpec {
    meta::from_value(json!({"maxReplicas": 20, "minReplicas": 2, "behavior": behavior})).unwrap()
}

/// The number, the reason of what history did, and of what the limits did.
fn limited(
    spec: &HorizontalPodAutoscalerSpec,
    memory: &mut Memory,
    current: i32,
    desired: i32,
    at_s: i64,
) -> String {
    let found = limits::limit(spec, memory, current, desired, NOW_MS + at_s * 1000);
    format!("{} {} {}\n", found.limited.replicas, found.stabilized.reason, found.limited.reason)
}

#[test]
fn without_a_behavior_growth_doubles_and_shrinking_waits() {
    let plain = spec(Value::Null);
    let mut memory = Memory::default();
    memory.begin(3, NOW_MS);
    let mut text = String::new();
    for (current, desired, at_s) in [(3, 18, 0), (6, 40, 15), (12, 40, 30), (20, 5, 60), (20, 1, 400)] {
        text += &limited(&plain, &mut memory, current, desired, at_s);
    }
    expect![[r#"
        6 ReadyForNewScale ScaleUpLimit
        12 ReadyForNewScale ScaleUpLimit
        20 ReadyForNewScale TooManyReplicas
        20 ScaleDownStabilized TooManyReplicas
        2 ReadyForNewScale TooFewReplicas
    "#]]
    .assert_eq(&text);
}

#[test]
fn policies_limit_what_changes_within_their_periods() {
    let ruled = spec(json!({
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min",
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}, {"type": "Percent", "value": 100, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}}));
    let mut memory = Memory::default();
    let mut text = limited(&ruled, &mut memory, 4, 10, 0);
    memory.changed(4, 6, NOW_MS);
    text += &limited(&ruled, &mut memory, 6, 10, 30);
    text += &limited(&ruled, &mut memory, 6, 10, 61);
    text += &limited(&ruled, &mut memory, 10, 2, 100);
    let off = spec(json!({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"}}));
    text += &limited(&off, &mut Memory::default(), 10, 2, 0);
    expect![[r#"
        6 ReadyForNewScale ScaleUpLimit
        6 ReadyForNewScale ScaleUpLimit
        8 ReadyForNewScale ScaleUpLimit
        5 ReadyForNewScale ScaleDownLimit
        10 ReadyForNewScale ScaleDownLimit
    "#]]
    .assert_eq(&text);
}

#[test]
fn metrics_that_nobody_serves_read_as_upstreams() {
    let pods: Vec<Arc<Pod>> = Vec::new();
    let workload = Workload {
        pods: &pods,
        replicas: 1,
        present: 1,
        tolerances: limits::tolerances(&spec(Value::Null)),
        now_s: NOW_S,
    };
    let refused: Result<Answer, Status> = Err(Status {
        code: 404,
        message: "the server could not find the requested resource".into(),
        ..Status::default()
    });
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let mut text = String::new();
    for metric in [
        json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
        json!({"type": "ContainerResource", "containerResource": {"name": "memory", "container": "main", "target": target}}),
        json!({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": target}}),
        json!({"type": "Object", "object": {"metric": {"name": "hits"}, "target": {"type": "Value", "value": "1"},
            "describedObject": {"kind": "Service", "name": "web", "apiVersion": "v1"}}}),
        json!({"type": "External", "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"q": "a"}}}, "target": target}}),
    ] {
        let metric: MetricSpec = meta::from_value(metric).unwrap();
        let failure = propose(&metric, "default", &workload, Some(&refused)).unwrap_err();
        text += &format!("{}: {}\n", failure.reason, failure.message);
    }
    expect![[r#"
        FailedGetResourceMetric: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        FailedGetContainerResourceMetric: failed to get main container metric value: failed to get memory usage: unable to get metrics for resource memory: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        FailedGetPodsMetric: failed to get pods metric value: unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered
        FailedGetObjectMetric: failed to get object metric value: unable to get metric hits: Service on default web/unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered
        FailedGetExternalMetric: failed to get queue external metric value: failed to get queue external metric: unable to get external metric default/queue/&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: the server could not find the requested resource (get queue.external.metrics.k8s.io)
    "#]]
    .assert_eq(&text);
}

#[test]
fn usage_is_read_from_the_metrics_api() {
    let member = json!({"kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": "a", "namespace": "default"}, "timestamp": "2026-01-01T00:00:00Z", "window": "30s",
        "containers": [{"name": "main", "usage": {"cpu": "100m"}}, {"name": "side", "usage": {"cpu": "20m", "memory": "1Ki"}}]});
    let usage = |resource: &str, container: &str| {
        super::metrics::usage(vec![member.clone()], resource, container)
            .map(|samples| samples.into_iter().map(|(name, sample)| (name, sample.value)).collect::<Vec<_>>())
    };
    assert_eq!(usage("cpu", ""), Ok(vec![("a".into(), 120)]));
    assert_eq!(usage("cpu", "side"), Ok(vec![("a".into(), 20)]));
    assert_eq!(usage("memory", ""), Ok(Vec::new()), "one container was not measured");
    assert_eq!(
        usage("cpu", "none"),
        Err("container none not present in metrics for pod default/a".to_owned())
    );
}

#[test]
fn requests_are_those_of_the_pod_or_of_all_containers() {
    let of = |spec: Value| {
        let pod: Pod = meta::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
        requests::requests(&[Arc::new(pod)], "cpu", "").map(|known: Map<i64>| known.get("a").copied())
    };
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let two = json!([{"name": "x", "resources": asks("1")}, {"name": "y"}]);
    assert_eq!(
        of(json!({"containers": two})),
        Err("missing request for cpu in container y of Pod a".to_owned())
    );
    assert_eq!(of(json!({"containers": two, "resources": asks("3")})), Ok(Some(3000)));
    let sidecar = json!([{"name": "s", "restartPolicy": "Always", "resources": asks("500m")}, {"name": "i"}]);
    let one = json!([{"name": "x", "resources": asks("1")}]);
    assert_eq!(of(json!({"containers": one, "initContainers": sidecar})), Ok(Some(1500)));
}
