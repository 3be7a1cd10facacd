//! Where an authorized request goes: one file per family of paths.

mod access;
mod aggregated;
mod components;
mod deletion;
mod discovery;
pub(crate) mod groups;
mod health;
mod openapi;
mod options;
mod plain;
mod regeneration;
mod resources;
pub(crate) mod reviews;
mod selectors;
mod swagger;

pub(crate) use discovery::Discovery;
pub(crate) use health::look as look_at_health;
pub(crate) use openapi::CustomDocuments;
pub(crate) use plain::TEXT;
pub(crate) use resources::{deprecation, internal_type, path_names_object};

use authz::Authorized;
use http::Request;
use hyper::body::Incoming;

use crate::answer::Answer;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Serves a request that passed authorization.
pub(crate) async fn route(
    server: &Server,
    authorized: Authorized,
    decoded: &Decoded,
    request: Request<Incoming>,
) -> Answer {
    if let Some(remote) = aggregated::find(server, decoded) {
        aggregated::serve(server, &authorized, decoded, request, &remote).await
    } else if decoded.info.is_resource {
        resources::serve(server, &authorized, decoded, request).await
    } else {
        plain::serve(server, decoded).await
    }
}
