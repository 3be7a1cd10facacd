//! Requests that end somewhere else: on a node's kubelet, in a pod, behind a service.
//!
//! [`backend`] opens the connection and carries requests and upgraded byte streams; [`kubelet`], [`log`] and [`proxy`] decide
//! where each request goes, after [`admit`] let it pass.

pub(crate) mod admit;
pub(crate) mod backend;
mod client;
pub(crate) mod kubelet;
pub(crate) mod log;
pub(crate) mod proxy;
mod rewrite;
pub(crate) mod websocket;

pub use client::KubeletClient;
