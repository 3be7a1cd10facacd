//! The stage itself: a question in, [`Authorized`] or [`Forbidden`] out.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use authn::{Identified, MASTERS, User};
use futures::FutureExt;
use meta::{Str, aggregate_message, go_quote};
use parking_lot::RwLock;
use telemetry::{Counter, Histogram};
use tokio::runtime::RuntimeFlavor;

use crate::attributes::Attributes;
use crate::chain::{Chain, What};
use crate::node;
use crate::rbac;
use crate::rule::Rule;

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

/// The answer of all authorizers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The decision.
    pub decision: Decision,
    /// What went wrong on the way, empty for nothing.
    pub error: String,
}

/// What a user may do, as far as it can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether there may be more.
    pub incomplete: bool,
    /// What could not be told, and why; empty for nothing.
    pub error: String,
}

/// How requests are authorized.
#[derive(Debug)]
pub struct Authorizer {
    /// Roles and bindings.
    pub policy: RwLock<rbac::Policy>,
    /// What pods refer to.
    pub graph: RwLock<node::Graph>,
    chain: ArcSwap<Chain>,
}

impl Authorizer {
    /// Asks the authorizers of `chain`.
    pub fn new(chain: Chain) -> Self {
        Authorizer {
            policy: RwLock::default(),
            graph: RwLock::default(),
            chain: ArcSwap::from_pointee(chain),
        }
    }

    /// The authorizers `Node,RBAC`.
    pub fn node_rbac() -> Self {
        Authorizer::new(Chain::node_rbac())
    }

    /// Allows everything to everybody.
    pub fn always_allow() -> Self {
        Authorizer::new(Chain::always_allow())
    }

    /// Asks those of `chain` from now on.
    pub fn replace(&self, chain: Chain) {
        self.chain.store(Arc::new(chain));
    }

    /// The decision, for access reviews and secondary checks.
    pub async fn decide(&self, user: &User, request: &Attributes) -> Outcome {
        if user.in_group(MASTERS) {
            return Outcome { decision: Decision::Allow(String::new()), error: String::new() };
        }
        let chain = self.chain.load_full();
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for link in chain.links() {
            let (decision, error) = match &link.what {
                What::Webhook(webhook) => webhook.decide(user, request).await,
                here => (self.decide_here(here, user, request), None),
            };
            match decision {
                Decision::NoOpinion(reason) => {
                    errors.extend(error);
                    reasons.push(reason);
                }
                decision => {
                    link.count(&decision);
                    return Outcome { decision, error: error.unwrap_or_default() };
                }
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        let error = if errors.is_empty() { String::new() } else { aggregate_message(errors) };
        Outcome { decision: Decision::NoOpinion(reasons.join("\n")), error }
    }

    /// The decision of an authorizer that need not wait for anybody.
    fn decide_here(&self, what: &What, user: &User, request: &Attributes) -> Decision {
        match what {
            What::AlwaysAllow => Decision::Allow(String::new()),
            What::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()),
            What::Node => match user.as_node() {
                Some("") => Decision::NoOpinion(format!("unknown node for user {}", go_quote(&user.name))),
                Some(node) => node::decide(&self.graph.read(), node, request),
                None => Decision::NoOpinion(String::new()),
            },
            What::Rbac => self.policy.read().decide(user, request),
            What::Abac(policies) if policies.allows(user, request) => Decision::Allow(String::new()),
            What::Abac(_) => Decision::NoOpinion("No policy matched.".to_owned()),
            // Those are asked where waiting is possible.
            What::Webhook(_) => Decision::NoOpinion(String::new()),
        }
    }

    /// Whether the user may; for secondary checks in places that cannot wait, such as expressions. A webhook is waited for
    /// on this thread, whose other tasks move to another one meanwhile.
    pub fn allows(&self, user: &User, request: &Attributes) -> bool {
        let decide = self.decide(user, request);
        let outcome = if user.in_group(MASTERS) || !self.chain.load().waits() {
            decide.now_or_never()
        } else {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
                    Some(tokio::task::block_in_place(|| runtime.block_on(decide)))
                }
                // Without other threads nobody would drive the exchange; what cannot be asked is not allowed.
                _ => None,
            }
        };
        outcome.is_some_and(|outcome| matches!(outcome.decision, Decision::Allow(_)))
    }

    /// What a user may do in `namespace`.
    pub fn held(&self, user: &User, namespace: &str) -> Held {
        let (mut held, mut errors) = (Held::default(), Vec::new());
        let all = || vec![Str::from("*")];
        for link in self.chain.load().links() {
            match &link.what {
                What::AlwaysAllow => {
                    let resources = Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() };
                    held.rules.push(resources);
                    held.rules.push(Rule { verbs: all(), paths: all(), ..Rule::default() });
                }
                What::AlwaysDeny => {}
                What::Node if user.as_node().is_some() => {
                    held.incomplete = true;
                    errors.push("node authorizer does not support user rule resolution".to_owned());
                }
                What::Node => {}
                What::Rbac => {
                    let (rules, missing) = self.policy.read().rules_for(user, namespace);
                    held.rules.extend(rules);
                    errors.extend(missing);
                }
                What::Abac(policies) => held.rules.extend(policies.rules_for(user, namespace)),
                What::Webhook(_) => {
                    held.incomplete = true;
                    errors.push("webhook authorizer does not support user rule resolution".to_owned());
                }
            }
        }
        if !errors.is_empty() {
            held.error = aggregate_message(errors);
        }
        held
    }

    /// Lets an identified request pass, or says why not.
    pub async fn authorize(
        &self,
        identified: Identified,
        request: Attributes,
    ) -> Result<Authorized, Forbidden> {
        let started = Instant::now();
        let outcome = self.decide(identified.user(), &request).await;
        let result = match &outcome.decision {
            Decision::Allow(_) => &ALLOWED,
            _ if !outcome.error.is_empty() => &ERRORS,
            Decision::Deny(_) => &DENIED,
            Decision::NoOpinion(_) => &NO_OPINION,
        };
        result.record(started);
        match outcome.decision {
            Decision::Allow(reason) => Ok(Authorized { identified, attributes: request, reason }),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(Forbidden {
                user: identified.user().clone(),
                attributes: request,
                reason,
                error: outcome.error,
            }),
        }
    }
}

/// Counter and latency of one result. The cells are kept, for every request comes by here.
struct Attempts {
    result: &'static str,
    cells: OnceLock<(Counter, Histogram)>,
}

static ALLOWED: Attempts = Attempts::of("allowed");
static DENIED: Attempts = Attempts::of("denied");
static NO_OPINION: Attempts = Attempts::of("no-opinion");
static ERRORS: Attempts = Attempts::of("error");

impl Attempts {
    const fn of(result: &'static str) -> Self {
        Attempts { result, cells: OnceLock::new() }
    }

    fn record(&self, started: Instant) {
        let (attempts, duration) = self.cells.get_or_init(|| {
            let attempts = telemetry::counter(
                "authorization_attempts_total",
                "Authorization attempts by result: allowed, denied, no-opinion or error.",
                &["result"],
            );
            let duration = telemetry::histogram(
                "authorization_duration_seconds",
                "Authorization latency in seconds by result.",
                &["result"],
                &telemetry::exponential_buckets(0.001, 2.0, 15),
            );
            (attempts.with(&[self.result]), duration.with(&[self.result]))
        });
        attempts.inc();
        duration.observe_since(started);
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

/// A refused request: 403, or 500 when an authorizer failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Who asked.
    pub user: Arc<User>,
    /// What was asked.
    pub attributes: Attributes,
    /// What the authorizers said, often nothing.
    pub reason: String,
    /// Why the authorizers could not say, mostly nothing.
    pub error: String,
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
            Forbidden {
                user: Arc::new(User::new("u", &[])),
                attributes,
                reason: reason.into(),
                error: String::new(),
            }
            .explanation()
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
