//! Webhooks: servers of users that are asked whether, and how, an object may be stored.

mod client;
mod resolve;
mod review;

use std::sync::Arc;
use std::time::{Duration, Instant};

use meta::v1::LabelSelector;
use meta::{List, Object, Status, Str};
use rules::environments;
use serde_json::Value as Json;
use types::admission::v1::AdmissionResponse;
use types::admissionregistration::v1::{
    MatchCondition, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};

use super::conditions::{Conditions, Verdict};
use super::matching::Matcher;
use super::subject::Subject;
use super::{Round, Stage, input};
use crate::metrics;
use crate::refuse::forbidden;
use crate::world::Equivalent;
use ::webhook::{CallError, Users};
pub use client::Endpoint;
use review::Version;

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

    /// The request as the webhook sees it, if it is the webhook's.
    fn matches(&self, stage: &Stage<'_>, object: Option<&dyn Object>) -> Result<Option<Subject>, Status> {
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
        Ok(Some(subject))
    }

    /// Asks, and makes something of the answer. A webhook that cannot be asked refuses the request, or is passed over, as
    /// its failure policy says.
    async fn ask<T>(
        &self,
        stage: &Stage<'_>,
        subject: &Subject,
        place: Place,
        warnings: &mut Vec<String>,
        make: impl FnOnce(AdmissionResponse) -> Result<T, Fault>,
    ) -> Result<Option<T>, Status> {
        let about = metrics::Webhook {
            name: &self.name,
            sort: if self.mutating { "admit" } else { "validating" },
            operation: stage.review.operation.name(),
        };
        let started = Instant::now();
        let result = match self.call(stage, subject, warnings).await {
            Ok(response) => make(response),
            Err(fault) => Err(fault),
        };
        let took = started.elapsed();
        stage.review.notes.wait(took, self.mutating);
        let fault = match result {
            Ok(made) => {
                about.called(took, 200, false);
                return Ok(Some(made));
            }
            Err(fault) => fault,
        };
        let (code, sort) = match &fault {
            Fault::Call(error) => (i32::from(error.code), "calling_webhook_error"),
            Fault::Denied(status) => (status.code, "no_error"),
            Fault::Server(_) => (0, "apiserver_internal_error"),
        };
        let passed_over = matches!(fault, Fault::Call(_)) && !self.fails;
        about.called(took, code, !passed_over);
        if !passed_over {
            about.rejected(sort, code);
        }
        match fault {
            Fault::Denied(status) | Fault::Server(status) => Err(status),
            Fault::Call(error) => {
                let why = format!("failed calling webhook {:?}: {error}", self.name.as_str());
                if self.fails {
                    return Err(Status::internal_error(why));
                }
                about.failed_open();
                let key = format!("failed-open.{}", place.key(self.mutating));
                stage.review.notes.annotate(key, self.name.to_string());
                tracing::warn!(
                    configuration = self.configuration.as_str(),
                    why,
                    "a webhook failed and is passed over"
                );
                Ok(None)
            }
        }
    }

    async fn call(
        &self,
        stage: &Stage<'_>,
        subject: &Subject,
        warnings: &mut Vec<String>,
    ) -> Result<AdmissionResponse, Fault> {
        if stage.review.dry_run && !self.dry_run {
            let why = format!("admission webhook {:?} does not support dry run", self.name.as_str());
            return Err(Fault::Server(Status::bad_request(why)));
        }
        let version = self.version.ok_or_else(|| CallError {
            code: 400,
            why: "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
                .to_owned(),
        })?;
        let uid = stage.world.random().uuid();
        let body = review::request(version, &uid, subject);
        let address = self.endpoint.address(stage.world);
        let sent = self.endpoint.post(address, body, self.timeout).await;
        let answer =
            sent.map_err(|error| CallError { why: format!("failed to call webhook: {error}"), ..error })?;
        let response = review::read(version, &uid, self.mutating, &answer)?;
        for (key, value) in response.audit_annotations.iter() {
            stage.review.notes.annotate(format!("{}/{key}", self.name), value.to_string());
        }
        warnings.extend(response.warnings.iter().map(|text| text.to_string()));
        match response.allowed {
            true => Ok(response),
            false => Err(Fault::Denied(review::denied(&self.name, response.status.map(|status| *status)))),
        }
    }
}

/// Why a webhook did not let a request pass.
enum Fault {
    /// There is no answer that makes sense; the failure policy decides.
    Call(CallError),
    /// It said no.
    Denied(Status),
    /// The server cannot ask it, or cannot do what it says.
    Server(Status),
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        Fault::Call(error)
    }
}

/// Where in the sequence of webhooks one is asked.
#[derive(Clone, Copy)]
struct Place {
    round: usize,
    index: usize,
}

impl Place {
    fn key(self, mutating: bool) -> String {
        let sort = if mutating { "mutation" } else { "validating" };
        format!("{sort}.webhook.admission.k8s.io/round_{}_index_{}", self.round, self.index)
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
        let Some(subject) = hook.matches(stage, Some(&**object))? else { continue };
        if !round.runs(&key) {
            continue;
        }
        let place = Place { round: usize::from(round.again), index };
        let make = |response| patched(stage, hook, place, (&**object, &subject), &response);
        let asked = hook.ask(stage, &subject, place, warnings, make).await;
        let next = asked.as_ref().ok().and_then(|made| made.as_ref().and_then(Option::as_ref));
        let changed = next.is_some_and(|next| !next.eq_object(&**object));
        note_mutation(stage, hook, place, changed);
        if let Some(next) = asked?.flatten() {
            *object = next;
        }
        round.ran(key, changed, hook.again);
    }
    Ok(())
}

/// Tells the audit log whether a webhook changed the object.
fn note_mutation(stage: &Stage<'_>, hook: &Hook, place: Place, changed: bool) {
    let value = format!(
        r#"{{"configuration":{},"webhook":{},"mutated":{changed}}}"#,
        Json::from(hook.configuration.as_str()),
        Json::from(hook.name.as_str())
    );
    stage.review.notes.annotate(place.key(true), value);
}

/// What the answer's patch makes of the object, applied in the version in which the webhook saw it; nothing where there is
/// no patch.
fn patched(
    stage: &Stage<'_>,
    hook: &Hook,
    place: Place,
    (object, subject): (&dyn Object, &Subject),
    response: &AdmissionResponse,
) -> Result<Option<Box<dyn Object>>, Fault> {
    let operations = review::operations(response)?;
    if operations.is_empty() {
        return Ok(None);
    }
    let sort = response.patch_type.as_deref().unwrap_or_default();
    if sort != review::JSON_PATCH {
        let code = response.status.as_ref().and_then(|status| u16::try_from(status.code).ok()).unwrap_or(0);
        return Err(Fault::Call(CallError {
            code: code.max(400),
            why: format!("unsupported patch type {sort:?}"),
        }));
    }
    let internal = |why: String| Fault::Server(Status::internal_error(why));
    let mut next = subject.object.clone();
    schema::patch::json_patch(&mut next, &response.patch).map_err(|error| internal(error.to_string()))?;
    let next = match &subject.other {
        None => stage.review.codec.decode(&next).map_err(internal)?,
        Some(other) => {
            let own = object.group_version_kind();
            let back = Equivalent {
                group: own.group.clone(),
                version: own.version.clone(),
                resource: stage.review.target.resource.clone(),
                kind: own.kind.clone(),
            };
            let read = stage.world.read(&next, other).map_err(internal)?;
            let converted = stage.world.convert(&*read, &back);
            converted.ok_or_else(|| internal(format!("cannot convert {} to {}", other.kind, own.kind)))?
        }
    };
    let value = format!(
        r#"{{"configuration":{},"webhook":{},"patch":{},"patchType":"JSONPatch"}}"#,
        Json::from(hook.configuration.as_str()),
        Json::from(hook.name.as_str()),
        Json::Array(operations),
    );
    let key = format!("patch.webhook.admission.k8s.io/round_{}_index_{}", place.round, place.index);
    stage.review.notes.annotate_with_request(key, value);
    Ok(Some(next))
}

/// Asks those that mutate about a request that has no object.
pub(super) async fn allow(stage: &Stage<'_>, warnings: &mut Vec<String>) -> Result<(), Status> {
    for (index, hook) in stage.sources.mutating_webhooks.values().flat_map(|hooks| hooks.iter()).enumerate() {
        let Some(subject) = hook.matches(stage, None)? else { continue };
        let place = Place { round: 0, index };
        let make = |response: AdmissionResponse| match review::operations(&response)?.is_empty() {
            true => Ok(()),
            false => Err(Fault::Server(Status::internal_error(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name.as_str()
            )))),
        };
        let asked = hook.ask(stage, &subject, place, warnings, make).await;
        note_mutation(stage, hook, place, false);
        asked?;
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
        if let Some(subject) = hook.matches(stage, object)? {
            asked.push((hook, subject));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let asking = asked.iter().enumerate().map(|(index, (hook, subject))| async move {
        let mut warnings = Vec::new();
        let place = Place { round: 0, index };
        let result = hook.ask(stage, subject, place, &mut warnings, |_| Ok(())).await;
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
