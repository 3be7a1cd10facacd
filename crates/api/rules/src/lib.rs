//! What Kubernetes does to objects of each kind before it stores them: defaults, preparation, validation, warnings.
//!
//! Everything here is a pure function of objects. [`table`] is the one list of kinds: a row per kind, which the registry
//! looks up by group, version and kind. A kind's rules are an implementation of [`Rules`] in its group's folder; the
//! vocabulary in which they are written is [`check`]. Texts, paths and order of errors are those of upstream v1.36.

mod admission;
pub mod amounts;
pub mod apiextensions;
mod apps;
mod autoscaling;
mod batch;
pub mod check;
mod cluster;
mod core;
mod diff;
mod discovery;
pub mod embedded;
pub mod environments;
pub mod expressions;
mod fill;
mod flow;
mod networking;
mod path;
mod policy;
pub mod quota;
mod rbac;
pub mod references;
mod resource;
pub mod restart;
mod rule;
mod storage;
mod table;

pub use crate::autoscaling::default_metrics;
pub use crate::core::pod::resources::qos;
pub use crate::core::service_addresses;
pub use path::Path;
pub use rule::{Context, KindRules, Rules, Subresource, keep_system_fields, metadata_field};
pub use table::{of, table};
