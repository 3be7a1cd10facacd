//! up, down, reset, status, images: what a person does with a whole cluster.

pub mod files;
pub mod kubeconfig;
pub mod paths;
pub mod pki;
pub mod preflight;
