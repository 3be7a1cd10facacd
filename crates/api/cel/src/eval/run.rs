//! Running a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::{Access, Call, Constant, Node, Plan};
use super::{Activation, EvalError, Meter};
use crate::cost::{self, Model};
use crate::library;
use crate::value::{Key, Map, Object, Text, Value};

/// Runs, and gives what it cost with the result.
pub(super) fn run<'a>(plan: &Plan, activation: &Activation<'a>) -> (Result<Value<'a>, EvalError>, u64) {
    let meter = Meter::default();
    let variables = plan.variables().iter().map(|name| activation.get(name).cloned()).collect();
    let mut machine = Machine { names: plan.variables(), variables, locals: Vec::new(), meter: &meter };
    let result = machine.eval(&plan.root);
    (result, meter.cost())
}

/// What a macro named.
pub(super) enum Local<'m, 'a> {
    /// A value, or why there is none.
    Known(Evaluated<'a>),
    /// `cel.bind`'s, which is evaluated when it is first read.
    Waiting(&'m Node),
}

pub(super) struct Machine<'m, 'a> {
    names: &'m [Arc<str>],
    variables: Vec<Option<Value<'a>>>,
    pub(super) locals: Vec<Local<'m, 'a>>,
    pub(super) meter: &'m Meter,
}

pub(super) type Evaluated<'a> = Result<Value<'a>, EvalError>;

impl<'m, 'a> Machine<'m, 'a> {
    pub(super) fn eval(&mut self, node: &'m Node) -> Evaluated<'a> {
        match node {
            Node::Constant(constant) => Ok(of_constant(constant)),
            Node::Variable(slot) => {
                self.meter.charge(cost::READ)?;
                let value = self.variables.get(*slot).cloned().flatten();
                value.ok_or_else(|| {
                    EvalError::new(format!(
                        "no such attribute(s): {}",
                        self.names.get(*slot).map_or("", |n| n)
                    ))
                })
            }
            Node::Local(slot) => {
                self.meter.charge(cost::READ)?;
                self.local(*slot)
            }
            Node::Select { operand, field, how } => {
                let operand = self.eval(operand)?;
                if *how != Access::Test {
                    self.meter.charge(cost::READ)?;
                }
                select(operand, field, *how)
            }
            Node::Call(call) => self.call(call),
            Node::And(left, right) => self.logic(left, right, false),
            Node::Or(left, right) => self.logic(left, right, true),
            Node::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                match self.eval(condition)? {
                    Value::Bool(true) => self.eval(yes),
                    Value::Bool(false) => self.eval(no),
                    _ => Err(EvalError::new("no such overload")),
                }
            }
            Node::OptionalOr(parts, value) => self.optional_or(parts, *value),
            Node::List { elements, constant } => self.list(elements, *constant),
            Node::Map(entries) => self.map(entries),
            Node::Struct { name, fields } => self.structure(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(parts) => {
                let [value, body] = &**parts;
                self.meter.charge(cost::NEW_LIST)?;
                self.locals.push(Local::Waiting(value));
                let result = self.eval(body);
                self.locals.pop();
                result
            }
            Node::Broken => Err(broken()),
        }
    }

    /// The value of a name. One that waits sees the names that were there before it, and no others.
    fn local(&mut self, slot: usize) -> Evaluated<'a> {
        let node = match self.locals.get(slot) {
            Some(Local::Known(known)) => return known.clone(),
            Some(Local::Waiting(node)) => *node,
            None => return Err(broken()),
        };
        let later = self.locals.split_off(slot);
        let value = self.eval(node);
        self.locals.extend(later);
        self.locals[slot] = Local::Known(value.clone());
        value
    }

    fn call(&mut self, call: &'m Call) -> Evaluated<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        let call_of =
            library::Call { name: call.name, args: &args, regex: call.regex.as_ref(), meter: self.meter };
        // What goes through its arguments is charged before it does.
        let model = if call.free { Model::Fixed(0) } else { by_arguments(call.model, &args) };
        let before = !matches!(model, Model::Join | Model::MakeList);
        if before {
            self.meter.charge(cost::actual(model, &args, None))?;
        }
        let mut result = Err(broken());
        for native in &call.natives {
            result = native(&call_of);
            if !matches!(&result, Err(EvalError::Failed(why)) if why.starts_with("no such overload")) {
                break;
            }
        }
        if let (false, Ok(value)) = (before, &result) {
            self.meter.charge(cost::actual(model, &args, Some(value)))?;
        }
        result
    }

    /// `&&` and `||`: what decides wins over an error on either side.
    fn logic(&mut self, left: &'m Node, right: &'m Node, decides: bool) -> Evaluated<'a> {
        let is_decided =
            |result: &Evaluated<'a>| matches!(result, Ok(Value::Bool(value)) if *value == decides);
        let left = self.eval(left);
        if is_decided(&left) || matches!(&left, Err(error) if error.is_fatal()) {
            return left;
        }
        let right = self.eval(right);
        if is_decided(&right) || matches!(&right, Err(error) if error.is_fatal()) {
            return right;
        }
        match (left?, right?) {
            (Value::Bool(_), Value::Bool(_)) => Ok(Value::Bool(!decides)),
            _ => Err(EvalError::new("no such overload")),
        }
    }

    fn optional_or(&mut self, parts: &'m [Node; 2], value: bool) -> Evaluated<'a> {
        let [left, right] = parts;
        match self.eval(left)? {
            Value::Optional(Some(inner)) if value => Ok((*inner).clone()),
            some @ Value::Optional(Some(_)) => Ok(some),
            Value::Optional(None) => self.eval(right),
            other => {
                let name = if value { "orValue" } else { "or" };
                Err(EvalError::no_such_overload(name, &[other.type_name()]))
            }
        }
    }

    fn list(&mut self, elements: &'m [(Node, bool)], constant: bool) -> Evaluated<'a> {
        let mut list = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            match (self.eval(element)?, optional) {
                (Value::Optional(Some(inner)), true) => list.push((*inner).clone()),
                (Value::Optional(None), true) => {}
                (other, true) => return Err(not_optional(&other)),
                (value, false) => list.push(value),
            }
        }
        if !constant {
            self.meter.charge(cost::NEW_LIST)?;
        }
        Ok(Value::list(list))
    }

    fn map(&mut self, entries: &'m [(Node, Node, bool)]) -> Evaluated<'a> {
        let mut map = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(Some(inner)), true) => (*inner).clone(),
                (Value::Optional(None), true) => continue,
                (other, true) => return Err(not_optional(&other)),
                (value, false) => value,
            };
            let key = Key::of(&key)
                .ok_or_else(|| EvalError::new(format!("unsupported key type: {}", key.type_name())))?;
            if map.insert(key.clone(), value).is_some() {
                return Err(EvalError::new(format!("Failed with repeated key: {}", shown(&key))));
            }
        }
        self.meter.charge(cost::NEW_MAP)?;
        Ok(Value::Map(Map::Built(Arc::new(map))))
    }

    fn structure(&mut self, name: &Arc<str>, fields: &'m [(Arc<str>, Node, bool)]) -> Evaluated<'a> {
        let mut made = BTreeMap::new();
        for (field, value, optional) in fields {
            match (self.eval(value)?, optional) {
                (Value::Optional(Some(inner)), true) => made.insert(field.clone(), (*inner).clone()),
                (Value::Optional(None), true) => None,
                (other, true) => return Err(not_optional(&other)),
                (value, false) => made.insert(field.clone(), value),
            };
        }
        self.meter.charge(cost::NEW_OBJECT)?;
        Ok(Value::Object(Arc::new(Object { name: name.clone(), fields: made })))
    }
}

fn broken() -> EvalError {
    EvalError::new("no such overload")
}

fn not_optional(value: &Value<'_>) -> EvalError {
    EvalError::new(format!(
        "cannot initialize optional entry from non-optional value of type {}",
        value.type_name()
    ))
}

fn shown(key: &Key) -> String {
    match key {
        Key::Bool(value) => value.to_string(),
        Key::Int(value) => value.to_string(),
        Key::Uint(value) => value.to_string(),
        Key::String(text) => text.to_string(),
    }
}

fn of_constant<'a>(constant: &Constant) -> Value<'a> {
    match constant {
        Constant::Null => Value::Null,
        Constant::Bool(value) => Value::Bool(*value),
        Constant::Int(value) => Value::Int(*value),
        Constant::Uint(value) => Value::Uint(*value),
        Constant::Double(value) => Value::Double(*value),
        Constant::String(text) => Value::String(Text::Shared(text.clone())),
        Constant::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Constant::Type(ty) => Value::Type(ty.clone()),
    }
}

/// A field of a value.
fn select<'a>(operand: Value<'a>, field: &Arc<str>, how: Access) -> Evaluated<'a> {
    let absent = || EvalError::no_such_key(&Value::String(Text::Shared(field.clone())));
    let found = match &operand {
        Value::Map(map) => map.field(field),
        Value::Object(object) => object.fields.get(field).cloned().map(Ok),
        Value::Optional(None) => {
            return Ok(if how == Access::Test { Value::Bool(false) } else { Value::NONE });
        }
        Value::Optional(Some(inner)) => {
            let how = if how == Access::Get { Access::Optional } else { how };
            return select((**inner).clone(), field, how);
        }
        Value::List(_) if how != Access::Test => {
            return Err(EvalError::new("unsupported index type 'string' in list"));
        }
        _ => None,
    };
    match (found, how) {
        (found, Access::Test) => match found {
            Some(Err(error)) => Err(error),
            found => Ok(Value::Bool(found.is_some())),
        },
        (Some(found), Access::Get) => found,
        (None, Access::Get) => Err(absent()),
        (Some(found), Access::Optional) => found.map(Value::some),
        (None, Access::Optional) => Ok(Value::NONE),
    }
}

/// The kind of work once the arguments are known: `+` and `in` are different ones for different types.
fn by_arguments(model: Model, args: &[Value<'_>]) -> Model {
    match (model, args) {
        (Model::Concat | Model::ConcatLists, [Value::String(_) | Value::Bytes(_), _]) => Model::Concat,
        (Model::Concat | Model::ConcatLists, [Value::List(_), _]) => Model::ConcatLists,
        (Model::Concat | Model::ConcatLists, _) => Model::Fixed(1),
        (Model::InList, [_, Value::Map(_)]) => Model::Fixed(1),
        _ => model,
    }
}
