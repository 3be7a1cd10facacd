//! The rules of a schema, compiled once, and what they say of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Activation, Budget, DeclType, EvalError, Value as CelValue};
use meta::{BadValue, FieldError, FieldErrorKind, FieldPath, Str};
use schema::structural::{Keyed, Schema, bad};
use serde_json::Value;
use types::apiextensions::v1::ValidationRule;

use super::{Compiled, OLD_SELF, SELF, compile, declared};

/// What all rules together may cost for one object.
const BUDGET: u64 = 10_000_000;

/// The rules of a schema and of everything inside it.
pub struct Rules(Option<Node>);

struct Node {
    type_: Str,
    declared: Option<Arc<DeclType>>,
    rules: Vec<Compiled>,
    items: Option<Box<Node>>,
    properties: BTreeMap<Str, Node>,
    additional: Option<Box<Node>>,
    /// Keys by which elements of two states of a list are told to be the same.
    keys: Option<Vec<Str>>,
    /// Fields of two states of the object can be compared.
    granular: bool,
}

/// No further rule is to be run.
struct Stop;

/// The nearest pair of values, of the new and the old state, that are the same place.
type Pair<'v> = Option<(&'v Value, &'v Value)>;

impl Rules {
    /// Compiles the rules of the schema of an object.
    pub fn compile(schema: &Schema) -> Self {
        Rules(node(schema, true))
    }

    /// Compiles the rules of a part of an object's schema.
    pub fn compile_part(schema: &Schema) -> Self {
        Rules(node(schema, schema.embedded_resource))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What the rules say of a value that was the same before, without forgiving it.
    pub fn validate_as_is(&self, at: &FieldPath, value: &Value) -> Vec<FieldError> {
        let Some(node) = &self.0 else { return Vec::new() };
        let mut run = Run::new(Findings::Held);
        let _ = run.node(node, at, value, Some(value), None);
        run.errors
    }

    /// What [`Rules::validate`] forgives, because it was so before: clients are warned of it.
    pub fn forgiven(&self, at: &FieldPath, value: &Value, old: &Value) -> Vec<FieldError> {
        let Some(node) = &self.0 else { return Vec::new() };
        let mut run = Run::new(Findings::Forgiven);
        // Whoever runs out of budget has been told before.
        let _ = run.node(node, at, value, Some(old), Some((value, old)));
        run.errors
    }

    /// What the rules say of a value, which may have been another before. Findings about what did not change are
    /// forgiven.
    pub fn validate(&self, at: &FieldPath, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let Some(node) = &self.0 else { return Vec::new() };
        let mut run = Run::new(Findings::Held);
        let pair = old.map(|old| (value, old));
        // Whether all rules were run is told by the findings.
        let _ = run.node(node, at, value, old, pair);
        run.errors
    }
}

fn node(schema: &Schema, is_object: bool) -> Option<Node> {
    if !schema.any(&mut |s| !s.validations.is_empty()) {
        return None;
    }
    let declared = declared(schema, is_object);
    let rules = declared.as_ref().map(|declared| compile(schema, declared)).unwrap_or_default();
    let properties = schema.properties.iter();
    Some(Node {
        type_: schema.type_.clone(),
        rules,
        declared,
        items: schema.items.as_deref().and_then(|s| node(s, false)).map(Box::new),
        properties: properties.filter_map(|(name, s)| Some((name.clone(), node(s, false)?))).collect(),
        additional: schema.additional_schema().and_then(|s| node(s, false)).map(Box::new),
        keys: (schema.list_type.as_deref() == Some("map")).then(|| schema.list_map_keys.clone()),
        granular: schema.map_type.as_deref() != Some("atomic"),
    })
}

/// Which findings are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Findings {
    /// Those that refuse the object.
    Held,
    /// Those about what did not change.
    Forgiven,
}

struct Run {
    wanted: Findings,
    budget: Budget,
    errors: Vec<FieldError>,
}

impl Run {
    fn new(wanted: Findings) -> Self {
        Run { wanted, budget: Budget::new(BUDGET), errors: Vec::new() }
    }

    fn node(
        &mut self,
        node: &Node,
        at: &FieldPath,
        value: &Value,
        old: Option<&Value>,
        pair: Pair<'_>,
    ) -> Result<(), Stop> {
        if value.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        if let Some(declared) = node.declared.as_ref().filter(|_| !node.rules.is_empty()) {
            for rule in &node.rules {
                self.rule(rule, node, declared, at, value, old, pair)?;
            }
        }
        match value {
            Value::Array(list) => {
                let Some(items) = &node.items else { return Ok(()) };
                let keyed = node.keys.as_deref().zip(old).map(|(keys, old)| Keyed::new(keys, old));
                for (index, element) in list.iter().enumerate() {
                    let before = keyed.as_ref().and_then(|keyed| keyed.same(element));
                    let pair = before.map(|before| (element, before)).or(pair);
                    self.node(items, &at.index(index), element, before, pair)?;
                }
            }
            Value::Object(map) => {
                let old = old.filter(|_| node.granular);
                for (name, inner) in map {
                    let before = old.and_then(|old| old.get(name.as_str()));
                    let pair = before.map(|before| (inner, before)).or(pair);
                    if let Some(field) = node.properties.get(name.as_str()) {
                        self.node(field, &at.child(name.as_str()), inner, before, pair)?;
                    } else if let Some(more) = &node.additional {
                        self.node(more, &at.key(name.as_str()), inner, before, pair)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "a rule is about all of them")]
    fn rule(
        &mut self,
        compiled: &Compiled,
        node: &Node,
        declared: &DeclType,
        at: &FieldPath,
        value: &Value,
        old: Option<&Value>,
        pair: Pair<'_>,
    ) -> Result<(), Stop> {
        let rule = &compiled.rule;
        // What is as it was stays allowed, except where the rule is about the change itself.
        let forgives = || !compiled.uses_old && pair.is_some_and(|(new, old)| new == old);
        let about_forgiven = self.wanted == Findings::Forgiven;
        if about_forgiven && (compiled.program.is_err() || !forgives()) {
            return Ok(());
        }
        let type_ = || BadValue::from(&node.type_);
        let mut tell = |text: String| self.errors.push(FieldError::invalid(at, type_(), text));
        let program = match &compiled.program {
            Ok(program) => program,
            Err(why) => {
                tell(format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        let optional = rule.optional_old_self == Some(true);
        if compiled.uses_old && old.is_none() && !optional {
            return Ok(());
        }
        let mut activation = Activation::new().json(SELF, value, Some(declared));
        match (old, optional) {
            (Some(old), true) => {
                activation.set(OLD_SELF, CelValue::some(CelValue::from_json(old, Some(declared))));
            }
            (None, true) => activation.set(OLD_SELF, CelValue::Optional(None)),
            (Some(old), false) => activation.set(OLD_SELF, CelValue::from_json(old, Some(declared))),
            (None, false) => {}
        }
        let holds = match program.evaluate(&activation, &mut self.budget) {
            Ok(result) => result.as_bool() == Some(true),
            Err(error) if about_forgiven => {
                return if matches!(error, EvalError::Budget | EvalError::CostLimit) {
                    Err(Stop)
                } else {
                    Ok(())
                };
            }
            Err(error) => {
                let shown = shown(rule);
                match &error {
                    EvalError::Budget => {
                        tell(error.to_string());
                        return Err(Stop);
                    }
                    EvalError::CostLimit => {
                        tell(format!(
                            "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                        ));
                        return Err(Stop);
                    }
                    _ if error.to_string().starts_with("no such overload") => {
                        tell(format!(
                            "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                        ));
                    }
                    _ => tell(format!("{error} evaluating rule: {shown}")),
                }
                return Ok(());
            }
        };
        if holds || (!about_forgiven && forgives()) {
            return Ok(());
        }
        let made = match &compiled.message {
            Some(Ok(program)) => match program.evaluate(&activation, &mut self.budget) {
                Ok(text) => text.as_str().map(str::trim).filter(|t| is_message(t)).map(str::to_owned),
                Err(EvalError::Budget) => {
                    let text = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
                    self.errors.push(FieldError::invalid(at, type_(), text));
                    return Err(Stop);
                }
                Err(_) => None,
            },
            _ => None,
        };
        let detail = made.unwrap_or_else(|| match rule.message.trim() {
            "" => format!("failed rule: {}", shown(rule)),
            message => message.to_owned(),
        });
        let at = compiled.field_path.as_ref().map_or_else(|| at.clone(), |path| at.child(path.clone()));
        let omitted = matches!(node.type_.as_str(), "object" | "array");
        let value = if omitted { BadValue::Omitted } else { bad(value) };
        self.errors.push(match rule.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(&at, detail),
            Some("FieldValueRequired") => FieldError::required(&at, detail),
            Some("FieldValueDuplicate") => FieldError::duplicate(&at, value),
            _ => FieldError::new(FieldErrorKind::Invalid, &at, value, detail),
        });
        Ok(())
    }
}

/// A made message is one line of some length.
fn is_message(text: &str) -> bool {
    const MESSAGE_BYTES_MAX: usize = 5 * 1024;
    !text.is_empty() && !text.contains(['\n', '\r']) && text.len() <= MESSAGE_BYTES_MAX
}

/// What a rule is called where it could not be evaluated.
fn shown(rule: &ValidationRule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}

#[cfg(test)]
mod tests {
    use meta::Codec;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_did_not_change_is_forgiven_and_told() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'bad'", "message": "a is bad"}]},
            "b": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "b changed"}]},
        }});
        let props =
            types::apiextensions::v1::JSONSchemaProps::from_json(schema.to_string().as_bytes()).unwrap();
        let rules = Rules::compile(&Schema::read(&props).unwrap());
        let at = FieldPath::root();
        let texts = |errors: Vec<FieldError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let bad = "a: Invalid value: \"bad\": a is bad";
        for (new, old, held, forgiven) in [
            (json!({"a": "bad"}), json!({"a": "bad"}), vec![], vec![bad]),
            (json!({"a": "bad"}), json!({"a": "good"}), vec![bad], vec![]),
            (json!({"b": "x"}), json!({"b": "y"}), vec!["b: Invalid value: \"x\": b changed"], vec![]),
            (json!({"a": "good", "b": "x"}), json!({"a": "good", "b": "x"}), vec![], vec![]),
        ] {
            assert_eq!(texts(rules.validate(&at, &new, Some(&old))), held, "{new} after {old}");
            assert_eq!(texts(rules.forgiven(&at, &new, &old)), forgiven, "{new} after {old}");
        }
    }
}
