//! The fields of an AuthorizationConfiguration file.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

const GROUP: &str = "apiserver.config.k8s.io";
const KIND: &str = "AuthorizationConfiguration";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// The whole file without its type.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AuthorizationConfiguration {
    pub authorizers: Vec<Authorizer>,
}

/// One authorizer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Authorizer {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub webhook: Option<Webhook>,
}

/// How a webhook is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Webhook {
    #[serde(rename = "authorizedTTL")]
    pub authorized_ttl: GoDuration,
    pub cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    pub unauthorized_ttl: GoDuration,
    pub cache_unauthorized_requests: Option<bool>,
    pub timeout: GoDuration,
    pub subject_access_review_version: String,
    #[serde(rename = "matchConditionSubjectAccessReviewVersion")]
    pub match_condition_version: String,
    pub failure_policy: String,
    pub connection_info: ConnectionInfo,
    pub match_conditions: Vec<MatchCondition>,
}

/// Where the webhook is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConnectionInfo {
    #[serde(rename = "type")]
    pub kind: String,
    pub kube_config_file: Option<String>,
}

/// When it is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MatchCondition {
    pub expression: String,
}

/// A duration in nanoseconds, written as Go does: `5m`, `1h30m`. May be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GoDuration(pub i64);

impl GoDuration {
    pub(super) fn of(duration: Duration) -> Self {
        GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The duration, nothing when it is negative.
    pub(super) fn get(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or_default())
    }
}

impl std::fmt::Display for GoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        meta::Duration { nanos: self.0 }.fmt(f)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = meta::Duration::parse(&text);
        parsed.map(|duration| GoDuration(duration.nanos)).map_err(serde::de::Error::custom)
    }
}

/// Reads a file; what upstream's defaulting fills in is filled in.
pub(super) fn parse(text: &str) -> Result<AuthorizationConfiguration, String> {
    let mut whole: Json = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    let fields = whole.as_object_mut().ok_or("the file holds no object")?;
    let mut take = |field: &str| match fields.remove(field) {
        Some(Json::String(text)) => text,
        _ => String::new(),
    };
    let (version, kind) = (take("apiVersion"), take("kind"));
    if kind.is_empty() {
        return Err(format!("Object 'Kind' is missing in '{}'", text.trim()));
    }
    let known = version.split_once('/').is_some_and(|(g, v)| g == GROUP && VERSIONS.contains(&v));
    if !known || kind != KIND {
        return Err(format!("no kind {kind:?} is registered for version {version:?}"));
    }
    let read = serde_json::from_value::<AuthorizationConfiguration>(whole);
    let mut configuration = read.map_err(|error| format!("strict decoding error: {error}"))?;
    for webhook in configuration.authorizers.iter_mut().filter_map(|a| a.webhook.as_mut()) {
        let defaults = [(&mut webhook.authorized_ttl, 300), (&mut webhook.unauthorized_ttl, 30)];
        for (ttl, seconds) in defaults.into_iter().filter(|(ttl, _)| ttl.0 == 0) {
            *ttl = GoDuration::of(Duration::from_secs(seconds));
        }
    }
    Ok(configuration)
}
