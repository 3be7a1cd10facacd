//! Policies that validate.

use std::time::{Duration, Instant};

use cel::{Activation, Budget, EvalError, Value};
use meta::{Object, Status, StatusCause, Str};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use super::conditions::Verdict;
use super::configuration::{Action, Binding, Policy, Validation};
use super::subject::Subject;
use super::variables::Variables;
use super::{Stage, input, params};
use crate::metrics::{self, PolicyError};
use crate::refuse::forbidden;

/// What all expressions of one policy may cost for one request.
pub(super) const POLICY_COST_MAX: u64 = 10_000_000;
/// The audit annotation that lists what bindings only audit.
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";
/// Longest message that an expression may make, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// Why a request is refused.
struct Refusal {
    message: String,
    reason: Str,
    error: PolicyError,
    /// How long it took to find out.
    took: Duration,
}

/// Runs every policy that is bound to the request. All are run, so that each may warn.
pub(super) fn run(
    stage: &Stage<'_>,
    object: Option<&dyn Object>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let mut denied = None;
    let mut failures = Vec::new();
    for policy in stage.sources.validating.values() {
        let mut bindings = stage
            .sources
            .validating_bindings
            .values()
            .filter(|binding| binding.policy == policy.name)
            .peekable();
        if bindings.peek().is_none() {
            continue;
        }
        let Some(matched) = policy.matcher.matches(stage.review, object, stage.world) else { continue };
        // What is wrong with the configuration refuses whatever the bindings say.
        let misfit = |about: &str, why: &str| {
            let message = format!("ValidatingAdmissionPolicy '{}'{about} denied request: {why}", policy.name);
            policy.fails.then(|| failure(message, PolicyError::Invalid))
        };
        if let Err(why) = params::check_kind(stage, policy) {
            denied = denied.or_else(|| misfit("", &why));
            continue;
        }
        let subject = Subject::new(stage, object, &matched);
        for binding in bindings {
            let bound = |m: &super::matching::Matcher| m.matches(stage.review, object, stage.world).is_some();
            if !binding.matcher.as_ref().is_none_or(bound) {
                continue;
            }
            let refusals = match params::of(stage, policy, binding) {
                Ok(all) => {
                    let each = all.iter().flat_map(|params| check(stage, policy, &subject, params.as_ref()));
                    each.collect::<Vec<_>>()
                }
                Err(why) => {
                    let about = format!(" with binding '{}'", binding.name);
                    denied = denied.or_else(|| misfit(&about, &why));
                    continue;
                }
            };
            for refusal in refusals {
                if refusal.error != PolicyError::None && !policy.fails {
                    let (name, took) = (&policy.name, refusal.took);
                    metrics::policy_checked("allow", refusal.error, name, &binding.name, took);
                    continue;
                }
                act(binding, policy, refusal, &mut denied, warnings, &mut failures);
            }
        }
    }
    if !failures.is_empty() {
        stage.review.notes.annotate(FAILURES, Json::Array(failures).to_string());
    }
    match denied {
        None => Ok(()),
        Some(refusal) => Err(refused(stage, object, refusal)),
    }
}

/// Something is wrong with the policy or its parameters; whether that refuses the request is the policy's to say.
fn failure(message: String, error: PolicyError) -> Refusal {
    Refusal { message, reason: "Invalid".into(), error, took: Duration::ZERO }
}

/// What sort of failure an evaluation is.
fn sort_of(error: &EvalError) -> PolicyError {
    if matches!(error, EvalError::Budget) { PolicyError::Budget } else { PolicyError::Invalid }
}

/// Does with a refusal what the binding says.
fn act(
    binding: &Binding,
    policy: &Policy,
    refusal: Refusal,
    denied: &mut Option<Refusal>,
    warnings: &mut Vec<String>,
    failures: &mut Vec<Json>,
) {
    let about = format!("ValidatingAdmissionPolicy '{}' with binding '{}'", policy.name, binding.name);
    for action in &binding.actions {
        let action_name = action.to_lowercase();
        metrics::policy_checked(&action_name, refusal.error, &policy.name, &binding.name, refusal.took);
        match action.as_str() {
            "Deny" if denied.is_none() => {
                let message = format!("{about} denied request: {}", refusal.message);
                *denied = Some(Refusal { message, reason: refusal.reason.clone(), ..refusal });
            }
            "Warn" => warnings.push(format!("Validation failed for {about}: {}", refusal.message)),
            "Audit" => failures.push(json!({
                "message": refusal.message,
                "policy": policy.name.as_str(),
                "binding": binding.name.as_str(),
                "validationActions": binding.actions.iter().map(|action| action.as_str()).collect::<Vec<_>>(),
            })),
            _ => {}
        }
    }
}

fn refused(stage: &Stage<'_>, object: Option<&dyn Object>, refusal: Refusal) -> Status {
    let mut status = forbidden(stage.review, object, &refusal.message);
    status.code = match refusal.reason.as_str() {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = refusal.reason;
    status
        .details_mut()
        .causes
        .push(StatusCause { message: refusal.message.into(), ..StatusCause::default() });
    status
}

/// What a policy refuses of a request, with one set of parameters.
fn check(stage: &Stage<'_>, policy: &Policy, subject: &Subject, params: Option<&Json>) -> Vec<Refusal> {
    let Action::Validate { validations, audit } = &policy.action else { return Vec::new() };
    let budget = Mutex::new(Budget::new(POLICY_COST_MAX));
    let base = input::with_params(input::admission(stage, subject), params);
    let variables = Variables::new(&policy.variables, base, &budget);
    let activation = variables.activation();
    if !policy.conditions.is_empty() {
        match policy.conditions.check(&activation) {
            Verdict::Applies => {}
            Verdict::Skipped => return Vec::new(),
            Verdict::Failed(why) => return vec![failure(why, PolicyError::Invalid)],
        }
    }
    let mut refusals: Vec<Refusal> =
        validations.iter().filter_map(|validation| one(validation, &activation, &budget)).collect();
    for (key, program) in audit {
        let result = match program {
            Ok(program) => {
                let result = evaluate(program, &activation, &budget);
                result.map_err(|error| (error.to_string(), sort_of(&error)))
            }
            Err(why) => Err((why.clone(), PolicyError::Compile)),
        };
        match result {
            Ok(Value::String(text)) if !text.trim().is_empty() => {
                stage.review.notes.annotate(format!("{}/{key}", policy.name), text.to_string());
            }
            Ok(_) => {}
            Err((why, error)) => {
                let text = format!("valueExpression for key {key:?} resulted in error: {why}");
                refusals.push(failure(text, error));
            }
        }
    }
    refusals
}

/// Evaluates, and takes the cost from a budget that variables share.
fn evaluate<'a>(
    program: &cel::Program,
    activation: &Activation<'a>,
    budget: &Mutex<Budget>,
) -> Result<Value<'a>, EvalError> {
    // The variables take their cost while the expression runs, so its own is taken when it is done.
    let mut own = Budget::new(u64::MAX);
    let result = program.evaluate(activation, &mut own);
    budget.lock().take(u64::MAX - own.remaining())?;
    result
}

fn one(validation: &Validation, activation: &Activation<'_>, budget: &Mutex<Budget>) -> Option<Refusal> {
    let begun = Instant::now();
    let failed = |why: &dyn std::fmt::Display, error| {
        failure(format!("expression '{}' resulted in error: {why}", validation.expression), error)
    };
    let refusal = match validation.program.as_ref().map(|program| evaluate(program, activation, budget)) {
        Ok(Ok(Value::Bool(true))) => return None,
        Ok(Ok(_)) => Refusal {
            message: message(validation, activation, budget),
            reason: validation.reason.clone(),
            error: PolicyError::None,
            took: Duration::ZERO,
        },
        Ok(Err(error)) => failed(&error, sort_of(&error)),
        Err(why) => failed(why, PolicyError::Compile),
    };
    Some(Refusal { took: begun.elapsed(), ..refusal })
}

/// The text for a validation that does not hold: made by its expression, or written, or the expression itself.
fn message(validation: &Validation, activation: &Activation<'_>, budget: &Mutex<Budget>) -> String {
    if let Some(Ok(program)) = &validation.message_program
        && let Ok(Value::String(text)) = evaluate(program, activation, budget)
    {
        let text = text.trim();
        if !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX {
            return text.to_owned();
        }
    }
    match validation.message.trim() {
        "" => format!("failed expression: {}", validation.expression.trim()),
        written => written.to_owned(),
    }
}
