//! The request metrics that every dashboard of an API server reads, under upstream's names.
//!
//! A request is counted when it is over, as part of what a route was found for ([`Routed`]): its labels are looked up once
//! and lead to a [`Row`] with the cells of all metrics. What no route was found for, or what was refused before, is not
//! counted, as upstream does not count it.

mod inside;
mod labels;
mod rows;
mod watches;

use std::sync::Arc;
use std::time::{Duration, Instant};

use call::Target;
use http::StatusCode;
use telemetry::{Bundles, Counter, CounterFamily, Gauge, GaugeFamily, Histogram, InFlight};

use crate::endpoints::deprecation;
use crate::pipeline::Decoded;
use labels::{COMPONENT, LABELS};
use rows::Row;

pub(crate) use inside::Inside;
pub(crate) use labels::{Routed, scope};
pub(crate) use watches::WatchMetrics;

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

/// Limits of how long the stages take, in seconds (upstream's).
const STAGE_S: [f64; 13] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 10.0, 15.0, 30.0];

/// A stage of the pipeline before the request is performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Authentication,
    Audit,
    Impersonation,
    Flow,
    Authorization,
}

/// The names that upstream has for its filters, in the order of [`Stage`].
const STAGES: [&str; 5] =
    ["authentication", "audit", "constrainedimpersonation", "priorityandfairness", "authorization"];

/// See the module.
pub(crate) struct Metrics {
    rows: Bundles<Row>,
    deprecated: GaugeFamily,
    terminations: CounterFamily,
    long_running: GaugeFamily,
    reading: Gauge,
    mutating: Gauge,
    stages: [Histogram; STAGES.len()],
    /// What was left of the certificate that a request was made with, in seconds.
    pub client_certificates: Histogram,
    /// Requests for logs, all of which reach a kubelet over TLS that is verified; under the present and the older name.
    pub logs: [Counter; 2],
    /// Those of which the kubelet's certificate did not hold.
    pub logs_distrusted: [Counter; 2],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let families = Arc::new(rows::Families::new());
        let inflight = telemetry::gauge(
            "apiserver_current_inflight_requests",
            "Requests that are running, by kind.",
            &["request_kind"],
        );
        let stages = telemetry::histogram(
            "apiserver_request_filter_duration_seconds",
            "Time that requests spend in the stages before they are performed.",
            &["filter"],
            &STAGE_S,
        );
        let client_certificates = telemetry::histogram(
            "apiserver_client_certificate_expiration_seconds",
            "What was left of the client certificates that requests were made with.",
            &[],
            &CERTIFICATE_S,
        );
        let logs = [
            "kube_apiserver_pod_logs_insecure_backend_total",
            "kube_apiserver_pod_logs_pods_logs_insecure_backend_total",
        ]
        .map(|name| {
            let help = "Requests for logs of pods, by whether the kubelet's certificate is verified.";
            telemetry::counter(name, help, &["usage"]).with(&["enforce_tls"])
        });
        let logs_distrusted = [
            "kube_apiserver_pod_logs_backend_tls_failure_total",
            "kube_apiserver_pod_logs_pods_logs_backend_tls_failure_total",
        ]
        .map(|name| {
            let help = "Requests for logs of pods that failed since the kubelet's certificate did not hold.";
            telemetry::counter(name, help, &[]).with(&[])
        });
        Metrics {
            rows: Bundles::new(&LABELS, move |values| Row::new(&families, values)),
            deprecated: telemetry::gauge(
                "apiserver_requested_deprecated_apis",
                "Deprecated APIs that somebody has used, each with the constant 1.",
                &["group", "removed_release", "resource", "subresource", "version"],
            ),
            terminations: telemetry::counter(
                "apiserver_request_terminations_total",
                "Requests that the server ended to protect itself.",
                &["code", "component", "group", "resource", "scope", "subresource", "verb", "version"],
            ),
            long_running: telemetry::gauge(
                "apiserver_longrunning_requests",
                "Long-running requests that are open.",
                &["component", "group", "resource", "scope", "subresource", "verb", "version"],
            ),
            reading: inflight.with(&["readOnly"]),
            mutating: inflight.with(&["mutating"]),
            stages: STAGES.map(|stage| stages.with(&[stage])),
            client_certificates: client_certificates.with(&[]),
            logs,
            logs_distrusted,
        }
    }

    /// Counts a request as in flight for as long as the answer is kept.
    pub(crate) fn begin(&self, verb: &str) -> InFlight {
        let reads = matches!(verb, "get" | "list" | "watch");
        if reads { self.reading.track() } else { self.mutating.track() }
    }

    /// Counts an open request that runs for as long as its client likes, for as long as the answer is kept.
    pub(crate) fn open(&self, request: &Decoded) -> Option<InFlight> {
        let routed = *request.routed.get()?;
        let [component, _, group, resource, scope, subresource, verb, version] =
            labels::values(request, routed);
        let labels = [component, group, resource, scope, subresource, verb, version];
        Some(self.long_running.with(&labels).track())
    }

    /// The same of a watch of a component in this process.
    fn open_inside(&self, target: &Target, scope: &str) -> InFlight {
        let Target { group, version, resource, .. } = target;
        self.long_running.with(&[COMPONENT, group, resource, scope, "", "WATCH", version]).track()
    }

    /// A stage is over that began at `begun`; returns now, when the next one begins.
    pub(crate) fn stage(&self, stage: Stage, begun: Instant) -> Instant {
        let now = Instant::now();
        self.stages[stage as usize].observe_duration(now - begun);
        now
    }

    /// What a request is counted in once it is over; `None` when no route was found for it.
    pub(crate) fn finish(&self, request: &Decoded, status: StatusCode, begun: Instant) -> Option<Finish> {
        let routed = *request.routed.get()?;
        let info = &request.info;
        if let Routed::Resource = routed
            && deprecation(&info.group, &info.resource).is_some()
        {
            let labels = [&*info.group, "", &info.resource, &info.subresource, &info.version];
            self.deprecated.with(&labels).set(1.0);
        }
        let row = self.rows.with(&labels::values(request, routed));
        row.validated(labels::field_validation(request), begun);
        if let Some(bytes) = request.body_bytes.get() {
            row.body(info, *bytes);
        }
        Some(Finish { row, status, begun, elsewhere: request.elsewhere.total() })
    }

    /// The server ended a request to protect itself.
    pub(crate) fn terminated(&self, request: &Decoded, status: StatusCode) {
        let Some(routed) = request.routed.get() else { return };
        let [component, _, group, resource, scope, subresource, verb, version] =
            labels::values(request, *routed);
        let labels = [status.as_str(), component, group, resource, scope, subresource, verb, version];
        self.terminations.with(&labels).inc();
    }
}

/// Counts a request when it is dropped, which is when it is over.
pub(crate) struct Finish {
    row: Arc<Row>,
    status: StatusCode,
    begun: Instant,
    /// Time that others took: webhooks, and those who had the seats.
    elsewhere: Duration,
}

impl Finish {
    /// The answer was read to a client, and is so long.
    pub(crate) fn answered(&self, bytes: u64) {
        self.row.answered(bytes);
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.row.over(self.status, self.begun.elapsed(), self.elsewhere);
    }
}
