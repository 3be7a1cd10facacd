//! Any text as selector, quantity, time or duration: no panic, and printing is stable. Run with
//! `cargo +nightly fuzz run selectors`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(s) = meta::Selector::parse(text) {
        assert_eq!(meta::Selector::parse(&s.to_string()).expect("own output parses").to_string(), s.to_string());
    }
    if let Ok(s) = meta::FieldSelector::parse(text) {
        // The order of terms follows their spelling, of which one is left.
        let again = meta::FieldSelector::parse(&s.to_string()).expect("own output parses");
        assert_eq!(again.to_string(), meta::FieldSelector::parse(&again.to_string()).expect("it does").to_string());
        assert!(again.terms.len() == s.terms.len() && again.terms.iter().all(|term| s.terms.contains(term)));
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
