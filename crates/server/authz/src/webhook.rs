//! The webhook authorizer: asks a server with a SubjectAccessReview, and remembers what it said.

use std::sync::LazyLock;
use std::time::Duration;

use authn::User;
use env::Env;
use outbound::{Config, ConfigError, Hook, HookError, Kept, Try};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use telemetry::{CounterFamily, HistogramFamily};

use crate::attributes::Attributes;
use crate::conditions::{Conditions, Verdict};
use crate::decide::Decision;
use crate::review;

/// Answers that are remembered.
const REMEMBERED_MAX: usize = 8192;
/// Bytes of a request's own attributes from which its answer is not remembered, so that nobody fills the memory.
const ATTRIBUTES_BYTES_MAX: usize = 10_000;

static EVALUATIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_authorization_webhook_evaluations_total",
        "Round trips to authorization webhooks, by name and result.",
        &["name", "result"],
    )
});

static DURATION: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_authorization_webhook_duration_seconds",
        "Latency of authorization webhooks, by name and result.",
        &["name", "result"],
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
    )
});

static FAIL_OPEN: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_authorization_webhook_evaluations_fail_open_total",
        "Answers of no opinion because an authorization webhook timed out or failed, by name and result.",
        &["name", "result"],
    )
});

static EXCLUSIONS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_authorization_match_condition_exclusions_total",
        "Requests that match conditions kept from an authorizer, by name and type.",
        &["name", "type"],
    )
});

static CONDITION_SECONDS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    telemetry::histogram(
        "apiserver_authorization_match_condition_evaluation_seconds",
        "Time that an authorizer's match conditions take, by name and type.",
        &["name", "type"],
        &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25],
    )
});

static CONDITION_ERRORS: LazyLock<CounterFamily> = LazyLock::new(|| {
    telemetry::counter(
        "apiserver_authorization_match_condition_evaluation_errors_total",
        "Requests for which a match condition of an authorizer failed, by name and type.",
        &["name", "type"],
    )
});

/// What a failing webhook means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The next authorizer is asked.
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// The version of SubjectAccessReview that a webhook speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `v1`
    V1,
    /// `v1beta1`, in which groups are called `group`.
    V1Beta1,
}

/// How a webhook is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name in metrics.
    pub name: String,
    /// How long a permission is remembered; `None` for not at all.
    pub authorized_ttl: Option<Duration>,
    /// How long a refusal is remembered.
    pub unauthorized_ttl: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The version spoken.
    pub version: ReviewVersion,
    /// What a failure means.
    pub failure: FailurePolicy,
}

#[derive(Clone, Debug)]
struct Answer {
    allowed: bool,
    denied: bool,
    reason: String,
}

/// See the module.
pub(crate) struct Webhook {
    hook: Hook,
    settings: Settings,
    conditions: Conditions,
    env: Env,
    remembered: Kept<[u8; 32], Answer>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Webhook {
    pub(crate) fn new(
        server: Config,
        settings: Settings,
        conditions: Conditions,
        env: Env,
    ) -> Result<Self, ConfigError> {
        let hook = Hook::new(server, settings.timeout, env.clone())?;
        Ok(Webhook { hook, settings, conditions, env, remembered: Kept::new(REMEMBERED_MAX) })
    }

    /// The decision, and why it was not made as it should.
    pub(crate) async fn decide(&self, user: &User, request: &Attributes) -> (Decision, Option<String>) {
        let started = std::time::Instant::now();
        let verdict = self.conditions.check(user, request);
        if !self.conditions.is_empty() {
            CONDITION_SECONDS.with(&[&self.settings.name, "Webhook"]).observe_since(started);
        }
        match verdict {
            Verdict::Applies => {}
            Verdict::Skipped => {
                EXCLUSIONS.with(&[&self.settings.name, "Webhook"]).inc();
                return (Decision::NoOpinion(String::new()), None);
            }
            Verdict::Failed(why) => {
                CONDITION_ERRORS.with(&[&self.settings.name, "Webhook"]).inc();
                return (self.failed(), Some(why));
            }
        }
        let spec = review::spec(user, request);
        let key: [u8; 32] = Sha256::digest(spec.to_string()).into();
        let answer = match self.remembered.get(&key, self.env.clock.monotonic()) {
            Some(answer) => answer,
            None => match self.ask(spec).await {
                Ok(answer) => {
                    self.remember(key, request, &answer);
                    answer
                }
                Err(error) => {
                    tracing::error!(webhook = %self.settings.name, %error, "an authorization webhook failed");
                    if self.settings.failure == FailurePolicy::NoOpinion {
                        FAIL_OPEN.with(&[&self.settings.name, result_of(Some(&error))]).inc();
                    }
                    return (self.failed(), Some(error.to_string()));
                }
            },
        };
        let (reason, both) = (answer.reason, answer.allowed && answer.denied);
        if answer.denied {
            let why = "webhook subject access review returned both allow and deny response";
            return (Decision::Deny(reason), both.then(|| why.to_owned()));
        }
        if answer.allowed { (Decision::Allow(reason), None) } else { (Decision::NoOpinion(reason), None) }
    }

    fn failed(&self) -> Decision {
        match self.settings.failure {
            FailurePolicy::NoOpinion => Decision::NoOpinion(String::new()),
            FailurePolicy::Deny => Decision::Deny(String::new()),
        }
    }

    fn remember(&self, key: [u8; 32], request: &Attributes, answer: &Answer) {
        let ttl = if answer.allowed { self.settings.authorized_ttl } else { self.settings.unauthorized_ttl };
        let Some(ttl) = ttl.filter(|_| request.bytes() < ATTRIBUTES_BYTES_MAX) else { return };
        self.remembered.insert(key, answer.clone(), self.env.clock.monotonic() + ttl);
    }

    async fn ask(&self, mut spec: Json) -> Result<Answer, HookError> {
        let version = match self.settings.version {
            ReviewVersion::V1 => "authorization.k8s.io/v1",
            ReviewVersion::V1Beta1 => {
                if let Some(groups) = spec.as_object_mut().and_then(|spec| spec.remove("groups")) {
                    spec["group"] = groups;
                }
                "authorization.k8s.io/v1beta1"
            }
        };
        let question = json!({
            "kind": "SubjectAccessReview", "apiVersion": version,
            "metadata": { "creationTimestamp": null }, "spec": spec, "status": { "allowed": false },
        });
        let name = self.settings.name.as_str();
        let answer = self
            .hook
            .ask(&question, |attempt: Try<'_>| {
                let labels = [name, result_of(attempt.failure)];
                EVALUATIONS.with(&labels).inc();
                DURATION.with(&labels).observe_duration(attempt.took);
            })
            .await?;
        if answer["kind"] != "SubjectAccessReview" || answer["apiVersion"] != version {
            let (kind, found) = (answer["kind"].as_str(), answer["apiVersion"].as_str());
            return Err(HookError::Garbage(format!(
                "the webhook answered with kind {:?} of version {:?} to a SubjectAccessReview of version {version:?}",
                kind.unwrap_or_default(),
                found.unwrap_or_default(),
            )));
        }
        let status = &answer["status"];
        let flag = |field: &str| match &status[field] {
            Json::Null => Ok(false),
            Json::Bool(flag) => Ok(*flag),
            _ => Err(HookError::Garbage(format!("status.{field} of the webhook's answer is no boolean"))),
        };
        Ok(Answer {
            allowed: flag("allowed")?,
            denied: flag("denied")?,
            reason: status["reason"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

fn result_of(failure: Option<&HookError>) -> &'static str {
    match failure {
        None => "success",
        Some(HookError::TimedOut(_) | HookError::Refused { code: 504, .. }) => "timeout",
        Some(_) => "error",
    }
}

#[cfg(test)]
mod tests;
