//! Webhooks: servers of users that are asked whether, and how, an object may be stored.

mod client;
mod resolve;
mod review;

use std::sync::Arc;
use std::time::Duration;

use meta::v1::LabelSelector;
use meta::{List, Object, Status, Str};
use rules::environments;
use serde_json::Value as Json;
use types::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};

use super::conditions::{Conditions, Verdict};
use super::matching::{Matched, Matcher};
use super::subject::Subject;
use super::{Round, Stage, input};
use crate::metrics;
use crate::refuse::forbidden;
use crate::world::Equivalent;
use ::webhook::Users;
pub use client::Endpoint;
use review::{Answer, Version};

/// How long a webhook may take unless it says otherwise, in seconds.
const TIMEOUT_S: i32 = 10;

/// One webhook.
pub(crate) struct Hook {
    configuration: Str,
    name: Str,
    matcher: Matcher,
    conditions: Conditions,
    /// Failures refuse the request.
    fails: bool,
    /// It may be asked about requests of which nothing is stored.
    dry_run: bool,
    timeout: Duration,
    version: Option<Version>,
    endpoint: Endpoint,
    /// It wants to be asked again when others changed the object after it.
    again: bool,
    mutating: bool,
}

/// What both sorts of webhooks have.
struct Common<'h> {
    name: &'h Str,
    client: &'h WebhookClientConfig,
    rules: &'h List<RuleWithOperations>,
    failure_policy: Option<&'h Str>,
    match_policy: Option<&'h Str>,
    namespaces: Option<&'h LabelSelector>,
    objects: Option<&'h LabelSelector>,
    side_effects: Option<&'h Str>,
    timeout_s: Option<i32>,
    versions: &'h List<Str>,
    conditions: &'h List<MatchCondition>,
}

macro_rules! common {
    ($hook:expr) => {
        Common {
            name: &$hook.name,
            client: &$hook.client_config,
            rules: &$hook.rules,
            failure_policy: $hook.failure_policy.as_ref(),
            match_policy: $hook.match_policy.as_ref(),
            namespaces: $hook.namespace_selector.as_deref(),
            objects: $hook.object_selector.as_deref(),
            side_effects: $hook.side_effects.as_ref(),
            timeout_s: $hook.timeout_seconds,
            versions: &$hook.admission_review_versions,
            conditions: &$hook.match_conditions,
        }
    };
}

impl Hook {
    pub(crate) fn mutating(
        configuration: &MutatingWebhookConfiguration,
        users: Option<&Users>,
    ) -> Arc<[Hook]> {
        let name = &configuration.metadata.name;
        let hooks = configuration.webhooks.iter().map(|hook| {
            let again = hook.reinvocation_policy.as_deref() == Some("IfNeeded");
            Hook { again, mutating: true, ..Hook::new(name, &common!(hook), users) }
        });
        hooks.collect()
    }

    pub(crate) fn validating(
        configuration: &ValidatingWebhookConfiguration,
        users: Option<&Users>,
    ) -> Arc<[Hook]> {
        let name = &configuration.metadata.name;
        configuration.webhooks.iter().map(|hook| Hook::new(name, &common!(hook), users)).collect()
    }

    fn new(configuration: &Str, hook: &Common<'_>, users: Option<&Users>) -> Self {
        Self {
            configuration: configuration.clone(),
            name: hook.name.clone(),
            matcher: Matcher::of_webhook(hook.rules, hook.namespaces, hook.objects, hook.match_policy),
            conditions: Conditions::new(environments::admission(), hook.conditions),
            fails: hook.failure_policy.is_none_or(|policy| policy != "Ignore"),
            dry_run: hook.side_effects.is_some_and(|effects| effects == "None" || effects == "NoneOnDryRun"),
            timeout: Duration::from_secs(
                u64::try_from(hook.timeout_s.unwrap_or(TIMEOUT_S)).unwrap_or(1).max(1),
            ),
            version: hook.versions.iter().find_map(|version| Version::named(version)),
            endpoint: Endpoint::new(hook.client, users),
            again: false,
            mutating: false,
        }
    }

    /// Whether the request is the webhook's, and in which version.
    fn matches(
        &self,
        stage: &Stage<'_>,
        object: Option<&dyn Object>,
    ) -> Result<Option<(Matched, Subject)>, Status> {
        let Some(matched) = self.matcher.matches(stage.review, object, stage.world) else { return Ok(None) };
        let subject = Subject::new(stage, object, &matched);
        if !self.conditions.is_empty() {
            let activation = input::admission(stage, &subject);
            match self.conditions.check(&activation) {
                Verdict::Applies => {}
                Verdict::Skipped => return Ok(None),
                Verdict::Failed(why) if self.fails => return Err(forbidden(stage.review, object, &why)),
                Verdict::Failed(why) => {
                    tracing::warn!(
                        webhook = self.name.as_str(),
                        why,
                        "match conditions failed, the webhook is not asked"
                    );
                    return Ok(None);
                }
            }
        }
        Ok(Some((matched, subject)))
    }

    /// Asks. A webhook that cannot be asked refuses the request, or is passed over, as its failure policy says.
    async fn ask(
        &self,
        stage: &Stage<'_>,
        subject: &Subject,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Answer>, Status> {
        if stage.review.dry_run && !self.dry_run {
            let why = format!("admission webhook {:?} does not support dry run", self.name.as_str());
            return Err(Status::bad_request(why));
        }
        let about = metrics::Webhook {
            name: &self.name,
            sort: if self.mutating { "admit" } else { "validating" },
            operation: stage.review.operation.name(),
        };
        let started = std::time::Instant::now();
        let answer = self.call(stage, subject).await;
        let rejected = answer.as_ref().is_ok_and(|answer| !answer.allowed);
        about.called(started.elapsed(), answer.as_ref().map_or(600, |_| 200), rejected);
        match answer {
            Ok(mut answer) => {
                warnings.append(&mut answer.warnings);
                for (key, value) in answer.annotations.drain(..) {
                    stage.review.notes.annotate(format!("{}/{key}", self.name), value);
                }
                if !answer.allowed {
                    let status = review::denied(&self.name, answer.status.as_ref());
                    about.rejected("no_error", status.code);
                    return Err(status);
                }
                Ok(Some(answer))
            }
            Err(why) => {
                let why = format!("failed calling webhook {:?}: {why}", self.name.as_str());
                if self.fails {
                    about.rejected("calling_webhook_error", 0);
                    return Err(Status::internal_error(why));
                }
                about.failed_open();
                tracing::warn!(
                    configuration = self.configuration.as_str(),
                    why,
                    "a webhook failed and is passed over"
                );
                Ok(None)
            }
        }
    }

    async fn call(&self, stage: &Stage<'_>, subject: &Subject) -> Result<Answer, String> {
        let version = self.version.ok_or("webhook does not accept known AdmissionReview versions")?;
        let uid = stage.world.random().uuid();
        let body = review::request(version, &uid, subject);
        let address = self.endpoint.address(stage.world);
        let sent = self.endpoint.post(address, body, self.timeout).await;
        let answer = sent.map_err(|why| format!("failed to call webhook: {why}"))?;
        review::read(version, &uid, self.mutating, &answer)
            .map_err(|why| format!("received invalid webhook response: {why}"))
    }
}

/// Asks those that mutate, one after the other, each about what the one before made.
pub(super) async fn mutate(
    stage: &Stage<'_>,
    object: &mut Box<dyn Object>,
    round: &mut Round,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    for (index, hook) in stage.sources.mutating_webhooks.values().flat_map(|hooks| hooks.iter()).enumerate() {
        let key = format!("webhook/{}/{index}", hook.configuration);
        if !round.runs(&key) {
            continue;
        }
        let Some((matched, subject)) = hook.matches(stage, Some(&**object))? else { continue };
        let mut changed = false;
        if let Some(Answer { patch: Some(patch), .. }) = hook.ask(stage, &subject, warnings).await? {
            let next = patched(stage, &**object, &matched, &subject.object, &patch)
                .map_err(Status::internal_error)?;
            changed = !next.eq_object(&**object);
            *object = next;
        }
        round.ran(key, changed, hook.again);
    }
    Ok(())
}

/// The object with a patch applied in the version in which the webhook saw it.
fn patched(
    stage: &Stage<'_>,
    object: &dyn Object,
    matched: &Matched,
    seen: &Json,
    patch: &[u8],
) -> Result<Box<dyn Object>, String> {
    let mut next = seen.clone();
    schema::patch::json_patch(&mut next, patch).map_err(|error| error.to_string())?;
    let Some(other) = matched else { return stage.review.codec.decode(&next) };
    let own = object.group_version_kind();
    let back = Equivalent {
        group: own.group.clone(),
        version: own.version.clone(),
        resource: stage.review.target.resource.clone(),
        kind: own.kind.clone(),
    };
    let read = stage.world.read(&next, other)?;
    stage.world.convert(&*read, &back).ok_or_else(|| format!("cannot convert {} to {}", other.kind, own.kind))
}

/// Asks those that mutate about a request that has no object.
pub(super) async fn allow(stage: &Stage<'_>, warnings: &mut Vec<String>) -> Result<(), Status> {
    for hook in stage.sources.mutating_webhooks.values().flat_map(|hooks| hooks.iter()) {
        if let Some((_, subject)) = hook.matches(stage, None)? {
            hook.ask(stage, &subject, warnings).await?;
        }
    }
    Ok(())
}

/// Asks those that validate, all at once; the first refusal in their order counts.
pub(super) async fn validate(
    stage: &Stage<'_>,
    object: Option<&dyn Object>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let mut asked = Vec::new();
    for hook in stage.sources.validating_webhooks.values().flat_map(|hooks| hooks.iter()) {
        if let Some((_, subject)) = hook.matches(stage, object)? {
            asked.push((hook, subject));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let asking = asked.iter().map(|(hook, subject)| async move {
        let mut warnings = Vec::new();
        let result = hook.ask(stage, subject, &mut warnings).await;
        (result, warnings)
    });
    let mut first = Ok(());
    for (result, mut said) in futures::future::join_all(asking).await {
        warnings.append(&mut said);
        if let (Ok(()), Err(status)) = (&first, result) {
            first = Err(status);
        }
    }
    first
}
