//! What a configuration must keep to beyond its shape, in upstream's words. Arguments of plugins have
//! [`super::validate_args`]; what only shows when profiles are made of it [`super::validate_profiles`].

use meta::Duration;
use serde_json::Value;

use super::validate_args;
use super::{POINTS, SchedulerConfig};

/// Plugins that the API knew once.
const REMOVED: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

/// Findings, one a line.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<String>);

impl Findings {
    /// A value, as Go prints it, that is not allowed.
    pub(super) fn invalid(&mut self, path: &str, value: impl std::fmt::Display, why: &str) {
        self.0.push(format!("{path}: Invalid value: {value}: {why}"));
    }

    pub(super) fn required(&mut self, path: &str, why: &str) {
        let colon = if why.is_empty() { "" } else { ": " };
        self.0.push(format!("{path}: Required value{colon}{why}"));
    }

    pub(super) fn forbidden(&mut self, path: &str, why: &str) {
        self.0.push(format!("{path}: Forbidden: {why}"));
    }

    pub(super) fn duplicate(&mut self, path: &str, value: impl std::fmt::Display) {
        self.0.push(format!("{path}: Duplicate value: {value}"));
    }

    pub(super) fn unsupported(&mut self, path: &str, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|one| meta::go_quote(one)).collect();
        let (value, supported) = (meta::go_quote(value), supported.join(", "));
        self.0.push(format!("{path}: Unsupported value: {value}: supported values: {supported}"));
    }
}

/// A list, empty where there is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All findings.
pub(super) fn validate(value: &Value, config: &SchedulerConfig) -> Vec<String> {
    let mut found = Findings::default();
    if let Some(burst) = value["clientConnection"]["burst"].as_i64().filter(|burst| *burst < 0) {
        found.invalid("clientConnection.burst", burst, "must be non-negative");
    }
    if config.leader_election.leader_elect {
        election(&value["leaderElection"], &mut found);
    }
    if let Some(parallelism) = value["parallelism"].as_i64().filter(|number| *number <= 0) {
        found.invalid("parallelism", parallelism, "should be an integer value greater than zero");
    }
    profiles(value, config, &mut found);
    percentage("percentageOfNodesToScore", &value["percentageOfNodesToScore"], &mut found);
    let initial = value["podInitialBackoffSeconds"].as_i64().unwrap_or(1);
    if initial <= 0 {
        found.invalid("podInitialBackoffSeconds", initial, "must be greater than 0");
    }
    let max = value["podMaxBackoffSeconds"].as_i64().unwrap_or(10);
    if max < initial {
        let why = "must be greater than or equal to PodInitialBackoffSeconds";
        found.invalid("podMaxBackoffSeconds", max, why);
    }
    extenders(value, &mut found);
    found.0
}

fn percentage(path: &str, given: &Value, found: &mut Findings) {
    if let Some(percentage) = given.as_i64().filter(|given| !(0..=100).contains(given)) {
        found.invalid(path, percentage, "not in valid range [0-100]");
    }
}

/// A duration as JSON has it.
pub(super) fn quoted(duration: Duration) -> String {
    meta::go_quote(&duration.to_string())
}

fn election(given: &Value, found: &mut Findings) {
    let duration = |field: &str, default: i64| {
        let text = given[field].as_str().unwrap_or_default();
        let given = Duration::parse(text).unwrap_or(Duration { nanos: 0 });
        if given.nanos == 0 { Duration::from_secs(default) } else { given }
    };
    let lease = duration("leaseDuration", 15);
    let renew = duration("renewDeadline", 10);
    let retry = duration("retryPeriod", 2);
    for (field, given) in [("leaseDuration", lease), ("renewDeadline", renew), ("retryPeriod", retry)] {
        if given.nanos <= 0 {
            found.invalid(&format!("leaderElection.{field}"), quoted(given), "must be greater than zero");
        }
    }
    if lease.nanos <= renew.nanos {
        found.invalid("leaderElection.leaseDuration", quoted(renew), "must be greater than `RenewDeadline`");
    }
    let lock = given["resourceLock"].as_str().unwrap_or_default();
    if !matches!(lock, "" | "leases") {
        let why = r#"resourceLock value must be "leases""#;
        found.invalid("leaderElection.resourceLock", meta::go_quote(lock), why);
    }
}

fn profiles(value: &Value, config: &SchedulerConfig, found: &mut Findings) {
    let given = list(&value["profiles"]);
    for (at, profile) in config.profiles.iter().enumerate() {
        let path = format!("profiles[{at}]");
        let document = given.get(at).unwrap_or(&Value::Null);
        if profile.scheduler_name.is_empty() {
            found.required(&format!("{path}.schedulerName"), "");
        }
        let score = &document["percentageOfNodesToScore"];
        percentage(&format!("{path}.percentageOfNodesToScore"), score, found);
        for (point, _) in POINTS {
            for (at, one) in list(&document["plugins"][point]["enabled"]).iter().enumerate() {
                let path = format!("{path}.plugins.{point}.enabled[{at}]");
                removed(&path, one["name"].as_str().unwrap_or_default(), found);
            }
        }
        plugin_config(&path, list(&document["pluginConfig"]), found);
        if config.profiles[..at].iter().any(|other| other.scheduler_name == profile.scheduler_name) {
            // What upstream names here is a path, of which JSON shows nothing.
            found.duplicate(&format!("{path}.schedulerName"), "{}");
        }
    }
    let [first, others @ ..] = given else { return };
    let sort = |profile: &Value| go_plugin_set(&profile["plugins"]["queueSort"]);
    let enabled = list(&first["plugins"]["queueSort"]["enabled"]).len();
    if enabled > 1 {
        let path = "profiles[0].plugins.queueSort.Enabled";
        found.invalid(path, enabled, "only one queue sort plugin can be enabled");
    }
    for (at, other) in others.iter().enumerate() {
        if sort(other) != sort(first) {
            let path = format!("profiles[{}].plugins.queueSort", at + 1);
            found.invalid(&path, sort(other), "must be the same for all profiles");
        }
    }
}

/// A set of plugins as upstream's own struct is in JSON.
fn go_plugin_set(set: &Value) -> String {
    let plugins = |list: &Value| match list.as_array() {
        None => "null".to_owned(),
        Some(list) => {
            let each = list.iter().map(|one| {
                let name = meta::go_quote(one["name"].as_str().unwrap_or_default());
                format!(r#"{{"Name":{name},"Weight":{}}}"#, one["weight"].as_i64().unwrap_or(0))
            });
            format!("[{}]", each.collect::<Vec<_>>().join(","))
        }
    };
    let (enabled, disabled) = (plugins(&set["enabled"]), plugins(&set["disabled"]));
    format!(r#"{{"Enabled":{enabled},"Disabled":{disabled}}}"#)
}

fn removed(path: &str, name: &str, found: &mut Findings) -> bool {
    if !REMOVED.contains(&name) {
        return false;
    }
    let why = r#"was invalid in version "kubescheduler.config.k8s.io/v1" (KubeSchedulerConfiguration is version "kubescheduler.config.k8s.io/v1")"#;
    found.invalid(path, meta::go_quote(name), why);
    true
}

fn plugin_config(path: &str, given: &[Value], found: &mut Findings) {
    let mut names: Vec<&str> = Vec::new();
    for (at, one) in given.iter().enumerate() {
        let name = one["name"].as_str().unwrap_or_default();
        let path = format!("{path}.pluginConfig[{at}]");
        if names.contains(&name) {
            found.duplicate(&path, meta::go_quote(name));
        }
        names.push(name);
        if !removed(&path, name, found) {
            validate_args::findings(name, &one["args"], &format!("{path}.args"), found);
        }
    }
}

fn extenders(value: &Value, found: &mut Findings) {
    let mut binders = 0;
    let mut managed: Vec<&str> = Vec::new();
    for (at, extender) in list(&value["extenders"]).iter().enumerate() {
        let path = format!("extenders[{at}]");
        let has = |verb: &str| extender[verb].as_str().is_some_and(|verb| !verb.is_empty());
        let weight = extender["weight"].as_i64().unwrap_or(0);
        if has("prioritizeVerb") && weight <= 0 {
            found.invalid(&format!("{path}.weight"), weight, "must have a positive weight applied to it");
        }
        binders += usize::from(has("bindVerb"));
        for (at, resource) in list(&extender["managedResources"]).iter().enumerate() {
            let path = format!("{path}.managedResources[{at}].name");
            let name = resource["name"].as_str().unwrap_or_default();
            let malformed = meta::names::qualified_name(name);
            let quoted = meta::go_quote(name);
            for why in &malformed {
                found.invalid(&path, &quoted, why);
            }
            if malformed.is_empty() && !crate::plugins::fit::is_extended(name) {
                found.invalid(&path, &quoted, "is an invalid extended resource name");
            }
            if managed.contains(&name) {
                found.invalid(&path, &quoted, "duplicate extender managed resource name");
            }
            managed.push(name);
        }
    }
    if binders > 1 {
        let value = format!("\"found {binders} extenders implementing bind\"");
        found.invalid("extenders", value, "only one extender can implement bind");
    }
}
