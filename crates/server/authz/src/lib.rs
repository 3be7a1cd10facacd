//! Whether a user may do what a request asks.
//!
//! [`Authorizer::authorize`] takes an [`authn::Identified`] and the request's [`Attributes`] and answers with an
//! [`Authorized`], the proof without which no later stage can be entered. The order is upstream's for
//! `--authorization-mode=Node,RBAC`: the group `system:masters` first, then the Node authorizer, then RBAC.
//!
//! Decisions are pure functions over two indexes that follow the store's objects: [`rbac::Policy`] (bindings by
//! subject) and [`node::Graph`] (what the pods of a node refer to). The server feeds both from its watch cache.
#![expect(
    clippy::result_large_err,
    reason = "refusals are values that travel on; boxing them would cost each an allocation"
)]

mod attributes;
pub mod bootstrap;
mod decide;
pub mod escalation;
pub mod node;
pub mod rbac;
mod rule;

pub use attributes::{Attributes, FieldRequirement};
pub use decide::{Authorized, Authorizer, Decision, Forbidden};
pub use rule::Rule;
