//! Any field sets and configurations: no panic, no long run, and what is written reads back as the same. Run with
//! `cargo +nightly fuzz run ssa`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::apply::{Comparison, Doc, Managers, Place, Set, Updater, Versions};

struct OneVersion;

impl Versions for OneVersion {
    fn to(&self, _: &str, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn back(&self, _: &str, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn place(&self, _: &str) -> Option<Place<'_>> {
        None
    }
}

fuzz_target!(|input: (&[u8], &[u8], &[u8], bool)| {
    let (live, config, fields, deduced) = input;
    let Some(pod) = scheme::kind("", "v1", "Pod") else { return };
    let place = if deduced { Place::Deduced } else { Place::Struct(pod.info) };
    if let Ok(set) = Set::from_fields(fields) {
        assert_eq!(Set::from_fields(&set.to_fields()).expect("own output parses"), set);
    }
    let rules =
        Updater { api_version: "v1", place, versions: &OneVersion, reset: None, subresource: "" };
    if let Ok(document) = schema::yaml::document(config) {
        let config = document.value.to_string();
        let _ = rules.problems(config.as_bytes());
        let now = meta::Time::from_unix(1);
        let managers = Managers::default();
        let _ = rules.apply(live, b"{}", config.as_bytes(), managers, "m", true, now);
    }
    if let (Ok(old), Ok(new)) = (Doc::parse(live), Doc::parse(config)) {
        let there = Comparison::of(&old.root(), &new.root(), place);
        let back = Comparison::of(&new.root(), &old.root(), place);
        assert_eq!(there.is_same(), back.is_same());
    }
});
