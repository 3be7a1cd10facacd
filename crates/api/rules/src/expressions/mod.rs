//! Rules with expressions in schemas (`x-kubernetes-validations`): what they may cost and whether they make sense, which
//! is asked when a definition is written ([`estimate`]), and what they say of objects ([`Rules`]).

mod estimate;
mod validate;

use std::cell::LazyCell;
use std::sync::Arc;

use cel::{DeclType, Env, Program, Stage, Type};
use meta::Str;
use schema::structural::Schema;
use types::apiextensions::v1::ValidationRule;

pub(crate) use estimate::estimate;
pub use validate::Rules;

use crate::apiextensions::field_path;

const SELF: &str = "self";
const OLD_SELF: &str = "oldSelf";
/// What the type of `self` is called in messages.
const TYPE_NAME: &str = "selfType";

/// What CEL sees of a schema; `None` when it cannot see into it.
fn declared(schema: &Schema, is_object: bool) -> Option<Arc<DeclType>> {
    DeclType::of(schema, is_object || schema.embedded_resource)
}

/// A compiled rule.
struct Compiled {
    rule: ValidationRule,
    /// The expression, or what is wrong with it.
    program: Result<Program, String>,
    /// The expression that makes the message, or what is wrong with it.
    message: Option<Result<Program, String>>,
    /// Where findings are told, below the place of the rule.
    field_path: Option<Str>,
    uses_old: bool,
}

/// Compiles the rules at a place of a schema. A rule without a text is left out by the caller's other checks.
fn compile(schema: &Schema, declared: &Arc<DeclType>) -> Vec<Compiled> {
    // Most rules of a place see the same names.
    let (plain, optional) =
        (LazyCell::new(|| environment(declared, false)), LazyCell::new(|| environment(declared, true)));
    let env = |rule: &ValidationRule| if rule.optional_old_self == Some(true) { &*optional } else { &*plain };
    schema.validations.iter().map(|rule| one(schema, env(rule), rule)).collect()
}

fn environment(declared: &Arc<DeclType>, optional: bool) -> Env {
    let env = Env::new().declared(SELF, TYPE_NAME, declared.clone());
    let wrap = |ty: Type| if optional { Type::optional(ty) } else { ty };
    env.declared_as(OLD_SELF, TYPE_NAME, declared.clone(), wrap)
}

fn one(schema: &Schema, env: &Env, rule: &ValidationRule) -> Compiled {
    let program = match env.compile(&rule.rule) {
        Err(error) => Err(format!("{} failed: {error}", error.stage())),
        Ok(program) if *program.result_type() != Type::Bool => {
            Err("cel expression must evaluate to a bool".to_owned())
        }
        Ok(program) => Ok(program),
    };
    let uses_old = program.as_ref().is_ok_and(|program| program.uses(OLD_SELF));
    let message = (!rule.message_expression.is_empty() && program.is_ok()).then(|| {
        match env.compile(&rule.message_expression) {
            Err(error) => {
                let stage = match error.stage() {
                    Stage::Compilation => "compilation",
                    Stage::Instantiation => "instantiation",
                };
                Err(format!("messageExpression {stage} failed: {error}"))
            }
            Ok(program) if *program.result_type() != Type::String => {
                Err("messageExpression must evaluate to a string".to_owned())
            }
            Ok(program) => Ok(program),
        }
    });
    let field_path = (!rule.field_path.is_empty())
        .then(|| field_path::resolve(&rule.field_path, schema, true).ok())
        .flatten()
        .map(|(names, _)| Str::from(names.join(".")));
    Compiled { rule: rule.clone(), program, message, field_path, uses_old }
}
