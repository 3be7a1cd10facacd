//! What the API's own documentation says about each type and field, for `kubectl explain` and the headings of tables.
//!
//! The texts come from the crate `k8s-openapi` when this crate is built and lie compressed in the binary.
//! [`Descriptions::load`] unpacks them; who needs them for a moment drops them again.

use std::ops::Range;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.zst"));

/// The unpacked texts, about one megabyte.
pub struct Descriptions {
    text: String,
    /// Key and description of each record as byte ranges of `text`, sorted by key.
    records: Vec<(Range<usize>, Range<usize>)>,
}

impl Descriptions {
    /// Unpacks the table; a few milliseconds.
    pub fn load() -> Self {
        let bytes: usize = env!("DESCRIPTIONS_BYTES").parse().expect("the build script writes a number");
        let raw = zstd::bulk::decompress(PACKED, bytes).expect("the build script packed it");
        let text = String::from_utf8(raw).expect("the build script wrote text");
        let mut records = Vec::new();
        let mut start = 0;
        for record in text.split_terminator('\u{1e}') {
            let end = start + record.len();
            if let Some(middle) = record.find('\u{1f}') {
                records.push((start..start + middle, start + middle + 1..end));
            }
            start = end + 1;
        }
        Descriptions { text, records }
    }

    /// What a type is, by its model name such as `io.k8s.api.core.v1.Pod`.
    pub fn of_type(&self, model: &str) -> Option<&str> {
        self.find(|key| key.cmp(model))
    }

    /// What a field is.
    pub fn of_field(&self, model: &str, field: &str) -> Option<&str> {
        let wanted = || model.bytes().chain([b'.']).chain(field.bytes());
        self.find(|key| key.bytes().cmp(wanted()))
    }

    fn find(&self, order: impl Fn(&str) -> std::cmp::Ordering) -> Option<&str> {
        let at = self.records.binary_search_by(|(key, _)| order(&self.text[key.clone()])).ok()?;
        Some(&self.text[self.records[at].1.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_found_by_name() {
        let all = Descriptions::load();
        assert!(all.of_type("io.k8s.api.core.v1.Pod").is_some_and(|text| text.contains("containers")));
        let replicas = all.of_field("io.k8s.api.apps.v1.DeploymentSpec", "replicas");
        assert!(replicas.is_some_and(|text| text.contains("desired pods")));
        assert!(all.of_field("io.k8s.api.core.v1.Pod", "nothing").is_none());
        assert!(all.of_type("io.k8s.api.core.v1.Nothing").is_none());
        assert!(all.records.is_sorted_by_key(|(key, _)| &all.text[key.clone()]));
    }
}
