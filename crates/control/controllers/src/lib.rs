//! The controllers: one folder each, and one line each in [`TABLE`].
//!
//! Every one is a pure decision over caches (crate `reconcile` has the machinery). [`run`] starts all of them over one
//! set of shared caches, each acting as its own user, as kube-controller-manager does with
//! `--use-service-account-credentials`.

#![expect(clippy::result_large_err, reason = "Status is the error of the API, as the transports pass it")]

mod autoscale;
mod bootstrap;
mod certificates;
mod claims;
mod common;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod garbage;
mod job;
mod namespace;
mod node;
mod policystatus;
mod quota;
mod replicas;
mod roles;
mod serviceaccount;
mod statefulset;
mod table;
mod volumes;

pub use certificates::{Authority, SignError};
pub use daemonset::daemon_pods;
pub use serviceaccount::{LegacyToken, SignLegacy};
pub use table::{Config, Entry, Extend, Extensions, Handle, TABLE, Transports, enabled, run, run_on};
