//! Policies that mutate.

use std::time::Instant;

use cel::{Budget, Map, Object as CelObject, Program, Value, to_json};
use meta::{Object, Status, StatusCause};
use parking_lot::Mutex;
use schema::apply::{Place, overlay};
use serde_json::{Value as Json, json};

use super::conditions::Verdict;
use super::configuration::{Action, Binding, Mutation, Policy};
use super::matching::{Matched, Matcher};
use super::subject::Subject;
use super::validating::POLICY_COST_MAX;
use super::variables::Variables;
use super::{Round, Stage, input, params};
use crate::metrics::{self, PolicyError};
use crate::refuse::forbidden;
use crate::world::Equivalent;

/// Runs every policy that is bound to the request, one after the other, each on what the one before made.
pub(super) fn run(stage: &Stage<'_>, object: &mut Box<dyn Object>, round: &mut Round) -> Result<(), Status> {
    for policy in stage.sources.mutating.values() {
        for binding in
            stage.sources.mutating_bindings.values().filter(|binding| binding.policy == policy.name)
        {
            let key = format!("policy/{}/{}", policy.name, binding.name);
            if !round.runs(&key) {
                continue;
            }
            let Some(matched) = policy.matcher.matches(stage.review, Some(&**object), stage.world) else {
                continue;
            };
            let bound = |m: &Matcher| m.matches(stage.review, Some(&**object), stage.world).is_some();
            if !binding.matcher.as_ref().is_none_or(bound) {
                continue;
            }
            let begun = Instant::now();
            let outcome = bound_run(stage, policy, binding, &matched, object);
            let error = if outcome.is_ok() { PolicyError::None } else { PolicyError::Invalid };
            metrics::policy_mutated(error, &policy.name, &binding.name, begun.elapsed());
            let changed = match outcome {
                Ok(changed) => changed,
                Err(why) if policy.fails => return Err(refused(stage, &**object, policy, binding, &why)),
                Err(why) => {
                    tracing::warn!(
                        policy = policy.name.as_str(),
                        why,
                        "a mutating policy failed and is ignored"
                    );
                    false
                }
            };
            let Action::Mutate { again, .. } = policy.action else { continue };
            round.ran(key, changed, again);
        }
    }
    Ok(())
}

fn refused(stage: &Stage<'_>, object: &dyn Object, policy: &Policy, binding: &Binding, why: &str) -> Status {
    let message = format!(
        "MutatingAdmissionPolicy '{}' with binding '{}' denied request: {why}",
        policy.name, binding.name
    );
    let mut status = forbidden(stage.review, Some(object), &message);
    status.code = 422;
    status.reason = "Invalid".into();
    status.details_mut().causes.push(StatusCause { message: message.into(), ..StatusCause::default() });
    status
}

/// Runs a policy for a binding, once with each of its parameters; whether the object changed.
fn bound_run(
    stage: &Stage<'_>,
    policy: &Policy,
    binding: &Binding,
    matched: &Matched,
    object: &mut Box<dyn Object>,
) -> Result<bool, String> {
    let Action::Mutate { mutations, .. } = &policy.action else { return Ok(false) };
    let mut changed = false;
    for params in params::of(stage, policy, binding)? {
        let budget = Mutex::new(Budget::new(POLICY_COST_MAX));
        let subject = Subject::new(stage, Some(&**object), matched);
        if !policy.conditions.is_empty() {
            let base = input::with_params(input::admission(stage, &subject), params.as_ref());
            let variables = Variables::new(&policy.variables, base, &budget);
            match policy.conditions.check(&variables.activation()) {
                Verdict::Applies => {}
                Verdict::Skipped => continue,
                Verdict::Failed(why) => return Err(why),
            }
        }
        for mutation in mutations {
            let subject = Subject::new(stage, Some(&**object), matched);
            // A policy may mean another version of the kind: then it reads and writes in that version.
            let other = match matched {
                None => None,
                Some(other) => Some((other, stage.world.read(&subject.object, other)?)),
            };
            let place = match &other {
                None => stage.review.codec.place(&**object),
                Some((_, object)) => object.type_info().map_or(Place::Deduced, Place::Struct),
            };
            let next = one(stage, policy, mutation, &subject, params.as_ref(), &budget, place)?;
            if next == subject.object {
                continue;
            }
            let decoded = match other {
                None => stage.review.codec.decode(&next)?,
                Some((other, _)) => back(stage, &**object, &*stage.world.read(&next, other)?)?,
            };
            changed |= !decoded.eq_object(&**object);
            *object = decoded;
        }
    }
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

/// What a mutation makes of the object.
fn one(
    stage: &Stage<'_>,
    policy: &Policy,
    mutation: &Mutation,
    subject: &Subject,
    params: Option<&Json>,
    budget: &Mutex<Budget>,
    place: Place<'_>,
) -> Result<Json, String> {
    let base = input::with_params(input::admission(stage, subject), params);
    let variables = Variables::new(&policy.variables, base, budget);
    let activation = variables.activation();
    let evaluate = |program: &Program| {
        let mut own = Budget::new(u64::MAX);
        let result = program.evaluate(&activation, &mut own);
        budget.lock().take(u64::MAX - own.remaining()).map_err(|error| error.to_string())?;
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
            serde_json::from_slice(&merged).map_err(|error| format!("error applying patch: {error}"))
        }
        Mutation::Patch(program) => {
            let program = program.as_ref().map_err(Clone::clone)?;
            let Value::List(operations) = evaluate(program)? else {
                return Err("jsonPatch expression must give a list of JSONPatch".to_owned());
            };
            let operations =
                operations.iter().map(|op| operation(&op)).collect::<Result<Vec<Json>, String>>()?;
            let mut next = subject.object.clone();
            schema::patch::json_patch(&mut next, Json::Array(operations).to_string().as_bytes())
                .map_err(|error| format!("JSON Patch: {error}"))?;
            Ok(next)
        }
    }
}

/// One operation of a JSON patch.
fn operation(value: &Value<'_>) -> Result<Json, String> {
    let Value::Object(object) = value else {
        return Err("type mismatch: JSONPatchType.op should be a JSONPatch".to_owned());
    };
    let mut out = json!({});
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
