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
    let value = || fields.get("value").cloned().unwrap_or(Value::Null);
    let kind = text("op").unwrap_or("unknown");
    let path = || text("path").ok_or("operation missing path field: missing value");
    let from = || text("from").ok_or("operation, missing from field: missing value");
    // Some operations tell what is missing of them, others only that something is.
    let whole = |what: Result<&'_ str, &str>, name: &str| match what {
        Ok(text) => Ok(text.to_owned()),
        Err(_) if name == "path" && matches!(kind, "add" | "remove" | "copy") => {
            Err(refuse(format!("{kind} operation failed to decode path: {MISSING}")))
        }
        Err(why) => Err(refuse(format!("{kind} operation failed to decode {name}: {why}"))),
    };
    match kind {
        "add" => add(target, &whole(path(), "path")?, value(), spent),
        "remove" => remove(target, &whole(path(), "path")?, spent),
        "replace" => replace(target, &whole(path(), "path")?, value()),
        "move" => {
            let from = whole(from(), "from")?;
            let moved = take(target, &from, spent)?;
            put(target, kind, &whole(path(), "path")?, moved, spent)
        }
        "copy" => {
            let from = whole(from(), "from")?;
            let copied = get(target, kind, &from)?.cloned().unwrap_or(Value::Null);
            spent.copied_bytes += copied.to_string().len();
            if spent.copied_bytes > COPIED_BYTES_MAX {
                return Err(refuse("the copies of this patch are too large"));
            }
            put(target, kind, &whole(path(), "path")?, copied, spent)
        }
        "test" => {
            let path = whole(path(), "path")?;
            let want = value();
            let holds = match path.as_str() {
                "" => *target == want,
                path => match get(target, kind, path)? {
                    Some(found) => *found == want,
                    None => want.is_null(),
                },
            };
            if holds { Ok(()) } else { Err(PatchError::TestFailed(path)) }
        }
        other => Err(refuse(format!("Unexpected kind: {other}"))),
    }
}

/// How messages end that tell of something that is not there.
const MISSING: &str = "missing value";

fn refuse(why: impl Into<String>) -> PatchError {
    PatchError::Unprocessable(why.into())
}

/// The container that a pointer leads into, and the last key; `None` where there is none.
fn find<'v>(target: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let mut keys = path.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~"));
    let mut last = keys.next()?;
    let mut here = target;
    for next in keys {
        here = match here {
            Value::Object(map) => map.get_mut(&last)?,
            Value::Array(list) => {
                let at = index(&last, list.len()).ok()?;
                list.get_mut(at)?
            }
            _ => return None,
        };
        last = next;
    }
    matches!(here, Value::Object(_) | Value::Array(_)).then_some((here, last))
}

/// An array index that must exist; negative ones count from the end.
fn index(key: &str, len: usize) -> Result<usize, String> {
    let number: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))?;
    let at = if number < 0 { number.saturating_add_unsigned(len as u64) } else { number };
    let at = usize::try_from(at).ok().filter(|at| *at < len);
    at.ok_or_else(|| format!("Unable to access invalid index: {number}: invalid index referenced"))
}

/// The value that `copy` and `test` read.
fn get<'v>(target: &'v mut Value, kind: &str, path: &str) -> Result<Option<&'v Value>, PatchError> {
    let place = if kind == "copy" { "for from" } else { "for path" };
    match find(target, path) {
        Some((Value::Object(map), last)) => Ok(map.get(&last)),
        Some((Value::Array(list), last)) => match index(&last, list.len()) {
            Ok(at) => Ok(list.get(at)),
            Err(why) => Err(refuse(format!("error in {kind} {place}: '{path}': {why}"))),
        },
        _ if kind == "copy" => {
            Err(refuse(format!("copy operation does not apply: doc is missing from path: {path}: {MISSING}")))
        }
        _ => Err(refuse(format!("{kind} operation does not apply: is missing path: {path}: {MISSING}"))),
    }
}

fn insert(place: &mut Value, last: String, value: Value, spent: &mut Spent) -> Result<(), PatchError> {
    match place {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            if last.parse::<i64>().is_err() {
                let why = format!(
                    "value was not a proper array index: '{last}': strconv.Atoi: parsing {last:?}: invalid syntax"
                );
                return Err(refuse(why));
            }
            // One past the end is allowed here, so the list counts as one longer.
            let at = index(&last, list.len() + 1).map_err(refuse)?;
            spent.move_elements(list.len() - at)?;
            list.insert(at, value);
        }
        _ => return Err(refuse(MISSING)),
    }
    Ok(())
}

fn add(target: &mut Value, path: &str, value: Value, spent: &mut Spent) -> Result<(), PatchError> {
    let Some((place, last)) = find(target, path) else {
        return Err(refuse(format!(
            "add operation does not apply: doc is missing path: \"{path}\": {MISSING}"
        )));
    };
    insert(place, last, value, spent).map_err(|why| refuse(format!("error in add for path: '{path}': {why}")))
}

/// The second half of `move` and `copy`.
fn put(
    target: &mut Value,
    kind: &str,
    path: &str,
    value: Value,
    spent: &mut Spent,
) -> Result<(), PatchError> {
    let Some((place, last)) = find(target, path) else {
        let why =
            format!("{kind} operation does not apply: doc is missing destination path: {path}: {MISSING}");
        return Err(refuse(why));
    };
    insert(place, last, value, spent).map_err(|why| match kind {
        "copy" => refuse(format!("error while adding value during copy: {why}")),
        _ => refuse(format!("error in move for path: '{path}': {why}")),
    })
}

fn replace(target: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        if !(value.is_object() || value.is_array()) {
            return Err(refuse("replace operation value must be object or array"));
        }
        *target = value;
        return Ok(());
    }
    match find(target, path) {
        Some((Value::Object(map), last)) => {
            map.insert(last, value);
        }
        Some((Value::Array(list), last)) => match index(&last, list.len()) {
            Ok(at) => list[at] = value,
            Err(_) => {
                let why = format!("replace operation does not apply: doc is missing key: {path}: {MISSING}");
                return Err(refuse(why));
            }
        },
        _ => {
            let why = format!("replace operation does not apply: doc is missing path: {path}: {MISSING}");
            return Err(refuse(why));
        }
    }
    Ok(())
}

fn cut(place: &mut Value, last: &str, spent: &mut Spent) -> Result<Value, PatchError> {
    match place {
        Value::Object(map) => map
            .remove(last)
            .ok_or_else(|| refuse(format!("Unable to remove nonexistent key: {last}: {MISSING}"))),
        Value::Array(list) => {
            let at = index(last, list.len()).map_err(refuse)?;
            spent.move_elements(list.len() - at)?;
            Ok(list.remove(at))
        }
        _ => Err(refuse(MISSING)),
    }
}

fn remove(target: &mut Value, path: &str, spent: &mut Spent) -> Result<(), PatchError> {
    let Some((place, last)) = find(target, path) else {
        let why = format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}");
        return Err(refuse(why));
    };
    match cut(place, &last, spent) {
        Ok(_) => Ok(()),
        Err(why) => Err(refuse(format!("error in remove for path: '{path}': {why}"))),
    }
}

/// The first half of `move`.
fn take(target: &mut Value, from: &str, spent: &mut Spent) -> Result<Value, PatchError> {
    let Some((place, last)) = find(target, from) else {
        let why = format!("move operation does not apply: doc is missing from path: {from}: {MISSING}");
        return Err(refuse(why));
    };
    cut(place, &last, spent).map_err(|why| refuse(format!("error in move for path: '{last}': {why}")))
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
                (Err(PatchError::Unprocessable(_) | PatchError::TestFailed(_)), None) => {}
                (got, want) => panic!("{patch}: {got:?}, wanted {want:?}"),
            }
        }
    }

    #[test]
    fn refusals_read_as_those_of_upstreams_library() {
        let before = json!({"a": "1", "l": [1]});
        for (patch, want) in [
            (
                json!({"op":"add","path":"/n/x","value":2}),
                "add operation does not apply: doc is missing path: \"/n/x\": missing value",
            ),
            (json!({"op":"add","value":2}), "add operation failed to decode path: missing value"),
            (
                json!({"op":"add","path":"/l/7","value":2}),
                "error in add for path: '/l/7': Unable to access invalid index: 7: invalid index referenced",
            ),
            (
                json!({"op":"remove","path":"/n"}),
                "error in remove for path: '/n': Unable to remove nonexistent key: n: missing value",
            ),
            (
                json!({"op":"replace","path":"/a/x","value":2}),
                "replace operation does not apply: doc is missing path: /a/x: missing value",
            ),
            (
                json!({"op":"replace","path":"/l/3","value":2}),
                "replace operation does not apply: doc is missing key: /l/3: missing value",
            ),
            (
                json!({"op":"move","from":"/n","path":"/b"}),
                "error in move for path: 'n': Unable to remove nonexistent key: n: missing value",
            ),
            (
                json!({"op":"move","from":"/n/x","path":"/b"}),
                "move operation does not apply: doc is missing from path: /n/x: missing value",
            ),
            (
                json!({"op":"copy","from":"/a","path":"/n/x"}),
                "copy operation does not apply: doc is missing destination path: /n/x: missing value",
            ),
            (json!({"op":"test","path":"/a","value":"2"}), "testing value /a failed: test failed"),
            (
                json!({"op":"test","path":"/n/x"}),
                "test operation does not apply: is missing path: /n/x: missing value",
            ),
            (json!({"op":"bad"}), "Unexpected kind: bad"),
            (json!({"path":"/a"}), "Unexpected kind: unknown"),
        ] {
            let why = apply(&mut before.clone(), json!([patch]).to_string().as_bytes()).unwrap_err();
            assert_eq!(why.to_string(), want);
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
