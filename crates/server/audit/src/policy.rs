//! The policy: which requests are told of, and how much. The first rule that fits decides; no rule, no record.

use authn::User;
use authz::Attributes;
use serde::{Deserialize, Serialize};

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when.
    Metadata,
    /// Also what was sent.
    Request,
    /// Also what was answered.
    RequestResponse,
}

/// When something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The request is understood and its user known.
    RequestReceived,
    /// A long-running request begins to be answered.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The server failed in the middle.
    Panic,
}

/// Why a policy is unusable. The same text fails again.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// No YAML or JSON, or with fields of the wrong type.
    #[error("failed decoding: {0}")]
    Syntax(#[from] serde_norway::Error),
    /// Another kind of document, or another version of it.
    #[error(
        "failed decoding: no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/apiserver/pkg/audit/scheme.go:30\""
    )]
    Version {
        /// What it says that it is.
        kind: String,
        /// And in which version.
        version: String,
    },
    /// It does not say what it is.
    #[error("unknown group version field audit.k8s.io/__internal, Kind=Policy in policy")]
    Unversioned,
    /// Nothing would ever be told.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
    /// Rules that cannot be meant so.
    #[error("{0}")]
    Rules(String),
}

/// A policy of `audit.k8s.io/v1`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    api_version: String,
    kind: String,
    rules: Vec<Rule>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What the policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How much is told.
    pub level: Level,
    /// Stages that are not.
    pub omit_stages: Vec<Stage>,
    /// Whether bodies are told without their managed fields.
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy in YAML or JSON.
    ///
    /// # Errors
    /// When it is none, or one that upstream would refuse.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let document: serde_json::Value = serde_norway::from_str(text)?;
        let problems = crate::validation::problems(&document);
        if !problems.is_empty() {
            let texts = problems.iter().map(ToString::to_string);
            return Err(PolicyError::Rules(meta::aggregate_message(texts)));
        }
        let policy: Policy = serde_norway::from_str(text)?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(match (policy.kind, policy.api_version) {
                (kind, version) if kind.is_empty() && version.is_empty() => PolicyError::Unversioned,
                (kind, version) => PolicyError::Version { kind, version },
            });
        }
        if policy.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        Ok(policy)
    }

    /// What is told of a request.
    pub fn judge(&self, user: &User, asked: &Attributes) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(user, asked)) else {
            return Verdict { level: Level::None, omit_stages: Vec::new(), omit_managed_fields: false };
        };
        Verdict {
            level: rule.level,
            omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn fits(&self, user: &User, asked: &Attributes) -> bool {
        let one_of = |list: &[String], value: &str| list.is_empty() || list.iter().any(|item| item == value);
        let member = self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.in_group(group));
        if !one_of(&self.users, &user.name) || !member || !one_of(&self.verbs, &asked.verb) {
            return false;
        }
        if !self.resources.is_empty() || !self.namespaces.is_empty() {
            return asked.is_resource
                && one_of(&self.namespaces, &asked.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.fits(asked)));
        }
        self.non_resource_urls.is_empty()
            || !asked.is_resource && self.non_resource_urls.iter().any(|url| path_fits(url, &asked.path))
    }
}

impl GroupResources {
    fn fits(&self, asked: &Attributes) -> bool {
        if self.group != "*" && self.group != asked.group.as_str() {
            return false;
        }
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|n| *n == *asked.name);
        let combined = asked.combined_resource();
        let subresource = asked.subresource.as_str();
        self.resources.is_empty()
            || named
                && self.resources.iter().any(|pattern| {
                    pattern == "*"
                        || *pattern == *combined
                        || !subresource.is_empty() && pattern.strip_prefix("*/") == Some(subresource)
                        || pattern.strip_suffix("/*") == Some(asked.resource.as_str())
                })
    }
}

fn path_fits(pattern: &str, path: &str) -> bool {
    pattern == "*"
        || pattern == path
        || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: ["watch"]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: Metadata
  resources: [{group: "", resources: ["secrets", "pods/log", "*/status"]}]
- level: Request
  userGroups: ["people"]
  namespaces: ["prod"]
  omitManagedFields: false
- level: RequestResponse
  resources: [{group: apps, resources: ["deployments/*"], resourceNames: ["web"]}]
  omitStages: [ResponseStarted]
"#;

    fn asked(group: &str, resource: &str, subresource: &str, namespace: &str, name: &str) -> Attributes {
        let mut asked = Attributes::resource("watch", group, resource, namespace, name);
        asked.subresource = subresource.into();
        asked
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = Policy::parse(POLICY).expect("a policy");
        let people = User::new("ann", &["people"]);
        let proxy = User::new("system:kube-proxy", &[]);
        let rows = [
            (&proxy, asked("", "secrets", "", "a", ""), Level::None),
            (&people, asked("", "secrets", "", "a", ""), Level::Metadata),
            (&people, asked("", "pods", "log", "a", ""), Level::Metadata),
            (&people, asked("", "pods", "status", "a", ""), Level::Metadata),
            (&people, asked("", "pods", "", "a", ""), Level::None),
            (&people, asked("", "pods", "", "prod", ""), Level::Request),
            (&people, asked("apps", "deployments", "scale", "a", "web"), Level::RequestResponse),
            (&people, asked("apps", "deployments", "scale", "a", "api"), Level::None),
            (&people, Attributes::path("get", "/healthz/etcd"), Level::None),
            (&people, Attributes::path("get", "/metrics"), Level::None),
        ];
        for (user, asked, level) in rows {
            assert_eq!(policy.judge(user, &asked).level, level, "{asked:?}");
        }
        let verdict = policy.judge(&people, &asked("apps", "deployments", "scale", "a", "web"));
        assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(verdict.omit_managed_fields);
        assert!(!policy.judge(&people, &asked("", "pods", "", "prod", "")).omit_managed_fields);
    }

    #[test]
    fn unusable_policies_are_refused() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n";
        for (text, says) in [
            (
                "apiVersion: v1\nkind: Policy\nrules: [{level: None}]".to_owned(),
                "no kind \"Policy\" is registered for version \"v1\" in scheme",
            ),
            ("rules: [{level: None}]".to_owned(), "unknown group version field audit.k8s.io/__internal"),
            (format!("{head}- {{}}"), "level"),
            (format!("{head}- level: Everything"), "Everything"),
            ("apiVersion: audit.k8s.io/v1\nkind: Policy".to_owned(), "0 rules"),
            (format!("{head}- {{level: None, nonResourceURLs: [x]}}"), "must begin with a '/'"),
            (format!("{head}- {{level: None, nonResourceURLs: [\"/a*b\"]}}"), "final character"),
            (format!("{head}- {{level: None, namespaces: [a], nonResourceURLs: [\"/a\"]}}"), "both"),
            (
                format!("{head}- {{level: None, resources: [{{resourceNames: [a]}}]}}"),
                "at least one resource",
            ),
        ] {
            let error = Policy::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
