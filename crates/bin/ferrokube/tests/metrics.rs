//! Holds the page of metrics against what upstream's programs measured: the same names with the same types and labels, but
//! for those that are left out, each for a reason.
//!
//! The recordings are not part of the repository: set `FERROKUBE_GOLDEN` to their folder, or keep them in
//! `../shared/golden` beside the checkout. The server here is all three programs in one, so its page is held against all
//! three recordings.

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use machine::Machine;
use serde_json::{Value, json};

/// Names that upstream has and this program has not. A star stands for the rest of the name. What comes to be measured is
/// to be taken off the list.
const NOT_HERE: &[(&str, &str)] = &[
    ("aggregator_discovery_nopeer_requests_total", "no other API server is asked, so nobody asks for less"),
    ("aggregator_discovery_peer_*", "no other API server is asked for its resources"),
    (
        "apiextensions_apiserver_validation_ratcheting_seconds",
        "old and new are compared as they are validated, which is no step of its own",
    ),
    ("apiserver_flowcontrol_current_r", "queues have no virtual time; the least served goes first"),
    ("apiserver_flowcontrol_demand_seats*", "seats are lent when they are wanted, not by demand of the past"),
    ("apiserver_flowcontrol_dispatch_r", "as current_r"),
    ("apiserver_flowcontrol_latest_s", "as current_r"),
    ("apiserver_flowcontrol_next_*", "as current_r"),
    ("apiserver_flowcontrol_priority_level_*_utilization", "nothing is sampled every nanosecond"),
    ("apiserver_flowcontrol_read_vs_write_current_requests", "as the utilizations"),
    ("apiserver_flowcontrol_seat_fair_frac", "as demand_seats"),
    ("apiserver_flowcontrol_target_seats", "as demand_seats"),
    (
        "apiserver_flowcontrol_watch_count_samples",
        "a write is as wide whoever watches, since events are shared",
    ),
    (
        "apiserver_kube_aggregator_x509_*",
        "such certificates are refused, without a word about which flaw it was",
    ),
    ("apiserver_nodeport_repair_reconcile_errors_total", "node ports are exact and need no repair"),
    ("apiserver_request_aborts_total", "no handler gives up by a panic"),
    ("apiserver_request_post_timeout_total", "nothing of a request goes on after its time"),
    ("apiserver_request_timestamp_comparison_time", "whether a write changes anything is no step of its own"),
    ("apiserver_selfrequest_total", "the server asks itself nothing by requests"),
    ("apiserver_webhooks_x509_*", "as those of the aggregator"),
    ("cardinality_enforcement_*", "labels have no allow lists, as they are bounded by what is served"),
    (
        "device_taint_eviction_controller_*",
        "devices have no taints here, as they have none by default upstream",
    ),
    ("garbagecollector_controller_resources_sync_error_total", "kinds are followed by watches, not synced"),
    ("go_*", "there is no Go runtime"),
    ("informer_*", "caches take events in without a queue before them"),
    ("node_collector_update_all_nodes_health_duration_seconds", "each node is judged by itself"),
    ("replicaset_controller_stale_sync_skips_total", "decisions see their own writes, so none is skipped"),
    ("watch_cache_capacity_*crease_total", "a watch cache keeps as many events all the time"),
];

/// Names that are measured, or may come to be, but not with what this test does: with webhooks, policies, plugins for
/// keys, certificates, other servers or errors, or much later.
const WITH_OTHER_TRAFFIC: &[(&str, &str)] = &[
    ("apiserver_admission_webhook_*", "there are no webhooks"),
    ("apiserver_cel_*", "by expressions"),
    ("apiserver_certificates_registry_*", "by requests for certificates"),
    ("apiserver_delegated_auth*", "a scheduler of its own asks"),
    ("apiserver_envelope_*", "nothing is encrypted"),
    ("apiserver_impersonation_*", "nobody plays another"),
    ("apiserver_mutating_admission_policy_*", "there are no policies"),
    ("apiserver_validating_admission_policy_*", "there are no policies"),
    ("apiserver_request_terminations_total", "nothing takes too long"),
    ("apiserver_storage_data_key_*", "nothing is encrypted"),
    ("apiserver_storage_envelope_*", "nothing is encrypted"),
    ("apiserver_validation_*", "validations are not made twice to be compared"),
    ("apiserver_admission_controller_admission_duration_seconds", "by plugins"),
    ("apiserver_admission_step_admission_duration_seconds_summary", "a summary beside the histogram"),
    ("authentication_token_cache_*", "tokens are looked up without a cache"),
    ("cronjob_controller_*", "a schedule takes a minute"),
    ("disabled_metrics_total", "no metric is disabled"),
    ("etcd_bookmark_*", "the store tells how far it is when it is asked, which reads mostly need not"),
    ("grpc_client_*", "there is no plugin for keys"),
    ("hidden_metrics_total", "no metric is hidden"),
    ("horizontal_pod_autoscaler_controller_*", "an autoscaler waits for its first turn"),
    ("kube_apiserver_nodeport_allocator_allocation_errors_total", "every port is free"),
    ("kubernetes_feature_enabled", "features that there are"),
    ("pod_gc_collector_*", "no pod lost its node"),
    ("pod_security_*", "no namespace wants anything of pods"),
    ("process_network_*", "told by the kernel for the network of the process"),
    ("registered_metrics_total", "metrics by their stability"),
    ("replicaset_controller_sorting_deletion_age_ratio", "no ready pod is too many"),
    ("resourceclaim_controller_*", "no pod has claims"),
    ("rest_client_*", "components of one process ask without sockets"),
    ("scheduler_batch_*", "no two pods are alike"),
    ("scheduler_get_node_hint_duration_seconds", "no two pods are alike"),
    ("scheduler_inflight_events", "nothing happens while a pod is looked at"),
    ("scheduler_plugin_execution_duration_seconds", "one attempt in ten is measured that closely"),
    ("scheduler_store_schedule_results_duration_seconds", "no two pods are alike"),
    ("serviceaccount_*", "nobody comes with such a token"),
    ("version_info", "the version that is emulated"),
];

/// Labels that this program has otherwise than the recordings, which were made of a distribution's fork.
const OTHER_LABELS: &[(&str, &str)] = &[
    ("apiserver_request_total", "the fork adds a label about the client"),
    ("pod_security_evaluations_total", "the fork adds a label about the namespace"),
];

fn golden() -> Option<PathBuf> {
    let dir = std::env::var_os("FERROKUBE_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/golden"),
        PathBuf::from,
    );
    if !dir.join("metrics").is_dir() {
        println!("skipped: needs FERROKUBE_GOLDEN");
        return None;
    }
    Some(dir.join("metrics"))
}

/// A metric's type and the names of its labels, as far as it has samples.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    labels: BTreeSet<BTreeSet<String>>,
}

/// The metrics of a page.
fn parse(page: &str) -> BTreeMap<String, Metric> {
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            let again = all.insert(name.to_owned(), Metric { kind: kind.to_owned(), ..Metric::default() });
            assert!(again.is_none(), "{name} is there twice");
            current = name.to_owned();
        } else if !line.starts_with('#') && !line.is_empty() {
            assert!(line.starts_with(&current), "{line:?} is not of {current}");
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            // Values may hold anything, but a name comes before the first quote and after every second one.
            let names = labels.split('"').step_by(2).filter_map(|part| {
                let name = part.trim_start_matches(',').strip_suffix('=')?;
                (name != "le" && name != "quantile").then(|| name.to_owned())
            });
            let names = names.collect();
            all.get_mut(&current).unwrap().labels.insert(names);
        }
    }
    all.retain(|_, metric| !metric.labels.is_empty());
    all
}

fn listed(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(pattern, _)| match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => *pattern == name,
    })
}

const NAMESPACED: [&str; 4] = [
    "/api/v1/namespaces/default/",
    "/apis/apps/v1/namespaces/default/",
    "/apis/batch/v1/namespaces/default/",
    "/apis/example.com/v1/namespaces/default/",
];

fn send(machine: &Machine, method: &str, kind: &str, path: &str, body: &Value) -> u16 {
    let (body, kind) = (body.to_string(), format!("Content-Type: application/{kind}"));
    machine.request(path, &["--request", method, "--header", &kind, "--data-binary", &body]).0
}

/// A bit of everything.
fn traffic(machine: &Machine) {
    let [core, apps, batch, example] = NAMESPACED;
    let template = |name: &str| {
        json!({ "metadata": { "labels": { "app": name } },
            "spec": { "restartPolicy": if name == "job" { "Never" } else { "Always" },
                "containers": [{ "name": "a", "image": "a" }] } })
    };
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let creates = [
        (format!("{core}configmaps"), json!({ "metadata": { "name": "a" } }), 201),
        (format!("{core}configmaps"), json!({ "metadata": { "name": "a" } }), 409),
        (
            format!("{core}services"),
            json!({ "metadata": { "name": "a" },
            "spec": { "type": "NodePort", "selector": { "app": "web" }, "ports": [{ "port": 80 }] } }),
            201,
        ),
        (
            format!("{core}services"),
            json!({ "metadata": { "name": "b" },
            "spec": { "clusterIP": "10.0.0.1", "ports": [{ "port": 80 }] } }),
            422,
        ),
        (
            format!("{core}services"),
            json!({ "metadata": { "name": "c" }, "spec": { "ports": [{ "port": 80 }] } }),
            201,
        ),
        (
            format!("{core}endpoints"),
            json!({ "metadata": { "name": "c" },
            "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "ports": [{ "port": 80 }] }] }),
            201,
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(),
            json!({ "metadata": { "name": "things.example.com" }, "spec": { "group": "example.com",
                "scope": "Namespaced", "names": { "plural": "things", "kind": "Thing" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }] } }),
            201,
        ),
        (
            "/api/v1/nodes".to_owned(),
            json!({ "metadata": { "name": "away",
            "labels": { "topology.kubernetes.io/zone": "z" } },
            "spec": { "taints": [{ "key": "a", "effect": "NoExecute" }] } }),
            201,
        ),
        (
            format!("{core}pods"),
            json!({ "metadata": { "name": "gone" },
            "spec": { "nodeName": "away", "containers": [{ "name": "a", "image": "a" }],
                "volumes": [{ "name": "v", "ephemeral": { "volumeClaimTemplate": { "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1" } } } } } }] } }),
            201,
        ),
        (
            format!("{apps}deployments"),
            json!({ "metadata": { "name": "web" }, "spec": {
            "selector": { "matchLabels": { "app": "web" } }, "template": template("web") } }),
            201,
        ),
        (
            format!("{batch}jobs"),
            json!({ "metadata": { "name": "job" }, "spec": { "ttlSecondsAfterFinished": 0,
            "completionMode": "Indexed", "completions": 1, "template": template("job"),
            "podFailurePolicy": { "rules": [{ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget" }] }] } } }),
            201,
        ),
        (
            format!("{batch}jobs"),
            json!({ "metadata": { "name": "lost" }, "spec": { "backoffLimit": 0,
            "template": template("job"), "podFailurePolicy": { "rules": [{ "action": "FailJob",
                "onExitCodes": { "operator": "In", "values": [7] } }] } } }),
            201,
        ),
    ];
    for (path, body, code) in &creates {
        let status = send(machine, "POST", "json", path, body);
        assert!(status == *code || *code == 409, "{path}: {status}");
    }
    let lost = json!({ "nodeSelector": { "a": "nowhere" }, "containers": [{ "name": "a", "image": "a" }] });
    let lost = json!({ "metadata": { "name": "lost" }, "spec": lost });
    send(machine, "POST", "json", &format!("{core}pods"), &lost);
    send(machine, "POST", "json", "/api/v1/nodes", &json!({ "metadata": { "name": "near" } }));
    let room = json!({ "cpu": "8", "memory": "8Gi", "pods": "100" });
    let ready = json!({ "type": "Ready", "status": "True" });
    let state = json!({ "status": { "capacity": room, "allocatable": room, "conditions": [ready] } });
    send(machine, "PATCH", "merge-patch+json", "/api/v1/nodes/near/status", &state);
    send(
        machine,
        "PATCH",
        "merge-patch+json",
        &format!("{core}configmaps/a"),
        &json!({ "data": { "a": "b" } }),
    );
    let applied = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "b" } });
    let apply = format!("{core}configmaps/b?fieldManager=me&fieldValidation=Strict");
    send(machine, "PATCH", "apply-patch+yaml", &apply, &applied);
    send(machine, "DELETE", "json", &format!("{core}configmaps/b"), &json!({}));
    send(
        machine,
        "POST",
        "json",
        &format!("{example}things"),
        &json!({ "apiVersion": "example.com/v1",
        "kind": "Thing", "metadata": { "name": "a" } }),
    );
    let listing = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let reads = [
        format!("{core}configmaps"),
        format!("{core}configmaps?limit=1"),
        format!("{core}configmaps?{listing}&timeoutSeconds=1"),
        format!("{core}endpoints"),
        format!("{core}events"),
        format!("{core}pods/gone/log"),
        format!("{example}things"),
        "/apis".to_owned(),
        "/openapi/v2".to_owned(),
        "/openapi/v3/apis/example.com/v1".to_owned(),
        "/readyz".to_owned(),
        "/api/v1/namespaces/default/nothing".to_owned(),
    ];
    for path in &reads {
        machine.request(path, &["--header", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList, application/json, text/plain"]);
    }
}

/// Lets the pods of Jobs end: one as it should, the other not.
fn end_pods(machine: &Machine) {
    let core = NAMESPACED[0];
    let (_, text) = machine.request(&format!("{core}pods?labelSelector=app%3Djob"), &[]);
    let list: Value = serde_json::from_str(&text).unwrap();
    for pod in list["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let status = match name.starts_with("lost") {
            true => {
                json!({ "phase": "Failed", "containerStatuses": [{ "name": "a", "image": "a", "imageID": "a",
                "state": { "terminated": { "exitCode": 7 } } }] })
            }
            false => json!({ "phase": "Succeeded" }),
        };
        send(
            machine,
            "PATCH",
            "merge-patch+json",
            &format!("{core}pods/{name}/status"),
            &json!({ "status": status }),
        );
    }
}

#[test]
fn names_types_and_labels_are_upstreams() {
    let Some(golden) = golden() else { return };
    let mut wanted: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for program in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let text = std::fs::read_to_string(golden.join(format!("{program}.json"))).unwrap();
        let recorded: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        for (name, about) in recorded {
            let labels = about["labels"].as_array().into_iter().flatten();
            let labels = labels.map(|label| label.as_str().unwrap().to_owned()).collect();
            wanted.insert(name, (about["type"].as_str().unwrap().to_owned(), labels));
        }
    }
    for (pattern, _) in NOT_HERE.iter().chain(WITH_OTHER_TRAFFIC) {
        assert!(wanted.keys().any(|name| listed(&[(pattern, "")], name)), "nothing upstream is {pattern}");
    }
    let machine = Machine::new("metrics");
    let tokens = machine.token_file();
    let _server = machine.start(&["--no-node", "--bind-address", "127.0.0.1", &tokens]);
    traffic(&machine);
    // Controllers take their time, and need what others do first.
    let deadline = Instant::now() + Duration::from_secs(60);
    let found = loop {
        end_pods(&machine);
        let found = parse(&machine.request("/metrics", &[]).1);
        let absent = |name: &&String| {
            !found.contains_key(*name) && !listed(NOT_HERE, name) && !listed(WITH_OTHER_TRAFFIC, name)
        };
        let missing: Vec<&String> = wanted.keys().filter(absent).collect();
        if missing.is_empty() {
            break found;
        }
        assert!(Instant::now() < deadline, "upstream has these, and no reason is given: {missing:#?}");
        std::thread::yield_now();
    };
    let came: Vec<&String> = found.keys().filter(|name| listed(NOT_HERE, name)).collect();
    assert!(came.is_empty(), "these are measured after all: {came:?}");
    for (name, metric) in &found {
        let Some((kind, labels)) = wanted.get(name) else { continue };
        assert_eq!(metric.kind, *kind, "the type of {name}");
        if !listed(OTHER_LABELS, name) && !labels.is_empty() {
            assert_eq!(metric.labels, BTreeSet::from([labels.clone()]), "the labels of {name}");
        }
    }
}

#[test]
fn requests_are_told_apart_and_what_is_made_up_is_not_remembered() {
    let machine = Machine::new("labels");
    let tokens = machine.token_file();
    let _server = machine.start(&["--no-node", "--bind-address", "127.0.0.1", &tokens]);
    traffic(&machine);
    machine.request("/api/v1/namespaces/default/configmaps", &["--request", "DELETE"]);
    for path in [
        "/api/v1/namespaces/default/madeup",
        "/api/vmadeup/pods",
        "/apis/madeup.com/v1/things?watch=1&timeoutSeconds=1",
        "/api/v1/configmaps?dryRun=madeup&fieldValidation=madeup",
        "/api/v1/namespaces/default/pods/gone/madeup",
        "/healthz/madeup",
        "/openapi/v3/madeup",
    ] {
        machine.request(path, &[]);
    }
    machine.request("/api/v1/pods", &["--request", "MADEUP"]);
    let page = machine.request("/metrics", &[]).1;
    let remembered: Vec<&str> = page.lines().filter(|line| line.contains("madeup")).collect();
    assert!(remembered.is_empty(), "{remembered:#?}");
    for labels in [
        r#"code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="APPLY",version="v1""#,
        r#"code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1""#,
        r#"code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="DELETE",version="v1""#,
        r#"code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1""#,
        r#"code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="WATCH",version="v1""#,
        r#"code="200",component="apiserver",dry_run="invalid",group="",resource="configmaps",scope="cluster",subresource="",verb="LIST",version="v1""#,
        r#"code="201",component="apiserver",dry_run="",group="example.com",resource="things",scope="resource",subresource="",verb="POST",version="v1""#,
        r#"component="",dry_run="",group="",resource="",scope="",subresource="/readyz",verb="GET",version="""#,
        r#"subresource="log",verb="CONNECT",version="v1""#,
    ] {
        let counted = |line: &str| line.starts_with("apiserver_request_total{") && line.contains(labels);
        assert!(page.lines().any(counted), "{labels} in {page}");
    }
}
