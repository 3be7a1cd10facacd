//! Binds pods to nodes.
//!
//! One loop takes pods from the [`queue`], decides on the [`snapshot`] of the cluster and hands the binding to a task of
//! its own, so that the next decision need not wait for the API server. The decision itself ([`cycle`]) is a pure
//! function of pod, snapshot and profile: the enabled [`plugins`] narrow the set of nodes, then score what is left.
//!
//! Names of extension points, plugins, reasons and messages are those of kube-scheduler v1.36. Plugins see all nodes at
//! once, as columns and bit sets ([`plugin::Plugin`]), where upstream calls them once a node.
//!
//! Start at [`service::run`], then [`cycle::decide`].

pub mod cycle;
pub mod node_set;
pub mod plugin;
pub mod plugins;
pub mod profile;
pub mod queue;
pub mod resources;
pub mod service;
pub mod snapshot;
