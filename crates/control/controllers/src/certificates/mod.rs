//! Certificate signing requests: kubelets' are approved, approved ones signed, old ones deleted.
//!
//! [`authority`] makes certificates and knows no Kubernetes; `signers` are the rules of each signer; `approve`, `sign`
//! and `clean` are one controller each.

mod approve;
mod authority;
mod clean;
mod der;
mod sign;
mod signers;
#[cfg(test)]
mod tests;
mod usages;

pub(crate) use approve::start as start_approving;
pub use authority::{Authority, SignError};
pub(crate) use clean::start as start_cleaning;
pub(crate) use sign::start as start_signing;
