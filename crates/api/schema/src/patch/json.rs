//! RFC 6902 JSON patch, with the liberties that upstream's library takes: `replace` of a missing map key adds it,
//! negative array indices count from the end, and the document itself (the empty path) cannot be addressed.

use serde_json::Value;

use super::{COPIED_BYTES_MAX, MOVED_MAX, OPERATIONS_MAX, PatchError, UNDECODED, parse};

/// Applies every operation of `patch` to `target`; `target` is unspecified after an error.
///
/// # Errors
/// [`PatchError::Malformed`] for a document that is no list of operations, [`PatchError::TooManyOperations`], and
/// [`PatchError::Unprocessable`] for an operation that fails.
pub fn apply(target: &mut Value, patch: &[u8]) -> Result<(), PatchError> {
    let operations = match parse(patch, UNDECODED)? {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => {
            return Err(PatchError::Malformed(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                meta::go_kind(&other)
            )));
        }
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut spent = Spent::default();
    for operation in &operations {
        step(target, operation, &mut spent)?;
    }
    Ok(())
}

/// What a patch has cost so far.
#[derive(Default)]
struct Spent {
    /// Bytes that `copy` operations copied.
    copied_bytes: usize,
    /// Elements of lists that made room or closed up.
    moved: usize,
}

impl Spent {
    fn move_elements(&mut self, count: usize) -> Result<(), PatchError> {
        self.moved += count;
        if self.moved > MOVED_MAX { Err(refuse("the lists of this patch are too long")) } else { Ok(()) }
    }
}

fn step(target: &mut Value, operation: &Value, spent: &mut Spent) -> Result<(), PatchError> {
    let Value::Object(fields) = operation else {
        return Err(PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
            meta::go_kind(operation)
        )));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let path = || text("path").ok_or_else(|| refuse("operation has no path"));
    let from = || text("from").ok_or_else(|| refuse("operation has no from"));
    let value = || fields.get("value").cloned().unwrap_or(Value::Null);
    match text("op").unwrap_or_default() {
        "add" => add(target, path()?, value(), spent),
        "remove" => remove(target, path()?, spent).map(drop),
        "replace" => replace(target, path()?, value()),
        "move" => {
            let moved = remove(target, from()?, spent)?;
            add(target, path()?, moved, spent)
        }
        "copy" => {
            let copy = get(target, from()?)?.cloned().unwrap_or(Value::Null);
            spent.copied_bytes += copy.to_string().len();
            if spent.copied_bytes > COPIED_BYTES_MAX {
                return Err(refuse("the copies of this patch are too large"));
            }
            add(target, path()?, copy, spent)
        }
        "test" => {
            let want = value();
            match get(target, path()?)? {
                Some(found) if *found == want => Ok(()),
                None if want.is_null() => Ok(()),
                _ => Err(refuse("test failed")),
            }
        }
        other => Err(refuse(&format!("unexpected kind: {other}"))),
    }
}

fn refuse(why: &str) -> PatchError {
    PatchError::Unprocessable(why.to_owned())
}

/// Splits a pointer into the path of its container and its last key.
fn split(path: &str) -> Result<(Vec<String>, String), PatchError> {
    let mut parts = path.split('/');
    parts.next();
    let mut keys: Vec<String> = parts.map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
    let last = keys.pop().ok_or_else(|| refuse("missing container"))?;
    Ok((keys, last))
}

fn container<'v>(target: &'v mut Value, keys: &[String]) -> Result<&'v mut Value, PatchError> {
    let mut here = target;
    for key in keys {
        here = match here {
            Value::Object(map) => map.get_mut(key),
            Value::Array(list) => {
                let at = index(key, list.len())?;
                list.get_mut(at)
            }
            _ => None,
        }
        .ok_or_else(|| refuse("missing container"))?;
    }
    Ok(here)
}

/// An array index that must exist; negative ones count from the end.
fn index(key: &str, len: usize) -> Result<usize, PatchError> {
    let number: i64 = key.parse().map_err(|_| refuse("invalid array index"))?;
    let at = if number < 0 { number + len as i64 } else { number };
    usize::try_from(at).ok().filter(|at| *at < len).ok_or_else(|| refuse("array index out of bounds"))
}

fn get<'v>(target: &'v mut Value, path: &str) -> Result<Option<&'v Value>, PatchError> {
    let (keys, last) = split(path)?;
    match container(target, &keys)? {
        Value::Object(map) => Ok(map.get(&last)),
        Value::Array(list) => {
            let at = index(&last, list.len())?;
            Ok(list.get(at))
        }
        _ => Err(refuse("missing container")),
    }
}

fn add(target: &mut Value, path: &str, value: Value, spent: &mut Spent) -> Result<(), PatchError> {
    let (keys, last) = split(path)?;
    match container(target, &keys)? {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            // One past the end is allowed here, so the list counts as one longer.
            let at = index(&last, list.len() + 1)?;
            spent.move_elements(list.len() - at)?;
            list.insert(at, value);
        }
        _ => return Err(refuse("missing container")),
    }
    Ok(())
}

fn replace(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    let (keys, last) = split(path)?;
    match container(target, &keys)? {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) => {
            let at = index(&last, list.len())?;
            list[at] = value;
        }
        _ => return Err(refuse("missing container")),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str, spent: &mut Spent) -> Result<Value, PatchError> {
    let (keys, last) = split(path)?;
    match container(target, &keys)? {
        Value::Object(map) => map.remove(&last).ok_or_else(|| refuse("nonexistent key")),
        Value::Array(list) => {
            let at = index(&last, list.len())?;
            spent.move_elements(list.len() - at)?;
            Ok(list.remove(at))
        }
        _ => Err(refuse("missing container")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations() {
        let before = json!({"a": "1", "l": [1, 2, 3], "m": {"x/y": {"~": 0}}});
        for (patch, want) in [
            (json!([{"op":"add","path":"/b","value":2}]), Some(json!({"b":2}))),
            (json!([{"op":"replace","path":"/new","value":2}]), Some(json!({"new":2}))),
            (json!([{"op":"add","path":"/l/-","value":4}]), Some(json!({"l":[1,2,3,4]}))),
            (json!([{"op":"add","path":"/l/1","value":9}]), Some(json!({"l":[1,9,2,3]}))),
            (json!([{"op":"add","path":"/l/3","value":9}]), Some(json!({"l":[1,2,3,9]}))),
            (json!([{"op":"remove","path":"/l/-1"}]), Some(json!({"l":[1,2]}))),
            (json!([{"op":"replace","path":"/m/x~1y/~0","value":1}]), Some(json!({"m":{"x/y":{"~":1}}}))),
            (
                json!([{"op":"move","from":"/a","path":"/z"},{"op":"copy","from":"/z","path":"/a"}]),
                Some(json!({"z":"1"})),
            ),
            (json!([{"op":"test","path":"/none","value":null}]), Some(json!({}))),
            (json!([{"op":"test","path":"/a","value":"2"}]), None),
            (json!([{"op":"remove","path":"/none"}]), None),
            (json!([{"op":"add","path":"","value":null}]), None),
            (json!([{"op":"add","path":"/none/deep","value":1}]), None),
            (json!([{"op":"add","path":"/l/5","value":1}]), None),
            (json!([{"op":"explode","path":"/a"}]), None),
        ] {
            let mut got = before.clone();
            match (apply(&mut got, patch.to_string().as_bytes()), want) {
                (Ok(()), Some(want)) => {
                    for (key, value) in want.as_object().unwrap() {
                        assert_eq!(&got[key], value, "{patch}");
                    }
                }
                (Err(PatchError::Unprocessable(_)), None) => {}
                (got, want) => panic!("{patch}: {got:?}, wanted {want:?}"),
            }
        }
    }

    #[test]
    fn lists_that_shift_again_and_again_stay_bounded() {
        let mut document = json!({"a": vec![0; 200_000]});
        let patch: Vec<_> = (0..2_000).map(|_| json!({"op":"add","path":"/a/0","value":1})).collect();
        assert!(matches!(
            apply(&mut document, Value::Array(patch).to_string().as_bytes()),
            Err(PatchError::Unprocessable(_))
        ));
    }

    #[test]
    fn copies_that_double_stay_bounded() {
        let mut document = json!({"a": "x".repeat(1024)});
        let patch: Vec<_> = (0..40)
            .flat_map(|_| {
                [json!({"op":"copy","from":"/a","path":"/b"}), json!({"op":"copy","from":"","path":"/a"})]
            })
            .collect();
        assert!(apply(&mut document, Value::Array(patch).to_string().as_bytes()).is_err());
        let mut document = json!({"a": ["x".repeat(1024)]});
        let patch: Vec<_> = (0..40).map(|_| json!({"op":"copy","from":"/a","path":"/a/-"})).collect();
        assert!(matches!(
            apply(&mut document, Value::Array(patch).to_string().as_bytes()),
            Err(PatchError::Unprocessable(_))
        ));
    }
}
