//! Logs and metrics under upstream's metric names.
//!
//! A metric is a static family next to the code that it measures:
//!
//! ```
//! use std::sync::LazyLock;
//! use telemetry::CounterFamily;
//!
//! static REQUESTS: LazyLock<CounterFamily> =
//!     LazyLock::new(|| telemetry::counter("doc_requests_total", "Requests by verb and code.", &["verb", "code"]));
//! REQUESTS.with(&["GET", "200"]).inc();
//! assert!(telemetry::render().contains("doc_requests_total{verb=\"GET\",code=\"200\"} 1"));
//! ```
//!
//! Recording is one atomic operation, after finding the labels' cell under the read lock of one of several
//! shards; a hot path keeps the cell that `with` returns.

mod build;
mod cells;
mod exposition;
mod family;
mod json_log;
mod logs;
mod process;
mod registry;
mod slis;
pub mod zpages;

pub use build::{VERSION, build};
pub use cells::{Counter, Gauge, Histogram, InFlight};
pub use exposition::Exposition;
pub use family::{Bundles, CounterFamily, GaugeFamily, HistogramFamily};
pub use logs::{LogError, LogForm, LogOptions, ModuleLevel, init_logs, init_logs_as, of_verbosity};
pub use process::started;
pub use registry::{AllowedLabels, Registry, collector, counter, gauge, histogram, registry, render};
pub use slis::Slis;

/// The content type of [`render`]'s answer: the Prometheus text format, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// `count` bucket limits from `start`, each `factor` times the one before: the usual shape for sizes and times.
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |limit| Some(limit * factor)).take(count).collect()
}
