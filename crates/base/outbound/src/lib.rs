//! HTTP to other servers: which one, trusted how, as whom, over connections that are kept.
//!
//! [`Config`] is what a kubeconfig says of one server and one user; [`Caller`] sends requests as it says. The client of the
//! API, the webhooks that authenticate and authorize, and the keys of token issuers all go through here. [`Hook`] is a webhook
//! that a kubeconfig names, [`Kept`] what is remembered of its answers.

mod caller;
mod connection;
mod hook;
mod kept;
mod kubeconfig;
mod measured;
mod rate;
pub mod tls;
pub mod words;

pub use caller::{Caller, ReadError};
pub use connection::{Answer, ConnectionError, Io};
pub use hook::{Hook, HookError, Try};
pub use kept::Kept;
pub use kubeconfig::{Config, ConfigError, Impersonate};
pub use rate::Rate;
