//! Extension API servers: APIService objects name a Service that serves a group and version, and this server sends
//! requests for it on, with the user in `X-Remote-*` headers over its front proxy certificate.
//!
//! [`Aggregator`] is the table of them. [`availability`] judges whether one can be used, [`address`] finds where it is,
//! [`transport`] is the way to it, [`documents`] reads what it says about itself, and [`groups`] orders all groups for
//! discovery; [`upgrade`] says OpenAPI v2 anew as v3. Nothing here reads the store: the API server tells of changes and writes the conditions.

pub mod address;
mod aggregator;
pub mod availability;
pub mod discovery;
pub mod documents;
pub mod groups;
pub mod identity;
pub mod openapi;
mod remote;
pub mod transport;
pub mod upgrade;

pub use aggregator::Aggregator;
pub use remote::{Link, Remote, Unroutable};
