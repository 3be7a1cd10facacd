//! Whether the rules of a schema make sense and stay within what they may cost, told from the schema alone.

use meta::{FieldError, FieldPath};
use schema::structural::{Additional, Schema};

use super::{Compiled, compile, declared};
use crate::apiextensions::internal;

/// What one rule may cost at most.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a definition may cost together.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// How many rules are named when all are too expensive together.
const NAMED_MAX: usize = 4;

/// What is wrong with the rules of a schema that stands at `at`. `known` says that the schema was there before, so
/// that what its rules cost one by one is no matter any more.
pub(crate) fn estimate(at: &FieldPath, schema: &Schema, known: bool) -> Vec<FieldError> {
    let mut estimator = Estimator { errors: Vec::new(), total: 0, expensive: Vec::new(), known };
    estimator.walk(at, schema, true, Some(1), None);
    let Estimator { mut errors, total, expensive, .. } = estimator;
    if total > SCHEMA_COST_MAX {
        let detail =
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        errors.extend(expensive.iter().map(|(path, _)| FieldError::forbidden(path, detail)));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(at, too_expensive(what, total, SCHEMA_COST_MAX)));
    }
    errors
}

struct Estimator {
    errors: Vec<FieldError>,
    total: u64,
    expensive: Vec<(FieldPath, u64)>,
    known: bool,
}

impl Estimator {
    /// `times`: how often the place can occur in an object, when that has a bound. `apart`: the nearest place around
    /// this one whose parts cannot be told apart between two states of an object.
    fn walk(
        &mut self,
        at: &FieldPath,
        schema: &Schema,
        is_object: bool,
        times: Option<u64>,
        apart: Option<&FieldPath>,
    ) {
        if !schema.any(&mut |s| !s.validations.is_empty()) {
            return;
        }
        let inside = times.zip(elements_max(schema)).map(|(times, max)| times.saturating_mul(max));
        if let Some(more) = schema.additional_schema() {
            self.walk(&at.child("additionalProperties"), more, false, inside, apart);
        }
        let atomic = schema.map_type.as_deref() == Some("atomic");
        let apart_fields = apart.or(atomic.then_some(at));
        for (name, field) in &schema.properties {
            let at = at.child("properties").key(name.clone());
            self.walk(&at, field, false, inside, apart_fields);
        }
        if let Some(items) = &schema.items {
            let correlated = schema.list_type.as_deref() == Some("map");
            let apart_items = apart.or((!correlated).then_some(at));
            self.walk(&at.child("items"), items, false, inside, apart_items);
        }
        if schema.validations.is_empty() {
            return;
        }
        let rules_at = at.child("x-kubernetes-validations");
        let Some(declared) = declared(schema, is_object) else {
            let text = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            return self.errors.push(FieldError::internal(&rules_at, text));
        };
        let times = times.unwrap_or(cel::schema::REQUEST_BYTES_MAX / (declared.size_min + 1));
        for (i, compiled) in compile(schema, &declared).into_iter().enumerate() {
            self.rule(&rules_at.index(i), &compiled, times, apart);
        }
    }

    fn rule(&mut self, at: &FieldPath, compiled: &Compiled, times: u64, apart: Option<&FieldPath>) {
        let rule = &compiled.rule;
        if let Ok(program) = &compiled.program {
            let cost = program.cost().max.saturating_mul(times);
            self.observe(at.child("rule"), "estimated rule cost", cost);
        }
        if let Err(why) = &compiled.program {
            self.errors.push(FieldError::invalid(&at.child("rule"), internal::rule(rule), why));
        }
        match &compiled.message {
            Some(Err(why)) => {
                let at = at.child("messageExpression");
                self.errors.push(FieldError::invalid(&at, internal::rule(rule), why));
            }
            Some(Ok(program)) => {
                let at = at.child("messageExpression");
                self.observe(at, "estimated messageExpression cost", program.cost().max);
            }
            None => {}
        }
        if compiled.uses_old {
            if let Some(place) = apart {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {place}"
                );
                self.errors.push(FieldError::invalid(&at.child("rule"), &rule.rule, detail));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(&at.child("optionalOldSelf"), optional, detail));
        }
    }

    fn observe(&mut self, at: FieldPath, what: &str, cost: u64) {
        if !self.known && cost > RULE_COST_MAX {
            self.errors.push(FieldError::forbidden(&at, too_expensive(what, cost, RULE_COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_COST_MAX / 100 {
            self.expensive.push((at, cost));
            self.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.expensive.truncate(NAMED_MAX);
        }
    }
}

/// How many parts a value has at most; `None` without a bound.
fn elements_max(schema: &Schema) -> Option<u64> {
    let bound = |limit: Option<i64>| limit.map(|limit| u64::try_from(limit).unwrap_or(0));
    match (schema.type_.as_str(), &schema.additional) {
        ("object", Some(Additional::Schema(_) | Additional::Allowed(_))) => {
            bound(schema.rules.max_properties)
        }
        ("array", _) => bound(schema.rules.max_items),
        _ => Some(1),
    }
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
