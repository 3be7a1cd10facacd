//! The request metrics that every dashboard of an API server reads, under upstream's names.

use std::time::Instant;

use http::StatusCode;
use telemetry::{CounterFamily, GaugeFamily, Histogram, HistogramFamily};

use crate::endpoints::deprecation;
use crate::pipeline::Decoded;

/// Limits of the latency histogram, in seconds (upstream's).
const LATENCY_S: [f64; 25] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0, 90.0, 120.0,
];

/// Limits of the histogram of sizes, in bytes (upstream's).
const SIZE_BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Limits of what is left of client certificates, in seconds (upstream's): from nothing over hours and days to a year.
const CERTIFICATE_S: [f64; 14] = [
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

/// See the module.
pub(crate) struct Metrics {
    requests: CounterFamily,
    latency: HistogramFamily,
    sizes: HistogramFamily,
    deprecated: GaugeFamily,
    inflight: GaugeFamily,
    long_running: GaugeFamily,
    /// What was left of the certificate that a request was made with, in seconds.
    pub client_certificates: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests = telemetry::counter(
            "apiserver_request_total",
            "Requests by verb, dry run value, group, version, resource, scope, component and response code.",
            &["code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
        );
        let latency = telemetry::histogram(
            "apiserver_request_duration_seconds",
            "Response latency in seconds.",
            &["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
            &LATENCY_S,
        );
        let sizes = telemetry::histogram(
            "apiserver_response_sizes",
            "Sizes of what reads were answered, in bytes, where they are known from the start.",
            &["component", "group", "resource", "scope", "subresource", "verb", "version"],
            &SIZE_BYTES,
        );
        let deprecated = telemetry::gauge(
            "apiserver_requested_deprecated_apis",
            "Deprecated APIs that somebody has used, each with the constant 1.",
            &["group", "removed_release", "resource", "subresource", "version"],
        );
        let inflight = telemetry::gauge(
            "apiserver_current_inflight_requests",
            "Requests that are running, by kind.",
            &["request_kind"],
        );
        let long_running = telemetry::gauge(
            "apiserver_longrunning_requests",
            "Long-running requests that are open.",
            &["component", "group", "resource", "scope", "subresource", "verb", "version"],
        );
        let client_certificates = telemetry::histogram(
            "apiserver_client_certificate_expiration_seconds",
            "What was left of the client certificates that requests were made with.",
            &[],
            &CERTIFICATE_S,
        );
        let client_certificates = client_certificates.with(&[]);
        Metrics { requests, latency, sizes, deprecated, inflight, long_running, client_certificates }
    }

    /// Counts a request as running for as long as the answer is kept.
    pub(crate) fn begin(&self, request: &Decoded, long_running: bool) -> impl Drop + use<> {
        let info = &request.info;
        if long_running {
            let labels = [
                "apiserver",
                &info.group,
                &info.resource,
                scope(request),
                &info.subresource,
                verb(request),
                &info.version,
            ];
            return self.long_running.with(&labels).track();
        }
        let reads = matches!(info.verb, "get" | "list" | "watch");
        self.inflight.with(&[if reads { "readOnly" } else { "mutating" }]).track()
    }

    /// Records an answer, of `bytes` if its length is known.
    pub(crate) fn end(&self, request: &Decoded, status: StatusCode, bytes: Option<u64>, started: Instant) {
        let info = &request.info;
        let dry_run = if request.query.get("dryRun") == Some("All") { "All" } else { "" };
        let (scope, verb) = (scope(request), verb(request));
        self.requests
            .with(&[
                status.as_str(),
                "apiserver",
                dry_run,
                &info.group,
                &info.resource,
                scope,
                &info.subresource,
                verb,
                &info.version,
            ])
            .inc();
        if let Some(bytes) = bytes.filter(|_| matches!(info.verb, "get" | "list")) {
            let labels =
                ["apiserver", &info.group, &info.resource, scope, &info.subresource, verb, &info.version];
            self.sizes.with(&labels).observe(bytes as f64);
        }
        if info.is_resource && deprecation(&info.group, &info.resource).is_some() {
            let labels = [&*info.group, "", &info.resource, &info.subresource, &info.version];
            self.deprecated.with(&labels).set(1.0);
        }
        if !request.info.long_running(&request.path) {
            self.latency
                .with(&[
                    "apiserver",
                    dry_run,
                    &info.group,
                    &info.resource,
                    scope,
                    &info.subresource,
                    verb,
                    &info.version,
                ])
                .observe_since(started);
        }
    }
}

fn scope(request: &Decoded) -> &'static str {
    let info = &request.info;
    if !info.is_resource {
        ""
    } else if !info.name.is_empty() {
        "resource"
    } else if !info.namespace.is_empty() {
        "namespace"
    } else {
        "cluster"
    }
}

fn verb(request: &Decoded) -> &'static str {
    match request.info.verb {
        "create" | "post" => "POST",
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" => "PROXY",
        "head" => "HEAD",
        _ => "other",
    }
}
