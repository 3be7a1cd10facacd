//! Any text as selector, quantity, time or duration: no panic, and printing is stable. Run with
//! `cargo +nightly fuzz run selectors`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(s) = meta::Selector::parse(text) {
        assert_eq!(meta::Selector::parse(&s.to_string()).expect("own output parses").to_string(), s.to_string());
    }
    if let Ok(s) = meta::FieldSelector::parse(text) {
        assert_eq!(meta::FieldSelector::parse(&s.to_string()).expect("own output parses"), s);
    }
    if let Ok(q) = meta::Quantity::parse(text) {
        assert_eq!(meta::Quantity::parse(&q.to_string()).expect("own output parses"), q);
    }
    if let Ok(t) = meta::Time::parse(text) {
        assert_eq!(meta::Time::parse(&t.to_string()).expect("own output parses"), t);
    }
    if let Ok(d) = meta::Duration::parse(text) {
        assert_eq!(meta::Duration::parse(&d.to_string()).expect("own output parses"), d);
    }
});
