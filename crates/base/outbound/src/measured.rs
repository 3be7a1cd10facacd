//! The metrics of requests to other servers, under client-go's names (`rest_client_*`).

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use telemetry::{CounterFamily, Histogram, HistogramFamily};

use crate::connection::{Answer, ConnectionError};

/// Limits of times, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// Limits of sizes: 64 bytes to 16 MiB.
const BYTES: [f64; 11] =
    [64.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0];

fn by_verb(name: &'static str, help: &'static str, limits: &[f64]) -> HistogramFamily {
    telemetry::histogram(name, help, &["verb", "host"], limits)
}

static REQUESTS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "HTTP requests sent, by the answer's status, method and host.";
    telemetry::counter("rest_client_requests_total", help, &["code", "method", "host"])
});
static TOOK: LazyLock<HistogramFamily> = LazyLock::new(|| {
    by_verb("rest_client_request_duration_seconds", "Seconds until an answer began.", &SECONDS)
});
static LIMITED: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let help = "Seconds that requests waited for the client's own rate limiter.";
    by_verb("rest_client_rate_limiter_duration_seconds", help, &SECONDS)
});
static SENT: LazyLock<HistogramFamily> =
    LazyLock::new(|| by_verb("rest_client_request_size_bytes", "Bytes of requests' bodies.", &BYTES));
static READ: LazyLock<HistogramFamily> = LazyLock::new(|| {
    by_verb("rest_client_response_size_bytes", "Bytes of answers' bodies, watches excepted.", &BYTES)
});

/// The requests of one caller.
pub(crate) struct Measured {
    host: String,
}

/// A request about to be sent.
pub(crate) struct Asked<'a> {
    host: &'a str,
    method: Method,
    bytes: usize,
    watch: bool,
}

/// A request under way.
pub(crate) struct Sent<'a> {
    asked: Asked<'a>,
    began: Instant,
}

impl Measured {
    /// Of requests to this host, with its port where it is named.
    pub(crate) fn new(host: &str) -> Measured {
        Measured { host: host.to_owned() }
    }

    pub(crate) fn asked(&self, request: &Request<Bytes>) -> Asked<'_> {
        let query = request.uri().query().unwrap_or_default();
        Asked {
            host: &self.host,
            method: request.method().clone(),
            bytes: request.body().len(),
            watch: query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")),
        }
    }
}

impl<'a> Asked<'a> {
    /// It waited so long for its turn.
    pub(crate) fn limited(&self, waited: Duration) {
        LIMITED.with(&[self.method.as_str(), self.host]).observe(waited.as_secs_f64());
    }

    pub(crate) fn sent(self) -> Sent<'a> {
        Sent { asked: self, began: Instant::now() }
    }
}

impl Sent<'_> {
    /// What came of it.
    pub(crate) fn answered(self, answer: Result<&mut Response<Answer>, &mut ConnectionError>) {
        let Sent { asked, began } = self;
        let (method, host) = (asked.method.as_str(), asked.host);
        // A watch lasts as long as its server likes: neither its time nor its size says anything.
        if !asked.watch {
            TOOK.with(&[method, host]).observe(began.elapsed().as_secs_f64());
        }
        match answer {
            Ok(answer) => {
                REQUESTS.with(&[answer.status().as_str(), method, host]).inc();
                SENT.with(&[method, host]).observe(asked.bytes as f64);
                let tally = || Tally { histogram: READ.with(&[method, host]), bytes: 0 };
                answer.body_mut().tally = (!asked.watch).then(tally);
            }
            Err(_) => REQUESTS.with(&["<error>", method, host]).inc(),
        }
    }
}

/// Counts the bytes of an answer until nobody reads it any more.
pub(crate) struct Tally {
    histogram: Histogram,
    bytes: usize,
}

impl Tally {
    pub(crate) fn read(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.histogram.observe(self.bytes as f64);
    }
}
