//! The API server: HTTP in front, the request pipeline, and the documents that describe it.
//!
//! [`ApiServer::start`] opens the registry over a store, writes the objects that every cluster starts with and serves
//! until [`ApiServerHandle::shutdown`]. `pipeline.rs` is the list of stages that each request passes; `endpoints` has
//! one file per family of paths; [`ApiServerHandle::transport`] is the way in for components of the same process.
#![expect(
    clippy::result_large_err,
    reason = "Status is what every stage answers with; boxing it would cost each refusal an allocation"
)]

mod answer;
mod audit;
mod clock;
mod directory;
mod encode;
mod endpoints;
mod extension;
mod flow;
mod http;
mod identity;
mod impersonation;
mod metrics;
mod pipeline;
mod serve;
mod server;
mod start;
mod stream;
mod table;
mod transport;
mod watching;
mod yaml;

pub use ::audit as auditing;
pub use admission::{Chain as Admission, Choice as AdmissionChoice, Configuration as AdmissionConfiguration};
pub use authn::RequestHeaderNames;
pub use authn::oidc::{Anonymous, Configuration as AuthenticationConfiguration};
pub use authz::config::Configuration as AuthorizationConfiguration;
pub use identity::{Authentication, Authorization};
pub use serve::tls::TlsFiles;
pub use server::{ApiServer, ApiServerHandle, Config, Extensions, HealthCheck, Server, StartError};
pub use serving::TlsError;
pub use stream::KubeletClient;
