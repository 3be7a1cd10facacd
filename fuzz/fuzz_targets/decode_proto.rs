//! Any bytes as protobuf of a kind that the first byte chooses: no panic, no runaway allocation, stable once decoded. Run
//! with `cargo +nightly fuzz run decode_proto`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = scheme::decode_proto(data);
    let Some((first, bytes)) = data.split_first() else { return };
    let kind = &types::TYPED[*first as usize % types::TYPED.len()];
    let Ok(value) = (kind.from_proto)(bytes) else { return };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    value.write_proto(&mut once);
    let again = (kind.from_proto)(&once).expect("own output decodes");
    again.write_proto(&mut twice);
    assert_eq!(once, twice);
});
