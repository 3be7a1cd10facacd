//! Binds pods to nodes.
//!
//! One loop takes pods from the [`queue`], decides on the [`snapshot`] of the cluster and hands the binding to a task of
//! its own, so that the next decision need not wait for the API server. The decision itself ([`core::Core::decide`]) is a
//! pure function of pod, snapshot and profile: the enabled [`plugins`] narrow the set of nodes, then score what is left.
//!
//! Names of extension points, plugins, reasons and messages are those of kube-scheduler v1.36. Equal pods share their
//! plugins' answers ([`class`]), which follow the cluster by increments.
//!
//! Start at [`service::run`], then [`core::Core::decide`].

pub mod board;
pub mod class;
pub mod cluster;
pub mod config;
pub mod consumption;
pub mod core;
pub mod devices;
pub mod explain;
pub mod failure;
pub mod journal;
pub mod live;
pub mod node_order;
pub mod node_set;
pub mod nominated;
pub mod notes;
pub mod plugin;
pub mod plugins;
pub mod pod_info;
pub mod post_filter;
pub mod preemption;
pub mod profile;
pub mod queue;
pub mod replay;
pub mod resources;
pub mod service;
pub mod snapshot;
pub mod topology;
