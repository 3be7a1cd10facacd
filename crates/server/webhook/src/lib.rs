//! The way to servers that objects of the API name: admission webhooks, conversion webhooks, extension API servers.
//!
//! [`Client`] posts JSON to one server over kept connections; [`Users`] reads the file by which an administrator says who
//! asks. Servers that a kubeconfig names are reached by crate `outbound`.
//! Errors read as upstream's client prints them, because clients of the API get to see them.

mod answer;
mod client;
mod kubeconfig;
mod tls;

pub use answer::{Answer, CallError, Document};
pub use client::{Client, ExchangeError};
pub use kubeconfig::{Authorization, KubeconfigError, Users};
pub use tls::{Identity, Trust, client_config};
