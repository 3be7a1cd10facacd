//! Schemas and values, and what becomes of them.

use meta::FieldPath;
use serde_json::{Value, json};
use types::apiextensions::v1::JSONSchemaProps;

use super::{Schema, check, lists, validate};

fn schema(document: Value) -> Schema {
    let props: JSONSchemaProps = meta::from_value(document).expect("a schema document");
    Schema::read(&props).expect("a structural schema")
}

fn field(document: Value) -> Schema {
    schema(json!({ "type": "object", "properties": { "f": document } }))
}

fn errors(schema: &Schema, value: Value) -> Vec<String> {
    validate::of(&FieldPath::root(), schema, &value).iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_held_to_their_schema() {
    let table: [(Value, Value, &[&str]); 25] = [
        (json!({"type": "string"}), json!("a"), &[]),
        (
            json!({"type": "string"}),
            json!(1),
            &["f: Invalid value: \"integer\": f in body must be of type string: \"integer\""],
        ),
        (json!({"type": "integer"}), json!(1.0), &[]),
        (json!({"type": "number"}), json!(1), &[]),
        (
            json!({"type": "boolean"}),
            json!("true"),
            &["f: Invalid value: \"string\": f in body must be of type boolean: \"string\""],
        ),
        (
            json!({"type": "string"}),
            json!(null),
            &["f: Invalid value: \"null\": f in body must be of type string: \"null\""],
        ),
        (json!({"type": "string", "nullable": true}), json!(null), &[]),
        (
            json!({"type": "integer", "minimum": 2}),
            json!(1),
            &["f: Invalid value: 1: f in body should be greater than or equal to 2"],
        ),
        (
            json!({"type": "number", "minimum": 2, "exclusiveMinimum": true}),
            json!(2.0),
            &["f: Invalid value: 2: f in body should be greater than 2"],
        ),
        (
            json!({"type": "integer", "maximum": 1e21}),
            json!(3),
            &[
                "<nil>: Invalid value: \"\": Maximum boundary value must be of type integer (default format) in f",
            ],
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_i64),
            &["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in f"],
        ),
        (json!({"type": "number", "multipleOf": 0.1}), json!(0.3), &[]),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("äöü"),
            &["f: Too long: may not be more than 2 bytes"],
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            &["f: Invalid value: \"a\": f in body should be at least 2 chars long"],
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            &["f: Invalid value: \"b\": f in body should match '^a+$'"],
        ),
        (
            json!({"type": "string", "format": "date"}),
            json!("2024-13-01"),
            &["f: Invalid value: \"2024-13-01\": f in body must be of type date: \"2024-13-01\""],
        ),
        (json!({"type": "string", "format": "unheard"}), json!("x"), &[]),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            &["f: Unsupported value: \"c\": supported values: \"a\", \"b\""],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            &["f: Too many: 2: must have at most 1 item"],
        ),
        (
            json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}}),
            json!({"a": 1, "b": 2}),
            &["f: Too many: 2: must have at most 1 item"],
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"a": "x"}),
            &["f.a: Invalid value: \"string\": f.a in body must be of type integer: \"string\""],
        ),
        (
            json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}}),
            json!({}),
            &["f.x: Required value"],
        ),
        (json!({"x-kubernetes-int-or-string": true}), json!("1"), &[]),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            &["f: Invalid value: \"boolean\": f in body must be of type integer,string: \"boolean\""],
        ),
        (
            json!({"type": "integer", "not": {"minimum": 5}}),
            json!(6),
            &["<nil>: Invalid value: \"\": \"f\" must not validate the schema (not)"],
        ),
    ];
    for (document, value, expected) in table {
        let found = errors(&field(document.clone()), json!({ "f": value }));
        assert_eq!(found, expected, "{document} {value}");
    }
}

#[test]
fn what_did_not_change_is_forgiven() {
    let schema = field(json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": { "type": "object", "properties": {
            "k": { "type": "string" }, "v": { "type": "integer", "maximum": 1 },
        }, "required": ["k"] },
    }));
    let old = json!({ "f": [{ "k": "a", "v": 5 }, { "k": "b", "v": 1 }] });
    let table: [(Value, &[&str]); 3] = [
        (json!({ "f": [{ "k": "b", "v": 0 }, { "k": "a", "v": 5 }] }), &[]),
        (
            json!({ "f": [{ "k": "a", "v": 6 }] }),
            &["f[0].v: Invalid value: 6: f[0].v in body should be less than or equal to 1"],
        ),
        (
            json!({ "f": [{ "k": "c", "v": 5 }] }),
            &["f[0].v: Invalid value: 5: f[0].v in body should be less than or equal to 1"],
        ),
    ];
    for (value, expected) in table {
        let found = validate::of_change(&FieldPath::root(), &schema, &value, &old);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{value}");
    }
}

#[test]
fn values_are_pruned_and_filled() {
    let schema = field(json!({
        "type": "object",
        "properties": {
            "known": { "type": "string", "default": "d" },
            "open": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "closed": { "type": "object" },
            } },
            "never": { "type": "string" },
            "map": { "type": "object", "additionalProperties": { "type": "object", "properties": { "a": { "type": "integer", "default": 1 } } } },
            "embedded": { "type": "object", "x-kubernetes-embedded-resource": true, "properties": { "spec": { "type": "object" } } },
        },
    }));
    let mut value = json!({
        "x": 1,
        "f": {
            "unknown": [1], "never": null, "known": null,
            "open": { "kept": { "as": "is" }, "closed": { "gone": 1 } },
            "map": { "k": { "b": 2 } },
            "embedded": { "apiVersion": "v1", "kind": "K", "metadata": { "name": "n" }, "spec": { "s": 1 }, "status": {} },
        },
    });
    let mut found = Vec::new();
    schema.prune(&mut value, true, Some(&mut found));
    schema.prune_nulls(&mut value);
    schema.default(&mut value);
    found.sort();
    let expected =
        ["f.embedded.spec.s", "f.embedded.status", "f.map.k.b", "f.open.closed.gone", "f.unknown", "x"];
    assert_eq!(found, expected);
    let expected = json!({ "f": {
        "known": "d",
        "open": { "kept": { "as": "is" }, "closed": {} },
        "map": { "k": { "a": 1 } },
        "embedded": { "apiVersion": "v1", "kind": "K", "metadata": { "name": "n" }, "spec": {} },
    } });
    assert_eq!(value, expected);
    let mut again = value.clone();
    schema.prune(&mut again, true, None);
    schema.default(&mut again);
    assert_eq!(again, value);
}

#[test]
fn schemas_that_are_not_structural() {
    let at = FieldPath::new("s");
    let table: [(Value, &[&str]); 5] = [
        (json!({ "type": "string" }), &["s.type: Invalid value: \"string\": must be object at the root"]),
        (
            json!({ "type": "object", "properties": { "a": {} } }),
            &["s.properties[a].type: Required value: must not be empty for specified object fields"],
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "array" } } }),
            &["s.properties[a].items: Required value: must be specified"],
        ),
        (
            json!({ "type": "object", "anyOf": [{ "properties": { "a": { "minimum": 1 } } }] }),
            &["s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]"],
        ),
        (
            json!({ "type": "object", "properties": { "metadata": { "type": "object", "properties": { "labels": { "type": "object" } } } } }),
            &[
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        ),
    ];
    for (document, expected) in table {
        let found = check::structural(&at, &schema(document.clone()));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{document}");
    }
}

#[test]
fn lists_hold_nothing_twice() {
    let schema = schema(json!({ "type": "object", "properties": {
        "set": { "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" } },
        "map": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                 "items": { "type": "object", "properties": { "a": { "type": "string" } } } },
    } }));
    let value = json!({ "set": ["a", "b", "a", "a"], "map": [{ "a": "x" }, { "a": "x", "b": 1 }] });
    let mut found = Vec::new();
    lists::validate(&FieldPath::root(), &schema, &value, &mut found);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["map[1]: Duplicate value: {\"a\":\"x\"}", "set[2]: Duplicate value: \"a\""]);
}
