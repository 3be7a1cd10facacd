//! What a configuration must keep to beyond its shape.

use serde_json::Value;

use super::{POINTS, SchedulerConfig};
use crate::plugins;

/// All findings, in upstream's words.
pub(super) fn validate(value: &Value, config: &SchedulerConfig) -> Vec<String> {
    let mut found = Vec::new();
    let mut invalid = |path: &str, value: String, why: &str| {
        found.push(format!("{path}: Invalid value: {value}: {why}"));
    };
    let number = |field: &str| value[field].as_i64();
    if let Some(parallelism) = number("parallelism").filter(|number| *number <= 0) {
        invalid("parallelism", parallelism.to_string(), "should be an integer value greater than zero");
    }
    let percentage = |invalid: &mut dyn FnMut(&str, String, &str), path: &str, given: Option<i64>| {
        if let Some(percentage) = given.filter(|given| !(0..=100).contains(given)) {
            invalid(path, percentage.to_string(), "not in valid range [0-100]");
        }
    };
    percentage(&mut invalid, "percentageOfNodesToScore", number("percentageOfNodesToScore"));
    if let Some(seconds) = number("podInitialBackoffSeconds").filter(|seconds| *seconds <= 0) {
        invalid("podInitialBackoffSeconds", seconds.to_string(), "must be greater than 0");
    }
    if config.pod_max_backoff < config.pod_initial_backoff {
        invalid(
            "podMaxBackoffSeconds",
            config.pod_max_backoff.as_secs().to_string(),
            "must be greater than or equal to PodInitialBackoffSeconds",
        );
    }
    let election = &config.leader_election;
    if election.leader_elect {
        let go = |duration: std::time::Duration| meta::go_quote(&format!("{}s", duration.as_secs_f64()));
        if election.lease_duration <= election.renew_deadline {
            invalid(
                "leaderElection.leaseDuration",
                go(election.lease_duration),
                "LeaseDuration must be greater than RenewDeadline",
            );
        }
        if election.renew_deadline <= election.retry_period {
            invalid(
                "leaderElection.renewDeadline",
                go(election.renew_deadline),
                "RenewDeadline must be greater than RetryPeriod",
            );
        }
    }
    if config.profiles.is_empty() {
        found.push("profiles: Required value".into());
    }
    for at in 0..config.profiles.len() {
        profile_findings(value, config, at, &mut found);
        let path = format!("profiles[{at}].percentageOfNodesToScore");
        let mut invalid = |path: &str, value: String, why: &str| {
            found.push(format!("{path}: Invalid value: {value}: {why}"));
        };
        percentage(&mut invalid, &path, value["profiles"][at]["percentageOfNodesToScore"].as_i64());
    }
    let mut binders = 0;
    for (at, extender) in config.extenders.iter().enumerate() {
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            found.push(format!(
                "extenders[{at}].weight: Invalid value: {}: must have a positive weight applied to it",
                extender.weight
            ));
        }
        binders += usize::from(!extender.bind_verb.is_empty());
    }
    if binders > 1 {
        found.push(format!("extenders: Invalid value: \"found {binders} extenders implementing bind\": only one extender can implement bind"));
    }
    found
}

fn profile_findings(value: &Value, config: &SchedulerConfig, at: usize, found: &mut Vec<String>) {
    let profile = &config.profiles[at];
    let path = format!("profiles[{at}]");
    if profile.scheduler_name.is_empty() {
        found.push(format!("{path}.schedulerName: Required value"));
    }
    let twin = config.profiles[..at].iter().any(|other| other.scheduler_name == profile.scheduler_name);
    if twin {
        let name = meta::go_quote(&profile.scheduler_name);
        found.push(format!("{path}.schedulerName: Duplicate value: {name}"));
    }
    for (point, set) in profile.plugins.sets() {
        let mut seen: Vec<&str> = Vec::new();
        for (name, _) in &set.enabled {
            let upper = point.chars().next().map(|first| first.to_ascii_uppercase()).into_iter();
            let interface =
                format!("{}{}Plugin", upper.collect::<String>(), point.get(1..).unwrap_or_default());
            match plugins::find(name) {
                None if point == "multiPoint" => {
                    found.push(format!("MultiPoint plugin {} does not exist", meta::go_quote(name)));
                }
                None => found.push(format!("{interface} {} does not exist", meta::go_quote(name))),
                Some(entry) => {
                    let fits =
                        POINTS.iter().any(|(other, kind)| *other == point && entry.points.contains(kind));
                    if point != "multiPoint" && !fits {
                        let name = meta::go_quote(name);
                        found.push(format!("plugin {name} does not extend {interface} plugin"));
                    }
                }
            }
            if seen.contains(&name.as_str()) {
                found.push(format!(
                    "plugin {} already registered as {}",
                    meta::go_quote(name),
                    meta::go_quote(&interface)
                ));
            }
            seen.push(name);
        }
    }
    let given = value["profiles"][at]["pluginConfig"].as_array();
    let mut names: Vec<&str> = Vec::new();
    for (index, one) in given.into_iter().flatten().enumerate() {
        let name = one["name"].as_str().unwrap_or_default();
        let path = format!("{path}.pluginConfig[{index}]");
        if names.contains(&name) {
            found.push(format!("{path}: Duplicate value: {}", meta::go_quote(name)));
        }
        names.push(name);
        args_findings(name, &one["args"], &format!("{path}.args"), found);
    }
}

fn args_findings(plugin: &str, args: &Value, path: &str, found: &mut Vec<String>) {
    let mut range = |value: &Value, field: &str, low: i64, high: i64| {
        if let Some(number) = value.as_i64().filter(|number| !(low..=high).contains(number)) {
            found.push(format!("{path}.{field}: Invalid value: {number}: not in valid range [{low}-{high}]"));
        }
    };
    match plugin {
        "InterPodAffinity" => range(&args["hardPodAffinityWeight"], "hardPodAffinityWeight", 0, 100),
        "DefaultPreemption" => {
            range(&args["minCandidateNodesPercentage"], "minCandidateNodesPercentage", 0, 100);
            if let Some(number) = args["minCandidateNodesAbsolute"].as_i64().filter(|number| *number < 0) {
                found.push(format!(
                    "{path}.minCandidateNodesAbsolute: Invalid value: {number}: not in valid range [0, inf)"
                ));
            }
        }
        "NodeResourcesFit" => {
            let strategy = &args["scoringStrategy"];
            for (at, one) in strategy["resources"].as_array().into_iter().flatten().enumerate() {
                range(&one["weight"], &format!("scoringStrategy.resources[{at}].weight"), 0, 100);
            }
            let kind = strategy["type"].as_str().unwrap_or("LeastAllocated");
            if !["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"].contains(&kind) {
                found.push(format!(
                    "{path}.scoringStrategy.type: Unsupported value: {}: supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
                    meta::go_quote(kind)
                ));
            }
            if kind == "RequestedToCapacityRatio" {
                shape_findings(&strategy["requestedToCapacityRatio"]["shape"], path, found);
            }
        }
        "PodTopologySpread" => spread_findings(args, path, found),
        _ => {}
    }
}

fn shape_findings(shape: &Value, path: &str, found: &mut Vec<String>) {
    let path = format!("{path}.scoringStrategy.requestedToCapacityRatio.shape");
    let points = shape.as_array().map_or(&[][..], Vec::as_slice);
    if points.is_empty() {
        found.push(format!("{path}: Required value: at least one point must be specified"));
    }
    let mut before = -1;
    for (at, point) in points.iter().enumerate() {
        let utilization = point["utilization"].as_i64().unwrap_or(0);
        let score = point["score"].as_i64().unwrap_or(0);
        if !(0..=100).contains(&utilization) {
            found.push(format!(
                "{path}[{at}].utilization: Invalid value: {utilization}: not in valid range [0-100]"
            ));
        } else if utilization <= before {
            found.push(format!("{path}[{at}].utilization: Invalid value: {utilization}: utilization values must be sorted in increasing order"));
        }
        if !(0..=10).contains(&score) {
            found.push(format!("{path}[{at}].score: Invalid value: {score}: not in valid range [0-10]"));
        }
        before = utilization;
    }
}

fn spread_findings(args: &Value, path: &str, found: &mut Vec<String>) {
    let kind = args["defaultingType"].as_str().unwrap_or("System");
    let constraints = args["defaultConstraints"].as_array().map_or(&[][..], Vec::as_slice);
    if !["List", "System"].contains(&kind) {
        found.push(format!(
            "{path}.defaultingType: Unsupported value: {}: supported values: \"System\", \"List\"",
            meta::go_quote(kind)
        ));
    }
    if kind == "System" && !constraints.is_empty() {
        found.push(format!(
            "{path}.defaultingType: Invalid value: \"System\": when .defaultConstraints are specified"
        ));
    }
    for (at, one) in constraints.iter().enumerate() {
        let path = format!("{path}.defaultConstraints[{at}]");
        if let Some(skew) = one["maxSkew"].as_i64().filter(|skew| *skew <= 0) {
            found.push(format!("{path}.maxSkew: Invalid value: {skew}: not in valid range (0, inf)"));
        }
        if one["topologyKey"].as_str().unwrap_or_default().is_empty() {
            found.push(format!("{path}.topologyKey: Required value: can not be empty"));
        }
        if !one["labelSelector"].is_null() {
            found.push(format!("{path}.labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod"));
        }
    }
}
