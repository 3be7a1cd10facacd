//! Whether a user may do what a request asks.
//!
//! [`Authorizer::authorize`] takes an [`authn::Identified`] and the request's [`Attributes`] and answers with an
//! [`Authorized`], the proof without which no later stage can be entered. The group `system:masters` comes first, then the
//! authorizers of a [`Chain`] in their order; [`config`] makes one of flags or of an AuthorizationConfiguration, and it can
//! be replaced while requests are served.
//!
//! Decisions of RBAC and of the Node authorizer are pure functions over two indexes that follow the store's objects:
//! [`rbac::Policy`] (bindings by subject) and [`node::Graph`] (what the pods of a node refer to). The server feeds both
//! from its watch cache. Only webhooks make a decision wait.

mod abac;
mod attributes;
pub mod bootstrap;
mod chain;
mod conditions;
pub mod config;
mod decide;
pub mod escalation;
pub mod node;
pub mod rbac;
mod review;
mod rule;
mod webhook;

pub use attributes::Attributes;
pub use chain::Chain;
pub use decide::{Authorized, Authorizer, Decision, Forbidden, Held, Outcome};
pub use rule::Rule;
