//! The user, as every later stage sees it: a name, groups and extra facts. Kubernetes stores no users.

use meta::Str;

/// Group of everybody who showed a credential that holds.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody who showed none.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of the user who showed no credential.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group that is allowed everything before any policy is asked.
pub const MASTERS: &str = "system:masters";

/// A user's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The unique name.
    pub name: Str,
    /// An identifier that survives renaming; empty when the method of authentication knows none.
    pub uid: Str,
    /// Groups, in the order in which the credential names them.
    pub groups: Vec<Str>,
    /// Facts for authorizers, sorted by key.
    pub extra: Vec<(Str, Vec<Str>)>,
}

impl User {
    /// A user with these groups and nothing else.
    pub fn new(name: impl Into<Str>, groups: &[&str]) -> Self {
        User { name: name.into(), groups: groups.iter().map(|g| Str::from(*g)).collect(), ..User::default() }
    }

    /// A component of the control plane inside this process, such as `system:kube-scheduler`.
    pub fn component(name: &str) -> Self {
        User::new(name, &[AUTHENTICATED])
    }

    /// The user of a node's kubelet.
    pub fn node(name: &str) -> Self {
        User::new(format!("system:node:{name}"), &["system:nodes", AUTHENTICATED])
    }

    /// The user that stands for a ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let mut user = User::new(format!("system:serviceaccount:{namespace}:{name}"), &[]);
        user.groups = vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}").into(),
            AUTHENTICATED.into(),
        ];
        user
    }

    /// Whether the user belongs to `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g.as_str() == group)
    }

    /// Puts the user into the group of everybody who showed a credential, unless a group says already which it is.
    pub fn authenticated(&mut self) {
        if !self.in_group(AUTHENTICATED) && !self.in_group(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
    }

    /// Adds one extra fact, keeping the keys sorted.
    pub fn add_extra(&mut self, key: &str, value: impl Into<Str>) {
        match self.extra.binary_search_by(|(k, _)| k.as_str().cmp(key)) {
            Ok(at) => self.extra[at].1.push(value.into()),
            Err(at) => self.extra.insert(at, (key.into(), vec![value.into()])),
        }
    }

    /// Namespace and name, if this is a ServiceAccount.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// The node's name, if this is a node's kubelet: name and group must both say so. The name may be missing.
    pub fn as_node(&self) -> Option<&str> {
        let node = self.name.strip_prefix("system:node:")?;
        self.in_group("system:nodes").then_some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_group_together_make_a_node() {
        assert_eq!(User::node("n1").as_node(), Some("n1"));
        assert_eq!(User::new("system:node:", &["system:nodes"]).as_node(), Some(""));
        assert_eq!(User::new("system:node:n1", &[]).as_node(), None);
        assert_eq!(User::new("n1", &["system:nodes"]).as_node(), None);
    }

    #[test]
    fn extra_stays_sorted_and_collects_values() {
        let mut user = User::new("u", &[]);
        user.add_extra("b", "1");
        user.add_extra("a", "2");
        user.add_extra("b", "3");
        assert_eq!(
            user.extra,
            vec![("a".into(), vec!["2".into()]), ("b".into(), vec!["1".into(), "3".into()])]
        );
    }
}
