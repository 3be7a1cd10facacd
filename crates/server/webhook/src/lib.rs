//! The way to servers that the API server asks: admission webhooks, conversion, image policies.
//!
//! [`Client`] posts JSON to one server over kept connections; [`Kubeconfig`] reads the file by which an administrator
//! says where such a server is and who asks; [`Backend`] puts the two together and tries again after failures.
//! Errors read as upstream's client prints them, because clients of the API get to see them.

mod backend;
mod client;
mod kubeconfig;
mod tls;

pub use backend::{Backend, Failure};
pub use client::{Answer, Client};
pub use kubeconfig::{Authorization, Kubeconfig, KubeconfigError, Users};
pub use tls::{Identity, Trust, client_config};
