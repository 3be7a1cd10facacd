//! The configuration in use as the document that `/configz` answers: what was given, with every default filled in.

use serde_json::{Map, Value, json};

use super::SchedulerConfig;
use super::decode::API_VERSION;
use crate::plugins::TABLE;

/// The points of a profile's `plugins` as the document names them. Those of placements belong to gang scheduling, which
/// is off by default; the fields are there.
const SETS: [&str; 15] = [
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "multiPoint",
    "placementGenerate",
    "placementScore",
];

/// Requests at once unless the document says otherwise.
const BURST: i64 = 100;

impl SchedulerConfig {
    /// The document with every default filled in.
    pub fn document(&self) -> Value {
        let given = &*self.given;
        let or = |field: &str, default: Value| or(&given[field], default);
        let profiling = given["enableProfiling"].as_bool().unwrap_or(true);
        let mut document = json!({
            "kind": "KubeSchedulerConfiguration",
            "apiVersion": API_VERSION,
            "parallelism": or("parallelism", json!(16)),
            "leaderElection": self.election_document(),
            "clientConnection": self.connection_document(),
            "enableProfiling": profiling,
            "enableContentionProfiling": or("enableContentionProfiling", json!(profiling)),
            "percentageOfNodesToScore": or("percentageOfNodesToScore", json!(0)),
            "podInitialBackoffSeconds": self.pod_initial_backoff.as_secs(),
            "podMaxBackoffSeconds": self.pod_max_backoff.as_secs(),
        });
        let profiles = given["profiles"].as_array().map_or(&[][..], Vec::as_slice);
        let profile = |(at, own): (usize, &super::ProfileConfig)| {
            let given = profiles.get(at).unwrap_or(&Value::Null);
            profile(&own.scheduler_name, given)
        };
        document["profiles"] = self.profiles.iter().enumerate().map(profile).collect();
        if let Some(extenders) = given["extenders"].as_array().filter(|extenders| !extenders.is_empty()) {
            document["extenders"] = extenders.iter().map(extender).collect();
        }
        if given["delayCacheUntilActive"] == true {
            document["delayCacheUntilActive"] = json!(true);
        }
        document
    }

    /// Requests a second and at once, where the document says so.
    pub fn client_rate(&self) -> Option<(f64, i64)> {
        let given = &self.given["clientConnection"];
        let per_second = given["qps"].as_f64().filter(|qps| *qps != 0.0)?;
        Some((per_second, given["burst"].as_i64().filter(|burst| *burst != 0).unwrap_or(BURST)))
    }

    fn election_document(&self) -> Value {
        let election = &self.leader_election;
        let text = |duration: std::time::Duration| {
            let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
            meta::Duration { nanos }.to_string()
        };
        json!({
            "leaderElect": election.leader_elect,
            "leaseDuration": text(election.lease_duration),
            "renewDeadline": text(election.renew_deadline),
            "retryPeriod": text(election.retry_period),
            "resourceLock": or(&self.given["leaderElection"]["resourceLock"], json!("leases")),
            "resourceName": election.resource_name.as_str(),
            "resourceNamespace": election.resource_namespace.as_str(),
        })
    }

    fn connection_document(&self) -> Value {
        let given = &self.given["clientConnection"];
        json!({
            "kubeconfig": self.kubeconfig,
            "acceptContentTypes": or(&given["acceptContentTypes"], json!("")),
            "contentType": or(&given["contentType"], json!("application/vnd.kubernetes.protobuf")),
            "qps": or(&given["qps"], json!(50)),
            "burst": or(&given["burst"], json!(BURST)),
        })
    }
}

/// What is given, or the default where nothing is, or only Go's zero value.
fn or(given: &Value, default: Value) -> Value {
    match given {
        Value::Null => default,
        Value::String(text) if text.is_empty() => default,
        Value::Number(number) if number.as_f64() == Some(0.0) => default,
        given => given.clone(),
    }
}

fn profile(name: &str, given: &Value) -> Value {
    let mut profile = json!({"schedulerName": name});
    if let Some(percentage) = given["percentageOfNodesToScore"].as_i64() {
        profile["percentageOfNodesToScore"] = json!(percentage);
    }
    let mut plugins = Map::new();
    for set in SETS {
        let defaults = if set == "multiPoint" { TABLE } else { &[] };
        let defaults = defaults.iter().map(|entry| json!({"name": entry.name, "weight": entry.weight}));
        plugins.insert(set.into(), merged(defaults.collect(), &given["plugins"][set]));
    }
    profile["pluginConfig"] = plugin_config(&plugins, &given["pluginConfig"]);
    profile["plugins"] = Value::Object(plugins);
    profile
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A set of plugins worked into the default one: defaults keep their place, others follow.
fn merged(defaults: Vec<Value>, given: &Value) -> Value {
    let (enabled, disabled) = (list(&given["enabled"]), list(&given["disabled"]));
    let off = |name: &Value| disabled.iter().any(|one| one["name"] == "*" || one["name"] == *name);
    let weighted =
        |one: &Value| json!({"name": one["name"], "weight": one["weight"].as_i64().unwrap_or_default()});
    let mut result: Vec<Value> = Vec::new();
    for default in defaults.into_iter().filter(|default| !off(&default["name"])) {
        let own = enabled.iter().find(|one| one["name"] == default["name"]);
        result.push(own.map_or(default, weighted));
    }
    for one in enabled {
        if !result.iter().any(|other| other["name"] == one["name"]) {
            result.push(weighted(one));
        }
    }
    let mut set = Map::new();
    if !result.is_empty() {
        set.insert("enabled".into(), Value::Array(result));
    }
    if !disabled.is_empty() {
        let names = disabled.iter().map(|one| json!({"name": one["name"], "weight": 0}));
        set.insert("disabled".into(), names.collect());
    }
    Value::Object(set)
}

/// Arguments that were given, defaults filled in; then those of every other enabled plugin that takes some, by name.
fn plugin_config(plugins: &Map<String, Value>, given: &Value) -> Value {
    let mut all: Vec<Value> = list(given)
        .iter()
        .map(|one| {
            let name = one["name"].as_str().unwrap_or_default();
            let args = arguments(name, &one["args"]).unwrap_or_else(|| one["args"].clone());
            json!({"name": name, "args": args})
        })
        .collect();
    let enabled = plugins.values().flat_map(|set| list(&set["enabled"]));
    let names: std::collections::BTreeSet<&str> = enabled.filter_map(|one| one["name"].as_str()).collect();
    for name in names {
        if all.iter().any(|one| one["name"] == name) {
            continue;
        }
        if let Some(args) = arguments(name, &Value::Null) {
            all.push(json!({"name": name, "args": args}));
        }
    }
    Value::Array(all)
}

/// A plugin's arguments with their defaults; `None` for a plugin that takes none.
fn arguments(plugin: &str, given: &Value) -> Option<Value> {
    let mut args = json!({"kind": format!("{plugin}Args"), "apiVersion": API_VERSION});
    let defaults = match plugin {
        "DefaultPreemption" => json!({"minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 100}),
        "DynamicResources" => json!({"filterTimeout": "10s", "bindingTimeout": "10m0s"}),
        "InterPodAffinity" => {
            json!({"hardPodAffinityWeight": 1, "ignorePreferredTermsOfExistingPods": false})
        }
        "NodeAffinity" => json!({}),
        "NodeResourcesBalancedAllocation" => {
            args["resources"] = weights(&given["resources"]);
            json!({})
        }
        "NodeResourcesFit" => {
            args["scoringStrategy"]["resources"] = weights(&given["scoringStrategy"]["resources"]);
            json!({"scoringStrategy": {"type": "LeastAllocated"}})
        }
        "PodTopologySpread" => json!({"defaultingType": "System"}),
        "VolumeBinding" => json!({"bindTimeoutSeconds": 600}),
        _ => return None,
    };
    fill(&mut args, given);
    fill(&mut args, &defaults);
    prune(&mut args);
    Some(args)
}

/// Resources to be weighed: CPU and memory where none are given, each 1 where no weight is.
fn weights(given: &Value) -> Value {
    let weigh = |one: &Value| json!({"name": one["name"], "weight": or(&one["weight"], json!(1))});
    match list(given) {
        [] => json!([{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]),
        given => given.iter().map(weigh).collect(),
    }
}

/// Takes over from `from` what is null in `into`, field by field.
fn fill(into: &mut Value, from: &Value) {
    match (&mut *into, from) {
        (Value::Object(own), Value::Object(other)) => {
            for (name, value) in other {
                fill(own.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Null, other) => *into = other.clone(),
        _ => {}
    }
}

/// Drops fields without a value.
fn prune(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(prune);
    }
}

fn extender(given: &Value) -> Value {
    let mut extender = json!({});
    fill(&mut extender, given);
    // A private key is nobody's business, as upstream sees to.
    if !extender["tlsConfig"]["keyData"].is_null() {
        extender["tlsConfig"]["keyData"].take();
    }
    fill(&mut extender, &json!({"urlPrefix": "", "httpTimeout": "0s"}));
    prune(&mut extender);
    extender
}
