//! The RBAC objects that every cluster starts with, read from the compact table in `policy.txt`.

use std::sync::LazyLock;

use meta::{ObjectMeta, Str};
use types::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use crate::rule::Rule;

const TABLE: &str = include_str!("policy.txt");
const GROUP: &str = "rbac.authorization.k8s.io";

/// The whole bootstrap policy.
#[derive(Debug, Default)]
pub struct Bootstrap {
    /// Cluster roles; aggregating ones come without rules.
    pub cluster_roles: Vec<ClusterRole>,
    /// Cluster role bindings.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// Roles in system namespaces.
    pub roles: Vec<Role>,
    /// Role bindings in system namespaces.
    pub role_bindings: Vec<RoleBinding>,
}

/// The policy of this API level.
pub fn policy() -> Bootstrap {
    let mut policy = Bootstrap::default();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let indented = line.starts_with(' ');
        let words: Vec<&str> = line.split_whitespace().collect();
        if indented { policy.detail(&words) } else { policy.head(&words) }
    }
    policy
}

/// The rules that the Node authorizer grants to every node: those of the cluster role `system:node`.
pub fn node_rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let policy = policy();
        let role = policy.cluster_roles.iter().find(|r| r.metadata.name == "system:node");
        role.map(|r| r.rules.iter().map(Rule::from).collect()).unwrap_or_default()
    });
    &RULES
}

#[derive(Clone, Copy)]
enum Section {
    ClusterRole,
    ClusterRoleBinding,
    Role,
    RoleBinding,
}

impl Section {
    fn named(word: &str) -> Self {
        match word {
            "ClusterRole" => Section::ClusterRole,
            "ClusterRoleBinding" => Section::ClusterRoleBinding,
            "Role" => Section::Role,
            "RoleBinding" => Section::RoleBinding,
            other => panic!("policy.txt, which is part of this program, names no section {other}"),
        }
    }
}

impl Bootstrap {
    fn section(&self) -> Section {
        // The file lists its sections one after the other, so the last one that has a member is the open one.
        if !self.role_bindings.is_empty() {
            Section::RoleBinding
        } else if !self.roles.is_empty() {
            Section::Role
        } else if !self.cluster_role_bindings.is_empty() {
            Section::ClusterRoleBinding
        } else {
            Section::ClusterRole
        }
    }

    fn head(&mut self, words: &[&str]) {
        let (kind, name) = (words[0], words[1]);
        let options: Vec<(&str, &str)> = words[2..].iter().filter_map(|w| w.split_once('=')).collect();
        let all = |key: &'static str| options.iter().filter(move |(k, _)| *k == key).map(|(_, v)| *v);
        let mut metadata = ObjectMeta::default();
        match name.split_once('/') {
            Some((namespace, name)) => {
                metadata.namespace = namespace.into();
                metadata.name = name.into();
            }
            None => metadata.name = name.into(),
        }
        metadata.annotations.insert("rbac.authorization.kubernetes.io/autoupdate", Str::from("true"));
        metadata.labels.insert("kubernetes.io/bootstrapping", Str::from("rbac-defaults"));
        for role in all("to") {
            metadata.labels.insert(aggregate_label(role), Str::from("true"));
        }
        let role_ref = |kind: &str| RoleRef {
            api_group: GROUP.into(),
            kind: kind.into(),
            name: all("role").next().unwrap_or_default().into(),
        };
        match Section::named(kind) {
            Section::ClusterRole => {
                let selectors: Vec<meta::LabelSelector> = all("from")
                    .map(|role| meta::LabelSelector {
                        match_labels: [(aggregate_label(role), Str::from("true"))].into_iter().collect(),
                        ..Default::default()
                    })
                    .collect();
                let aggregation_rule = (!selectors.is_empty()).then(|| {
                    Box::new(AggregationRule { cluster_role_selectors: selectors.into_iter().collect() })
                });
                self.cluster_roles.push(ClusterRole { metadata, aggregation_rule, ..Default::default() });
            }
            Section::ClusterRoleBinding => self.cluster_role_bindings.push(ClusterRoleBinding {
                metadata,
                role_ref: role_ref("ClusterRole"),
                ..Default::default()
            }),
            Section::Role => self.roles.push(Role { metadata, ..Default::default() }),
            Section::RoleBinding => self.role_bindings.push(RoleBinding {
                metadata,
                role_ref: role_ref("Role"),
                ..Default::default()
            }),
        }
    }

    fn detail(&mut self, words: &[&str]) {
        const OPEN: &str = "a detail line follows its head line";
        match self.section() {
            Section::ClusterRole => self.cluster_roles.last_mut().expect(OPEN).rules.push(rule(words)),
            Section::Role => self.roles.last_mut().expect(OPEN).rules.push(rule(words)),
            Section::ClusterRoleBinding => {
                self.cluster_role_bindings.last_mut().expect(OPEN).subjects.push(subject(words));
            }
            Section::RoleBinding => self.role_bindings.last_mut().expect(OPEN).subjects.push(subject(words)),
        }
    }
}

fn aggregate_label(role: &str) -> Str {
    format!("rbac.authorization.k8s.io/aggregate-to-{role}").into()
}

fn rule(words: &[&str]) -> PolicyRule {
    let list = |word: &str| -> Vec<Str> {
        word.split(',').map(|w| if w == "core" { Str::new() } else { w.into() }).collect()
    };
    let rule = match *words {
        [verbs, "url", paths] => Rule { verbs: list(verbs), paths: list(paths), ..Rule::default() },
        [verbs, groups, resources, ref names @ ..] => Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: names.first().map(|w| list(w)).unwrap_or_default(),
            paths: vec![],
        },
        _ => panic!("policy.txt, which is part of this program, has a short rule {words:?}"),
    };
    PolicyRule::from(&rule)
}

fn subject(words: &[&str]) -> Subject {
    let (kind, name) = (words[0], words[1]);
    match name.split_once('/') {
        Some((namespace, name)) if kind == "ServiceAccount" => Subject {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        },
        _ => Subject { kind: kind.into(), api_group: GROUP.into(), name: name.into(), ..Default::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let policy = policy();
        assert_eq!(
            [
                policy.cluster_roles.len(),
                policy.cluster_role_bindings.len(),
                policy.roles.len(),
                policy.role_bindings.len()
            ],
            [69, 50, 7, 7]
        );
        assert!(policy.cluster_role_bindings.iter().all(|b| !b.role_ref.name.is_empty()));
        assert!(!node_rules().is_empty());
    }
}
