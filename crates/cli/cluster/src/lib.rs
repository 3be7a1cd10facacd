//! up, down, reset, status, images: what a person does with a whole cluster.

// pub mod admin;
// pub mod images;
pub mod kubeconfig;
pub mod options;
pub mod paths;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod progress;
