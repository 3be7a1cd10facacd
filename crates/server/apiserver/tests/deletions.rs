//! Deletions, evictions, bindings and scales that name the object that they mean, or a time that is over.

mod machine;

use machine::Machine;
use serde_json::{Value as Json, json};

const PODS: &str = "/api/v1/namespaces/web/pods";

/// A pod that stays until its kubelet says that it ended; answers with it.
async fn bound(machine: &Machine, name: &str) -> Json {
    let pod = json!({
        "metadata": { "name": name },
        "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "i" }] },
    });
    machine.admin("POST", PODS, &pod).await
}

async fn evict(machine: &Machine, name: &str, options: Json, query: &str) -> (u16, Json) {
    let body = json!({ "metadata": { "name": name }, "deleteOptions": options });
    machine.with_token("admin", "POST", &format!("{PODS}/{name}/eviction{query}"), &body).await
}

fn grace(pod: &Json) -> Option<i64> {
    pod["metadata"]["deletionGracePeriodSeconds"].as_i64()
}

fn is_disruption_target(pod: &Json) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "DisruptionTarget"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_deletion_becomes_shorter_and_never_over() {
    let machine = Machine::start().await;
    machine.account("default").await;
    bound(&machine, "a").await;
    let path = format!("{PODS}/a");
    let delete = |seconds: i64| format!("{path}?gracePeriodSeconds={seconds}");
    let shorter = machine.admin("DELETE", &delete(3600), &Json::Null).await;
    assert_eq!(grace(&shorter), Some(3600));
    // Less than nothing is a second: the pod waits for its kubelet.
    assert_eq!(grace(&machine.admin("DELETE", &delete(-1), &Json::Null).await), Some(1));
    assert_eq!(grace(&machine.admin("DELETE", &delete(-5), &Json::Null).await), Some(1));
    let (status, _) = evict(&machine, "a", json!({ "gracePeriodSeconds": -3 }), "").await;
    assert_eq!(status, 201);
    assert!(is_disruption_target(&machine.admin("GET", &path, &Json::Null).await));
    machine.admin("DELETE", &delete(0), &Json::Null).await;
    assert_eq!(machine.with_token("admin", "GET", &path, &Json::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_keep_to_their_options() {
    let machine = Machine::start().await;
    machine.account("default").await;
    let pod = bound(&machine, "a").await;
    let refused = [
        (json!({ "propagationPolicy": "foo" }), "", 422),
        (json!({ "propagationPolicy": "Orphan", "orphanDependents": true }), "", 422),
        (json!({ "dryRun": ["foo"] }), "", 422),
        (json!({ "dryRun": ["foo"] }), "?dryRun=All", 500),
        (json!({ "preconditions": { "uid": "x" } }), "", 409),
        (json!({ "preconditions": { "resourceVersion": "1" } }), "", 409),
    ];
    for (options, query, wanted) in refused {
        let (status, answer) = evict(&machine, "a", options.clone(), query).await;
        assert_eq!(status, wanted, "{options} {answer}");
    }
    let untouched = machine.admin("GET", &format!("{PODS}/a"), &Json::Null).await;
    assert_eq!(untouched["metadata"]["resourceVersion"], pod["metadata"]["resourceVersion"], "{untouched}");
    let (status, _) = evict(&machine, "a", json!({ "dryRun": ["All"] }), "").await;
    assert_eq!(status, 201);
    let precise = json!({ "preconditions": { "resourceVersion": pod["metadata"]["resourceVersion"] }, "orphanDependents": true });
    let (status, answer) = evict(&machine, "a", precise, "").await;
    assert_eq!(status, 201, "{answer}");
    let going = machine.admin("GET", &format!("{PODS}/a"), &Json::Null).await;
    assert!(is_disruption_target(&going), "{going}");
    assert_eq!(going["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_and_scales_mean_one_object() {
    let machine = Machine::start().await;
    machine.account("default").await;
    let pod =
        json!({ "metadata": { "name": "b" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let pod = machine.admin("POST", PODS, &pod).await;
    let bind = |metadata: Json| {
        let mut metadata = metadata;
        metadata["name"] = json!("b");
        json!({ "metadata": metadata, "target": { "name": "n" } })
    };
    for (metadata, what) in [
        (json!({ "uid": "x" }), "UID in precondition: x"),
        (json!({ "resourceVersion": "1" }), "ResourceVersion in precondition: 1"),
    ] {
        let path = format!("{PODS}/b/binding");
        let (status, answer) = machine.with_token("admin", "POST", &path, &bind(metadata)).await;
        let message = answer["message"].as_str().unwrap();
        assert_eq!(status, 409, "{message}");
        assert!(
            message.starts_with(
                "Operation cannot be fulfilled on pods \"b\": StorageError: invalid object, Code: 4"
            ),
            "{message}"
        );
        assert!(message.contains(what), "{message}");
    }
    let meant =
        json!({ "uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"]["resourceVersion"] });
    machine.admin("POST", &format!("{PODS}/b/binding"), &bind(meant)).await;

    let path = "/apis/apps/v1/namespaces/web/deployments";
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let deployment = json!({
        "metadata": { "name": "d" },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template },
    });
    machine.admin("POST", path, &deployment).await;
    let scale = format!("{path}/d/scale");
    let other = json!({ "metadata": { "name": "d", "uid": "x" }, "spec": { "replicas": 4 } });
    for (method, of) in [
        ("PUT", "deployments.apps \"d\": StorageError"),
        ("PATCH", "deployments/scale.apps \"d\": Precondition failed"),
    ] {
        let (status, answer) = machine.with_token("admin", method, &scale, &other).await;
        let message = answer["message"].as_str().unwrap();
        assert_eq!(status, 409, "{message}");
        assert!(message.contains(of), "{message}");
    }
    assert_eq!(machine.admin("GET", &scale, &Json::Null).await["spec"]["replicas"], 1);
}
