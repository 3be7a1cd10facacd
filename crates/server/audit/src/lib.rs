//! The audit pipeline (audit.k8s.io/v1): who asked for what, when, and what came of it.
//!
//! [`Policy`] says how much is told of a request; [`Auditor`] begins a [`Record`] for each that is told of at all, and
//! sends it on to every [`Sink`] at every stage. A sink is a [`Log`], which rotates files, or a [`Webhook`]; `batch` stands
//! before it when requests do not wait, `truncate` bounds what it gets. A server without a policy has no auditor, and its
//! requests pay nothing.

mod auditor;
mod batch;
mod legacy;
mod log;
mod metrics;
mod policy;
mod sink;
mod truncate;
mod validation;
mod webhook;

pub use auditor::{Asked, Auditor, Record};
pub use batch::{BatchOptions, Throttle};
pub use log::{Log, LogError, LogOptions};
pub use metrics::show as show_metrics;
pub use policy::{Level, Policy, PolicyError, Stage, Verdict};
pub use sink::{Format, Mode, Sink, SinkOptions};
pub use truncate::Truncate;
pub use webhook::Webhook;
