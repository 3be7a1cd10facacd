//! Conditions under which a policy or a webhook is asked at all.

use cel::{Activation, Budget, Env, EvalError, Program, Type, Value};
use rules::environments;
use types::admissionregistration::v1::MatchCondition;

/// What the conditions of one policy or webhook may cost.
const CONDITIONS_COST_MAX: u64 = 2_500_000;

/// What is said when expressions together cost more than they may.
pub(super) const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Compiled conditions. What does not compile fails whenever it is asked.
#[derive(Debug)]
pub(crate) struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    name: String,
    program: Result<Program, String>,
}

/// What conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All hold.
    Applies,
    /// One does not.
    Skipped,
    /// Some failed and none said no.
    Failed(String),
}

impl Conditions {
    pub(crate) fn new(env: &Env, conditions: &[MatchCondition]) -> Self {
        let compiled = conditions.iter().map(|condition| Condition {
            name: condition.name.to_string(),
            program: environments::compile(env, &condition.expression, &[Type::Bool])
                .map_err(|e| e.to_string()),
        });
        Self(compiled.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks all: one that says no wins over those that fail.
    pub(crate) fn check(&self, activation: &Activation<'_>) -> Verdict {
        let mut budget = Budget::new(CONDITIONS_COST_MAX);
        let mut failures = Vec::new();
        for Condition { name, program } in &self.0 {
            let result = match program {
                Ok(program) => match program.evaluate(activation, &mut budget) {
                    Err(EvalError::Budget) => return Verdict::Failed(OUT_OF_BUDGET.to_owned()),
                    result => result.map_err(|error| error.to_string()),
                },
                Err(why) => Err(why.clone()),
            };

            match result {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Verdict::Skipped,
                Ok(_) => failures.push("condition evaluated to something else than a bool".to_owned()),
                Err(why) => {
                    let source = program.as_ref().map_or(name.as_str(), Program::source);
                    failures.push(format!("expression '{source}' resulted in error: {why}"));
                }
            }
        }
        match failures.len() {
            0 => Verdict::Applies,
            1 => Verdict::Failed(failures.remove(0)),
            _ => Verdict::Failed(format!("[{}]", failures.join(", "))),
        }
    }
}
