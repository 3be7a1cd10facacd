//! Indexed Jobs whose indexes have limits and policies of their own.

use std::sync::Arc;

use informer::Key;
use meta::{Codec, Time};
use serde_json::{Value, json};
use types::batch::v1::Job;
use types::core::v1::Pod;

use super::backoff::Backoffs;
use super::{Jobs, TRACKING, count, finish, manage};
use crate::common::{pods, testing};

const NOW: i64 = 1_767_225_600;

fn job(spec: Value) -> Job {
    let mut value = json!({"metadata": {"namespace": "default", "name": "work", "uid": "job"},
        "spec": {"completions": 3, "parallelism": 3, "completionMode": "Indexed",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}}},
        "status": {"startTime": "2025-12-31T23:00:00Z"}});
    let fields = spec.as_object().unwrap().clone();
    value["spec"].as_object_mut().unwrap().extend(fields);
    Job::from_json(value.to_string().as_bytes()).unwrap()
}

/// A pod written as `index phase exit-code failures-before`; one that ended did so an hour ago.
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split(' ').collect();
    let [index, phase, code, before] = words[..] else { panic!("{text}") };
    let value = json!({"metadata": {"namespace": "default", "name": format!("work-{index}-{before}"),
        "uid": format!("{index}-{before}"), "finalizers": [TRACKING],
        "annotations": {"batch.kubernetes.io/job-completion-index": index,
            "batch.kubernetes.io/job-index-failure-count": before}},
    "status": {"phase": phase, "containerStatuses": [{"name": "main",
        "state": if phase == "Running" { json!({"running": {}}) } else {
            json!({"terminated": {"exitCode": code.parse::<i32>().unwrap(), "finishedAt": "2025-12-31T23:00:00Z"}})
        }}]}});
    Arc::new(Pod::from_json(value.to_string().as_bytes()).unwrap())
}

/// One look at the job with these pods: what is over, the verdict, how many are made, and who may go.
fn look(spec: Value, texts: &[&str]) -> String {
    let job = job(spec);
    let all: Vec<Arc<Pod>> = texts.iter().map(|text| pod(text)).collect();
    let active: Vec<_> = all.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let mut status = job.status.clone();
    let tally = count::take(&job, &all, &mut status);
    let now = Time::from_unix(NOW);
    let verdict = finish::judge(&job, &tally, &active, &all, &status, now);
    let pause = Backoffs::default().pause(&Key::of(&job), &job, &all, now);
    let changes = manage::decide(&job, &tally, &active, 0, &all, verdict.is_some(), pause, now);
    let held = count::held(&job, &tally, &all, &status, verdict.is_some());
    let freed: Vec<_> = held.iter().map(|pod| pod.metadata.uid.as_str()).collect();
    format!(
        "done={} lost={} {} +{} -{} free={}",
        status.completed_indexes,
        status.failed_indexes.as_deref().unwrap_or("?"),
        verdict.map_or("goes on".into(), |v| v.reason.to_string()),
        changes.create.len(),
        changes.delete.len(),
        freed.join(",")
    )
}

#[test]
fn each_index_has_its_own_limit() {
    let limit = |n: i32| json!({"backoffLimitPerIndex": n, "backoffLimit": i32::MAX});
    for (spec, pods, want) in [
        (
            limit(0),
            &["0 Succeeded 0 0", "1 Failed 1 0", "2 Running 0 0"][..],
            "done=0 lost=1 goes on +0 -0 free=0-0,1-0",
        ),
        (
            limit(0),
            &["0 Succeeded 0 0", "1 Failed 1 0", "2 Succeeded 0 0"],
            "done=0,2 lost=1 FailedIndexes +0 -0 free=0-0,1-0,2-0",
        ),
        // The failed pod waits until its successor knows of the failure.
        (
            limit(1),
            &["0 Succeeded 0 0", "1 Failed 1 0", "2 Running 0 0"],
            "done=0 lost= goes on +1 -0 free=0-0",
        ),
        (
            limit(1),
            &["0 Running 0 0", "1 Failed 1 0", "1 Running 0 1", "2 Running 0 0"],
            "done= lost= goes on +0 -0 free=1-0",
        ),
        (
            limit(1),
            &["0 Running 0 0", "1 Failed 1 0", "1 Failed 1 1", "2 Running 0 0"],
            "done= lost=1 goes on +0 -0 free=1-0,1-1",
        ),
        (
            json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "backoffLimit": i32::MAX}),
            &["0 Failed 1 0", "1 Failed 1 0", "2 Running 0 0"],
            "done= lost=0,1 MaxFailedIndexesExceeded +0 -1 free=0-0,1-0,2-0",
        ),
        (
            json!({"backoffLimitPerIndex": 5, "backoffLimit": i32::MAX, "podFailurePolicy": {"rules": [
                {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]}}),
            &["0 Failed 42 0", "1 Failed 1 0", "2 Running 0 0"],
            "done= lost=0 goes on +1 -0 free=0-0",
        ),
    ] {
        assert_eq!(look(spec, pods), want, "{pods:?}");
    }
}

#[test]
fn a_success_policy_ends_the_job_early() {
    let policy = |rule: Value| json!({"successPolicy": {"rules": [rule]}});
    let pods = &["0 Succeeded 0 0", "1 Running 0 0", "2 Succeeded 0 0"][..];
    for (rule, want) in [
        (json!({"succeededIndexes": "0,2"}), "done=0,2 lost=? SuccessPolicy +0 -1 free=0-0,1-0,2-0"),
        (json!({"succeededIndexes": "0,1"}), "done=0,2 lost=? goes on +0 -0 free=0-0,2-0"),
        (
            json!({"succeededIndexes": "0-1", "succeededCount": 1}),
            "done=0,2 lost=? SuccessPolicy +0 -1 free=0-0,1-0,2-0",
        ),
        (json!({"succeededCount": 3}), "done=0,2 lost=? goes on +0 -0 free=0-0,2-0"),
    ] {
        assert_eq!(look(policy(rule.clone()), pods), want, "{rule}");
    }
}

#[test]
fn pods_that_leave_a_job_lose_the_finalizer_and_those_that_come_get_it() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"namespace": "default", "name": "work", "uid": "job"},
        "spec": {"completions": 9, "parallelism": 0, "selector": {"matchLabels": {"job": "work"}},
            "template": {"metadata": {"labels": {"job": "work"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}}},
        "status": {"startTime": "2025-12-31T23:00:00Z"}});
    let pod = |name: &str, labels: Value, owned: bool, finalizers: &[&str]| {
        let owners = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": "job",
            "controller": true, "blockOwnerDeletion": true}]);
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": name, "uid": name, "labels": labels,
                "finalizers": finalizers, "ownerReferences": if owned { owners } else { json!([]) }},
            "status": {"phase": "Running"}})
    };
    let leaves = pod("leaves", json!({}), true, &["other", TRACKING]);
    let comes = pod("comes", json!({"job": "work"}), false, &[]);
    let left = pod("left", json!({}), false, &[TRACKING]);
    let mut text = testing::look(&Jobs::default(), ("default", "work"), &[job, leaves, comes, left.clone()]);
    text += &testing::look(&Jobs::default(), ("default", "left"), &[left]);
    expect_test::expect![[r#"
        patch /api/v1/namespaces/default/pods/comes {"metadata":{"finalizers":["batch.kubernetes.io/job-tracking"],"ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"Job","name":"work","uid":"job"}],"resourceVersion":"","uid":"comes"}}
        patch /api/v1/namespaces/default/pods/leaves {"metadata":{"finalizers":["other"],"ownerReferences":null,"resourceVersion":"","uid":"leaves"}}
        delete /api/v1/namespaces/default/pods/comes
        then ...
        Done
        patch /api/v1/namespaces/default/pods/left {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"left"}}
        Done
    "#]].assert_eq(&text);
}

#[test]
fn a_job_that_shrinks_deletes_the_indexes_beyond() {
    let job = job(json!({"completions": 2, "parallelism": 2}));
    let all = ["2 Running 0 0", "0 Running 0 0", "1 Running 0 0"].map(pod);
    let mut status = job.status.clone();
    let tally = count::take(&job, &all, &mut status);
    let changes = manage::decide(&job, &tally, &all, 0, &all, false, 0, Time::from_unix(NOW));
    let gone: Vec<_> = changes.delete.iter().map(|pod| pod.metadata.uid.as_str()).collect();
    assert_eq!(gone, ["2-0"]);
}

#[test]
fn failures_count_until_the_next_success_even_of_pods_that_are_gone() {
    let (backoffs, job) = (Backoffs::default(), job(json!({})));
    let key = Key::of(&job);
    // The pods ended an hour before NOW.
    let pause = |pods: &[&str], seconds: i64| {
        let pods: Vec<_> = pods.iter().map(|text| pod(text)).collect();
        backoffs.pause(&key, &job, &pods, Time::from_unix(NOW - 3600 + seconds))
    };
    assert_eq!(pause(&["0 Running 0 0"], 0), 0);
    assert_eq!(pause(&["0 Failed 1 0"], 2), 8);
    assert_eq!(pause(&["0 Failed 1 0", "1 Failed 1 0"], 2), 18);
    assert_eq!(pause(&[], 2), 18);
    assert_eq!(pause(&["2 Succeeded 0 0"], 2), 0);
}
