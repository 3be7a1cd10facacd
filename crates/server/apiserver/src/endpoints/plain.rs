//! Paths that are no resources: health, version, metrics, discovery, OpenAPI, OpenID.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use meta::Status;
use registry::errors;
use serde_json::json;
use telemetry::zpages;

use super::{discovery, health, openapi};
use crate::answer::Answer;
use crate::encode::indented;
use crate::http::body::Body;
use crate::http::media::routed;
use crate::metrics::Routed;
use crate::pipeline::Decoded;
use crate::server::Server;

/// What the server is called where components tell of themselves.
const COMPONENT: &str = "apiserver";
/// Content type of plain text answers.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// Serves a path.
pub(crate) async fn serve(server: &Server, decoded: &Decoded) -> Answer {
    let path = decoded.path.as_str();
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let first = trimmed.split('/').nth(1).unwrap_or_default();
    if let Some(routed) = measured(path) {
        decoded.routed.get_or_init(|| routed);
    }
    match first {
        "healthz" | "livez" | "readyz" => health::serve(server, decoded, path).await,
        "version" if trimmed == "/version" => {
            restful(decoded, &["application/json"], || typed("application/json", version(), false))
        }
        "metrics" if path == "/metrics" => metrics(),
        "metrics" if path == "/metrics/slis" => {
            Answer::Text(StatusCode::OK, telemetry::CONTENT_TYPE, server.slis.render().into())
        }
        "statusz" if path == "/statusz" => {
            let (now, accept) = (server.now_s(), decoded.header(header::ACCEPT));
            let started = telemetry::started().map_or(now, |started| started as i64);
            zpage(zpages::statusz(COMPONENT, &paths(server), started, now, accept))
        }
        "flagz" if path == "/flagz" => zpage(zpages::flagz(COMPONENT, decoded.header(header::ACCEPT))),
        "api" | "apis" => discovery::serve(server, decoded, trimmed),
        "openapi" => openapi::serve(server, decoded, trimmed).await,
        ".well-known" if trimmed == "/.well-known/openid-configuration" => {
            restful(decoded, &["application/json"], || openid(server))
        }
        "openid" if trimmed == "/openid/v1/jwks" => jwks(server, decoded),
        "" if trimmed.is_empty() => {
            typed("application/json", json!({ "paths": paths(server) }).to_string().into(), false)
        }
        _ => page_not_found(),
    }
}

/// The paths that upstream counts requests for, by the names that it has for them.
fn measured(path: &str) -> Option<Routed> {
    let (component, name) = match path {
        "/healthz" => ("", "/healthz"),
        "/livez" => ("", "/livez"),
        "/readyz" => ("", "/readyz"),
        "/openapi/v3" => ("", "openapi/v3"),
        "/apis" => (COMPONENT, "apis"),
        "/api" => (COMPONENT, "api"),
        path if path.starts_with("/openapi/v3/") => ("", "openapi/v3/"),
        _ => return None,
    };
    Some(Routed::Path(component, name))
}

/// The answer of the innermost mux for paths that nobody serves.
pub(super) fn page_not_found() -> Answer {
    Answer::Text(StatusCode::NOT_FOUND, TEXT, Bytes::from_static(b"404 page not found\n"))
}

/// Documents that take GET only and some media types, with the refusals of upstream's router.
pub(super) fn restful(decoded: &Decoded, produces: &[&str], answer: impl FnOnce() -> Answer) -> Answer {
    if decoded.method != Method::GET {
        return Answer::Refused(errors::method_not_allowed());
    }
    if !routed(decoded.header(header::ACCEPT), produces) {
        return Answer::Refused(unavailable_representation(produces));
    }
    answer()
}

/// The 406 of upstream's REST library.
pub(super) fn unavailable_representation(available: &[&str]) -> Status {
    let available = available.join(", ");
    let mut status = Status::failure(
        406,
        meta::reason::NOT_ACCEPTABLE,
        format!("406: Not Acceptable\n\nAvailable representations: {available}"),
    );
    status.details_mut();
    status
}

/// `version.Info`: indented and in this order for every client, as upstream writes it.
fn version() -> Bytes {
    let build: BTreeMap<&str, String> = telemetry::build().into();
    let members = [
        ("major", &*build["major"]),
        ("minor", &build["minor"]),
        ("emulationMajor", "1"),
        ("emulationMinor", "36"),
        ("minCompatibilityMajor", "1"),
        ("minCompatibilityMinor", "35"),
        ("gitVersion", &build["git_version"]),
        ("gitCommit", &build["git_commit"]),
        ("gitTreeState", &build["git_tree_state"]),
        ("buildDate", &build["build_date"]),
        ("goVersion", &build["go_version"]),
        ("compiler", &build["compiler"]),
        ("platform", &build["platform"]),
    ];
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{}", json!(name), json!(value))).collect();
    indented(format!("{{{}}}", members.join(",")).as_bytes())
}

fn metrics() -> Answer {
    Answer::Text(StatusCode::OK, telemetry::CONTENT_TYPE, telemetry::render().into())
}

/// What the server tells of itself, in the form that the client accepts.
fn zpage(page: Option<zpages::Page>) -> Answer {
    let Some(page) = page else {
        let reason = meta::reason::NOT_ACCEPTABLE;
        return Answer::Refused(Status::failure(406, reason, zpages::NOT_ACCEPTABLE));
    };
    let mut response = Response::new(Body::full(Bytes::from(page.body)));
    let headers = response.headers_mut();
    headers.extend(value_of(&page.content_type).map(|value| (header::CONTENT_TYPE, value)));
    let warning = page.warning.and_then(|text| value_of(&format!("299 - \"{text}\"")));
    headers.extend(warning.map(|value| (header::WARNING, value)));
    Answer::Raw(response)
}

fn value_of(text: &str) -> Option<header::HeaderValue> {
    header::HeaderValue::from_str(text).ok()
}

fn openid(server: &Server) -> Answer {
    let issuer = &server.tokens.issuer().url;
    let algorithms: Vec<String> = server.tokens.jwks()["keys"]
        .as_array()
        .map(|keys| keys.iter().filter_map(|k| k["alg"].as_str()).map(str::to_owned).collect())
        .unwrap_or_default();
    let document = json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{}/openid/v1/jwks", server.address),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    });
    typed("application/json", document.to_string().into(), true)
}

fn jwks(server: &Server, decoded: &Decoded) -> Answer {
    let kind = "application/jwk-set+json";
    restful(decoded, &[kind], || typed(kind, server.tokens.jwks().to_string().into(), true))
}

/// A document of a certain type; OpenID documents may be cached for an hour.
pub(super) fn typed(kind: &'static str, body: Bytes, cached: bool) -> Answer {
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if cached {
        let value = header::HeaderValue::from_static("public, max-age=3600");
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    Answer::Raw(response)
}

/// Every path of the index, sorted.
fn paths(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/flagz",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/statusz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for root in health::ROOTS {
        paths.push(format!("/{root}"));
        paths.extend(health::names(server, root).into_iter().map(|name| format!("/{root}/{name}")));
    }
    for api in server.aggregator.all().iter().filter(|api| !api.spec.group.is_empty()) {
        paths.push(format!("/apis/{}", api.spec.group));
        paths.push(format!("/apis/{}/{}", api.spec.group, api.spec.version));
    }
    paths.sort();
    paths.dedup();
    paths
}
