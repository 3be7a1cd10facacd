//! The functions that expressions may call: one file per library, each a table of names, implementations and overloads.
//!
//! An overload is written as `id: target.(parameters) -> result`, without `target.` for functions that are called freely.
//! Single capital letters stand for any type, the same one wherever the letter occurs.

mod arithmetic;
pub(crate) mod authorizer;
mod compare;
mod convert;
pub(crate) mod format;
mod format_string;
mod ip;
mod jsonpatch;
mod lists;
mod optional;
mod quantity;
mod regex;
pub(crate) mod semver;
mod sets;
mod signature;
mod standard;
mod strings;
mod time;
pub(crate) mod url;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::eval::{EvalError, Meter};
use crate::types::Type;
use crate::value::Value;

pub use authorizer::{Authorizer, AuthorizerHandle, Check, Decision};
pub(crate) use regex::compile as compile_regex;

/// An implementation. Arguments that no overload takes are refused with [`wrong_type`].
pub(crate) type Native = for<'c, 'a> fn(&Call<'c, 'a>) -> Result<Value<'a>, EvalError>;

/// A call at hand.
pub(crate) struct Call<'c, 'a> {
    /// The function.
    pub name: &'static str,
    /// The target, if there is one, and the arguments.
    pub args: &'c [Value<'a>],
    /// The pattern, where it was known before.
    pub regex: Option<&'c ::regex::Regex>,
    /// What the evaluation may still use.
    pub meter: &'c Meter,
}

impl<'a> Call<'_, 'a> {
    /// An argument that must be a string.
    pub fn str(&self, index: usize) -> Result<&str, EvalError> {
        self.args.get(index).and_then(Value::as_str).ok_or_else(|| wrong_type(self))
    }

    /// An argument that must be a whole number.
    pub fn int(&self, index: usize) -> Result<i64, EvalError> {
        match self.args.get(index) {
            Some(Value::Int(value)) => Ok(*value),
            _ => Err(wrong_type(self)),
        }
    }

    /// An argument that must be a list.
    pub fn list(&self, index: usize) -> Result<&crate::value::List<'a>, EvalError> {
        match self.args.get(index) {
            Some(Value::List(list)) => Ok(list),
            _ => Err(wrong_type(self)),
        }
    }
}

/// The refusal of arguments of these types.
pub(crate) fn wrong_type(call: &Call<'_, '_>) -> EvalError {
    let types: Vec<&str> = call.args.iter().map(Value::type_name).collect();
    EvalError::no_such_overload(call.name, &types)
}

/// One line of a library's table.
pub(crate) struct Row {
    /// The name.
    pub name: &'static str,
    /// What it does.
    pub run: Native,
    /// What it takes and gives.
    pub overloads: &'static [&'static str],
}

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    /// The name that costs go by.
    pub id: &'static str,
    /// It is called on its first parameter.
    pub member: bool,
    /// Parameters, the target first.
    pub params: Vec<Type>,
    /// What it gives.
    pub result: Type,
    /// Number of types that stand for any; they are [`Type::Var`] from 0.
    pub vars: u32,
    /// What it does.
    pub run: Native,
}

/// A function with all its overloads.
#[derive(Debug, Default)]
pub(crate) struct Function {
    /// The name.
    pub name: &'static str,
    /// In the order in which they are tried.
    pub overloads: Vec<Overload>,
}

const LIBRARIES: [&[Row]; 18] = [
    arithmetic::FUNCTIONS,
    compare::FUNCTIONS,
    standard::FUNCTIONS,
    convert::FUNCTIONS,
    time::FUNCTIONS,
    strings::FUNCTIONS,
    format_string::FUNCTIONS,
    lists::FUNCTIONS,
    sets::FUNCTIONS,
    regex::FUNCTIONS,
    url::FUNCTIONS,
    ip::FUNCTIONS,
    quantity::FUNCTIONS,
    semver::FUNCTIONS,
    format::FUNCTIONS,
    authorizer::FUNCTIONS,
    optional::FUNCTIONS,
    jsonpatch::FUNCTIONS,
];

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static TABLE: OnceLock<HashMap<&'static str, Function>> = OnceLock::new();
    TABLE.get_or_init(table).get(name)
}

fn table() -> HashMap<&'static str, Function> {
    let mut table: HashMap<&'static str, Function> = HashMap::new();
    for row in LIBRARIES.into_iter().flatten() {
        let function =
            table.entry(row.name).or_insert_with(|| Function { name: row.name, overloads: Vec::new() });
        function.overloads.extend(row.overloads.iter().map(|text| signature::read(text, row.run)));
    }
    table
}

#[cfg(test)]
mod tests;
