//! Any schema and any value: no panic, and pruning and defaulting twice changes nothing more. Run with
//! `cargo +nightly fuzz run structural`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meta::{Codec, FieldPath};
use schema::structural::{Schema, check, lists, validate};
use types::apiextensions::v1::JSONSchemaProps;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (document, value) = input;
    let Ok(document) = JSONSchemaProps::from_json(document) else { return };
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(value) else { return };
    let Ok(schema) = Schema::read(&document) else { return };
    let root = FieldPath::root();
    let _ = check::structural(&root, &schema);
    let _ = schema.apply_type();
    let _ = validate::of(&root, &schema, &value);
    lists::validate(&root, &schema, &value, &mut Vec::new());
    let settle = |value: &mut serde_json::Value| {
        schema.prune(value, true, None);
        schema.prune_nulls(value);
        schema.default(value);
    };
    settle(&mut value);
    assert!(validate::of_change(&root, &schema, &value, &value).is_empty());
});
