//! RFC 7386 merge patch.

use serde_json::{Map, Value};

use super::{PatchError, UNDECODED, parse};

/// Merges `patch` into `target`.
///
/// # Errors
/// [`PatchError::Malformed`] when the document is not a JSON object.
pub fn apply(target: &mut Value, patch: &[u8]) -> Result<(), PatchError> {
    match parse(patch, UNDECODED)? {
        patch @ Value::Object(_) => {
            merge(target, patch);
            Ok(())
        }
        Value::Null => Err(PatchError::Malformed("Invalid JSON Patch".to_owned())),
        other => Err(PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            meta::go_kind(&other)
        ))),
    }
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        // What takes the place of an object stays as it came; what takes that of anything else has no nulls in objects.
        let keeps = target.is_object();
        *target = patch;
        if !keeps {
            drop_nulls(target);
        }
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Drops the nulls of all objects inside, as upstream's library does in lists too.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_as_the_rfc_says() {
        // The examples of RFC 7386, appendix A, that have an object as patch.
        for (target, patch, want) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            // Upstream's library departs from the RFC here.
            (
                json!({"a":[1]}),
                json!({"a":[{"b":null,"c":[{"d":null}]},null]}),
                json!({"a":[{"c":[{}]},null]}),
            ),
            (json!({"a":{}}), json!({"a":[{"b":null}]}), json!({"a":[{"b":null}]})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut got = target;
            apply(&mut got, patch.to_string().as_bytes()).unwrap();
            assert_eq!(got, want, "{patch}");
        }
    }

    #[test]
    fn refuses_with_upstreams_texts() {
        for (patch, want) in [
            ("{\"data\":", "error decoding patch: unexpected end of JSON input"),
            (
                "{bad",
                "error decoding patch: invalid character 'b' looking for beginning of object key string",
            ),
            (
                "[1]",
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            ("null", "Invalid JSON Patch"),
        ] {
            assert_eq!(apply(&mut json!({}), patch.as_bytes()).unwrap_err().to_string(), want);
        }
    }
}
