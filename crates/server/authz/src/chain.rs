//! The authorizers in the order in which they are asked.

use std::sync::{LazyLock, OnceLock};

use telemetry::{Counter, CounterFamily};

use crate::abac;
use crate::decide::Decision;
use crate::webhook::Webhook;

static DECISIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_authorization_decisions_total",
        "Decisions that ended the question, by authorizer's type and name, and decision.",
        &["decision", "name", "type"],
    )
});

/// An ordered list of authorizers. Whoever is in `system:masters` is allowed before any of them is asked.
#[derive(Debug, Default)]
pub struct Chain(Vec<Link>);

/// One authorizer.
#[derive(Debug)]
pub(crate) struct Link {
    name: String,
    pub(crate) what: What,
    allowed: OnceLock<Counter>,
    denied: OnceLock<Counter>,
}

/// What decides.
#[derive(Debug)]
pub(crate) enum What {
    AlwaysAllow,
    AlwaysDeny,
    Node,
    Rbac,
    Abac(abac::Policies),
    Webhook(Box<Webhook>),
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            What::AlwaysAllow => "AlwaysAllow",
            What::AlwaysDeny => "AlwaysDeny",
            What::Node => "Node",
            What::Rbac => "RBAC",
            What::Abac(_) => "ABAC",
            What::Webhook(_) => "Webhook",
        }
    }
}

impl Chain {
    /// The authorizers `Node,RBAC`.
    pub fn node_rbac() -> Self {
        let mut chain = Chain::default();
        chain.push("node", What::Node);
        chain.push("rbac", What::Rbac);
        chain
    }

    /// Allows everything.
    pub fn always_allow() -> Self {
        let mut chain = Chain::default();
        chain.push("alwaysallow", What::AlwaysAllow);
        chain
    }

    pub(crate) fn push(&mut self, name: &str, what: What) {
        self.0.push(Link { name: name.to_owned(), what, allowed: OnceLock::new(), denied: OnceLock::new() });
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.0
    }

    /// Whether a decision may have to wait for a server.
    pub(crate) fn waits(&self) -> bool {
        self.0.iter().any(|link| matches!(link.what, What::Webhook(_)))
    }

    /// Types and names, for the log.
    pub fn describe(&self) -> String {
        let links: Vec<String> =
            self.0.iter().map(|link| format!("{}/{}", link.what.kind(), link.name)).collect();
        links.join(",")
    }
}

impl Link {
    /// Counts a decision that ends the question.
    pub(crate) fn count(&self, decision: &Decision) {
        let (cell, label) = match decision {
            Decision::Allow(_) => (&self.allowed, "allowed"),
            Decision::Deny(_) => (&self.denied, "denied"),
            Decision::NoOpinion(_) => return,
        };
        cell.get_or_init(|| DECISIONS.with(&[label, &self.name, self.what.kind()])).inc();
    }
}
