//! From text to a configuration.

use std::time::Duration;

use meta::Str;
use serde_json::{Map, Value};
use thiserror::Error;

use super::decode_args::{arguments, is_registered, unregistered};
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
    let document = schema::yaml::document(text.as_bytes()).map_err(ConfigError::Malformed)?;
    let twice = document.duplicates;
    let twice = (!twice.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", twice.join("\n  ")));
    read(&document.value, text, twice)
}

/// The same from a value.
///
/// # Errors
/// As [`parse`].
pub fn from_value(value: &Value) -> Result<SchedulerConfig, ConfigError> {
    read(value, &value.to_string(), None)
}

fn read(value: &Value, text: &str, twice: Option<String>) -> Result<SchedulerConfig, ConfigError> {
    let given = |field: &str| value[field].as_str().unwrap_or_default();
    let (kind, version) = (given("kind"), given("apiVersion"));
    for (name, given) in [("Kind", kind), ("apiVersion", version)] {
        if given.is_empty() {
            return Err(ConfigError::Malformed(format!("Object '{name}' is missing in '{text}'")));
        }
    }
    if version != API_VERSION || !is_registered(kind) {
        return Err(ConfigError::Malformed(unregistered(kind, version)));
    }
    if kind != KIND {
        return Err(ConfigError::Malformed(format!(
            "couldn't decode as {KIND}, got {version}, Kind={kind}: "
        )));
    }
    let mut reader = Reader::new(KIND);
    reader.unknown.extend(twice);
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

/// The document's kind.
pub(super) const KIND: &str = "KubeSchedulerConfiguration";

/// The Go type of the object at a path, or of each object of the list there.
fn go_type(path: &str) -> &'static str {
    match path {
        "leaderElection" => "v1alpha1.LeaderElectionConfiguration",
        "clientConnection" => "v1alpha1.ClientConnectionConfiguration",
        "profiles" => "v1.KubeSchedulerProfile",
        "profiles.plugins" => "v1.Plugins",
        "profiles.pluginConfig" => "v1.PluginConfig",
        "extenders" => "v1.Extender",
        "extenders.tlsConfig" => "v1.ExtenderTLSConfig",
        "extenders.managedResources" => "v1.ExtenderManagedResource",
        "scoringStrategy" => "v1.ScoringStrategy",
        "resources" | "scoringStrategy.resources" => "v1.ResourceSpec",
        path if path.ends_with("abled") => "v1.Plugin",
        path if path.starts_with("profiles.plugins.") => "v1.PluginSet",
        _ => "",
    }
}

/// A path without the places in lists: `profiles[0].plugins` is `profiles.plugins`.
fn without_places(path: &str) -> String {
    let mut depth = 0;
    let mut keep = |letter: &char| {
        depth += i32::from(*letter == '[');
        let keep = depth == 0;
        depth -= i32::from(*letter == ']');
        keep
    };
    path.chars().filter(|letter| keep(letter)).collect()
}

/// Reads values field by field, and notes what is wrong with them.
pub(super) struct Reader {
    /// The kind of what is read.
    kind: String,
    /// Fields that it does not have.
    pub(super) unknown: Vec<String>,
    /// The first value of a wrong type.
    pub(super) wrong: Option<String>,
}

impl Reader {
    pub(super) fn new(kind: &str) -> Self {
        Reader { kind: kind.into(), unknown: Vec::new(), wrong: None }
    }

    /// The fields of an object, those not in `known` noted.
    pub(super) fn object<'a>(
        &mut self,
        value: &'a Value,
        path: &str,
        known: &[&str],
    ) -> Option<&'a Map<String, Value>> {
        if value.is_null() {
            return None;
        }
        let Some(object) = value.as_object() else {
            self.type_error(value, path, go_type(&without_places(path)));
            return None;
        };
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.unknown.push(format!("unknown field {}", meta::go_quote(&full)));
        }
        Some(object)
    }

    fn type_error(&mut self, value: &Value, path: &str, wanted: &str) {
        let is = match value {
            // A number is shown where one could have been meant.
            Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
            value => meta::go_kind(value).to_owned(),
        };
        let path = without_places(path);
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let owner = go_type(parent).rsplit('.').next().filter(|owner| !owner.is_empty());
        let owner = owner.unwrap_or(&self.kind).to_owned();
        self.wrong.get_or_insert_with(|| {
            format!("json: cannot unmarshal {is} into Go struct field {owner}.{path} of type {wanted}")
        });
    }

    pub(super) fn text(&mut self, value: &Value, path: &str) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => {
                self.type_error(other, path, "string");
                String::new()
            }
        }
    }

    pub(super) fn int(&mut self, value: &Value, path: &str) -> Option<i64> {
        // Pauses, timeouts and weights of extenders and resources have 64 bits.
        let long = path.ends_with("Seconds") || path.ends_with("].weight");
        let wanted = if long { "int64" } else { "int32" };
        let number = value.as_i64().filter(|number| long || i32::try_from(*number).is_ok());
        if !value.is_null() && number.is_none() {
            self.type_error(value, path, wanted);
        }
        number
    }

    pub(super) fn flag(&mut self, value: &Value, path: &str) -> Option<bool> {
        if !value.is_null() && value.as_bool().is_none() {
            self.type_error(value, path, "bool");
        }
        value.as_bool()
    }

    pub(super) fn duration(&mut self, value: &Value, path: &str, default: Duration) -> Duration {
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
                self.type_error(other, path, &format!("[]{}", go_type(&without_places(path))));
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
        for field in ["enableProfiling", "enableContentionProfiling", "delayCacheUntilActive"] {
            self.flag(&value[field], field);
        }
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
        for field in ["acceptContentTypes", "contentType"] {
            self.text(&connection[field], &format!("clientConnection.{field}"));
        }
        self.int(&connection["burst"], "clientConnection.burst");
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
            let (wrong, unknown) = arguments(&name, &one["args"]);
            if let Some(wrong) = wrong {
                self.wrong.get_or_insert_with(|| format!("decoding .{path}: {wrong}"));
            }
            if !unknown.is_empty() {
                self.unknown.push(format!(
                    "decoding .{path}: {}",
                    ConfigError::Strict(vec![format!(
                        "decoding args for plugin {name}: {}",
                        ConfigError::Strict(unknown)
                    )])
                ));
            }
            profile.args.insert(&name, one["args"].clone());
        }
        profile
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
        let (enabled, disabled) = (format!("{path}.enabled"), format!("{path}.disabled"));
        for (at, one) in self.list(&value["enabled"], &enabled).iter().enumerate() {
            self.object(one, &format!("{enabled}[{at}]"), &["name", "weight"]);
            let name = self.text(&one["name"], &format!("{enabled}.name"));
            let weight = self.int(&one["weight"], &format!("{enabled}.weight"));
            set.enabled.push((name.into(), weight.unwrap_or(0)));
        }
        for (at, one) in self.list(&value["disabled"], &disabled).iter().enumerate() {
            self.object(one, &format!("{disabled}[{at}]"), &["name", "weight"]);
            set.disabled.push(self.text(&one["name"], &format!("{disabled}.name")).into());
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
        let managed = format!("{path}.managedResources");
        let at_field = |field: &str| format!("{path}.{field}");
        let mut managed_resources = Vec::new();
        for one in self.list(&value["managedResources"], &managed) {
            self.object(one, &managed, &["name", "ignoredByScheduler"]);
            let ignored = self.flag(&one["ignoredByScheduler"], &format!("{managed}.ignoredByScheduler"));
            let name = self.text(&one["name"], &format!("{managed}.name"));
            managed_resources.push((name.into(), ignored.unwrap_or(false)));
        }
        ExtenderConfig {
            url_prefix: self.text(&value["urlPrefix"], &at_field("urlPrefix")),
            filter_verb: self.text(&value["filterVerb"], &at_field("filterVerb")),
            preempt_verb: self.text(&value["preemptVerb"], &at_field("preemptVerb")),
            prioritize_verb: self.text(&value["prioritizeVerb"], &at_field("prioritizeVerb")),
            bind_verb: self.text(&value["bindVerb"], &at_field("bindVerb")),
            weight: self.int(&value["weight"], &at_field("weight")).unwrap_or(0),
            http_timeout: self.duration(
                &value["httpTimeout"],
                &at_field("httpTimeout"),
                Duration::from_secs(5),
            ),
            node_cache_capable: self
                .flag(&value["nodeCacheCapable"], &at_field("nodeCacheCapable"))
                .unwrap_or(false),
            managed_resources,
            ignorable: self.flag(&value["ignorable"], &at_field("ignorable")).unwrap_or(false),
            enable_https: self.flag(&value["enableHTTPS"], &at_field("enableHTTPS")).unwrap_or(false),
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
