//! The audit log (audit.k8s.io/v1): who asked for what, when, and what came of it.
//!
//! [`Policy`] says how much is told of a request; [`Auditor`] begins a [`Record`] for each that is told of at all, and
//! sends it on at every stage; `log` writes lines of JSON and rotates files. A server without a policy has no auditor,
//! and its requests pay nothing.

mod auditor;
mod log;
mod policy;

pub use auditor::{Asked, Auditor, Record};
pub use log::{Log, LogError, LogOptions, Mode};
pub use policy::{Level, Policy, PolicyError, Stage, Verdict};
