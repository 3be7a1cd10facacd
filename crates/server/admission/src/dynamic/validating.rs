//! Policies that validate.

use std::time::{Duration, Instant};

use cel::{Activation, Budget, EvalError, Program, Value};
use meta::{Object, Status, StatusCause, Str};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value as Json;

use super::conditions::{OUT_OF_BUDGET, Verdict};
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

/// Longest annotation of the audit event that an expression may make, in bytes.
const NOTE_BYTES_MAX: usize = 10 * 1024;

/// Why a request is refused.
struct Refusal {
    message: String,
    reason: Str,
    error: PolicyError,
    /// How long it took to find out.
    took: Duration,
}

/// What one policy says of a request, with one set of parameters.
#[derive(Default)]
struct Checked {
    /// Refusals, each with the place of its validation.
    refusals: Vec<(usize, Refusal)>,
    /// What the audit log is told, by key.
    notes: Vec<(String, String)>,
    /// What of that could not be found out.
    misnoted: Vec<Refusal>,
}

impl Checked {
    /// The policy as a whole fails.
    fn failed(refusal: Refusal) -> Self {
        Checked { refusals: vec![(0, refusal)], ..Checked::default() }
    }
}

/// Runs every policy that is bound to the request. All are run, so that each may warn.
pub(super) fn run(
    stage: &Stage<'_>,
    object: Option<&dyn Object>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let mut denied = None;
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
        let mut notes: Vec<(String, Vec<String>)> = Vec::new();
        for binding in bindings {
            let bound = |m: &super::matching::Matcher| m.matches(stage.review, object, stage.world).is_some();
            if !binding.matcher.as_ref().is_none_or(bound) {
                continue;
            }
            let about = format!(" with binding '{}'", binding.name);
            let all = match params::of(stage, policy, binding) {
                Ok(all) => all,
                Err(why) => {
                    denied = denied.or_else(|| misfit(&about, &why));
                    continue;
                }
            };
            for checked in all.iter().map(|params| check(stage, policy, &subject, params.as_ref())) {
                for (index, refusal) in checked.refusals {
                    if refusal.error != PolicyError::None && !policy.fails {
                        let (name, took) = (&policy.name, refusal.took);
                        metrics::policy_checked("allow", refusal.error, name, &binding.name, took);
                        continue;
                    }
                    act(stage, (binding, policy, index), refusal, &mut denied, warnings);
                }
                for (key, value) in checked.notes {
                    note(&mut notes, key, value);
                }
                // The audit log must be told whatever the binding does with refusals.
                for missing in checked.misnoted.into_iter().filter(|_| policy.fails) {
                    metrics::policy_checked("deny", missing.error, &policy.name, &binding.name, missing.took);
                    denied = denied.or_else(|| misfit(&about, &missing.message));
                }
            }
        }
        for (key, values) in notes {
            stage.review.notes.annotate(format!("{}/{key}", policy.name), values.join(", "));
        }
    }
    match denied {
        None => Ok(()),
        Some(refusal) => Err(refused(stage, object, refusal)),
    }
}

/// Several bindings and parameters may have different things to say under one key.
fn note(notes: &mut Vec<(String, Vec<String>)>, key: String, value: String) {
    match notes.iter_mut().find(|(known, _)| *known == key) {
        Some((_, values)) if values.contains(&value) => {}
        Some((_, values)) => values.push(value),
        None => notes.push((key, vec![value])),
    }
}

/// Something is wrong with the policy or its parameters; whether that refuses the request is the policy's to say.
fn failure(message: String, error: PolicyError) -> Refusal {
    Refusal { message, reason: "Invalid".into(), error, took: Duration::ZERO }
}

/// What the audit log is told of a refusal.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    message: &'a str,
    policy: &'a str,
    binding: &'a str,
    expression_index: usize,
    validation_actions: Vec<&'a str>,
}

/// Does with a refusal what the binding says.
fn act(
    stage: &Stage<'_>,
    (binding, policy, index): (&Binding, &Policy, usize),
    refusal: Refusal,
    denied: &mut Option<Refusal>,
    warnings: &mut Vec<String>,
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
            // The first failure is told.
            "Audit" => {
                let failure = Failure {
                    message: &refusal.message,
                    policy: &policy.name,
                    binding: &binding.name,
                    expression_index: index,
                    validation_actions: binding.actions.iter().map(|action| action.as_str()).collect(),
                };
                if let Ok(failures) = serde_json::to_string(&[failure]) {
                    stage.review.notes.annotate(FAILURES, failures);
                }
            }
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

/// What a policy says of a request, with one set of parameters. Validations and their messages share a budget; the audit log
/// has one of its own.
fn check(stage: &Stage<'_>, policy: &Policy, subject: &Subject, params: Option<&Json>) -> Checked {
    let Action::Validate { validations, audit } = &policy.action else { return Checked::default() };
    let base = || input::with_params(input::admission(stage, subject), params);
    let budget = Mutex::new(Budget::new(POLICY_COST_MAX));
    let variables = Variables::new(&policy.variables, base(), &budget);
    let activation = variables.activation();
    if !policy.conditions.is_empty() {
        match policy.conditions.check(&activation) {
            Verdict::Applies => {}
            Verdict::Skipped => return Checked::default(),
            Verdict::Failed(why) => return Checked::failed(failure(why, PolicyError::Invalid)),
        }
    }
    let mut outcomes = Vec::with_capacity(validations.len());
    for validation in validations {
        let begun = Instant::now();
        match holds(validation, &activation, &budget) {
            Err(OutOfBudget) => {
                return Checked::failed(failure(OutOfBudget.to_string(), PolicyError::Budget));
            }
            Ok(outcome) => outcomes.push((outcome, begun.elapsed())),
        }
    }
    // Messages are made for all validations, so that they can use up the budget of those that hold, too.
    let variables = Variables::new(&policy.variables, base(), &budget);
    let activation = variables.activation();
    let messages: Result<Vec<String>, OutOfBudget> =
        validations.iter().map(|validation| message(validation, &activation, &budget)).collect();
    let mut checked = Checked::default();
    for (index, (validation, (outcome, took))) in validations.iter().zip(outcomes).enumerate() {
        let refusal = match (outcome, &messages) {
            (Err((why, error)), _) => failure(why, error),
            (Ok(_), Err(OutOfBudget)) => {
                failure(format!("failed messageExpression: {OutOfBudget}"), PolicyError::Budget)
            }
            (Ok(true), Ok(_)) => continue,
            (Ok(false), Ok(messages)) => Refusal {
                message: messages.get(index).cloned().unwrap_or_default(),
                reason: validation.reason.clone(),
                error: PolicyError::None,
                took,
            },
        };
        checked.refusals.push((index, Refusal { took, ..refusal }));
    }
    let budget = Mutex::new(Budget::new(POLICY_COST_MAX));
    let variables = Variables::new(&policy.variables, base(), &budget);
    let activation = variables.activation();
    for (key, program) in audit {
        match value(program, &activation, &budget) {
            Err(OutOfBudget) => {
                return Checked::failed(failure(OutOfBudget.to_string(), PolicyError::Budget));
            }
            Ok(Err((why, error))) => checked.misnoted.push(failure(why, error)),
            Ok(Ok(Value::String(text))) if !text.trim().is_empty() => {
                let text = text.trim();
                let longest = NOTE_BYTES_MAX.min(text.len());
                let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                checked.notes.push((key.to_string(), text[..end].to_owned()));
            }
            Ok(Ok(_)) => {}
        }
    }
    checked
}

/// All expressions together cost more than they may.
#[derive(Debug, thiserror::Error)]
#[error("{}", OUT_OF_BUDGET)]
struct OutOfBudget;

/// What an expression gives, or what is wrong with it.
type Evaluated<T> = Result<Result<T, (String, PolicyError)>, OutOfBudget>;

/// Evaluates, and takes the cost from a budget that variables share.
fn value<'a>(
    program: &Result<Program, String>,
    activation: &Activation<'a>,
    budget: &Mutex<Budget>,
) -> Evaluated<Value<'a>> {
    let program = match program {
        Ok(program) => program,
        Err(why) => return Ok(Err((format!("compilation error: {why}"), PolicyError::Compile))),
    };
    // The variables take their cost while the expression runs, so its own is taken when it is done.
    let mut own = Budget::new(u64::MAX);
    let result = program.evaluate(activation, &mut own);
    budget.lock().take(u64::MAX - own.remaining()).map_err(|_| OutOfBudget)?;
    let failed = |error: EvalError| {
        (format!("expression '{}' resulted in error: {error}", program.source()), PolicyError::Invalid)
    };
    Ok(result.map_err(failed))
}

fn holds(validation: &Validation, activation: &Activation<'_>, budget: &Mutex<Budget>) -> Evaluated<bool> {
    Ok(value(&validation.program, activation, budget)?.map(|value| matches!(value, Value::Bool(true))))
}

/// The text for a validation that does not hold: made by its expression, or written, or the expression itself.
fn message(
    validation: &Validation,
    activation: &Activation<'_>,
    budget: &Mutex<Budget>,
) -> Result<String, OutOfBudget> {
    if let Some(program) = &validation.message_program
        && let Ok(Value::String(text)) = value(program, activation, budget)?
    {
        let text = text.trim();
        if !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX {
            return Ok(text.to_owned());
        }
    }
    Ok(match validation.message.trim() {
        "" => format!("failed expression: {}", validation.expression.trim()),
        written => written.to_owned(),
    })
}
