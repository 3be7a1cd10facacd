//! One RBAC rule and what it allows.

use std::fmt;

use meta::Str;

use crate::attributes::Attributes;

/// A rule: verbs on resources of groups, or verbs on paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs, `*` for all.
    pub verbs: Vec<Str>,
    /// API groups, `*` for all, empty string for core.
    pub groups: Vec<Str>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<Str>,
    /// Object names; empty for all.
    pub names: Vec<Str>,
    /// Paths, `*` or with a trailing `*`.
    pub paths: Vec<Str>,
}

fn has(list: &[Str], item: &str) -> bool {
    list.iter().any(|entry| entry.as_str() == item)
}

impl Rule {
    /// Whether this rule alone allows the request.
    pub fn allows(&self, request: &Attributes) -> bool {
        if !has(&self.verbs, "*") && !has(&self.verbs, &request.verb) {
            return false;
        }
        if !request.is_resource {
            return self.paths.iter().any(|path| path_matches(path, &request.path));
        }
        (has(&self.groups, "*") || has(&self.groups, &request.group))
            && self.resource_matches(&request.resource, &request.subresource)
            && (self.names.is_empty() || has(&self.names, &request.name))
    }

    fn resource_matches(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|entry| {
            let entry = entry.as_str();
            if entry == "*" {
                return true;
            }
            match entry.split_once('/') {
                None => subresource.is_empty() && entry == resource,
                Some((head, tail)) => {
                    !subresource.is_empty() && tail == subresource && (head == "*" || head == resource)
                }
            }
        })
    }

    /// The rule cut into pieces that hold one verb and one resource (or path) each; what escalation compares.
    pub(crate) fn pieces(&self) -> Vec<Rule> {
        let mut pieces = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let piece = |names: Vec<Str>| Rule {
                        verbs: vec![verb.clone()],
                        groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        names,
                        paths: vec![],
                    };
                    if self.names.is_empty() {
                        pieces.push(piece(vec![]));
                    }
                    pieces.extend(self.names.iter().map(|name| piece(vec![name.clone()])));
                }
            }
        }
        for path in &self.paths {
            for verb in &self.verbs {
                pieces.push(Rule { verbs: vec![verb.clone()], paths: vec![path.clone()], ..Rule::default() });
            }
        }
        pieces
    }

    /// Whether this rule covers everything that `piece`, one of [`Rule::pieces`], allows.
    pub(crate) fn covers(&self, piece: &Rule) -> bool {
        let all = |mine: &[Str], theirs: &[Str]| has(mine, "*") || theirs.iter().all(|t| has(mine, t));
        let resources = || {
            has(&self.resources, "*")
                || piece.resources.iter().all(|t| {
                    has(&self.resources, t)
                        || t.split_once('/').is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
                })
        };
        let names = || {
            if piece.names.is_empty() {
                return self.names.is_empty();
            }
            self.names.is_empty() || piece.names.iter().all(|t| has(&self.names, t))
        };
        let paths = || {
            piece.paths.iter().all(|wanted| {
                self.paths.iter().any(|path| {
                    path == wanted
                        || path.strip_suffix('*').is_some_and(|prefix| wanted.as_str().starts_with(prefix))
                })
            })
        };
        all(&self.verbs, &piece.verbs)
            && all(&self.groups, &piece.groups)
            && resources()
            && names()
            && paths()
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == "*"
        || pattern == path
        || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

impl From<&types::rbac::v1::PolicyRule> for Rule {
    fn from(rule: &types::rbac::v1::PolicyRule) -> Self {
        Rule {
            verbs: rule.verbs.iter().cloned().collect(),
            groups: rule.api_groups.iter().cloned().collect(),
            resources: rule.resources.iter().cloned().collect(),
            names: rule.resource_names.iter().cloned().collect(),
            paths: rule.non_resource_urls.iter().cloned().collect(),
        }
    }
}

impl From<&Rule> for types::rbac::v1::PolicyRule {
    fn from(rule: &Rule) -> Self {
        types::rbac::v1::PolicyRule {
            verbs: rule.verbs.iter().cloned().collect(),
            api_groups: rule.groups.iter().cloned().collect(),
            resources: rule.resources.iter().cloned().collect(),
            resource_names: rule.names.iter().cloned().collect(),
            non_resource_urls: rule.paths.iter().cloned().collect(),
        }
    }
}

/// The compact form of upstream's messages: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut part = |name: &str, list: &[Str]| {
            if !list.is_empty() {
                let quoted: Vec<String> = list.iter().map(|s| format!("{:?}", s.as_str())).collect();
                parts.push(format!("{name}:[{}]", quoted.join(" ")));
            }
        };
        part("NonResourceURLs", &self.paths);
        part("APIGroups", &self.groups);
        part("Resources", &self.resources);
        part("ResourceNames", &self.names);
        part("Verbs", &self.verbs);
        write!(f, "{{{}}}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let list = |items: &[&str]| items.iter().map(|i| Str::from(*i)).collect();
        Rule {
            verbs: list(verbs),
            groups: list(&[""]),
            resources: list(resources),
            names: list(names),
            paths: vec![],
        }
    }

    #[test]
    fn resources_and_subresources() {
        let request = |verb, resource, subresource: &str| {
            let mut r = Attributes::resource(verb, "", resource, "ns", "n");
            r.subresource = subresource.into();
            r
        };
        let table: &[(Rule, Attributes, bool)] = &[
            (rule(&["get"], &["pods"], &[]), request("get", "pods", ""), true),
            (rule(&["get"], &["pods"], &[]), request("get", "pods", "log"), false),
            (rule(&["get"], &["pods/log"], &[]), request("get", "pods", "log"), true),
            (rule(&["get"], &["*/scale"], &[]), request("get", "deployments", "scale"), true),
            (rule(&["*"], &["*"], &[]), request("delete", "x", "y"), true),
            (rule(&["get"], &["pods"], &["n"]), request("get", "pods", ""), true),
            (rule(&["get"], &["pods"], &["m"]), request("get", "pods", ""), false),
        ];
        for (rule, request, expected) in table {
            assert_eq!(rule.allows(request), *expected, "{rule} {request:?}");
        }
    }

    #[test]
    fn paths() {
        let rule = Rule { verbs: vec!["get".into()], paths: vec!["/api/*".into()], ..Rule::default() };
        assert!(rule.allows(&Attributes::path("get", "/api/v1")));
        assert!(!rule.allows(&Attributes::path("get", "/api")));
        assert!(!rule.allows(&Attributes::path("post", "/api/v1")));
    }
}
