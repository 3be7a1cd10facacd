//! Evaluation: what a program runs over, what it may use, and how it fails.

mod error;
mod fold;
mod meter;
pub(crate) mod plan;
mod run;

use serde_json::Value as Json;

pub use error::EvalError;
pub use meter::{Budget, Meter, PER_CALL_LIMIT};

use crate::schema::DeclType;
use crate::value::Value;

/// Values of variables.
#[derive(Clone, Debug, Default)]
pub struct Activation<'a> {
    values: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Activation<'a> {
    /// Without any.
    pub fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// With one more variable.
    pub fn value(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.set(name, value);
        self
    }

    /// With one more variable that is JSON, seen through its declared type.
    pub fn json(self, name: &'a str, json: &'a Json, declared: Option<&'a DeclType>) -> Self {
        self.value(name, Value::from_json(json, declared))
    }

    /// Sets a variable, or changes it.
    pub fn set(&mut self, name: &'a str, value: Value<'a>) {
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.values.push((name, value)),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
pub(crate) mod tests;
