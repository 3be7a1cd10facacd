//! The text of a patched document, as refusals of it show it.
//!
//! Upstream's library of patches reads a document only where a patch goes into it: objects on the way get sorted keys,
//! everything else stays the text that it was, and so do values that a patch brings.

use std::borrow::Cow;
use std::collections::HashMap;

use call::PatchKind;
use schema::apply::{Doc, Val};
use serde_json::Value;

/// How far apart an element may stand in the lists before and after a patch to be found again.
const SHIFT_MAX: usize = 16;
/// Of so many operations the values are looked for: each is compared with every place.
const SENT_MAX: usize = 32;

/// The patched document as upstream's library leaves it.
pub(super) fn patched(value: &Value, before: &[u8], kind: PatchKind, body: &[u8]) -> String {
    let Ok(doc) = Doc::parse(before) else { return escaped(&value.to_string()) };
    let patch = Doc::parse(body).ok();
    let merged = patch.as_ref().filter(|_| kind == PatchKind::Merge).map(Doc::root);
    let operations = patch.as_ref().filter(|_| kind == PatchKind::Json).map(Doc::root);
    let sent: Vec<Val<'_>> = operations
        .iter()
        .flat_map(Val::elements)
        .filter_map(|operation| operation.get("value"))
        .take(SENT_MAX)
        .collect();
    let mut out = String::new();
    write(value, Some(doc.root()), merged, &sent, &mut out);
    out
}

/// `before` is what stood here, `merged` what a merge patch says of the place, `sent` what the operations of a JSON patch
/// bring.
fn write(
    value: &Value,
    before: Option<Val<'_>>,
    merged: Option<Val<'_>>,
    sent: &[Val<'_>],
    out: &mut String,
) {
    let text = value.to_string();
    let container = matches!(value, Value::Object(_) | Value::Array(_));
    // Where a merge patch brings a list or an object, their keys are sorted; texts stay as they came.
    let brought = merged.iter().filter(|_| !container);
    if let Ok(now) = Doc::parse(text.as_bytes())
        && let Some(known) = before.iter().chain(brought).chain(sent).find(|known| known.same(&now.root()))
    {
        out.push_str(&as_marshalled(known));
        return;
    }
    match value {
        Value::Object(map) => {
            let (before, merged) = (members(before), members(merged));
            out.push('{');
            for (at, (key, item)) in map.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&escaped(&Value::from(key.as_str()).to_string()));
                out.push(':');
                let (before, merged) = (before.get(key.as_str()), merged.get(key.as_str()));
                write(item, before.copied(), merged.copied(), sent, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            let old: Vec<Val<'_>> = match merged {
                // A list that is merged takes the place of the one before.
                Some(_) => Vec::new(),
                None => before.iter().flat_map(Val::elements).collect(),
            };
            let mut brought = merged.iter().flat_map(Val::elements);
            let mut from = 0;
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let text = item.to_string();
                let now = Doc::parse(text.as_bytes()).ok();
                let window = &old[from.min(old.len())..(from + SHIFT_MAX).min(old.len())];
                let found =
                    window.iter().position(|old| now.as_ref().is_some_and(|now| old.same(&now.root())));
                let known = old.get(found.map_or(from, |found| from + found)).copied();
                from += found.unwrap_or(0) + 1;
                write(item, known, brought.next(), sent, out);
            }
            out.push(']');
        }
        _ => out.push_str(&escaped(&text)),
    }
}

/// The members of an object by their keys, the first of each: objects are as large as clients like.
fn members(of: Option<Val<'_>>) -> HashMap<Cow<'_, str>, Val<'_>> {
    let mut members = HashMap::new();
    for (key, value) in of.iter().flat_map(Val::members) {
        members.entry(key.string()).or_insert(value);
    }
    members
}

/// A value's own text as Go writes raw text into a document: without space around, with its escapes.
fn as_marshalled(value: &Val<'_>) -> String {
    let raw = String::from_utf8_lossy(value.raw());
    let mut out = String::with_capacity(raw.len());
    let (mut inside, mut escape) = (false, false);
    for c in raw.chars() {
        if inside || !c.is_ascii_whitespace() {
            out.push(c);
        }
        match c {
            '"' if !escape => inside = !inside,
            _ => {}
        }
        escape = inside && c == '\\' && !escape;
    }
    escaped(&out)
}

/// Go's escapes of what a browser could take for markup, which occurs in strings only.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_patch_does_not_touch_stays_as_it_was() {
        let before =
            br#"{"kind":"K","b":{"z":1,"a":2},"list":[{"z":1,"a":"<"},{"z":2,"a":3},{"z":4,"a":5}]}"#;
        let list = json!([{"z": 1, "a": "<"}, {"z": 2, "a": 7}, {"z": 4, "a": 5}]);
        let table = [
            (PatchKind::Json, json!({"kind": "K", "b": 1, "list": list}), "[]"),
            (PatchKind::Json, json!({"b": {"y": [1], "x": 2}}), r#"[{"value": { "y": [ 1], "x":2 }}]"#),
            (PatchKind::Merge, json!({"b": {"y": [1], "x": "a & b"}}), r#"{"b":{"y":[1],"x":2}}"#),
        ];
        let expected = [
            r#"{"b":1,"kind":"K","list":[{"z":1,"a":"\u003c"},{"a":7,"z":2},{"z":4,"a":5}]}"#,
            r#"{"b":{"y":[1],"x":2}}"#,
            r#"{"b":{"x":"a \u0026 b","y":[1]}}"#,
        ];
        for ((kind, value, body), expected) in table.into_iter().zip(expected) {
            assert_eq!(patched(&value, before, kind, body.as_bytes()), expected);
        }
    }
}
