//! The macros, each in its own loop. What is charged is what the reference's general fold would cost step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::EvalError;
use super::plan::{Fold, Node};
use super::run::{Evaluated, Local, Machine};
use crate::ast::FoldKind;
use crate::cost;
use crate::value::{Key, Map, Value};

/// Looking at what was accumulated so far.
const ACCU: u64 = cost::READ;
/// A call that always costs the same.
const CALL: u64 = 1;

impl<'m, 'a> Machine<'m, 'a> {
    pub(super) fn fold(&mut self, fold: &'m Fold) -> Evaluated<'a> {
        let range = self.eval(&fold.range)?;
        let base = self.locals.len();
        let result = match fold.kind {
            FoldKind::All => self.quantify(fold, &range, false),
            FoldKind::Exists => self.quantify(fold, &range, true),
            FoldKind::ExistsOne => self.exists_one(fold, &range),
            FoldKind::List => self.collect(fold, &range),
            FoldKind::MapValues | FoldKind::MapEntries | FoldKind::Bind => self.collect_map(fold, &range),
        };
        self.locals.truncate(base);
        result
    }

    /// Runs `step` for each element with its variables set, until it says to stop.
    fn each(
        &mut self,
        fold: &'m Fold,
        range: &Value<'a>,
        mut step: impl FnMut(&mut Self, &Value<'a>) -> Result<bool, EvalError>,
    ) -> Result<(), EvalError> {
        let base = self.locals.len();
        let mut one = |machine: &mut Self, first: Value<'a>, second: Option<Value<'a>>| {
            machine.meter.make(size_of::<Value<'_>>())?;
            machine.locals.push(Local::Known(Ok(first.clone())));
            machine.locals.extend(second.map(|second| Local::Known(Ok(second))));
            let go_on = step(machine, &first);
            machine.locals.truncate(base);
            go_on
        };
        match range {
            Value::List(list) => {
                for (index, element) in list.iter().enumerate() {
                    let (first, second) =
                        if fold.two { (Value::Int(index as i64), Some(element)) } else { (element, None) };
                    if !one(self, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let value = if fold.two { map.get(&key).transpose()? } else { None };
                    if !one(self, key, value)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::new("no such overload")),
        }
        Ok(())
    }

    /// `all` and `exists`: the first element that decides wins over errors before it.
    fn quantify(&mut self, fold: &'m Fold, range: &Value<'a>, decides: bool) -> Evaluated<'a> {
        // `not_strictly_false(accu)`, and a negation for `exists`.
        let condition = ACCU + CALL + if decides { CALL } else { 0 };
        let mut failed: Option<EvalError> = None;
        let mut decided = false;
        self.each(fold, range, |machine, _| {
            machine.meter.charge(condition + ACCU)?;
            match machine.eval(&fold.body) {
                Ok(Value::Bool(value)) if value == decides => decided = true,
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.take().or_else(|| Some(EvalError::new("no such overload"))),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => failed = failed.take().or(Some(error)),
            }
            Ok(!decided)
        })?;
        self.meter.charge(ACCU)?;
        match failed {
            _ if decided => Ok(Value::Bool(decides)),
            Some(error) => Err(error),
            None => Ok(Value::Bool(!decides)),
        }
    }

    fn exists_one(&mut self, fold: &'m Fold, range: &Value<'a>) -> Evaluated<'a> {
        let mut count = 0;
        self.each(fold, range, |machine, _| {
            match machine.eval(&fold.body)? {
                Value::Bool(true) => {
                    machine.meter.charge(ACCU + CALL)?;
                    count += 1;
                }
                Value::Bool(false) => machine.meter.charge(ACCU)?,
                _ => return Err(EvalError::new("no such overload")),
            }
            Ok(true)
        })?;
        self.meter.charge(ACCU + CALL)?;
        Ok(Value::Bool(count == 1))
    }

    /// Whether the filter lets the element through; what it leaves out only costs a look at what is there.
    fn passes(&mut self, filter: Option<&'m Node>) -> Result<bool, EvalError> {
        let Some(filter) = filter else { return Ok(true) };
        match self.eval(filter)? {
            Value::Bool(true) => Ok(true),
            Value::Bool(false) => self.meter.charge(ACCU).map(|()| false),
            _ => Err(EvalError::new("no such overload")),
        }
    }

    fn collect(&mut self, fold: &'m Fold, range: &Value<'a>) -> Evaluated<'a> {
        self.meter.charge(cost::NEW_LIST)?;
        let mut list = Vec::new();
        self.each(fold, range, |machine, _| {
            if machine.passes(fold.filter.as_ref())? {
                machine.meter.charge(ACCU + cost::NEW_LIST + CALL)?;
                list.push(machine.eval(&fold.body)?);
            }
            Ok(true)
        })?;
        self.meter.charge(ACCU)?;
        Ok(Value::list(list))
    }

    fn collect_map(&mut self, fold: &'m Fold, range: &Value<'a>) -> Evaluated<'a> {
        self.meter.charge(cost::NEW_MAP)?;
        let mut map: BTreeMap<Key, Value<'a>> = BTreeMap::new();
        self.each(fold, range, |machine, first| {
            if !machine.passes(fold.filter.as_ref())? {
                return Ok(true);
            }
            machine.meter.charge(ACCU + CALL)?;
            let body = machine.eval(&fold.body)?;
            if fold.kind == FoldKind::MapValues {
                machine.meter.charge(cost::READ)?;
                return insert(&mut map, first, body).map(|()| true);
            }
            let Value::Map(entries) = &body else { return Err(EvalError::new("no such overload")) };
            for key in entries.keys() {
                if let Some(value) = entries.get(&key) {
                    insert(&mut map, &key, value?)?;
                }
            }
            Ok(true)
        })?;
        self.meter.charge(ACCU)?;
        Ok(Value::Map(Map::Built(Arc::new(map))))
    }
}

fn insert<'a>(
    map: &mut BTreeMap<Key, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
) -> Result<(), EvalError> {
    let found =
        Key::of(key).ok_or_else(|| EvalError::new(format!("unsupported key type: {}", key.type_name())))?;
    match map.insert(found, value) {
        None => Ok(()),
        Some(_) => {
            Err(EvalError::new(format!("insert failed: key {} already exists", key.as_str().unwrap_or(""))))
        }
    }
}
