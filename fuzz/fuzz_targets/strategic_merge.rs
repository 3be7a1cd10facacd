//! Any strategic merge patch on any document of a type whose lists merge: no panic. Run with
//! `cargo +nightly fuzz run strategic_merge`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::patch::{Shape, Strategy};

#[derive(Clone, Copy)]
struct Toy;

impl Shape for Toy {
    fn field(self, _: &str) -> Option<Self> {
        Some(Toy)
    }
    fn strategy(self, name: &str) -> Strategy {
        match name.bytes().next().unwrap_or_default() % 3 {
            0 => Strategy::Merge,
            1 => Strategy::Replace,
            _ => Strategy::Default,
        }
    }
    fn merge_key(self, name: &str) -> &'static str {
        if name.len() % 2 == 0 { "name" } else { "" }
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (document, patch) = input;
    let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(document) else { return };
    let _ = schema::patch::strategic_merge_patch(&mut document, patch, Toy);
});
