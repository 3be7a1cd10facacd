//! How evaluation fails.

use std::sync::Arc;

use crate::value::{Key, Value};

/// Why an expression has no value. Displays as the reference does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression itself: a missing key, an overflow, a text that is no number.
    #[error("{0}")]
    Failed(Arc<str>),
    /// Nothing is at that key or index; optional access turns this into nothing.
    #[error("{0}")]
    Absent(Arc<str>),
    /// One evaluation cost more than any may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// The budget for all evaluations of this request is used up.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Budget,
}

impl EvalError {
    /// A failure of the expression.
    pub fn new(message: impl AsRef<str>) -> Self {
        EvalError::Failed(message.as_ref().into())
    }

    /// No overload takes these types.
    pub(crate) fn no_such_overload(function: &str, types: &[&str]) -> Self {
        Self::new(format!("no such overload: {function}({})", types.join(", ")))
    }

    /// A key that is not there.
    pub(crate) fn no_such_key(key: &Value<'_>) -> Self {
        let text = match (key, Key::of(key)) {
            (Value::String(text), _) => text.to_string(),
            (_, Some(Key::Int(value))) => value.to_string(),
            (_, Some(Key::Uint(value))) => value.to_string(),
            (_, Some(Key::Bool(value))) => value.to_string(),
            _ => return Self::new(format!("unsupported key type: {}", key.type_name())),
        };
        EvalError::Absent(format!("no such key: {text}").into())
    }

    /// An index that is not there.
    pub(crate) fn out_of_bounds(index: i64) -> Self {
        EvalError::Absent(format!("index out of bounds: {index}").into())
    }

    /// Whether it only says that something is not there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, EvalError::Absent(_))
    }

    /// Whether `&&`, `||` and the macros may go on after it.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, EvalError::CostLimit | EvalError::Budget)
    }
}
