//! Any JSON patch or merge patch on any document: no panic, and bounded time and memory. Run with
//! `cargo +nightly fuzz run json_patch`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (document, patch) = input;
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(document) else { return };
    let _ = schema::patch::json_patch(&mut document.clone(), patch);
    let mut merged = document;
    if schema::patch::merge_patch(&mut merged, patch).is_ok() {
        let once = merged.clone();
        schema::patch::merge_patch(&mut merged, patch).expect("a merge patch applies twice");
        assert_eq!(once, merged);
    }
    let _ = schema::patch::findings(patch, true);
});
