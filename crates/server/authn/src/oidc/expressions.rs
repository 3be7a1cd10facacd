//! CEL over `claims` and over `user`: compiling it as the configuration's validation does, and running it.

use std::sync::{Arc, LazyLock};

use cel::schema::DeclKind;
use cel::{Activation, Budget, DeclType, Env, PER_CALL_LIMIT, Program, Type, Value};
use serde_json::Value as Json;

use super::claims::Claims;
use crate::user::User;

/// Compiles an expression over `claims` of any type.
pub(super) fn over_claims(expression: &str) -> Result<Program, String> {
    compile(&CLAIMS, expression)
}

/// Compiles a condition over `claims`.
pub(super) fn claims_condition(expression: &str) -> Result<Program, String> {
    condition(compile(&CLAIMS, expression)?)
}

/// Compiles a condition over `user`.
pub(super) fn user_condition(expression: &str) -> Result<Program, String> {
    condition(compile(&USER, expression)?)
}

static CLAIMS: LazyLock<Env> =
    LazyLock::new(|| Env::new().variable("claims", Type::map(Type::String, Type::Dyn)));

static USER: LazyLock<Env> = LazyLock::new(|| {
    let text = || DeclType::simple(DeclKind::String);
    let user = DeclType::object(&[
        ("username", text()),
        ("uid", text()),
        ("groups", DeclType::list(text())),
        ("extra", DeclType::map(DeclType::list(text()))),
    ]);
    Env::new().declared("user", "kubernetes.UserInfo", user)
});

fn compile(env: &Env, expression: &str) -> Result<Program, String> {
    env.compile(expression).map_err(|error| format!("{} failed: {error}", error.stage()))
}

fn condition(program: Program) -> Result<Program, String> {
    if *program.result_type() == Type::Bool { Ok(program) } else { Err("must evaluate to bool".to_owned()) }
}

/// The claims as the variable of expressions.
pub(super) fn claims_value(claims: Claims) -> Json {
    Json::Object(claims)
}

/// The user as the variable of expressions.
pub(super) fn user_value(user: &User) -> Json {
    let list = |values: &[meta::Str]| Json::from_iter(values.iter().map(|value| value.as_str()));
    let extra: serde_json::Map<String, Json> =
        user.extra.iter().map(|(key, values)| (key.to_string(), list(values))).collect();
    serde_json::json!({
        "username": user.name.as_str(), "uid": user.uid.as_str(), "groups": list(&user.groups), "extra": extra,
    })
}

/// What a mapping gives: text, a list of texts, or nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    Nothing,
    Text(String),
    Texts(Vec<String>),
    Other,
}

/// Runs a mapping over the claims.
pub(super) fn map(program: &Program, claims: &Json) -> Result<Mapped, String> {
    run(program, "claims", claims, None, |value| match value {
        Value::Null => Mapped::Nothing,
        Value::List(list) => {
            let texts = list.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Mapped::Other, Mapped::Texts)
        }
        value => value.as_str().map_or(Mapped::Other, |text| Mapped::Text(text.to_owned())),
    })
}

/// Runs a condition over `claims`.
pub(super) fn claims_hold(program: &Program, claims: &Json) -> Result<Option<bool>, String> {
    run(program, "claims", claims, None, |value| value.as_bool())
}

/// Runs a condition over `user`.
pub(super) fn user_holds(program: &Program, user: &Json) -> Result<Option<bool>, String> {
    let declared: Option<&Arc<DeclType>> = USER.declared_type("user");
    run(program, "user", user, declared.map(|declared| &**declared), |value| value.as_bool())
}

fn run<T>(
    program: &Program,
    name: &str,
    json: &Json,
    declared: Option<&DeclType>,
    read: impl FnOnce(Value<'_>) -> T,
) -> Result<T, String> {
    let activation = Activation::new().json(name, json, declared);
    let result = program.evaluate(&activation, &mut Budget::new(PER_CALL_LIMIT));
    result.map(read).map_err(|error| format!("expression '{}' resulted in error: {error}", program.source()))
}
