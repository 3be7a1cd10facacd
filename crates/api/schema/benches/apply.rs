//! What managed fields cost a write: `cargo bench -p ferrokube-schema`.
//!
//! Prints microseconds per operation, the median of several rounds. The pod is as a client creates it, with defaults.

use std::hint::black_box;
use std::time::{Duration, Instant};

use meta::Time;
use schema::apply::{Managers, OneVersion, Place, Updater};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(60);

fn measure(name: &str, mut run: impl FnMut()) {
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
    println!("{name:<32} {:>8.1} us/op", per_op[ROUNDS / 2] / 1e3);
}

/// A pod with this many containers, and with a label of this value.
fn pod(containers: usize, label: &str) -> String {
    let containers: Vec<String> = (0..containers)
        .map(|n| {
            format!(
                r#"{{"name":"c{n}","image":"registry.example.com/team/app:v1","args":["--port=8080"],"ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}}],"env":[{{"name":"POD_NAME","valueFrom":{{"fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.name"}}}}}},{{"name":"MODE","value":"production"}}],"resources":{{"limits":{{"cpu":"1","memory":"512Mi"}},"requests":{{"cpu":"250m","memory":"256Mi"}}}},"livenessProbe":{{"httpGet":{{"path":"/healthz","port":"http","scheme":"HTTP"}},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}}"#
            )
        })
        .collect();
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web-1","namespace":"default","labels":{{"app":"web","tier":"{label}"}}}},"spec":{{"containers":[{}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{{}},"schedulerName":"default-scheduler","enableServiceLinks":true}},"status":{{}}}}"#,
        containers.join(",")
    )
}

fn main() {
    let info = scheme::kind("", "v1", "Pod").expect("pods are built in").info;
    let rules = Updater {
        api_version: "v1",
        place: Place::Struct(info),
        versions: &OneVersion,
        reset: None,
        subresource: "",
    };
    let empty = r#"{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":null},"status":{}}"#;
    let now = Time::from_unix(1);
    let write = |old: &str, new: &str, managers: Managers| {
        let changes = rules.changes(old.as_bytes(), new.as_bytes()).expect("documents are JSON");
        rules
            .update(old.as_bytes(), new.as_bytes(), changes, managers, "bench", now)
            .expect("documents are JSON")
    };
    for containers in [1, 2, 8] {
        let (before, after) = (pod(containers, "front"), pod(containers, "back"));
        measure(&format!("create, {containers} containers"), || {
            black_box(write(empty, &before, Managers::default()).encode());
        });
        let entries = write(empty, &before, Managers::default()).encode();
        measure(&format!("update of a label, {containers} containers"), || {
            let managers = Managers::decode(&entries).expect("own entries are read");
            black_box(write(&before, &after, managers).encode());
        });
        measure(&format!("update of nothing, {containers} containers"), || {
            black_box(rules.changes(before.as_bytes(), before.as_bytes()).expect("documents are JSON"));
        });
        measure(&format!("apply over it, {containers} containers"), || {
            let managers = Managers::decode(&entries).expect("own entries are read");
            let (live, config) = (before.as_bytes(), after.as_bytes());
            black_box(rules.apply(live, empty.as_bytes(), config, managers, "m", true, now).expect("forced"));
        });
    }
}
