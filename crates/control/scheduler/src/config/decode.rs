//! From text to a configuration.

use std::time::Duration;

use meta::Str;
use serde_json::{Map, Value};
use thiserror::Error;

use super::validate::validate;
use super::validate_profiles::first_finding;
use super::{
    ExtenderConfig, ExtenderTls, LeaderElection, POINTS, Pem, PluginSet, Plugins, ProfileConfig,
    SchedulerConfig,
};

/// A configuration that cannot be used. Trying again does not help.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Not JSON or YAML, or of a shape that no configuration has.
    #[error("{0}")]
    Malformed(String),
    /// Fields that the API does not have.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// Values that make no sense.
    #[error("{}", meta::aggregate_message(.0))]
    Invalid(Vec<String>),
    /// A profile that cannot be made.
    #[error("{0}")]
    Profile(String),
}

/// Group and version of the document.
pub(super) const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";

/// Reads a KubeSchedulerConfiguration in YAML or JSON.
///
/// # Errors
/// What is wrong with it, all findings of the first stage that has any.
pub fn parse(text: &str) -> Result<SchedulerConfig, ConfigError> {
    let value: Value =
        serde_norway::from_str(text).map_err(|error| ConfigError::Malformed(error.to_string()))?;
    from_value(&value)
}

/// The same from a value.
///
/// # Errors
/// As [`parse`].
pub fn from_value(value: &Value) -> Result<SchedulerConfig, ConfigError> {
    let kind = value["kind"].as_str().unwrap_or_default();
    let version = value["apiVersion"].as_str().unwrap_or_default();
    if kind.is_empty() {
        return Err(ConfigError::Malformed("Object 'Kind' is missing".into()));
    }
    if version != API_VERSION || kind != "KubeSchedulerConfiguration" {
        let group_version = if version.is_empty() { "v1" } else { version };
        return Err(ConfigError::Malformed(format!(
            "no kind \"{kind}\" is registered for version \"{group_version}\" in scheme \"pkg/scheduler/apis/config/scheme/scheme.go\""
        )));
    }
    let mut reader = Reader { unknown: Vec::new(), wrong: None };
    let mut config = reader.config(value);
    config.given = std::sync::Arc::new(value.clone());
    if let Some(wrong) = reader.wrong {
        return Err(ConfigError::Malformed(wrong));
    }
    if !reader.unknown.is_empty() {
        return Err(ConfigError::Strict(reader.unknown));
    }
    let findings = validate(value, &config);
    if !findings.is_empty() {
        return Err(ConfigError::Invalid(findings));
    }
    match first_finding(value, &config) {
        None => Ok(config),
        Some(finding) => Err(ConfigError::Profile(finding)),
    }
}

struct Reader {
    unknown: Vec<String>,
    wrong: Option<String>,
}

impl Reader {
    /// The fields of an object, those not in `known` noted.
    fn object<'a>(&mut self, value: &'a Value, path: &str, known: &[&str]) -> Option<&'a Map<String, Value>> {
        if value.is_null() {
            return None;
        }
        let Some(object) = value.as_object() else {
            self.type_error(value, path, "object");
            return None;
        };
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.unknown.push(format!("unknown field {}", meta::go_quote(&full)));
        }
        Some(object)
    }

    fn type_error(&mut self, value: &Value, path: &str, wanted: &str) {
        let is = meta::go_kind(value);
        self.wrong.get_or_insert_with(|| {
            format!("json: cannot unmarshal {is} into Go struct field KubeSchedulerConfiguration.{path} of type {wanted}")
        });
    }

    fn text(&mut self, value: &Value, path: &str) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => {
                self.type_error(other, path, "string");
                String::new()
            }
        }
    }

    fn int(&mut self, value: &Value, path: &str) -> Option<i64> {
        if !value.is_null() && value.as_i64().is_none() {
            self.type_error(value, path, "int32");
        }
        value.as_i64()
    }

    fn flag(&mut self, value: &Value, path: &str) -> Option<bool> {
        if !value.is_null() && value.as_bool().is_none() {
            self.type_error(value, path, "bool");
        }
        value.as_bool()
    }

    fn duration(&mut self, value: &Value, path: &str, default: Duration) -> Duration {
        let text = self.text(value, path);
        if text.is_empty() {
            return default;
        }
        match meta::Duration::parse(&text) {
            Ok(duration) if duration.nanos == 0 => default,
            Ok(duration) => duration.to_std(),
            Err(error) => {
                self.wrong.get_or_insert_with(|| error.to_string());
                default
            }
        }
    }

    fn list<'a>(&mut self, value: &'a Value, path: &str) -> &'a [Value] {
        match value {
            Value::Null => &[],
            Value::Array(list) => list,
            other => {
                self.type_error(other, path, "[]");
                &[]
            }
        }
    }

    fn config(&mut self, value: &Value) -> SchedulerConfig {
        const KNOWN: [&str; 13] = [
            "apiVersion",
            "kind",
            "parallelism",
            "leaderElection",
            "clientConnection",
            "enableProfiling",
            "enableContentionProfiling",
            "percentageOfNodesToScore",
            "podInitialBackoffSeconds",
            "podMaxBackoffSeconds",
            "profiles",
            "extenders",
            "delayCacheUntilActive",
        ];
        let mut config = SchedulerConfig::default();
        self.object(value, "", &KNOWN);
        self.int(&value["parallelism"], "parallelism");
        config.percentage_of_nodes_to_score =
            self.int(&value["percentageOfNodesToScore"], "percentageOfNodesToScore");
        if let Some(seconds) = self.int(&value["podInitialBackoffSeconds"], "podInitialBackoffSeconds") {
            config.pod_initial_backoff = Duration::from_secs(seconds.max(0) as u64);
        }
        if let Some(seconds) = self.int(&value["podMaxBackoffSeconds"], "podMaxBackoffSeconds") {
            config.pod_max_backoff = Duration::from_secs(seconds.max(0) as u64);
        }
        let connection = &value["clientConnection"];
        self.object(
            connection,
            "clientConnection",
            &["kubeconfig", "acceptContentTypes", "contentType", "qps", "burst"],
        );
        config.kubeconfig = self.text(&connection["kubeconfig"], "clientConnection.kubeconfig");
        config.leader_election = self.leader_election(&value["leaderElection"]);
        let profiles = self.list(&value["profiles"], "profiles");
        if !profiles.is_empty() {
            config.profiles =
                profiles.iter().enumerate().map(|(at, profile)| self.profile(profile, at)).collect();
            // One profile alone need not say whom it is for.
            if let ([only], true) = (&mut config.profiles[..], profiles[0]["schedulerName"].is_null()) {
                only.scheduler_name = ProfileConfig::default().scheduler_name;
            }
        }
        for profile in &mut config.profiles {
            if profile.percentage_of_nodes_to_score.is_none() {
                profile.percentage_of_nodes_to_score = config.percentage_of_nodes_to_score;
            }
        }
        let extenders = self.list(&value["extenders"], "extenders");
        config.extenders =
            extenders.iter().enumerate().map(|(at, extender)| self.extender(extender, at)).collect();
        let ignored = config.extenders.iter().flat_map(|extender| &extender.managed_resources);
        let ignored: Vec<Str> =
            ignored.filter(|(_, ignored)| *ignored).map(|(name, _)| name.clone()).collect();
        for profile in &mut config.profiles {
            profile.args.ignore_resources(&ignored);
        }
        config
    }

    fn leader_election(&mut self, value: &Value) -> LeaderElection {
        let default = LeaderElection::default();
        const KNOWN: [&str; 7] = [
            "leaderElect",
            "leaseDuration",
            "renewDeadline",
            "retryPeriod",
            "resourceLock",
            "resourceName",
            "resourceNamespace",
        ];
        self.object(value, "leaderElection", &KNOWN);
        let text = |reader: &mut Self, field: &str, default: &Str| -> Str {
            let text = reader.text(&value[field], &format!("leaderElection.{field}"));
            if text.is_empty() { default.clone() } else { text.into() }
        };
        let elect = self.flag(&value["leaderElect"], "leaderElection.leaderElect");
        LeaderElection {
            leader_elect: elect.unwrap_or(default.leader_elect),
            lease_duration: self.duration(
                &value["leaseDuration"],
                "leaderElection.leaseDuration",
                default.lease_duration,
            ),
            renew_deadline: self.duration(
                &value["renewDeadline"],
                "leaderElection.renewDeadline",
                default.renew_deadline,
            ),
            retry_period: self.duration(
                &value["retryPeriod"],
                "leaderElection.retryPeriod",
                default.retry_period,
            ),
            resource_name: text(self, "resourceName", &default.resource_name),
            resource_namespace: text(self, "resourceNamespace", &default.resource_namespace),
        }
    }

    fn profile(&mut self, value: &Value, at: usize) -> ProfileConfig {
        let path = format!("profiles[{at}]");
        self.object(value, &path, &["schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"]);
        let mut profile = ProfileConfig {
            scheduler_name: self.text(&value["schedulerName"], "profiles.schedulerName").into(),
            percentage_of_nodes_to_score: self
                .int(&value["percentageOfNodesToScore"], "profiles.percentageOfNodesToScore"),
            ..ProfileConfig::default()
        };
        profile.plugins = self.plugins(&value["plugins"], &format!("{path}.plugins"));
        for (at, one) in self.list(&value["pluginConfig"], "profiles.pluginConfig").iter().enumerate() {
            let path = format!("{path}.pluginConfig[{at}]");
            self.object(one, &path, &["name", "args"]);
            let name = self.text(&one["name"], "profiles.pluginConfig.name");
            self.args(&name, &one["args"], &format!("{path}.args"));
            profile.args.insert(&name, one["args"].clone());
        }
        profile
    }

    /// Arguments have their own fields; those of plugins that are not ours are taken as they are.
    fn args(&mut self, plugin: &str, args: &Value, path: &str) {
        let known: &[&str] = match plugin {
            "DefaultPreemption" => &["minCandidateNodesPercentage", "minCandidateNodesAbsolute"],
            "InterPodAffinity" => &["hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"],
            "NodeAffinity" => &["addedAffinity"],
            "NodeResourcesBalancedAllocation" => &["resources"],
            "NodeResourcesFit" => &["ignoredResources", "ignoredResourceGroups", "scoringStrategy"],
            "PodTopologySpread" => &["defaultConstraints", "defaultingType"],
            "VolumeBinding" => &["bindTimeoutSeconds", "shape"],
            "DynamicResources" => &["filterTimeout", "bindingTimeout"],
            _ => return,
        };
        let all: Vec<&str> = known.iter().copied().chain(["kind", "apiVersion"]).collect();
        self.object(args, path, &all);
        if plugin == "NodeResourcesFit" {
            let strategy = &args["scoringStrategy"];
            self.object(
                strategy,
                &format!("{path}.scoringStrategy"),
                &["type", "resources", "requestedToCapacityRatio"],
            );
        }
        if plugin == "NodeAffinity" && !args["addedAffinity"].is_null() {
            use meta::Codec;
            let text = args["addedAffinity"].to_string();
            let mut context = meta::DecodeContext::strict();
            let read = types::core::v1::NodeAffinity::from_json_with(text.as_bytes(), &mut context);
            if let Err(error) = read {
                self.wrong.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn plugins(&mut self, value: &Value, path: &str) -> Plugins {
        let mut plugins = Plugins::default();
        let known: Vec<&str> = POINTS
            .iter()
            .map(|(name, _)| *name)
            .chain(["multiPoint", "placementGenerate", "placementScore"])
            .collect();
        self.object(value, path, &known);
        plugins.set_multi_point(self.plugin_set(&value["multiPoint"], &format!("{path}.multiPoint")));
        for (name, point) in POINTS {
            if !value[name].is_null() {
                plugins.set(point, self.plugin_set(&value[name], &format!("{path}.{name}")));
            }
        }
        plugins
    }

    fn plugin_set(&mut self, value: &Value, path: &str) -> PluginSet {
        self.object(value, path, &["enabled", "disabled"]);
        let mut set = PluginSet::default();
        for (at, one) in self.list(&value["enabled"], path).iter().enumerate() {
            self.object(one, &format!("{path}.enabled[{at}]"), &["name", "weight"]);
            let name = self.text(&one["name"], path);
            set.enabled.push((name.into(), self.int(&one["weight"], path).unwrap_or(0)));
        }
        for (at, one) in self.list(&value["disabled"], path).iter().enumerate() {
            self.object(one, &format!("{path}.disabled[{at}]"), &["name", "weight"]);
            set.disabled.push(self.text(&one["name"], path).into());
        }
        set
    }

    fn extender(&mut self, value: &Value, at: usize) -> ExtenderConfig {
        let path = format!("extenders[{at}]");
        const KNOWN: [&str; 12] = [
            "urlPrefix",
            "filterVerb",
            "preemptVerb",
            "prioritizeVerb",
            "weight",
            "bindVerb",
            "enableHTTPS",
            "tlsConfig",
            "httpTimeout",
            "nodeCacheCapable",
            "managedResources",
            "ignorable",
        ];
        self.object(value, &path, &KNOWN);
        let mut managed_resources = Vec::new();
        for one in self.list(&value["managedResources"], &path) {
            self.object(one, &path, &["name", "ignoredByScheduler"]);
            let ignored = self.flag(&one["ignoredByScheduler"], &path).unwrap_or(false);
            managed_resources.push((self.text(&one["name"], &path).into(), ignored));
        }
        ExtenderConfig {
            url_prefix: self.text(&value["urlPrefix"], &path),
            filter_verb: self.text(&value["filterVerb"], &path),
            preempt_verb: self.text(&value["preemptVerb"], &path),
            prioritize_verb: self.text(&value["prioritizeVerb"], &path),
            bind_verb: self.text(&value["bindVerb"], &path),
            weight: self.int(&value["weight"], &path).unwrap_or(0),
            http_timeout: self.duration(&value["httpTimeout"], &path, Duration::from_secs(5)),
            node_cache_capable: self.flag(&value["nodeCacheCapable"], &path).unwrap_or(false),
            managed_resources,
            ignorable: self.flag(&value["ignorable"], &path).unwrap_or(false),
            enable_https: self.flag(&value["enableHTTPS"], &path).unwrap_or(false),
            tls: self.extender_tls(&value["tlsConfig"], &format!("{path}.tlsConfig")),
        }
    }

    fn extender_tls(&mut self, value: &Value, path: &str) -> ExtenderTls {
        const KNOWN: [&str; 8] =
            ["insecure", "serverName", "certFile", "keyFile", "caFile", "certData", "keyData", "caData"];
        self.object(value, path, &KNOWN);
        ExtenderTls {
            insecure: self.flag(&value["insecure"], path).unwrap_or(false),
            server_name: self.text(&value["serverName"], path),
            certificate: self.pem(&value["certFile"], &value["certData"], path),
            key: self.pem(&value["keyFile"], &value["keyData"], path),
            authority: self.pem(&value["caFile"], &value["caData"], path),
        }
    }

    fn pem(&mut self, file: &Value, data: &Value, path: &str) -> Pem {
        let (file, data) = (self.text(file, path), self.text(data, path));
        match meta::ByteString::from_base64(&data) {
            Ok(data) => Pem { file, data: data.0 },
            Err(error) => {
                self.wrong.get_or_insert_with(|| error.to_string());
                Pem::default()
            }
        }
    }
}
