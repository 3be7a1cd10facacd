//! Keys in the paths of JSON patches.

use super::{Call, Row};
use crate::eval::EvalError;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Row] = &[Row {
    name: "jsonpatch.escapeKey",
    run: escape_key,
    overloads: &["string_escapeKey: (string) -> string"],
}];

fn escape_key<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::from(call.str(0)?.replace('~', "~0").replace('/', "~1")))
}
