//! up, down, reset, status, apply, images, certs, why, whatif, token, join: what a person does with a whole cluster; and the
//! scheduler and the kubelet as processes of their own.
//!
//! [`up::run`] is the running process: it makes certificates ([`pki`]), starts the [`control_plane`] and the [`node`],
//! writes the kubeconfig and answers the other commands over the [`admin`] socket. The other commands find the cluster
//! by its data directory ([`paths`]).

pub mod admin;
mod answers;
pub mod apply;
mod audit;
mod auth;
mod bootstrap;
pub mod certs;
pub mod component;
pub mod control_plane;
pub mod down;
mod encryption;
pub mod explain;
mod front_proxy;
pub mod images;
pub mod join;
pub mod kubeconfig;
pub mod kubelet;
pub mod node;
pub mod options;
pub mod paths;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod progress;
mod renewal;
pub mod scheduler;
pub mod tls;
pub mod token;
pub mod up;

pub use telemetry::VERSION;
