//! What it takes to ask the API server about people, under upstream's names.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use env::Env;
use meta::Status;
use telemetry::{CounterFamily, GaugeFamily, HistogramFamily, InFlight};

/// Limits of times, in seconds.
const SECONDS: [f64; 8] = [0.25, 0.5, 0.7, 1.0, 1.5, 3.0, 5.0, 10.0];

/// One sort of question.
pub(crate) struct Asked {
    total: LazyLock<CounterFamily>,
    took: LazyLock<HistogramFamily>,
}

/// About tokens.
pub(crate) static AUTHENTICATION: Asked = Asked {
    total: LazyLock::new(|| {
        let help = "Questions to the API server about tokens, by the answer's status.";
        telemetry::counter("apiserver_delegated_authn_request_total", help, &["code"])
    }),
    took: LazyLock::new(|| {
        let help = "Seconds that answers about tokens took, by status.";
        telemetry::histogram("apiserver_delegated_authn_request_duration_seconds", help, &["code"], &SECONDS)
    }),
};

/// About rights.
pub(crate) static AUTHORIZATION: Asked = Asked {
    total: LazyLock::new(|| {
        let help = "Questions to the API server about rights, by the answer's status.";
        telemetry::counter("apiserver_delegated_authz_request_total", help, &["code"])
    }),
    took: LazyLock::new(|| {
        let help = "Seconds that answers about rights took, by status.";
        telemetry::histogram("apiserver_delegated_authz_request_duration_seconds", help, &["code"], &SECONDS)
    }),
};

impl Asked {
    /// Measures one question.
    pub(crate) async fn measure<A>(
        &self,
        env: &Env,
        question: impl Future<Output = Result<A, Status>>,
    ) -> Result<A, Status> {
        let began = env.clock.monotonic();
        let answer = question.await;
        let code = match &answer {
            // A review is created, and never found.
            Ok(_) => "201".to_owned(),
            Err(status) => status.code.to_string(),
        };
        self.total.with(&[&code]).inc();
        self.took.with(&[&code]).observe((env.clock.monotonic() - began).as_secs_f64());
        answer
    }
}

static TOKENS: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Tokens by whether they were known.";
    telemetry::counter("authentication_token_cache_request_total", help, &["status"])
});
static TOKENS_TOOK: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let help = "Seconds that it took to know whose a token is.";
    telemetry::histogram("authentication_token_cache_request_duration_seconds", help, &["status"], &buckets)
});
static FETCHED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let help = "Tokens that were asked about, by whether there was an answer.";
    telemetry::counter("authentication_token_cache_fetch_total", help, &["status"])
});
static FETCHING: LazyLock<GaugeFamily> = LazyLock::new(|| {
    let help = "Tokens that are being asked about.";
    telemetry::gauge("authentication_token_cache_active_fetch_count", help, &["status"])
});

/// A token is being asked about, until this is dropped.
pub(crate) fn fetching() -> InFlight {
    FETCHING.with(&["in_flight"]).track()
}

/// It was asked about.
pub(crate) fn fetched(answered: bool) {
    FETCHED.with(&[if answered { "ok" } else { "error" }]).inc();
}

/// A token's owner was known, or had to be asked for.
pub(crate) fn token(hit: bool, took: Duration) {
    let status = if hit { "hit" } else { "miss" };
    TOKENS.with(&[status]).inc();
    TOKENS_TOOK.with(&[status]).observe(took.as_secs_f64());
}
