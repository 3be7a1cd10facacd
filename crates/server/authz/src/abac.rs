//! ABAC: policies from a file, one JSON object a line.
//!
//! A policy names a user or a group, and what they may do. Policies are found by their subject, so that a decision looks
//! at those of its user only. Lines without `apiVersion` and `kind` are the file format's first version, which has no
//! groups and no paths of its own.

use std::collections::HashMap;

use authn::{AUTHENTICATED, User};
use meta::Str;
use serde::Deserialize;

use crate::attributes::Attributes;
use crate::rule::Rule;

/// A line that is no policy. The file must be corrected.
#[derive(Debug, thiserror::Error)]
#[error("error reading policy file {path}, line {line}: {text}: {why}")]
pub struct AbacError {
    path: String,
    line: usize,
    text: String,
    why: String,
}

/// What a policy allows to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Policy {
    user: String,
    group: String,
    readonly: bool,
    #[serde(rename = "apiGroup")]
    api_group: String,
    resource: String,
    namespace: String,
    #[serde(rename = "nonResourcePath")]
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    spec: Option<Policy>,
}

/// The policies of a file.
#[derive(Debug, Default)]
pub struct Policies {
    all: Vec<Policy>,
    by_user: HashMap<String, Vec<usize>>,
    by_group: HashMap<String, Vec<usize>>,
}

impl Policies {
    /// Reads the text of a policy file; `path` is for messages.
    ///
    /// # Errors
    /// When a line that is neither empty nor a comment is no policy.
    pub fn parse(text: &str, path: &str) -> Result<Self, AbacError> {
        let mut policies = Policies::default();
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let refused = |why: String| AbacError {
                path: path.to_owned(),
                line: index + 1,
                text: line.to_owned(),
                why,
            };
            policies.add(read(trimmed).map_err(refused)?);
        }
        Ok(policies)
    }

    fn add(&mut self, policy: Policy) {
        let at = self.all.len();
        // A policy that names both must find both, so one of them is enough to find it by.
        if !policy.user.is_empty() {
            self.by_user.entry(policy.user.clone()).or_default().push(at);
        } else if !policy.group.is_empty() {
            self.by_group.entry(policy.group.clone()).or_default().push(at);
        }
        self.all.push(policy);
    }

    fn of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Policy> {
        let by_group = user.groups.iter().filter_map(|group| self.by_group.get(group.as_str()));
        self.by_user
            .get(user.name.as_str())
            .into_iter()
            .chain(by_group)
            .flatten()
            .map(|at| &self.all[*at])
            .filter(|policy| policy.group.is_empty() || user.in_group(&policy.group))
    }

    /// Whether any policy of the user allows the request.
    pub fn allows(&self, user: &User, request: &Attributes) -> bool {
        let reads = matches!(request.verb.as_str(), "get" | "list" | "watch");
        self.of(user).any(|policy| (reads || !policy.readonly) && policy.covers(request))
    }

    /// What the user may do in `namespace`, as rules.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        for policy in self.of(user).filter(|policy| is(&policy.namespace, namespace)) {
            let verbs: &[&str] = if policy.readonly { &["get", "list", "watch"] } else { &["*"] };
            let verbs: Vec<Str> = verbs.iter().map(|verb| Str::from(*verb)).collect();
            if !policy.resource.is_empty() {
                rules.push(Rule {
                    verbs: verbs.clone(),
                    groups: vec![policy.api_group.as_str().into()],
                    resources: vec![policy.resource.as_str().into()],
                    ..Rule::default()
                });
            }
            if !policy.path.is_empty() {
                rules.push(Rule { verbs, paths: vec![policy.path.as_str().into()], ..Rule::default() });
            }
        }
        rules
    }
}

fn is(pattern: &str, value: &str) -> bool {
    pattern == "*" || pattern == value
}

impl Policy {
    fn covers(&self, request: &Attributes) -> bool {
        if request.is_resource {
            return is(&self.namespace, &request.namespace)
                && is(&self.resource, &request.resource)
                && is(&self.api_group, &request.group);
        }
        let below = self.path.strip_suffix('*').map(|prefix| prefix.trim_end_matches('*'));
        is(&self.path, &request.path) || below.is_some_and(|prefix| request.path.starts_with(prefix))
    }
}

fn read(text: &str) -> Result<Policy, String> {
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut policy = match (line.api_version.as_str(), line.kind.as_str()) {
        ("abac.authorization.kubernetes.io/v1beta1", "Policy") => line.spec.unwrap_or_default(),
        (version, kind) if version.is_empty() || kind.is_empty() => {
            return serde_json::from_str(text).map(first_version).map_err(|error| error.to_string());
        }
        (version, kind) => {
            return Err(format!("no kind {kind:?} is registered for version {version:?}"));
        }
    };
    if policy.user == "*" || policy.group == "*" {
        policy.user = String::new();
        policy.group = AUTHENTICATED.into();
    }
    Ok(policy)
}

/// A policy of the format's first version: what it leaves out is everything.
fn first_version(mut policy: Policy) -> Policy {
    let anybody = policy.user.is_empty() && policy.group.is_empty();
    if anybody || policy.user == "*" || policy.group == "*" {
        policy.user = String::new();
        policy.group = AUTHENTICATED.into();
    }
    policy.path =
        if policy.namespace.is_empty() && policy.resource.is_empty() { "*".into() } else { String::new() };
    policy.api_group = "*".into();
    for field in [&mut policy.namespace, &mut policy.resource] {
        if field.is_empty() {
            *field = "*".into();
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# comment
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"alice","namespace":"*","resource":"*","apiGroup":"*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"dev","namespace":"web","resource":"pods","readonly":true}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"*","nonResourcePath":"/version*","readonly":true}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"bob","group":"dev","namespace":"web","resource":"secrets"}}
{"user":"old","resource":"pods"}
"#;

    #[test]
    fn policies_allow_what_they_say() {
        let policies = Policies::parse(FILE, "f").unwrap();
        let resource =
            |verb, group, resource, namespace| Attributes::resource(verb, group, resource, namespace, "");
        let table: &[(&str, &[&str], Attributes, bool)] = &[
            ("alice", &[], resource("delete", "apps", "deployments", "x"), true),
            ("alice", &[], Attributes::path("get", "/metrics"), false),
            ("carol", &["dev"], resource("get", "", "pods", "web"), true),
            ("carol", &["dev"], resource("delete", "", "pods", "web"), false),
            ("carol", &["dev"], resource("get", "", "pods", "other"), false),
            ("carol", &["dev"], resource("get", "", "secrets", "web"), false),
            ("bob", &["dev"], resource("delete", "", "secrets", "web"), true),
            ("bob", &[], resource("delete", "", "secrets", "web"), false),
            ("carol", &[AUTHENTICATED], Attributes::path("get", "/version/x"), true),
            ("carol", &[AUTHENTICATED], Attributes::path("post", "/version"), false),
            ("carol", &[], Attributes::path("get", "/version"), false),
            ("old", &[], resource("create", "any", "pods", "x"), true),
            ("old", &[], Attributes::path("get", "/x"), false),
        ];
        for (name, groups, request, expected) in table {
            let user = User::new(*name, groups);
            assert_eq!(policies.allows(&user, request), *expected, "{name} {groups:?} {request:?}");
        }
        assert_eq!(policies.rules_for(&User::new("carol", &["dev"]), "web").len(), 1);
    }

    #[test]
    fn bad_lines_are_named() {
        let error = Policies::parse("\n{\"apiVersion\":\"v9\",\"kind\":\"Policy\"}", "/p").unwrap_err();
        assert_eq!(
            error.to_string(),
            "error reading policy file /p, line 2: {\"apiVersion\":\"v9\",\"kind\":\"Policy\"}: no kind \"Policy\" is registered for version \"v9\""
        );
        assert!(Policies::parse("nonsense", "/p").is_err());
    }
}
