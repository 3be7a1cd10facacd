//! Strategic merge patches on a toy type: `items` merges by `name`, `tags` is a set, `frozen` is replaced.

use serde_json::{Value, json};

use super::*;

#[derive(Clone, Copy)]
struct Toy;

impl Shape for Toy {
    fn kind(self) -> Option<&'static str> {
        Some("Toy")
    }
    fn field(self, name: &str) -> Option<Self> {
        (name != "nope").then_some(Toy)
    }
    fn strategy(self, name: &str) -> Strategy {
        match name {
            "items" | "tags" | "lists" => Strategy::Merge,
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
            json!({"new": {"$retainKeys": ["a"], "b": []}}),
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
    use PatchError::{Directive, Malformed, Unprocessable};
    let directive = |text: &str| Directive(text.to_owned());
    let malformed = |of: &str| Malformed(format!("invalid patch format of {of}"));
    for (patch, refused) in [
        (json!({"items": [{"v": 1}]}), directive("map: map[v:1] does not contain declared merge key: name")),
        (json!({"items": [1]}), directive("list element types are not identical: [[map[name:a]] [1]]")),
        (json!({"tags": [1]}), directive("list element types are not identical: [[x] [1]]")),
        (json!({"items": [[1]]}), directive("list element types are not identical: [[map[name:a]] [[1]]]")),
        (json!({"fresh": {}, "lists": [[1]]}), Unprocessable("lists of lists are not supported".into())),
        (json!({"$patch": "explode"}), directive("unknown patch type: explode in map: map[$patch:explode]")),
        (json!({"$patch": 1}), directive("unknown patch type: %!s(int64=1) in map: map[$patch:1]")),
        (
            json!({"items": [{"$patch": true}]}),
            directive("unknown patch type: %!s(bool=true) in map: map[$patch:true]"),
        ),
        (json!({"$retainKeys": ["a"], "b": 1}), malformed("retainKeys")),
        (json!({"$retainKeys": 1}), malformed("retainKeys")),
        (
            json!({"$setElementOrder/items": [{"name": "a"}], "items": [{"name": "z"}]}),
            directive(
                "The order in patch list:\n[map[name:z]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
            ),
        ),
        (
            json!({"$setElementOrder/items": ["a"], "items": [{"name": "z"}]}),
            directive("expected a map[string]interface {}, but received a string"),
        ),
        (json!({"$setElementOrder/items": 5}), directive("expected a []interface {}, but received a int64")),
        (json!({"$setElementOrder": []}), malformed("setElementOrder list")),
        (
            json!({"$setElementOrder/nope": []}),
            directive("unable to find api field in struct Toy for the json field \"nope\""),
        ),
        (json!({"$deleteFromPrimitiveList/": ["x"]}), malformed("primitive list")),
        (
            json!({"$deleteFromPrimitiveList/tags": [1]}),
            directive("list element types are not identical: [[x] [1]]"),
        ),
    ] {
        let before = json!({"items": [{"name": "a"}], "tags": ["x"], "lists": [[1]]});
        assert_eq!(patched(before, patch.clone()), Err(refused), "{patch}");
    }
}

#[test]
fn what_stays_of_directives() {
    for (patch, after) in [
        // Nothing to merge with: maps that say $patch go, other directives are fields like any.
        (json!({"a": {"$patch": "merge", "b": 1}}), json!({"tags": ["x"]})),
        (
            json!({"a": {"$retainKeys": ["b"], "b": 1}}),
            json!({"a": {"$retainKeys": ["b"], "b": 1}, "tags": ["x"]}),
        ),
        // No list to take from, or something else in its place.
        (json!({"$deleteFromPrimitiveList/b": ["x"]}), json!({"tags": ["x"]})),
        (json!({"$deleteFromPrimitiveList/tags": 5}), json!({"tags": ["x"]})),
        (json!({"$deleteFromPrimitiveList/tags": null}), json!({})),
    ] {
        assert_eq!(patched(json!({"tags": ["x"]}), patch.clone()).unwrap(), after, "{patch}");
    }
}
