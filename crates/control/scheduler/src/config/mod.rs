//! KubeSchedulerConfiguration v1: decoded strictly, with upstream's defaults and upstream's complaints.

pub mod args;
mod decode;
mod decode_args;
mod document;
mod validate;
mod validate_args;
mod validate_profiles;

use std::sync::Arc;
use std::time::Duration;

use meta::Str;
use serde_json::Value;

use self::args::PluginArgs;
use crate::plugins::{self, Point};

pub use decode::{ConfigError, from_value, parse};

/// The configuration of a scheduler process.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// Profiles, one a `schedulerName`.
    pub profiles: Vec<ProfileConfig>,
    /// Share of the nodes to score; `None` and 0 mean the adaptive default.
    pub percentage_of_nodes_to_score: Option<i64>,
    /// First pause after a failed attempt.
    pub pod_initial_backoff: Duration,
    /// Longest pause.
    pub pod_max_backoff: Duration,
    /// How long a pod waits at most that fitted nowhere; a flag says so, not the configuration.
    pub pod_max_unschedulable: Duration,
    /// Extenders, in order.
    pub extenders: Vec<ExtenderConfig>,
    /// Whether and how replicas agree on one that works.
    pub leader_election: LeaderElection,
    /// Path of a kubeconfig file; empty for the service account in the pod.
    pub kubeconfig: String,
    /// The document that it was read from; null when it was not read.
    given: Arc<Value>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig {
            profiles: vec![ProfileConfig::default()],
            percentage_of_nodes_to_score: None,
            pod_initial_backoff: Duration::from_secs(1),
            pod_max_backoff: Duration::from_secs(10),
            pod_max_unschedulable: crate::queue::UNSCHEDULABLE_MAX,
            extenders: Vec::new(),
            leader_election: LeaderElection::default(),
            kubeconfig: String::new(),
            given: Arc::default(),
        }
    }
}

/// One profile.
#[derive(Clone, Debug)]
pub struct ProfileConfig {
    /// The `schedulerName` that selects it.
    pub scheduler_name: Str,
    /// Overrides the process-wide share.
    pub percentage_of_nodes_to_score: Option<i64>,
    /// What is enabled and disabled.
    pub plugins: Plugins,
    /// Arguments.
    pub args: PluginArgs,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        ProfileConfig {
            scheduler_name: "default-scheduler".into(),
            percentage_of_nodes_to_score: None,
            plugins: Plugins::default(),
            args: PluginArgs::default(),
        }
    }
}

/// Leader election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    /// Whether to elect at all.
    pub leader_elect: bool,
    /// How long a lease is good without being renewed.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Pause between tries.
    pub retry_period: Duration,
    /// Name of the Lease.
    pub resource_name: Str,
    /// Its namespace.
    pub resource_namespace: Str,
}

impl Default for LeaderElection {
    fn default() -> Self {
        LeaderElection {
            leader_elect: true,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            resource_name: "kube-scheduler".into(),
            resource_namespace: "kube-system".into(),
        }
    }
}

/// An extender: an HTTP server that filters, scores and binds along.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtenderConfig {
    /// `http(s)://host:port/prefix`
    pub url_prefix: String,
    /// Path of each verb below the prefix; empty when it does not take part.
    pub filter_verb: String,
    /// See `filter_verb`.
    pub preempt_verb: String,
    /// See `filter_verb`.
    pub prioritize_verb: String,
    /// See `filter_verb`.
    pub bind_verb: String,
    /// Factor of its scores.
    pub weight: i64,
    /// Longest wait for an answer.
    pub http_timeout: Duration,
    /// Whether names of nodes are enough for it.
    pub node_cache_capable: bool,
    /// Resources that it manages; pods that ask for none of them are not sent. With `true` NodeResourcesFit ignores one.
    pub managed_resources: Vec<(Str, bool)>,
    /// Whether scheduling goes on when it does not answer.
    pub ignorable: bool,
    /// Without an authority in `tls`, any certificate will do. What is spoken is up to the URL.
    pub enable_https: bool,
    /// How TLS is spoken.
    pub tls: ExtenderTls,
}

/// TLS towards an extender. Data wins over files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtenderTls {
    /// Accept any certificate.
    pub insecure: bool,
    /// Name to expect in the certificate.
    pub server_name: String,
    /// Client certificate.
    pub certificate: Pem,
    /// Its key.
    pub key: Pem,
    /// Authority of the extender's certificate.
    pub authority: Pem,
}

/// PEM as a configuration gives it.
#[derive(Clone, Default, PartialEq)]
pub struct Pem {
    /// Path of a file; empty for none.
    pub file: String,
    /// The text itself; empty for none.
    pub data: Vec<u8>,
}

/// Keys stay out of logs.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What a profile says about one extension point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSet {
    /// Enabled on top of the defaults, with weights (0 means the default).
    pub enabled: Vec<(Str, i64)>,
    /// Disabled defaults; `*` for all.
    pub disabled: Vec<Str>,
}

impl PluginSet {
    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|disabled| disabled == "*" || disabled == name)
    }
}

/// What a profile says about each extension point, and about all at once (`multiPoint`).
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    multi_point: PluginSet,
    points: Vec<(Point, PluginSet)>,
}

/// The enabled plugins of each extension point in their final order, with weights.
pub struct Enabled(Vec<(Point, Vec<(Str, i64)>)>);

impl Enabled {
    /// The plugins of one point.
    pub fn at(&self, point: Point) -> &[(Str, i64)] {
        self.0.iter().find(|(other, _)| *other == point).map_or(&[], |(_, plugins)| plugins)
    }
}

/// All extension points, under the names that a configuration gives them.
pub const POINTS: [(&str, Point); 12] = [
    ("preEnqueue", Point::PreEnqueue),
    ("queueSort", Point::QueueSort),
    ("preFilter", Point::PreFilter),
    ("filter", Point::Filter),
    ("postFilter", Point::PostFilter),
    ("preScore", Point::PreScore),
    ("score", Point::Score),
    ("reserve", Point::Reserve),
    ("permit", Point::Permit),
    ("preBind", Point::PreBind),
    ("bind", Point::Bind),
    ("postBind", Point::PostBind),
];

impl Plugins {
    /// Says something about all points.
    pub fn set_multi_point(&mut self, set: PluginSet) {
        self.multi_point = set;
    }

    /// Says something about one point.
    pub fn set(&mut self, point: Point, set: PluginSet) {
        self.points.push((point, set));
    }

    /// All sets, under the names that a configuration gives them.
    pub fn sets(&self) -> impl Iterator<Item = (&'static str, &PluginSet)> {
        let name =
            |point: Point| POINTS.iter().find(|(_, other)| *other == point).map_or("", |(name, _)| name);
        let points = self.points.iter().map(move |(point, set)| (name(*point), set));
        std::iter::once(("multiPoint", &self.multi_point)).chain(points)
    }

    /// The default plugins with the profile's `multiPoint` worked in: defaults keep their place and may change their
    /// weight, others follow.
    fn merged(&self) -> Vec<(Str, i64)> {
        let custom = &self.multi_point;
        let mut merged = Vec::new();
        for entry in plugins::TABLE {
            if custom.disables(entry.name) {
                continue;
            }
            let own = custom.enabled.iter().find(|(name, _)| name == entry.name);
            let weight = own.map_or(entry.weight, |(_, weight)| *weight);
            merged.push((Str::from(entry.name), weight.max(1)));
        }
        for (name, weight) in &custom.enabled {
            if !merged.iter().any(|(other, _)| other == name) {
                merged.push((name.clone(), (*weight).max(1)));
            }
        }
        merged
    }

    /// The plugins of every point: first those of the point's own list that `multiPoint` has too, in the list's order,
    /// then the list's others, then the rest of `multiPoint`.
    pub fn expand(&self) -> Enabled {
        let merged = self.merged();
        let none = PluginSet::default();
        let each = |point: Point| {
            let own = self.points.iter().find(|(other, _)| *other == point).map_or(&none, |(_, set)| set);
            let takes_part =
                |name: &str| plugins::find(name).is_some_and(|entry| entry.points.contains(&point));
            let weight = |name: &Str, given: i64| (name.clone(), given.max(1));
            let from_multi = |name: &Str| merged.iter().any(|(other, _)| other == name) && takes_part(name);
            let mut enabled: Vec<(Str, i64)> = Vec::new();
            let (overriding, others): (Vec<_>, Vec<_>) =
                own.enabled.iter().partition(|(name, _)| from_multi(name));
            for (name, given) in overriding {
                enabled.push(weight(name, *given));
            }
            let mut explicit: Vec<(Str, i64)> = Vec::new();
            for (name, given) in others {
                explicit.push(weight(name, *given));
            }
            let taken: Vec<Str> = enabled.iter().chain(&explicit).map(|(name, _)| name.clone()).collect();
            enabled.extend(explicit);
            for (name, given) in &merged {
                if takes_part(name) && !own.disables(name) && !taken.contains(name) {
                    enabled.push(weight(name, *given));
                }
            }
            (point, enabled)
        };
        Enabled(POINTS.iter().map(|(_, point)| each(*point)).collect())
    }
}
