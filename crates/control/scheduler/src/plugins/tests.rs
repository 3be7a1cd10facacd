//! The default profile on small clusters, as tables of pod and cluster against decision.

use std::sync::Arc;

use meta::Codec;
use types::core::v1::{Node, Pod};

use crate::cycle::{Decision, decide};
use crate::plugin::Wanted;
use crate::profile::Profile;
use crate::snapshot::Snapshot;

fn node(name: &str, extra: &str) -> Arc<Node> {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","labels":{{"name":"{name}","disk":"ssd"}}}},{extra}
            "status":{{"allocatable":{{"cpu":"2","memory":"4Gi","pods":"3","x.io/gpu":"1"}}}}}}"#
    );
    Arc::new(Node::from_json(text.as_bytes()).unwrap())
}

fn pod(uid: &str, spec: &str) -> Pod {
    Pod::from_json(format!(r#"{{"metadata":{{"uid":"{uid}"}},"spec":{{{spec}}}}}"#).as_bytes()).unwrap()
}

fn asks(cpu: &str) -> String {
    format!(r#""containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]"#)
}

/// Three nodes: `a` is empty, `b` has a taint, `c` is cordoned.
fn cluster() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(node("a", ""));
    snapshot.set_node(node("b", r#""spec":{"taints":[{"key":"k","value":"v","effect":"NoSchedule"}]},"#));
    snapshot.set_node(node("c", r#""spec":{"unschedulable":true},"#));
    snapshot
}

fn decided(spec: &str, snapshot: &Snapshot) -> String {
    let pod = pod("new", spec);
    match decide(&Wanted::new(&pod), snapshot, &Profile::default(), 0) {
        Decision::Node { index, .. } => snapshot.name(index).to_string(),
        Decision::Unschedulable { message, .. } => message.to_string(),
    }
}

#[test]
fn decisions() {
    let affinity = |terms: &str| {
        format!(
            r#""affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{terms}]}}}}}}"#
        )
    };
    for (spec, want) in [
        (asks("1"), "a"),
        (
            asks("3"),
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.",
        ),
        (
            format!(r#""nodeSelector":{{"name":"b"}},{}"#, asks("1")),
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            format!(r#""nodeSelector":{{"name":"b"}},"tolerations":[{{"operator":"Exists"}}],{}"#, asks("1")),
            "b",
        ),
        (affinity(r#"{"matchFields":[{"key":"metadata.name","operator":"In","values":["a"]}]}"#), "a"),
        (
            affinity(r#"{"matchExpressions":[{"key":"disk","operator":"NotIn","values":["ssd"]}]}"#),
            "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.",
        ),
    ] {
        let mut want: Vec<&str> = want.trim_end_matches('.').split(": ").collect();
        let got = decided(&spec, &cluster());
        let mut got: Vec<&str> = got.trim_end_matches('.').split(": ").collect();
        for parts in [&mut want, &mut got] {
            if let [_, reasons] = parts[..] {
                let mut sorted: Vec<&str> = reasons.split(", ").collect();
                sorted.sort_unstable();
                *parts = sorted;
            }
        }
        assert_eq!(got, want, "{spec}");
    }
}

#[test]
fn host_ports_and_pod_counts_fill_a_node() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(node("a", ""));
    let port = |ip: &str| {
        format!(
            r#""containers":[{{"name":"c","ports":[{{"hostPort":80,"containerPort":80,"hostIP":"{ip}"}}]}}]"#
        )
    };
    snapshot.place(&pod("1", &port("127.0.0.1")), "a".into());
    assert_eq!(decided(&port("127.0.0.2"), &snapshot), "a");
    let refused = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(decided(&port(""), &snapshot), refused);
    for uid in ["2", "3"] {
        snapshot.place(&pod(uid, &asks("100m")), "a".into());
    }
    assert_eq!(decided(&asks("100m"), &snapshot), "0/1 nodes are available: 1 Too many pods.");
    snapshot.remove_pod("2");
    assert_eq!(decided(&asks("100m"), &snapshot), "a");
}

#[test]
fn emptier_and_preferred_nodes_win() {
    let mut snapshot = Snapshot::default();
    for name in ["a", "b"] {
        snapshot.set_node(node(name, ""));
    }
    snapshot.place(&pod("1", &asks("1")), "a".into());
    assert_eq!(decided(&asks("500m"), &snapshot), "b");
    let preferred = r#""affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[
        {"weight":100,"preference":{"matchExpressions":[{"key":"name","operator":"In","values":["a"]}]}}]}}"#;
    assert_eq!(decided(&format!("{preferred},{}", asks("500m")), &snapshot), "a");
    assert_eq!(decided(&asks("500m"), &Snapshot::default()), "no nodes available to schedule pods");
}
