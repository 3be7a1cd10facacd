//! Strategic merge patches on a toy type: `items` merges by `name`, `tags` is a set, `frozen` is replaced.

use serde_json::{Value, json};

use super::*;

#[derive(Clone, Copy)]
struct Toy;

impl Shape for Toy {
    fn field(self, _: &str) -> Option<Self> {
        Some(Toy)
    }
    fn strategy(self, name: &str) -> Strategy {
        match name {
            "items" | "tags" => Strategy::Merge,
            "frozen" => Strategy::Replace,
            _ => Strategy::Default,
        }
    }
    fn merge_key(self, name: &str) -> &'static str {
        if name == "items" { "name" } else { "" }
    }
}

fn patched(before: Value, patch: Value) -> Result<Value, PatchError> {
    let mut value = before;
    apply(&mut value, patch.to_string().as_bytes(), Toy).map(|()| value)
}

#[test]
fn merges() {
    let ab = || json!({"items": [{"name": "a", "v": 1}, {"name": "b", "v": 2}]});
    for (before, patch, want) in [
        (
            ab(),
            json!({"items": [{"name": "b", "v": 3}]}),
            json!({"items": [{"name": "a", "v": 1}, {"name": "b", "v": 3}]}),
        ),
        (
            ab(),
            json!({"items": [{"name": "c"}]}),
            json!({"items": [{"name": "c"}, {"name": "a", "v": 1}, {"name": "b", "v": 2}]}),
        ),
        (
            ab(),
            json!({"items": [{"name": "a", "$patch": "delete"}]}),
            json!({"items": [{"name": "b", "v": 2}]}),
        ),
        (ab(), json!({"items": [{"$patch": "replace"}, {"name": "z"}]}), json!({"items": [{"name": "z"}]})),
        (
            ab(),
            json!({"$setElementOrder/items": [{"name": "x"}, {"name": "b"}, {"name": "a"}], "items": [{"name": "x"}]}),
            json!({"items": [{"name": "x"}, {"name": "b", "v": 2}, {"name": "a", "v": 1}]}),
        ),
        (json!({"tags": ["a", "b"]}), json!({"tags": ["c", "b"]}), json!({"tags": ["c", "a", "b"]})),
        (
            json!({"tags": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/tags": ["a"]}),
            json!({"tags": ["b"]}),
        ),
        (json!({"list": [1, 2]}), json!({"list": [3]}), json!({"list": [3]})),
        (json!({"frozen": {"a": 1}}), json!({"frozen": {"b": 2}}), json!({"frozen": {"b": 2}})),
        (json!({"m": {"a": 1, "b": 2}}), json!({"m": {"a": null, "c": 3}}), json!({"m": {"b": 2, "c": 3}})),
        (json!({"m": {"a": 1}}), json!({"m": {"$patch": "delete"}}), json!({"m": {}})),
        (json!({"m": {"a": 1}}), json!({"m": {"$patch": "replace", "x": 1}}), json!({"m": {"x": 1}})),
        (
            json!({"items": [{"name": "v", "empty": {}}]}),
            json!({"items": [{"name": "v", "$retainKeys": ["name", "host"], "host": 1}]}),
            json!({"items": [{"name": "v", "host": 1}]}),
        ),
        (
            json!({}),
            json!({"new": {"a": null, "$retainKeys": ["a"], "b": [{"$patch": "delete"}]}}),
            json!({"new": {"b": []}}),
        ),
    ] {
        assert_eq!(patched(before, patch.clone()).unwrap(), want, "{patch}");
    }
}

#[test]
fn long_lists_take_no_longer_than_their_length() {
    let tags: Vec<Value> = (0..50_000).map(|n| json!(format!("t{n}"))).collect();
    let items: Vec<Value> = (0..20_000).map(|n| json!({"name": n})).collect();
    let merged = patched(
        json!({"tags": ["own"], "items": [{"name": 7, "v": 1}]}),
        json!({"tags": tags, "items": items}),
    );
    let merged = merged.unwrap();
    assert_eq!(merged["tags"].as_array().unwrap().len(), 50_001);
    assert_eq!(merged["items"][7], json!({"name": 7, "v": 1}));
}

#[test]
fn refuses_contradictions() {
    for patch in [
        json!({"items": [{"v": 1}]}),
        json!({"items": [1]}),
        json!({"items": [[1]]}),
        json!({"$patch": "explode"}),
        json!({"$retainKeys": ["a"], "b": 1}),
        json!({"$retainKeys": 1}),
        json!({"$setElementOrder/items": [{"name": "a"}], "items": [{"name": "z"}]}),
        json!({"$setElementOrder/items": 5}),
        json!({"$deleteFromPrimitiveList/tags": 5}),
    ] {
        let before = json!({"items": [{"name": "a"}], "tags": ["x"]});
        assert!(matches!(patched(before, patch.clone()), Err(PatchError::Directive(_))), "{patch}");
    }
}
