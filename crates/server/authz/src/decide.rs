//! The stage itself: a question in, [`Authorized`] or [`Forbidden`] out.

use std::sync::Arc;

use authn::{Identified, MASTERS, User};
use parking_lot::RwLock;

use crate::attributes::Attributes;
use crate::node;
use crate::rbac;

/// The answer of one authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and why.
    Allow(String),
    /// Refused, whatever the others say.
    Deny(String),
    /// This authorizer does not allow it; another may. The reason shows when none does.
    NoOpinion(String),
}

/// How requests are authorized.
#[derive(Debug)]
pub struct Authorizer {
    /// Roles and bindings.
    pub policy: RwLock<rbac::Policy>,
    /// What pods refer to.
    pub graph: RwLock<node::Graph>,
    /// Whether everything is allowed, as with `--authorization-mode=AlwaysAllow`.
    always_allow: bool,
}

impl Authorizer {
    /// The authorizers `Node,RBAC`.
    pub fn node_rbac() -> Self {
        Authorizer { policy: RwLock::default(), graph: RwLock::default(), always_allow: false }
    }

    /// Allows everything to everybody.
    pub fn always_allow() -> Self {
        Authorizer { always_allow: true, ..Authorizer::node_rbac() }
    }

    /// The decision, for access reviews and secondary checks.
    pub fn decide(&self, user: &User, request: &Attributes) -> Decision {
        if self.always_allow || user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        if let Some(node) = user.as_node() {
            match node::decide(&self.graph.read(), node, request) {
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        match self.policy.read().decide(user, request) {
            Decision::NoOpinion(reason) => reasons.push(reason),
            decided => return decided,
        }
        reasons.retain(|r| !r.is_empty());
        Decision::NoOpinion(reasons.join("\n"))
    }

    /// Whether the user may; for secondary checks.
    pub fn allows(&self, user: &User, request: &Attributes) -> bool {
        matches!(self.decide(user, request), Decision::Allow(_))
    }

    /// Lets an identified request pass, or says why not.
    pub fn authorize(&self, identified: Identified, request: Attributes) -> Result<Authorized, Forbidden> {
        match self.decide(identified.user(), &request) {
            Decision::Allow(reason) => Ok(Authorized { identified, attributes: request, reason }),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(Forbidden { user: identified.user().clone(), attributes: request, reason })
            }
        }
    }
}

/// A request that may be done by its user. Only this crate can make one.
#[derive(Clone, Debug)]
pub struct Authorized {
    identified: Identified,
    attributes: Attributes,
    reason: String,
}

impl Authorized {
    /// Who asks.
    pub fn user(&self) -> &Arc<User> {
        self.identified.user()
    }

    /// How the user was identified.
    pub fn identified(&self) -> &Identified {
        &self.identified
    }

    /// What was allowed.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Why, as access reviews tell it.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// A refused request: 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Who asked.
    pub user: Arc<User>,
    /// What was asked.
    pub attributes: Attributes,
    /// What the authorizers said, often nothing.
    pub reason: String,
}

impl Forbidden {
    /// The text after `... is forbidden: `, or the whole message for a path.
    pub fn explanation(&self) -> String {
        let a = &self.attributes;
        let mut text = if a.is_resource {
            let scope = match a.namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            format!(
                "User {:?} cannot {} resource {:?} in API group {:?} {scope}",
                self.user.name.as_str(),
                a.verb,
                a.combined_resource().as_str(),
                a.group.as_str()
            )
        } else {
            format!("User {:?} cannot {} path {:?}", self.user.name.as_str(), a.verb, a.path.as_str())
        };
        if !self.reason.is_empty() {
            text.push_str(": ");
            text.push_str(&self.reason);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstreams() {
        let forbidden = |attributes, reason: &str| {
            Forbidden { user: Arc::new(User::new("u", &[])), attributes, reason: reason.into() }.explanation()
        };
        let mut log = Attributes::resource("get", "", "pods", "ns", "x");
        log.subresource = "log".into();
        assert_eq!(
            forbidden(log, ""),
            "User \"u\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"ns\""
        );
        assert_eq!(
            forbidden(Attributes::resource("list", "apps", "deployments", "", ""), "why"),
            "User \"u\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope: why"
        );
        assert_eq!(forbidden(Attributes::path("get", "/api"), ""), "User \"u\" cannot get path \"/api\"");
    }
}
