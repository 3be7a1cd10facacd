//! ImagePolicyWebhook: a server says which images may run.
//!
//! Answers are kept for a while, because a Deployment asks the same question for each of its pods. When the server gives
//! none, the configuration says whether that allows or refuses.

use std::time::Duration;

use env::Env;
use futures::FutureExt;
use futures::future::BoxFuture;
use meta::{Object, Status};
use outbound::{Config, Hook, Kept};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use types::core::v1::Pod;

use super::{Plugin, Setup};
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::World;

/// Before the names of audit annotations.
const AUDIT_PREFIX: &str = "imagepolicywebhook.image-policy.k8s.io/";
/// Annotations of pods that the server gets to see have this in their names.
const SHOWN: &str = ".image-policy.k8s.io/";
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Answers that are kept.
const ANSWERS_MAX: usize = 1024;

/// See the module.
pub struct ImagePolicyWebhook {
    hook: Hook,
    allowed_for: Duration,
    denied_for: Duration,
    default_allow: bool,
    env: Env,
    answers: Kept<String, Answer>,
}

#[derive(Clone)]
struct Answer {
    allowed: bool,
    reason: String,
    annotations: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    image_policy: Document,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Document {
    kube_config_file: String,
    /// Seconds.
    #[serde(rename = "allowTTL")]
    allow_ttl: i64,
    /// Seconds.
    #[serde(rename = "denyTTL")]
    deny_ttl: i64,
    /// Milliseconds.
    retry_backoff: i64,
    default_allow: bool,
}

/// A number within bounds: 0 stands for the default, and -1 for nothing at all.
fn bounded(
    what: &str,
    given: i64,
    unit: Duration,
    [default, min, max]: [Duration; 3],
) -> Result<Duration, String> {
    match given {
        0 => Ok(default),
        -1 => Ok(Duration::ZERO),
        given => {
            let value =
                u64::try_from(given).map_or(Duration::ZERO, |n| unit.saturating_mul(n.min(1 << 30) as u32));
            if value < min || value > max {
                return Err(format!("invalid value {given} for {what}: must be between {min:?} and {max:?}"));
            }
            Ok(value)
        }
    }
}

impl ImagePolicyWebhook {
    /// As the plugin's document says.
    pub(super) fn configured(setup: &Setup<'_>) -> Result<Self, String> {
        let document = setup.document("ImagePolicyWebhook").ok_or("no config specified")?;
        let Whole { image_policy: document } =
            serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let millisecond = Duration::from_millis(1);
        let backoff = [millisecond * 500, millisecond, minute * 5];
        let backoff = bounded("retryBackoff", document.retry_backoff, millisecond, backoff)?;
        let allowed_for = bounded("allowTTL", document.allow_ttl, second, [minute * 5, second, minute * 30])?;
        let denied_for = bounded("denyTTL", document.deny_ttl, second, [second * 30, second, minute * 30])?;
        if document.kube_config_file.is_empty() {
            return Err("validating imagePolicy.kubeConfigFile: must not be empty".to_owned());
        }
        let path = setup.path(&document.kube_config_file);
        let hook = Config::from_kubeconfig(&path, None)
            .and_then(|server| Hook::new(server, TIMEOUT, setup.env.clone()))
            .map_err(|error| error.to_string())?
            .with_pause(backoff);
        Ok(Self {
            hook,
            allowed_for,
            denied_for,
            default_allow: document.default_allow,
            env: setup.env.clone(),
            answers: Kept::new(ANSWERS_MAX),
        })
    }

    async fn judge(&self, review: &Review<'_>, object: &dyn Object, spec: Json) -> Result<(), Status> {
        let key = spec.to_string();
        let answer = match self.answers.get(&key, self.env.clock.monotonic()) {
            Some(answer) => answer,
            None => match self.ask(&spec).await {
                Ok(answer) => {
                    let kept_for = if answer.allowed { self.allowed_for } else { self.denied_for };
                    self.answers.insert(key, answer.clone(), self.env.clock.monotonic() + kept_for);
                    answer
                }
                Err(why) if self.default_allow => {
                    tracing::warn!(why, "the image policy webhook failed, images are allowed");
                    review.notes.annotate(format!("{AUDIT_PREFIX}failed-open"), "true".into());
                    return Ok(());
                }
                Err(why) => return Err(forbidden(review, Some(object), &why)),
            },
        };
        for (name, value) in &answer.annotations {
            review.notes.annotate(format!("{AUDIT_PREFIX}{name}"), value.clone());
        }
        if answer.allowed {
            return Ok(());
        }
        let why = match answer.reason.as_str() {
            "" => "one or more images rejected by webhook backend".to_owned(),
            reason => format!("image policy webhook backend denied one or more images: {reason}"),
        };
        Err(forbidden(review, Some(object), &why))
    }

    async fn ask(&self, spec: &Json) -> Result<Answer, String> {
        let question = json!({
            "kind": "ImageReview",
            "apiVersion": "imagepolicy.k8s.io/v1alpha1",
            "metadata": { "creationTimestamp": null },
            "spec": spec,
            "status": { "allowed": false },
        });
        let answer = self.hook.ask(&question, |_| {}).await.map_err(|failure| failure.to_string())?;
        let status = answer.get("status").filter(|_| answer["kind"] == "ImageReview");
        let status = status.ok_or("the webhook's answer is no ImageReview")?;
        let annotations = status["auditAnnotations"].as_object().into_iter().flatten();
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        let allowed = status["allowed"].as_bool().unwrap_or(false);
        Ok(Answer {
            allowed,
            reason: text(&status["reason"]),
            annotations: annotations.map(|(name, value)| (name.clone(), text(value))).collect(),
        })
    }
}

impl Plugin for ImagePolicyWebhook {
    fn name(&self) -> &'static str {
        "ImagePolicyWebhook"
    }

    fn consult<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a dyn Object,
        _: &'a dyn World,
    ) -> Option<BoxFuture<'a, Result<(), Status>>> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || !review.on("", "pods") {
            return None;
        }
        let spec = question(review, as_ref::<Pod>(object)?)?;
        Some(self.judge(review, object, spec).boxed())
    }
}

/// What the server is asked about a pod.
fn question(review: &Review<'_>, pod: &Pod) -> Option<Json> {
    let image = |image: &meta::Str| json!({ "image": image.as_str() });
    let containers: Vec<Json> = match review.target.subresource.as_str() {
        "" => pod
            .spec
            .containers
            .iter()
            .chain(pod.spec.init_containers.iter())
            .map(|c| image(&c.image))
            .collect(),
        "ephemeralcontainers" => pod.spec.ephemeral_containers.iter().map(|c| image(&c.image)).collect(),
        _ => return None,
    };
    let shown = pod.metadata.annotations.iter().filter(|(key, _)| key.contains(SHOWN));
    let annotations: serde_json::Map<String, Json> =
        shown.map(|(key, value)| (key.to_string(), value.as_str().into())).collect();
    let mut spec = json!({ "containers": containers, "namespace": review.namespace().as_str() });
    if !annotations.is_empty() {
        spec["annotations"] = Json::Object(annotations);
    }
    Some(spec)
}
