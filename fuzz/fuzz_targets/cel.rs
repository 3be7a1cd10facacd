//! Any text as an expression: it compiles or it does not, and what compiles ends within its cost.
#![no_main]

use cel::{Activation, Budget, Env, Type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let env = Env::new().variable("object", Type::Dyn).with_mutations().with_bind();
    let Ok(program) = env.compile(text) else { return };
    let object = serde_json::json!({ "name": "x", "list": [1, 2.5, "a", null], "map": { "a": { "b": [] } } });
    let activation = Activation::new().json("object", &object, None);
    let _ = program.evaluate(&activation, &mut Budget::new(100_000));
});
