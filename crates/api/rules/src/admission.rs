//! The group `admissionregistration.k8s.io`: webhooks and CEL policies.

mod policy;
mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod webhook;

use types::admissionregistration::v1::MatchCondition;

use cel::{Env, Program, Stage, Type};

use crate::check::{Errs, qualified_name};
use crate::environments::Refused;
use crate::{Path, environments};
use meta::List;
use std::collections::BTreeSet;

const CONDITIONS_MAX: usize = 64;

/// Notes why an expression is not accepted; what it compiles to, if it is.
pub(crate) fn expression(
    e: &mut Errs,
    at: &Path<'_>,
    env: &Env,
    text: &str,
    wanted: &[Type],
) -> Option<Program> {
    match environments::compile(env, text, wanted) {
        Ok(program) => Some(program),
        Err(refused) => {
            match &refused {
                Refused::Compile(error) if error.stage() == Stage::Instantiation => {
                    e.internal(at, refused.to_string())
                }
                _ => e.invalid(at, text, refused.to_string()),
            }
            None
        }
    }
}

/// Conditions under which a webhook or policy is asked at all.
fn match_conditions(e: &mut Errs, at: &Path<'_>, env: &Env, conditions: &List<MatchCondition>) {
    if conditions.len() > CONDITIONS_MAX {
        e.too_many(at, conditions.len(), CONDITIONS_MAX);
    }
    let mut names = BTreeSet::new();
    for (i, c) in conditions.iter().enumerate() {
        let at = at.index(i);
        if c.expression.trim().is_empty() {
            e.required(&at.child("expression"), "");
        } else {
            expression(e, &at.child("expression"), env, &c.expression, &[Type::Bool]);
        }
        if c.name.is_empty() {
            e.required(&at.child("name"), "");
        } else {
            e.each(&at.child("name"), &c.name, qualified_name(&c.name));
            if !names.insert(&c.name) {
                e.duplicate(&at.child("name"), &c.name);
            }
        }
    }
}
