//! RBAC: roles and bindings, indexed by subject so that a decision looks only at the bindings of its user.
//!
//! [`Policy`] follows the four RBAC kinds through [`Policy::apply`] and answers [`Policy::decide`] and
//! [`Policy::rules_for`]. Bindings are visited in upstream's order, cluster bindings first, each list by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use authn::User;
use meta::{Str, aggregate_message};
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef, Subject};

use crate::attributes::Attributes;
use crate::decide::Decision;
use crate::rule::Rule;

/// A change of one RBAC object.
#[derive(Debug)]
pub enum Change<'a> {
    /// A cluster role appeared or changed.
    ClusterRole(&'a ClusterRole),
    /// A role appeared or changed.
    Role(&'a Role),
    /// A cluster role binding appeared or changed.
    ClusterRoleBinding(&'a ClusterRoleBinding),
    /// A role binding appeared or changed.
    RoleBinding(&'a RoleBinding),
    /// A cluster role is gone.
    ClusterRoleGone(&'a str),
    /// A role is gone: namespace, name.
    RoleGone(&'a str, &'a str),
    /// A cluster role binding is gone.
    ClusterRoleBindingGone(&'a str),
    /// A role binding is gone: namespace, name.
    RoleBindingGone(&'a str, &'a str),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    User(Str),
    Group(Str),
    Account(Str, Str),
}

/// Bindings of one scope by name, and their names by subject.
#[derive(Debug, Default)]
struct Bindings {
    by_name: HashMap<Str, Arc<Binding>>,
    by_subject: HashMap<Who, BTreeMap<Str, Arc<Binding>>>,
}

#[derive(Debug)]
struct Binding {
    name: Str,
    to_cluster_role: bool,
    role: Str,
    subjects: Vec<Who>,
}

impl Bindings {
    fn insert(&mut self, name: &Str, namespace: &str, reference: &RoleRef, subjects: &[Subject]) {
        self.remove(name);
        let subjects: Vec<Who> = subjects.iter().filter_map(|s| who(s, namespace)).collect();
        let binding = Arc::new(Binding {
            name: name.clone(),
            to_cluster_role: reference.kind == "ClusterRole",
            role: reference.name.clone(),
            subjects,
        });
        for subject in &binding.subjects {
            self.by_subject.entry(subject.clone()).or_default().insert(name.clone(), binding.clone());
        }
        self.by_name.insert(name.clone(), binding);
    }

    fn remove(&mut self, name: &str) {
        let Some(old) = self.by_name.remove(name) else { return };
        for subject in &old.subjects {
            if let Some(bindings) = self.by_subject.get_mut(subject) {
                bindings.remove(name);
                if bindings.is_empty() {
                    self.by_subject.remove(subject);
                }
            }
        }
    }

    /// The bindings of any of `subjects`, by name and each once. Each subject's bindings are sorted already, so they are
    /// merged as they are read, and reading stops with the first that allows.
    fn of<'a>(&'a self, subjects: &[Who]) -> impl Iterator<Item = &'a Binding> {
        let mut lists: Vec<_> = subjects
            .iter()
            .filter_map(|subject| self.by_subject.get(subject))
            .map(|bindings| bindings.iter().peekable())
            .collect();
        std::iter::from_fn(move || {
            let next = lists.iter_mut().filter_map(|list| list.peek().map(|(name, _)| *name)).min()?;
            let mut found = None;
            for list in &mut lists {
                if let Some((_, binding)) = list.next_if(|(name, _)| *name == next) {
                    found = Some(&**binding);
                }
            }
            found
        })
    }
}

fn who(subject: &Subject, namespace: &str) -> Option<Who> {
    Some(match subject.kind.as_str() {
        "User" => Who::User(subject.name.clone()),
        "Group" => Who::Group(subject.name.clone()),
        "ServiceAccount" => {
            let own: &str = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
            if own.is_empty() {
                return None;
            }
            Who::Account(own.into(), subject.name.clone())
        }
        _ => return None,
    })
}

impl Who {
    fn describe(&self) -> String {
        match self {
            Who::User(name) => format!("User {:?}", name.as_str()),
            Who::Group(name) => format!("Group {:?}", name.as_str()),
            Who::Account(namespace, name) => format!("ServiceAccount \"{name}/{namespace}\""),
        }
    }
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub struct Policy {
    cluster_roles: HashMap<Str, Arc<Vec<Rule>>>,
    roles: HashMap<(Str, Str), Arc<Vec<Rule>>>,
    cluster_bindings: Bindings,
    bindings: HashMap<Str, Bindings>,
}

impl Policy {
    /// Takes over a change.
    pub fn apply(&mut self, change: Change<'_>) {
        let rules = |rules: &[types::rbac::v1::PolicyRule]| {
            Arc::new(rules.iter().map(Rule::from).collect::<Vec<_>>())
        };
        match change {
            Change::ClusterRole(role) => {
                self.cluster_roles.insert(role.metadata.name.clone(), rules(&role.rules));
            }
            Change::Role(role) => {
                let key = (role.metadata.namespace.clone(), role.metadata.name.clone());
                self.roles.insert(key, rules(&role.rules));
            }
            Change::ClusterRoleBinding(b) => {
                self.cluster_bindings.insert(&b.metadata.name, "", &b.role_ref, &b.subjects);
            }
            Change::RoleBinding(b) => {
                let namespace = b.metadata.namespace.clone();
                let bindings = self.bindings.entry(namespace.clone()).or_default();
                bindings.insert(&b.metadata.name, &namespace, &b.role_ref, &b.subjects);
            }
            Change::ClusterRoleGone(name) => {
                self.cluster_roles.remove(name);
            }
            Change::RoleGone(namespace, name) => {
                self.roles.remove(&(namespace.into(), name.into()));
            }
            Change::ClusterRoleBindingGone(name) => self.cluster_bindings.remove(name),
            Change::RoleBindingGone(namespace, name) => {
                if let Some(bindings) = self.bindings.get_mut(namespace) {
                    bindings.remove(name);
                    if bindings.by_name.is_empty() {
                        self.bindings.remove(namespace);
                    }
                }
            }
        }
    }

    /// Whether any binding of the user allows the request.
    pub fn decide(&self, user: &User, request: &Attributes) -> Decision {
        let mut allowed = None;
        let mut errors = Vec::new();
        self.visit(user, &request.namespace, |visit| match visit {
            Visit::Rules { scope, binding, subjects, rules } => {
                if !rules.iter().any(|rule| rule.allows(request)) {
                    return true;
                }
                let (kind, name) = match scope {
                    "" => ("ClusterRoleBinding", binding.name.to_string()),
                    namespace => ("RoleBinding", format!("{}/{namespace}", binding.name)),
                };
                let role = if binding.to_cluster_role { "ClusterRole" } else { "Role" };
                // The first subject of the binding that is the user, or a group of theirs.
                let subject = binding.subjects.iter().find(|subject| subjects.contains(subject));
                allowed = Some(format!(
                    "RBAC: allowed by {kind} {name:?} of {role} {:?} to {}",
                    binding.role.as_str(),
                    subject.map(Who::describe).unwrap_or_default()
                ));
                false
            }
            Visit::Missing(error) => {
                errors.push(error);
                true
            }
        });
        match allowed {
            Some(reason) => Decision::Allow(reason),
            None if errors.is_empty() => Decision::NoOpinion(String::new()),
            None => Decision::NoOpinion(format!("RBAC: {}", aggregate_message(errors))),
        }
    }

    /// Every rule that applies to the user in `namespace` (empty: cluster scope only), and what could not be resolved.
    pub fn rules_for(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut held, mut errors) = (Vec::new(), Vec::new());
        self.visit(user, namespace, |visit| {
            match visit {
                Visit::Rules { rules, .. } => held.extend(rules.iter().cloned()),
                Visit::Missing(error) => errors.push(error),
            }
            true
        });
        (held, errors)
    }

    /// The rules of the role that a binding in `namespace` (empty: a cluster role binding) refers to.
    pub fn role(&self, reference: &RoleRef, namespace: &str) -> Option<Arc<Vec<Rule>>> {
        match reference.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(reference.name.as_str()).cloned(),
            _ => self.roles.get(&(namespace.into(), reference.name.clone())).cloned(),
        }
    }

    fn visit(&self, user: &User, namespace: &str, mut each: impl FnMut(Visit<'_>) -> bool) {
        let mut subjects = vec![Who::User(user.name.clone())];
        subjects.extend(user.groups.iter().cloned().map(Who::Group));
        if let Some((namespace, name)) = user.as_service_account() {
            subjects.push(Who::Account(namespace.into(), name.into()));
        }
        let scoped = self.bindings.get(namespace).map(|b| (namespace, b));
        for (scope, bindings) in [("", &self.cluster_bindings)].into_iter().chain(scoped) {
            for binding in bindings.of(&subjects) {
                let rules = if binding.to_cluster_role {
                    self.cluster_roles.get(&binding.role)
                } else {
                    self.roles.get(&(scope.into(), binding.role.clone()))
                };
                let go_on = match rules {
                    Some(rules) => each(Visit::Rules { scope, binding, subjects: &subjects, rules }),
                    None => {
                        let kind = if binding.to_cluster_role { "clusterrole" } else { "role" };
                        each(Visit::Missing(format!(
                            "{kind}.rbac.authorization.k8s.io {:?} not found",
                            binding.role.as_str()
                        )))
                    }
                };
                if !go_on {
                    return;
                }
            }
        }
    }
}

enum Visit<'a> {
    Rules { scope: &'a str, binding: &'a Binding, subjects: &'a [Who], rules: &'a [Rule] },
    Missing(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap;

    fn policy() -> Policy {
        let mut policy = Policy::default();
        let table = bootstrap::policy();
        table.cluster_roles.iter().for_each(|r| policy.apply(Change::ClusterRole(r)));
        table.cluster_role_bindings.iter().for_each(|b| policy.apply(Change::ClusterRoleBinding(b)));
        table.roles.iter().for_each(|r| policy.apply(Change::Role(r)));
        table.role_bindings.iter().for_each(|b| policy.apply(Change::RoleBinding(b)));
        policy
    }

    #[test]
    fn bootstrap_policy_decides() {
        let policy = policy();
        let scheduler = User::component("system:kube-scheduler");
        let mut bind = Attributes::resource("create", "", "pods", "x", "p");
        bind.subresource = "binding".into();
        assert_eq!(
            policy.decide(&scheduler, &bind),
            Decision::Allow("RBAC: allowed by ClusterRoleBinding \"system:kube-scheduler\" of ClusterRole \"system:kube-scheduler\" to User \"system:kube-scheduler\"".into())
        );
        let nobody = User::new("nobody", &[]);
        assert_eq!(policy.decide(&nobody, &bind), Decision::NoOpinion(String::new()));
        assert_eq!(
            policy.decide(&User::new("x", &["system:authenticated"]), &Attributes::path("get", "/api")),
            Decision::Allow("RBAC: allowed by ClusterRoleBinding \"system:discovery\" of ClusterRole \"system:discovery\" to Group \"system:authenticated\"".into())
        );
    }

    #[test]
    fn bindings_of_several_subjects_are_read_by_name_and_once() {
        let mut bindings = Bindings::default();
        let subject =
            |kind: &str, name: &str| Subject { kind: kind.into(), name: name.into(), ..Subject::default() };
        let reference = RoleRef { kind: "ClusterRole".into(), name: "r".into(), ..RoleRef::default() };
        for (name, subjects) in [
            ("c", vec![subject("User", "alice")]),
            ("a", vec![subject("Group", "dev"), subject("User", "alice")]),
            ("b", vec![subject("Group", "ops")]),
            ("d", vec![subject("User", "bob")]),
        ] {
            bindings.insert(&name.into(), "", &reference, &subjects);
        }
        let whose = [Who::User("alice".into()), Who::Group("dev".into()), Who::Group("ops".into())];
        let names: Vec<&str> = bindings.of(&whose).map(|binding| binding.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn bindings_leave_the_index_with_their_object() {
        let mut policy = policy();
        policy.apply(Change::ClusterRoleBindingGone("system:discovery"));
        let user = User::new("x", &["system:authenticated"]);
        assert!(matches!(policy.decide(&user, &Attributes::path("get", "/api")), Decision::NoOpinion(_)));
    }
}
