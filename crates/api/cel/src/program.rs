//! An expression that is ready to run.

use std::sync::Arc;

use crate::cost::CostEstimate;
use crate::eval::{Activation, Budget, EvalError, plan::Plan};
use crate::types::Type;
use crate::value::Value;

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    pub(crate) source: Arc<str>,
    pub(crate) result: Type,
    pub(crate) cost: CostEstimate,
    pub(crate) plan: Plan,
}

impl Program {
    /// The text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The type of the result.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// What an evaluation may cost, from the sizes that schemas allow.
    pub fn cost(&self) -> CostEstimate {
        self.cost
    }

    /// Whether the expression names a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.plan.variables().iter().any(|name| **name == *variable)
    }

    /// Evaluates. What it costs is taken from the budget, also when it fails.
    pub fn evaluate<'a>(
        &self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        let (result, cost) = self.plan.run(activation);
        budget.take(cost)?;
        result
    }
}
