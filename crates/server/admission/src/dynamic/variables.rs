//! Variables that a policy names itself, computed when an expression first asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use cel::{Activation, Budget, EvalError, Fields, Map, Program, Value};
use parking_lot::Mutex;

/// A policy's variables in order; each may use those before it. Of several of one name the last is meant.
pub(crate) type Named = Vec<(Arc<str>, Result<Program, String>)>;

/// Their values for one request.
pub(crate) struct Variables<'a> {
    named: &'a Named,
    values: Vec<OnceLock<Result<Value<'a>, EvalError>>>,
    /// Which are being computed: one of two of one name may come to ask for itself.
    begun: Vec<AtomicBool>,
    base: Activation<'a>,
    budget: &'a Mutex<Budget>,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(named: &'a Named, base: Activation<'a>, budget: &'a Mutex<Budget>) -> Self {
        let values = named.iter().map(|_| OnceLock::new()).collect();
        let begun = named.iter().map(|_| AtomicBool::new(false)).collect();
        Self { named, values, begun, base, budget }
    }

    /// The activation in which `variables` is this.
    pub(crate) fn activation(&'a self) -> Activation<'a> {
        self.base.clone().value("variables", Value::Map(Map::Lazy(self)))
    }
}

impl<'a> Fields<'a> for Variables<'a> {
    fn get(&'a self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        let index = self.named.iter().rposition(|(known, _)| **known == *name)?;
        let computed = &self.values[index];
        if computed.get().is_none() && self.begun[index].swap(true, Ordering::AcqRel) {
            return Some(Err(EvalError::new(format!("composited variable {name:?} needs itself"))));
        }
        let computed = computed.get_or_init(|| {
            let failed = |why: &dyn std::fmt::Display| {
                EvalError::new(format!("composited variable {name:?} fails to evaluate: {why}"))
            };
            match &self.named[index].1 {
                Ok(program) => {
                    let activation = self.activation();
                    // What it costs is taken after it ran, so that variables that it uses can take theirs.
                    let mut own = Budget::new(u64::MAX);
                    let result = program.evaluate(&activation, &mut own);
                    self.budget.lock().take(u64::MAX - own.remaining())?;
                    result.map_err(|error| failed(&error))
                }
                Err(why) => Err(failed(why)),
            }
        });
        Some(computed.clone())
    }
}
