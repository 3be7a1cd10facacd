//! Calls of plugins, under the names that gRPC's clients have for them.

use std::sync::LazyLock;

use telemetry::CounterFamily;

const SERVICE: &str = "v2.KeyManagementService";
/// One message each way.
const SORT: &str = "unary";
const METHOD: &[&str] = &["grpc_method", "grpc_service", "grpc_type"];

static STARTED: LazyLock<CounterFamily> =
    LazyLock::new(|| telemetry::counter("grpc_client_started_total", "Calls that were begun.", METHOD));
static SENT: LazyLock<CounterFamily> =
    LazyLock::new(|| telemetry::counter("grpc_client_msg_sent_total", "Messages that were sent.", METHOD));
static RECEIVED: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter("grpc_client_msg_received_total", "Messages that were received.", METHOD)
});
static HANDLED: LazyLock<CounterFamily> = LazyLock::new(|| {
    let labels = &["grpc_code", "grpc_method", "grpc_service", "grpc_type"];
    telemetry::counter("grpc_client_handled_total", "Calls that ended, by their code.", labels)
});

/// A call begins.
pub(super) fn started(method: &str) {
    STARTED.with(&[method, SERVICE, SORT]).inc();
}

/// Its message is on its way.
pub(super) fn sent(method: &str) {
    SENT.with(&[method, SERVICE, SORT]).inc();
}

/// Its answer is here.
pub(super) fn received(method: &str) {
    RECEIVED.with(&[method, SERVICE, SORT]).inc();
}

/// It is over.
pub(super) fn handled(method: &str, code: &str) {
    HANDLED.with(&[code, method, SERVICE, SORT]).inc();
}
