//! What the arguments of plugins must keep to.

use meta::Duration;
use serde_json::Value;

use crate::plugins::node_selector;

use super::validate::{Findings, list, quoted};

/// The findings about one plugin's arguments. Those of NodeResourcesFit come up when the plugin is made: [`fit`].
pub(super) fn findings(plugin: &str, args: &Value, path: &str, found: &mut Findings) {
    match plugin {
        "DefaultPreemption" => preemption(args, path, found),
        "InterPodAffinity" => {
            if let Some(weight) = args["hardPodAffinityWeight"].as_i64().filter(|w| !(0..=100).contains(w)) {
                found.invalid(
                    &format!("{path}.hardPodAffinityWeight"),
                    weight,
                    "not in valid range [0, 100]",
                );
            }
        }
        "NodeResourcesBalancedAllocation" => balanced(args, path, found),
        "NodeAffinity" => affinity(&args["addedAffinity"], &format!("{path}.addedAffinity"), found),
        "PodTopologySpread" => spread(args, path, found),
        "VolumeBinding" => volume_binding(args, path, found),
        "DynamicResources" => dynamic_resources(args, path, found),
        _ => {}
    }
}

fn preemption(args: &Value, path: &str, found: &mut Findings) {
    let percent = args["minCandidateNodesPercentage"].as_i64().unwrap_or(10);
    let absolute = args["minCandidateNodesAbsolute"].as_i64().unwrap_or(100);
    let (percent_path, absolute_path) =
        (format!("{path}.minCandidateNodesPercentage"), format!("{path}.minCandidateNodesAbsolute"));
    if !(0..=100).contains(&percent) {
        found.invalid(&percent_path, percent, "not in valid range [0, 100]");
    }
    if absolute < 0 {
        found.invalid(&absolute_path, absolute, "not in valid range [0, inf)");
    }
    if percent == 0 && absolute == 0 {
        let same_time = "cannot be zero at the same time as";
        found.invalid(&percent_path, 0, &format!("{same_time} minCandidateNodesAbsolute"));
        found.invalid(&absolute_path, 0, &format!("{same_time} minCandidateNodesPercentage"));
    }
}

fn balanced(args: &Value, path: &str, found: &mut Findings) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, one) in list(&args["resources"]).iter().enumerate() {
        let path = format!("{path}.resources[{at}]");
        let name = one["name"].as_str().unwrap_or_default();
        if seen.contains(&name) {
            found.duplicate(&format!("{path}.name"), meta::go_quote(name));
        }
        seen.push(name);
        if let Some(weight) = one["weight"].as_i64().filter(|weight| !matches!(weight, 0 | 1)) {
            found.invalid(&format!("{path}.weight"), weight, "must be 1");
        }
    }
}

fn affinity(given: &Value, path: &str, found: &mut Findings) {
    let given: types::core::v1::NodeAffinity = meta::from_value(given.clone()).unwrap_or_default();
    if let Some(required) = &given.required_during_scheduling_ignored_during_execution {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        for (at, term) in required.node_selector_terms.iter().enumerate() {
            found.0.extend(node_selector::faults(term, &format!("{path}[{at}]")));
        }
    }
    let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution");
    for (at, term) in given.preferred_during_scheduling_ignored_during_execution.iter().enumerate() {
        if term.weight != 0 {
            found.0.extend(node_selector::faults(&term.preference, &format!("{path}[{at}]")));
        }
    }
}

fn volume_binding(args: &Value, path: &str, found: &mut Findings) {
    if let Some(seconds) = args["bindTimeoutSeconds"].as_i64().filter(|seconds| *seconds < 0) {
        let why = "invalid BindTimeoutSeconds, should not be a negative value";
        found.invalid(&format!("{path}.bindTimeoutSeconds"), seconds, why);
    }
    if let Some(shape) = args["shape"].as_array() {
        let point = |point: &Value| {
            let number = |field: &str| point[field].as_i64().unwrap_or(0);
            let (utilization, score) = (number("utilization"), number("score"));
            format!(r#"{{"Utilization":{utilization},"Score":{score}}}"#)
        };
        let shape = shape.iter().map(point).collect::<Vec<_>>().join(",");
        let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
        found.invalid(&format!("{path}.shape"), format_args!("[{shape}]"), why);
    }
}

fn dynamic_resources(args: &Value, path: &str, found: &mut Findings) {
    let given = |field: &str| args[field].as_str().and_then(|text| Duration::parse(text).ok());
    if let Some(timeout) = given("filterTimeout").filter(|timeout| timeout.nanos < 0) {
        found.invalid(&format!("{path}.filterTimeout"), quoted(timeout), "must be zero or positive");
    }
    if let Some(timeout) = given("bindingTimeout").filter(|timeout| timeout.nanos < 1_000_000_000) {
        found.invalid(&format!("{path}.bindingTimeout"), quoted(timeout), "must be at least 1 second");
    }
}

fn spread(args: &Value, path: &str, found: &mut Findings) {
    let kind = args["defaultingType"].as_str().filter(|kind| !kind.is_empty()).unwrap_or("System");
    let constraints = list(&args["defaultConstraints"]);
    let kind_path = format!("{path}.defaultingType");
    if !["List", "System"].contains(&kind) {
        found.unsupported(&kind_path, kind, &["System", "List"]);
    } else if kind == "System" && !constraints.is_empty() {
        found.invalid(&kind_path, meta::go_quote(kind), "when .defaultConstraints are not empty");
    }
    for (at, one) in constraints.iter().enumerate() {
        let path = format!("{path}.defaultConstraints[{at}]");
        let text = |field: &str| one[field].as_str().unwrap_or_default();
        let skew = one["maxSkew"].as_i64().unwrap_or(0);
        if skew <= 0 {
            found.invalid(&format!("{path}.maxSkew"), skew, "not in valid range (0, inf)");
        }
        let (key, action) = (text("topologyKey"), text("whenUnsatisfiable"));
        if key.is_empty() {
            found.required(&format!("{path}.topologyKey"), "can not be empty");
        } else {
            for why in meta::names::qualified_name(key) {
                found.invalid(&format!("{path}.topologyKey"), meta::go_quote(key), &why);
            }
        }
        let action_path = format!("{path}.whenUnsatisfiable");
        if action.is_empty() {
            found.required(&action_path, "can not be empty");
        } else if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            found.unsupported(&action_path, action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if !one["labelSelector"].is_null() {
            let why = "constraint must not define a selector, as they deduced for each pod";
            found.forbidden(&format!("{path}.labelSelector"), why);
        }
        let same = |other: &&Value| {
            other["topologyKey"] == one["topologyKey"]
                && other["whenUnsatisfiable"] == one["whenUnsatisfiable"]
        };
        if constraints[..at].iter().any(|other| same(&other)) {
            found.duplicate(&path, meta::go_quote(&format!("{{{key}, {action}}}")));
        }
    }
}

/// The findings about NodeResourcesFitArgs, with paths inside of them.
pub(super) fn fit(args: &Value, found: &mut Findings) {
    for (field, group) in [("ignoredResources", false), ("ignoredResourceGroups", true)] {
        for (at, name) in list(&args[field]).iter().enumerate() {
            let (path, name) = (format!("{field}[{at}]"), name.as_str().unwrap_or_default());
            if group && name.contains('/') {
                found.invalid(&path, meta::go_quote(name), "resource group name can't contain '/'");
            }
            for why in meta::names::qualified_name(name) {
                found.invalid(&path, meta::go_quote(name), &why);
            }
        }
    }
    let strategy = &args["scoringStrategy"];
    if strategy.is_null() {
        return;
    }
    let kind = strategy["type"].as_str().unwrap_or_default();
    const KINDS: [&str; 3] = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
    if !KINDS.contains(&kind) {
        found.unsupported("scoringStrategy.type", kind, &KINDS);
    }
    for (at, one) in list(&strategy["resources"]).iter().enumerate() {
        let name = one["name"].as_str().unwrap_or_default();
        if let Some(weight) = one["weight"].as_i64().filter(|weight| !(0..=100).contains(weight)) {
            let why = format!("resource weight of {name} not in valid range (0, 100]");
            found.invalid(&format!("scoringStrategy.resources[{at}].weight"), weight, &why);
        }
    }
    let (path, ratio) = ("scoringStrategy.requestedToCapacityRatio", &strategy["requestedToCapacityRatio"]);
    match (kind == "RequestedToCapacityRatio", ratio.is_null()) {
        (true, true) => found.required(path, "must be specified when type is RequestedToCapacityRatio"),
        (true, false) => shape(list(&ratio["shape"]), &format!("{path}.shape"), found),
        (false, false) => found.forbidden(path, "must be nil when type is not RequestedToCapacityRatio"),
        (false, true) => {}
    }
}

fn shape(points: &[Value], path: &str, found: &mut Findings) {
    if points.is_empty() {
        found.required(path, "at least one point must be specified");
    }
    let number = |point: &Value, field: &str| point[field].as_i64().unwrap_or(0);
    let mut pairs = points.windows(2).enumerate();
    let unsorted = pairs.find(|(_, pair)| number(&pair[0], "utilization") >= number(&pair[1], "utilization"));
    if let Some((at, pair)) = unsorted {
        let why = "values must be sorted in increasing order";
        found.invalid(&format!("{path}[{}].utilization", at + 1), number(&pair[1], "utilization"), why);
    }
    for (at, point) in points.iter().enumerate() {
        for (field, high) in [("utilization", 100), ("score", 10)] {
            let given = number(point, field);
            if !(0..=high).contains(&given) {
                found.invalid(
                    &format!("{path}[{at}].{field}"),
                    given,
                    &format!("not in valid range [0, {high}]"),
                );
            }
        }
    }
}
