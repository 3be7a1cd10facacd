//! The cells of all requests with the same labels.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::StatusCode;
use telemetry::{Counter, CounterFamily, Histogram, HistogramFamily};

use crate::http::info::RequestInfo;

/// Limits of the latency histograms, in seconds (upstream's). The two shortest are only told apart where nothing is taken
/// off.
const LATENCY_S: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// Limits of the histogram of sizes, in bytes (upstream's).
const SIZE_BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// The metrics that rows have cells of.
pub(super) struct Families {
    requests: CounterFamily,
    latency: HistogramFamily,
    sli: HistogramFamily,
    slo: HistogramFamily,
    sizes: HistogramFamily,
    bodies: HistogramFamily,
    validation: HistogramFamily,
}

impl Families {
    pub(super) fn new() -> Families {
        let place: &[&str] = &["component", "group", "resource", "scope", "subresource", "verb", "version"];
        // Fifty kilobytes, then a hundred more each time, up to the longest body.
        let bodies: Vec<f64> = (0..31).map(|step| f64::from(50_000 + step * 100_000)).collect();
        Families {
            requests: telemetry::counter(
                "apiserver_request_total",
                "Requests by verb, dry run value, group, version, resource, scope, component and response code.",
                &[
                    "code",
                    "component",
                    "dry_run",
                    "group",
                    "resource",
                    "scope",
                    "subresource",
                    "verb",
                    "version",
                ],
            ),
            latency: telemetry::histogram(
                "apiserver_request_duration_seconds",
                "Response latency in seconds.",
                &super::LABELS,
                &LATENCY_S,
            ),
            sli: telemetry::histogram(
                "apiserver_request_sli_duration_seconds",
                "Response latency in seconds without the time that webhooks took and that requests waited for a seat.",
                place,
                &LATENCY_S[2..],
            ),
            slo: telemetry::histogram(
                "apiserver_request_slo_duration_seconds",
                "Older name of apiserver_request_sli_duration_seconds.",
                place,
                &LATENCY_S[2..],
            ),
            sizes: telemetry::histogram(
                "apiserver_response_sizes",
                "Sizes of what reads were answered, in bytes, where they are known from the start.",
                place,
                &SIZE_BYTES,
            ),
            bodies: telemetry::histogram(
                "apiserver_request_body_size_bytes",
                "Sizes of the bodies of requests, in bytes.",
                &["group", "resource", "verb"],
                &bodies,
            ),
            validation: telemetry::histogram(
                "field_validation_request_duration_seconds",
                "Response latency in seconds by how strict the client wants fields to be looked at.",
                &["field_validation"],
                &LATENCY_S[2..],
            ),
        }
    }
}

/// See the module.
pub(super) struct Row {
    families: Arc<Families>,
    /// The labels but those of [`Row::place`] that are no place.
    dry_run: Box<str>,
    place: [Box<str>; 7],
    /// The two most frequent codes.
    ok: OnceLock<Counter>,
    created: OnceLock<Counter>,
    latency: Histogram,
    sli: Option<[Histogram; 2]>,
    sizes: OnceLock<Histogram>,
    bodies: OnceLock<Histogram>,
    lax: OnceLock<Histogram>,
}

impl Row {
    pub(super) fn new(families: &Arc<Families>, values: &[&str]) -> Row {
        let value = |at: usize| values.get(at).copied().unwrap_or_default();
        let place = [0, 2, 3, 4, 5, 6, 7].map(value);
        // What is only tried out is no part of what the server promises.
        let sli = value(1).is_empty().then(|| [families.sli.with(&place), families.slo.with(&place)]);
        Row {
            latency: families.latency.with(values),
            sli,
            families: families.clone(),
            dry_run: value(1).into(),
            place: place.map(Box::from),
            ok: OnceLock::new(),
            created: OnceLock::new(),
            sizes: OnceLock::new(),
            bodies: OnceLock::new(),
            lax: OnceLock::new(),
        }
    }

    fn place(&self) -> [&str; 7] {
        std::array::from_fn(|at| &*self.place[at])
    }

    fn requests(&self, status: StatusCode) -> Counter {
        let [component, group, resource, scope, subresource, verb, version] = self.place();
        self.families.requests.with(&[
            status.as_str(),
            component,
            &self.dry_run,
            group,
            resource,
            scope,
            subresource,
            verb,
            version,
        ])
    }

    /// A request is over after `took`, of which others took `elsewhere`.
    pub(super) fn over(&self, status: StatusCode, took: Duration, elsewhere: Duration) {
        match status {
            StatusCode::OK => self.ok.get_or_init(|| self.requests(status)).inc(),
            StatusCode::CREATED => self.created.get_or_init(|| self.requests(status)).inc(),
            _ => self.requests(status).inc(),
        }
        self.latency.observe_duration(took);
        let own = took.saturating_sub(elsewhere);
        self.sli.iter().flatten().for_each(|sli| sli.observe_duration(own));
    }

    /// An answer of this length.
    pub(super) fn answered(&self, bytes: u64) {
        if matches!(&*self.place[5], "GET" | "LIST") {
            self.sizes.get_or_init(|| self.families.sizes.with(&self.place())).observe(bytes as f64);
        }
    }

    /// A request with a body of this length. Rows differ by scope, so that one stands for one verb of the API.
    pub(super) fn body(&self, info: &RequestInfo, bytes: usize) {
        let cell = self.bodies.get_or_init(|| {
            let verb = if info.verb == "deletecollection" { "delete_collection" } else { info.verb };
            self.families.bodies.with(&[&info.group, &info.resource, verb])
        });
        cell.observe(bytes as f64);
    }

    /// A request that wants fields to be looked at in this way.
    pub(super) fn validated(&self, how: &str, begun: Instant) {
        let with = || self.families.validation.with(&[how]);
        if how.is_empty() {
            self.lax.get_or_init(with).observe_since(begun);
        } else {
            with().observe_since(begun);
        }
    }
}
