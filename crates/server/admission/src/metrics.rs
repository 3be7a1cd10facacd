//! What admission did, under upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use telemetry::{CounterFamily, Histogram, HistogramFamily};

use crate::review::Operation;

/// Limits of the latency histograms, in seconds.
const LATENCY_S: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

/// Those of webhooks, which may take longer.
const WEBHOOK_LATENCY_S: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

static DURATION: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_admission_webhook_admission_duration_seconds",
        "Latency of admission webhooks, by name, operation, whether they refused, and type.",
        &["name", "operation", "rejected", "type"],
        &WEBHOOK_LATENCY_S,
    )
});

static REQUESTS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_admission_webhook_request_total",
        "Requests to admission webhooks, by response code, name, operation, whether they refused, and type.",
        &["code", "name", "operation", "rejected", "type"],
    )
});

static REJECTIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_admission_webhook_rejection_count",
        "Requests that admission webhooks refused, by kind of error, name, operation, response code and type.",
        &["error_type", "name", "operation", "rejection_code", "type"],
    )
});

static FAIL_OPEN: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_admission_webhook_fail_open_count",
        "Admission webhooks that failed and were passed over, by name and type.",
        &["name", "type"],
    )
});

static POLICY_CHECKS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_validating_admission_policy_check_total",
        "Checks of validating policies, by policy, binding, what was done and kind of error.",
        &["enforcement_action", "error_type", "policy", "policy_binding"],
    )
});

/// Limits of the histograms of policies, in seconds.
const POLICY_LATENCY_S: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];

static POLICY_DURATION: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_validating_admission_policy_check_duration_seconds",
        "Seconds that checks of validating policies take, by policy, binding, what was done and kind of error.",
        &["enforcement_action", "error_type", "policy", "policy_binding"],
        &POLICY_LATENCY_S,
    )
});

static MUTATIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_mutating_admission_policy_check_total",
        "Changes by mutating policies, by policy, binding and kind of error.",
        &["error_type", "policy", "policy_binding"],
    )
});

static MUTATION_DURATION: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_mutating_admission_policy_check_duration_seconds",
        "Seconds that changes by mutating policies take, by policy, binding and kind of error.",
        &["error_type", "policy", "policy_binding"],
        &POLICY_LATENCY_S,
    )
});

static STEPS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_admission_step_admission_duration_seconds",
        "Latency of the two halves of admission, by operation, whether they refused, and type.",
        &["operation", "rejected", "type"],
        &LATENCY_S,
    )
});

static CONTROLLERS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_admission_controller_admission_duration_seconds",
        "Seconds that each admission plugin takes, by operation, whether it refused, and type.",
        &["name", "operation", "rejected", "type"],
        &LATENCY_S,
    )
});

static SECURITY_EVALUATIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "pod_security_evaluations_total",
        "Policy evaluations of PodSecurity, not counting ignored or exempt requests.",
        &[
            "decision",
            "policy_level",
            "policy_version",
            "mode",
            "request_operation",
            "resource",
            "subresource",
        ],
    )
});

static SECURITY_EXEMPTIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "pod_security_exemptions_total",
        "Requests that PodSecurity exempted, not counting ignored or out of scope requests.",
        &["request_operation", "resource", "subresource"],
    )
});

/// One half of admission.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Admit,
    Validate,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Admit => "admit",
            Step::Validate => "validate",
        }
    }
}

fn truth(rejected: bool) -> &'static str {
    if rejected { "true" } else { "false" }
}

/// A half of admission is through with a request.
pub(crate) fn step(step: Step, operation: Operation, rejected: bool, took: Duration) {
    STEPS.with(&[operation.name(), truth(rejected), step.name()]).observe(took.as_secs_f64());
}

/// Where the times of one plugin are kept.
pub(crate) fn controller(name: &str, operation: Operation, rejected: bool, step: Step) -> Histogram {
    CONTROLLERS.with(&[name, operation.name(), truth(rejected), step.name()])
}

/// PodSecurity judged.
pub(crate) struct Evaluation<'a> {
    pub allowed: bool,
    pub level: &'a str,
    pub version: &'a str,
    pub mode: &'a str,
    pub operation: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
}

impl Evaluation<'_> {
    pub(crate) fn count(&self) {
        let decision = if self.allowed { "allow" } else { "deny" };
        let labels =
            [decision, self.level, self.version, self.mode, self.operation, self.resource, self.subresource];
        SECURITY_EVALUATIONS.with(&labels).inc();
    }
}

/// PodSecurity did not look.
pub(crate) fn exempted(operation: &str, resource: &str, subresource: &str) {
    SECURITY_EXEMPTIONS.with(&[operation, resource, subresource]).inc();
}

/// Codes that are told apart in labels: webhooks choose them.
const CODE_MAX: i32 = 600;

/// One call of a webhook.
pub(crate) struct Webhook<'a> {
    pub name: &'a str,
    /// `admit` or `validating`.
    pub sort: &'static str,
    pub operation: &'static str,
}

impl Webhook<'_> {
    /// It was called.
    pub(crate) fn called(&self, took: Duration, code: i32, rejected: bool) {
        let rejected = if rejected { "true" } else { "false" };
        let labels = [self.name, self.operation, rejected, self.sort];
        DURATION.with(&labels).observe(took.as_secs_f64());
        let code = code.min(CODE_MAX).to_string();
        REQUESTS.with(&[&code, self.name, self.operation, rejected, self.sort]).inc();
    }

    /// It refused, or could not be asked.
    pub(crate) fn rejected(&self, error: &str, code: i32) {
        let code = code.min(CODE_MAX).to_string();
        REJECTIONS.with(&[error, self.name, self.operation, &code, self.sort]).inc();
    }

    /// It could not be asked and was passed over.
    pub(crate) fn failed_open(&self) {
        FAIL_OPEN.with(&[self.name, self.sort]).inc();
    }
}

/// What went wrong in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyError {
    /// Nothing: the policy itself says no.
    None,
    /// An expression does not compile.
    Compile,
    /// All expressions together cost too much.
    Budget,
    /// An expression, or the configuration, fails.
    Invalid,
}

impl PolicyError {
    fn name(self) -> &'static str {
        match self {
            PolicyError::None => "no_error",
            PolicyError::Compile => "compile_error",
            PolicyError::Budget => "out_of_budget_error",
            PolicyError::Invalid => "invalid_error",
        }
    }
}

/// A validating policy did something about a request: `allow` where it failed and is passed over, else what its binding
/// says.
pub(crate) fn policy_checked(action: &str, error: PolicyError, policy: &str, binding: &str, took: Duration) {
    let labels = [action, error.name(), policy, binding];
    POLICY_CHECKS.with(&labels).inc();
    POLICY_DURATION.with(&labels).observe_duration(took);
}

/// A mutating policy was run.
pub(crate) fn policy_mutated(error: PolicyError, policy: &str, binding: &str, took: Duration) {
    let labels = [error.name(), policy, binding];
    MUTATIONS.with(&labels).inc();
    MUTATION_DURATION.with(&labels).observe_duration(took);
}
