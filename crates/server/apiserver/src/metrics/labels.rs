//! By what requests are told apart in metrics: upstream's verbs, scopes and values of parameters.
//!
//! Only what a route was found for is labelled with what its path says. All else could be made up by anybody, and every
//! word of it would stay in memory.

use http::Method;
use http::header::CONTENT_TYPE;

use crate::endpoints::path_names_object;
use crate::pipeline::Decoded;

/// What a request turned out to be about, once that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// A resource that is served.
    Resource,
    /// A path of its own, by the component and the name that upstream has for it.
    Path(&'static str, &'static str),
}

/// The labels of a request, in the order of [`LABELS`].
pub(super) type Values<'a> = [&'a str; 8];

/// What [`Values`] are values of.
pub(super) const LABELS: [&str; 8] =
    ["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"];

/// The component of all requests on resources.
pub(crate) const COMPONENT: &str = "apiserver";

/// Subresources that connect to something.
const CONNECTIONS: [&str; 5] = ["log", "exec", "portforward", "attach", "proxy"];

/// The labels of a request that a route was found for.
pub(super) fn values(request: &Decoded, routed: Routed) -> Values<'_> {
    let (info, dry_run) = (&request.info, dry_run(request));
    match routed {
        Routed::Path(component, name) => [component, dry_run, "", "", "", name, "GET", ""],
        Routed::Resource => {
            let scope = scope(request);
            let verb = verb(request, scope);
            [COMPONENT, dry_run, &info.group, &info.resource, scope, &info.subresource, verb, &info.version]
        }
    }
}

/// What the path, and no selector, narrows the request to.
pub(crate) fn scope(request: &Decoded) -> &'static str {
    let info = &request.info;
    if path_names_object(request) || info.verb == "create" {
        "resource"
    } else if info.namespace.is_empty() {
        "cluster"
    } else {
        "namespace"
    }
}

/// The verb of a request on a resource.
pub(super) fn verb(request: &Decoded, scope: &str) -> &'static str {
    let info = &request.info;
    if CONNECTIONS.contains(&&*info.subresource) {
        return "CONNECT";
    }
    match request.method {
        _ if info.verb == "watch" => "WATCH",
        Method::GET | Method::HEAD if scope != "resource" => "LIST",
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH if request.header(CONTENT_TYPE) == "application/apply-patch+yaml" => "APPLY",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// What of a request's parameter shows: what it may be, or that it is something else.
fn parameter<'a>(request: &Decoded, name: &str, known: &[&'a str]) -> &'a str {
    let mut given = request.query.all(name);
    let Some(first) = given.next() else { return "" };
    let same = known.iter().find(|known| **known == first && given.all(|other| other == first));
    same.copied().unwrap_or("invalid")
}

/// `All`, `invalid` or nothing.
fn dry_run(request: &Decoded) -> &'static str {
    parameter(request, "dryRun", &["All"])
}

/// `Ignore`, `Warn`, `Strict`, `invalid` or nothing.
pub(super) fn field_validation(request: &Decoded) -> &'static str {
    match request.query.all("fieldValidation").count() {
        0 | 1 => parameter(request, "fieldValidation", &["", "Ignore", "Warn", "Strict"]),
        _ => "invalid",
    }
}
