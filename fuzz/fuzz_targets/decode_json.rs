//! Any bytes as JSON of a kind that the first byte chooses: no panic, and what decodes encodes to something that decodes
//! to the same. Run with `cargo +nightly fuzz run decode_json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meta::DecodeContext;

fuzz_target!(|data: &[u8]| {
    let Some((first, json)) = data.split_first() else { return };
    let kind = &types::TYPED[*first as usize % types::TYPED.len()];
    let Ok(value) = (kind.from_json)(json, &mut DecodeContext::strict()) else { return };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    value.write_json(&mut once);
    let again = (kind.from_json)(&once, &mut DecodeContext::strict()).expect("own output decodes");
    again.write_json(&mut twice);
    assert_eq!(String::from_utf8_lossy(&once), String::from_utf8_lossy(&twice));
    let _ = scheme::decode_json(json, &mut DecodeContext::strict());
});
