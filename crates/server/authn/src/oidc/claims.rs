//! Reading single claims, with the words in which Go says that one has the wrong type.

use serde_json::{Map, Value as Json};

/// The claims of a token.
pub(super) type Claims = Map<String, Json>;

/// A claim that must be text.
pub(super) fn text(claims: &Claims, name: &str) -> Result<String, String> {
    match claims.get(name) {
        None => Err("claim not present".to_owned()),
        Some(Json::String(text)) => Ok(text.clone()),
        // Go leaves a string as it was where JSON says null.
        Some(Json::Null) => Ok(String::new()),
        Some(other) => Err(mismatch(other, "string")),
    }
}

/// A claim that must be true or false.
pub(super) fn flag(claims: &Claims, name: &str) -> Result<bool, String> {
    match claims.get(name) {
        None => Err("claim not present".to_owned()),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(Json::Null) => Ok(false),
        Some(other) => Err(mismatch(other, "bool")),
    }
}

/// A claim that is text or a list of texts.
pub(super) fn texts(value: &Json) -> Result<Vec<String>, String> {
    match value {
        Json::String(one) => Ok(vec![one.clone()]),
        Json::Null => Ok(Vec::new()),
        Json::Array(many) => many
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| mismatch(value, "string")))
            .collect(),
        other => Err(mismatch(other, "string")),
    }
}

fn mismatch(value: &Json, wanted: &str) -> String {
    let found = meta::go_kind(value);
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}
