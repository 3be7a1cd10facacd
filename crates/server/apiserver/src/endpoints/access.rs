//! Subresources that connect to something: pods' logs, exec, attach, port-forward and proxies.

use authz::Authorized;
use http::Request;
use hyper::body::Incoming;
use registry::Served;

use crate::answer::Answer;
use crate::pipeline::Decoded;
use crate::server::Server;
use crate::stream::admit::admit;
use crate::stream::{kubelet, log, proxy};

/// Whether the subresource is a connection and not a part of an object.
pub(super) fn is_connection(served: &Served, decoded: &Decoded) -> bool {
    let group_is_core = served.resource().group.is_empty();
    let sub = decoded.info.subresource.as_str();
    group_is_core
        && match &*served.resource().plural {
            "pods" => matches!(sub, "log" | "exec" | "attach" | "portforward" | "proxy"),
            "services" | "nodes" => sub == "proxy",
            _ => false,
        }
}

/// Serves it.
pub(super) async fn serve(
    server: &Server,
    authorized: &Authorized,
    decoded: &Decoded,
    request: Request<Incoming>,
) -> Answer {
    if let Err(status) = kubelet::check(&decoded.info.subresource, &decoded.query) {
        return Answer::Refused(status);
    }
    if decoded.info.subresource != "log"
        && let Err(status) = admit(server, authorized, decoded).await
    {
        return Answer::Refused(status);
    }
    let result = match (decoded.info.resource.as_str(), decoded.info.subresource.as_str()) {
        ("pods", "log") => log::log(server, authorized, decoded, request).await,
        ("pods", "exec" | "attach" | "portforward") => {
            kubelet::stream(server, authorized, decoded, request).await
        }
        _ => proxy::serve(server, decoded, request).await,
    };
    result.unwrap_or_else(Answer::Refused)
}
