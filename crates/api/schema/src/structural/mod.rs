//! Structural schemas: what a CustomResourceDefinition says about its objects, compiled once.
//!
//! [`Schema::read`] makes a [`Schema`] of the definition's document; [`check`] tells what of it is not structural.
//! Then [`Schema::prune`] drops what the schema does not know, [`Schema::default`] fills in what is left out,
//! [`validate`] finds what is wrong with a value, and [`lists`] what is twice in lists that are sets or maps. Texts,
//! paths and order of findings are those of upstream v1.36. All of it is pure, and takes values of any shape.

mod applied;
pub mod check;
mod default;
mod expressions;
mod keyed;
pub mod lists;
mod place;
mod prune;
mod read;
pub mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use meta::Str;
use regex::Regex;
use serde_json::Value;

pub use keyed::Keyed;
pub use prune::META_FIELDS;
pub use read::Unsupported;

/// A compiled schema, or a schema inside one. Value validations below `allOf`, `anyOf`, `oneOf` and `not` are
/// schemas too; [`check`] sees to it that they say nothing about structure.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// `object`, `array`, `string`, ...; empty when it is not said.
    pub type_: Str,
    /// What it is for.
    pub description: Str,
    /// Its title.
    pub title: Str,
    /// Null is a value.
    pub nullable: bool,
    /// What is filled in where the value is absent.
    pub default: Option<Value>,
    /// An example was given.
    pub has_example: bool,
    /// External documentation was given.
    pub has_external_docs: bool,
    /// Fields, by name.
    pub properties: BTreeMap<Str, Schema>,
    /// What is said of fields that are not named.
    pub additional: Option<Additional>,
    /// Elements of a list.
    pub items: Option<Box<Schema>>,
    /// What a value must fulfil.
    pub rules: ValueRules,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown_fields: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded_resource: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<Str>,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<Str>,
    /// `x-kubernetes-map-type`.
    pub map_type: Option<Str>,
    /// `x-kubernetes-validations`.
    pub validations: Vec<types::apiextensions::v1::ValidationRule>,
}

/// What is said of the fields that a schema does not name.
#[derive(Clone, Debug)]
pub enum Additional {
    /// Whether there may be any.
    Allowed(bool),
    /// What they look like.
    Schema(Box<Schema>),
}

/// What a value must fulfil.
#[derive(Clone, Debug, Default)]
pub struct ValueRules {
    /// Format as written; empty when there is none, or none that the server knows.
    pub format: Str,
    /// Largest number.
    pub maximum: Option<f64>,
    /// The largest number is not reached.
    pub exclusive_maximum: bool,
    /// Smallest number.
    pub minimum: Option<f64>,
    /// The smallest number is not reached.
    pub exclusive_minimum: bool,
    /// Characters at most.
    pub max_length: Option<i64>,
    /// Characters at least.
    pub min_length: Option<i64>,
    /// Regular expression, somewhere in the text.
    pub pattern: Option<Pattern>,
    /// Elements at most.
    pub max_items: Option<i64>,
    /// Elements at least.
    pub min_items: Option<i64>,
    /// No element twice.
    pub unique_items: bool,
    /// A multiple of this.
    pub multiple_of: Option<f64>,
    /// Fields at most.
    pub max_properties: Option<i64>,
    /// Fields at least.
    pub min_properties: Option<i64>,
    /// Fields that must be there.
    pub required: Vec<Str>,
    /// One of these.
    pub values: Vec<Value>,
    /// All of these.
    pub all_of: Vec<Schema>,
    /// At least one of these.
    pub any_of: Vec<Schema>,
    /// Exactly one of these.
    pub one_of: Vec<Schema>,
    /// Not this.
    pub not: Option<Box<Schema>>,
}

/// A regular expression with its text.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As written.
    pub text: Str,
    /// Compiled, or why it cannot be.
    pub regex: Result<Regex, String>,
}

impl Schema {
    /// The schema of a field: its own, or that of all fields without a name.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or_else(|| self.additional_schema())
    }

    /// The schema of fields that are not named.
    pub fn additional_schema(&self) -> Option<&Schema> {
        match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema below a path of field names.
    pub fn at(&self, path: &[&str]) -> Option<&Schema> {
        path.iter().try_fold(self, |schema, name| schema.field(name))
    }

    /// Visits the schema and everything inside it, value validations included, until `stop` says so; answers whether it
    /// did.
    pub fn any(&self, stop: &mut dyn FnMut(&Schema) -> bool) -> bool {
        if stop(self) {
            return true;
        }
        let rules = &self.rules;
        self.properties
            .values()
            .chain(self.items.as_deref())
            .chain(self.additional_schema())
            .chain(&rules.all_of)
            .chain(&rules.any_of)
            .chain(&rules.one_of)
            .chain(rules.not.as_deref())
            .any(|inner| inner.any(stop))
    }
}

/// A value as Go's JSON encoder writes it.
pub(crate) fn shown(value: &Value) -> String {
    let mut w = meta::json::JsonWriter::default();
    w.tree(value);
    String::from_utf8_lossy(&w.out).into_owned()
}

/// A value as a finding shows it: scalars as they are, everything else as JSON.
pub fn bad(value: &Value) -> meta::BadValue {
    match value {
        Value::String(text) => meta::BadValue::Text(text.clone()),
        Value::Number(number) => meta::BadValue::Plain(validate::number_text(number)),
        other => meta::BadValue::Plain(shown(other)),
    }
}
