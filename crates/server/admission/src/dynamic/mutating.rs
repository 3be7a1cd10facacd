//! Policies that mutate.

use std::time::Instant;

use cel::{Budget, Map, Object as CelObject, Program, Value, to_json};
use meta::{Object, Status, StatusCause, go_quote};
use parking_lot::Mutex;
use schema::apply::{Place, overlay};
use schema::patch::{PatchError, json_patch};
use serde_json::{Value as Json, json};

use super::conditions::{OUT_OF_BUDGET, Verdict};
use super::configuration::{Action, Binding, Mutation, Policy};
use super::matching::{Matched, Matcher};
use super::subject::Subject;
use super::validating::POLICY_COST_MAX;
use super::variables::Variables;
use super::{Round, Stage, input, params};
use crate::metrics::{self, PolicyError};
use crate::refuse::forbidden;
use crate::world::Equivalent;

/// A policy with one of its bindings and one of its parameters.
struct Invocation<'a> {
    policy: &'a Policy,
    binding: &'a Binding,
    matched: Matched,
    params: Option<Json>,
    /// What tells it from others in the second round.
    key: String,
}

/// Why a mutation did not come to be.
enum Fault {
    /// The policy says whether that refuses the request.
    Policy(String),
    /// What it made is no object; that is a failure of the server whatever the policy says.
    Internal(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Fault::Policy(why)
    }
}

/// Runs every policy that is bound to the request, one after the other, each on what the one before made. What applies is
/// decided by the object as it came. All are run, so that each may say what is wrong.
pub(super) fn run(stage: &Stage<'_>, object: &mut Box<dyn Object>, round: &mut Round) -> Result<(), Status> {
    let mut refusals = Vec::new();
    for invocation in invocations(stage, &**object, &mut refusals) {
        invoke(stage, &invocation, object, round, &mut refusals)?;
    }
    if refusals.is_empty() { Ok(()) } else { Err(refused(stage, &**object, refusals)) }
}

/// Why policies refuse the request: each message with the reason that it gives the refusal.
type Refusals = Vec<(String, Option<&'static str>)>;

/// What applies to the request.
fn invocations<'a>(stage: &Stage<'a>, object: &dyn Object, refusals: &mut Refusals) -> Vec<Invocation<'a>> {
    let mut found = Vec::new();
    for policy in stage.sources.mutating.values() {
        let mut bindings = stage
            .sources
            .mutating_bindings
            .values()
            .filter(|binding| binding.policy == policy.name)
            .peekable();
        if bindings.peek().is_none() {
            continue;
        }
        let matches = |m: &Matcher| m.matches(stage.review, Some(object), stage.world);
        let Some(matched) = matches(&policy.matcher) else { continue };
        let mut refuse = |message: String| {
            if policy.fails {
                refusals.push((message, None));
            } else {
                ignored(policy, &message);
            }
        };
        if let Err(why) = params::check_kind(stage, policy) {
            refuse(format!("policy {} denied request: {why}", go_quote(&policy.name)));
            continue;
        }
        for binding in bindings {
            if binding.matcher.as_ref().is_some_and(|m| matches(m).is_none()) {
                continue;
            }
            match params::of(stage, policy, binding) {
                Err(why) => refuse(denial(policy, binding, &why)),
                Ok(all) => found.extend(all.into_iter().map(|params| {
                    let of = |name: &str| params.as_ref().and_then(|p| p["metadata"][name].as_str());
                    let (space, name) = (of("namespace").unwrap_or_default(), of("name").unwrap_or_default());
                    let key = format!("policy/{}/{}/{space}/{name}", policy.name, binding.name);
                    Invocation { policy, binding, matched: matched.clone(), params, key }
                })),
            }
        }
    }
    found
}

fn denial(policy: &Policy, binding: &Binding, why: &str) -> String {
    format!("policy '{}' with binding '{}' denied request: {why}", policy.name, binding.name)
}

fn ignored(policy: &Policy, why: &str) {
    tracing::warn!(policy = policy.name.as_str(), why, "a mutating policy failed and is ignored");
}

fn refused(stage: &Stage<'_>, object: &dyn Object, refusals: Refusals) -> Status {
    let mut status = forbidden(stage.review, Some(object), "");
    if let Some((message, reason)) = refusals.first() {
        status.message = message.as_str().into();
        status.reason = reason.map_or(status.reason, Into::into);
    }
    let causes = refusals
        .into_iter()
        .map(|(message, _)| StatusCause { message: message.into(), ..StatusCause::default() });
    status.details_mut().causes.extend(causes);
    status
}

/// Runs a policy for a binding and a parameter: its mutations in order, each on what the one before made.
fn invoke(
    stage: &Stage<'_>,
    invocation: &Invocation<'_>,
    object: &mut Box<dyn Object>,
    round: &mut Round,
    refusals: &mut Refusals,
) -> Result<(), Status> {
    let Invocation { policy, binding, matched, params, key } = invocation;
    let Action::Mutate { mutations, again } = &policy.action else { return Ok(()) };
    let mut refuse = |why: &str| {
        if policy.fails {
            refusals.push((denial(policy, binding, why), Some("Invalid")));
        } else {
            ignored(policy, why);
        }
    };
    if !policy.conditions.is_empty() {
        let budget = Mutex::new(Budget::new(POLICY_COST_MAX));
        let subject = Subject::new(stage, Some(&**object), matched);
        let base = input::with_params(input::admission(stage, &subject), params.as_ref());
        let variables = Variables::new(&policy.variables, base, &budget);
        match policy.conditions.check(&variables.activation()) {
            Verdict::Applies => {}
            Verdict::Skipped => return Ok(()),
            Verdict::Failed(why) => {
                refuse(&why);
                return Ok(());
            }
        }
    }
    if !round.runs(key) {
        return Ok(());
    }
    let mut changed = false;
    for mutation in mutations {
        let begun = Instant::now();
        let outcome = mutate(stage, policy, mutation, matched, params.as_ref(), object);
        let error = if outcome.is_ok() { PolicyError::None } else { PolicyError::Invalid };
        metrics::policy_mutated(error, &policy.name, &binding.name, begun.elapsed());
        match outcome {
            Ok(once) => changed |= once,
            Err(Fault::Policy(why)) => refuse(&why),
            Err(Fault::Internal(why)) => return Err(Status::internal_error(why)),
        }
    }
    round.ran(key.clone(), changed, *again);
    Ok(())
}

/// Applies one mutation; whether the object changed.
fn mutate(
    stage: &Stage<'_>,
    policy: &Policy,
    mutation: &Mutation,
    matched: &Matched,
    params: Option<&Json>,
    object: &mut Box<dyn Object>,
) -> Result<bool, Fault> {
    let subject = Subject::new(stage, Some(&**object), matched);
    // A policy may mean another version of the kind: then it reads and writes in that version.
    let other = match &subject.other {
        None => None,
        Some(other) => Some((other, stage.world.read(&subject.object, other)?)),
    };
    let place = match &other {
        None => stage.review.codec.place(&**object),
        Some((_, object)) => object.type_info().map_or(Place::Deduced, Place::Struct),
    };
    let budget = Mutex::new(Budget::new(POLICY_COST_MAX));
    let Some(next) = one(stage, policy, mutation, &subject, params, &budget, place)? else {
        return Ok(false);
    };
    if next == subject.object {
        return Ok(false);
    }
    let decoded = match other {
        None if matches!(mutation, Mutation::Patch(_)) => {
            stage.review.codec.decode_strict(&next).map_err(Fault::Internal)?
        }
        None => stage.review.codec.decode(&next)?,
        Some((other, _)) => back(stage, &**object, &*stage.world.read(&next, other)?)?,
    };
    let changed = !decoded.eq_object(&**object);
    *object = decoded;
    Ok(changed)
}

/// An object of another version in the version of the request.
fn back(stage: &Stage<'_>, own: &dyn Object, other: &dyn Object) -> Result<Box<dyn Object>, String> {
    let (target, kind) = (stage.review.target, own.group_version_kind());
    let own = Equivalent {
        group: target.group.clone(),
        version: target.version.clone(),
        resource: target.resource.clone(),
        kind: kind.kind.as_str().into(),
    };
    let converted = stage.world.convert(other, &own);
    converted.ok_or_else(|| format!("cannot convert the changed object to {}", kind.api_version()))
}

/// What a mutation makes of the object; nothing where a test of its patch fails.
fn one(
    stage: &Stage<'_>,
    policy: &Policy,
    mutation: &Mutation,
    subject: &Subject,
    params: Option<&Json>,
    budget: &Mutex<Budget>,
    place: Place<'_>,
) -> Result<Option<Json>, String> {
    let base = input::with_params(input::admission(stage, subject), params);
    let variables = Variables::new(&policy.variables, base, budget);
    let activation = variables.activation();
    let evaluate = |program: &Program| {
        let mut own = Budget::new(u64::MAX);
        let result = program.evaluate(&activation, &mut own);
        budget.lock().take(u64::MAX - own.remaining()).map_err(|_| OUT_OF_BUDGET.to_owned())?;
        result.map_err(|error| format!("expression '{}' resulted in error: {error}", program.source()))
    };
    match mutation {
        Mutation::Apply(program) => {
            let program = program.as_ref().map_err(Clone::clone)?;
            let Value::Object(configuration) = evaluate(program)? else {
                return Err("applyConfiguration expression must give an Object".to_owned());
            };
            check_names(&configuration, "Object")?;
            let mut configuration = to_json(&Value::Object(configuration))?;
            let kind = &subject.kind;
            configuration["apiVersion"] = kind.api_version().as_str().into();
            configuration["kind"] = kind.kind.as_str().into();
            let (live, configuration) = (subject.object.to_string(), configuration.to_string());
            let merged = overlay(live.as_bytes(), configuration.as_bytes(), place);
            let merged = merged.map_err(|error| format!("error applying patch: {error}"))?;
            serde_json::from_slice(&merged)
                .map(Some)
                .map_err(|error| format!("error applying patch: {error}"))
        }
        Mutation::Patch(program) => {
            let program = program.as_ref().map_err(Clone::clone)?;
            let Value::List(operations) = evaluate(program)? else {
                return Err("jsonPatch expression must give a list of JSONPatch".to_owned());
            };
            let operations =
                operations.iter().map(|op| operation(&op)).collect::<Result<Vec<Json>, String>>()?;
            let mut next = subject.object.clone();
            match json_patch(&mut next, Json::Array(operations).to_string().as_bytes()) {
                Ok(()) => Ok(Some(next)),
                Err(PatchError::TestFailed(_)) => Ok(None),
                Err(error) => Err(format!("JSON Patch: {error}")),
            }
        }
    }
}

/// One operation of a JSON patch.
fn operation(value: &Value<'_>) -> Result<Json, String> {
    let Value::Object(object) = value else {
        return Err("type mismatch: JSONPatchType.op should be a JSONPatch".to_owned());
    };
    let mut out = json!({ "op": "", "path": "" });
    for (name, value) in &object.fields {
        if let ("value", Value::Object(inner)) = (&**name, value) {
            check_names(inner, &inner.name)?;
        }
        out[&**name] = to_json(value)?;
    }
    Ok(out)
}

/// Objects inside an object must be named after the field that they are in.
fn check_names(object: &CelObject<'_>, expected: &str) -> Result<(), String> {
    if *object.name != *expected {
        return Err(format!(
            "unexpected type name {:?}, expected {expected:?}, which matches field name path from root Object type",
            &*object.name
        ));
    }
    for (field, value) in &object.fields {
        check_value(value, &format!("{expected}.{field}"))?;
    }
    Ok(())
}

fn check_value(value: &Value<'_>, expected: &str) -> Result<(), String> {
    match value {
        Value::Object(object) => check_names(object, expected),
        Value::List(list) => list.iter().try_for_each(|element| check_value(&element, expected)),
        Value::Map(Map::Built(map)) => map.values().try_for_each(|value| check_value(value, expected)),
        _ => Ok(()),
    }
}
