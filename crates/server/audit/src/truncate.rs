//! Bounds of events: one that is too large loses its bodies, and goes altogether when that is not enough.

use serde_json::{Map, Value, json};

/// Says that bodies were left out.
const ANNOTATION: &str = "audit.k8s.io/truncated";

/// How large events and batches may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate {
    /// Of one batch; a larger one is split.
    pub batch_bytes_max: usize,
    /// Of one event.
    pub event_bytes_max: usize,
}

/// The event without its bodies; `None` when its level has none.
pub(crate) fn truncated(event: &Map<String, Value>) -> Option<Map<String, Value>> {
    if !matches!(event.get("level").and_then(Value::as_str), Some("Request" | "RequestResponse")) {
        return None;
    }
    let bodies = ["requestObject", "responseObject"];
    let kept = event.iter().filter(|(key, _)| !bodies.contains(&key.as_str()));
    let mut event: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    let annotations = event.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(ANNOTATION.to_owned(), "true".into());
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_go_and_that_is_told() {
        let event = |level: &str| {
            let event =
                json!({"level": level, "requestObject": {}, "responseObject": {}, "annotations": {"a": "b"}});
            event.as_object().cloned().unwrap_or_default()
        };
        assert_eq!(
            Value::from(truncated(&event("Request"))),
            json!({"level": "Request", "annotations": {"a": "b", "audit.k8s.io/truncated": "true"}})
        );
        assert_eq!(truncated(&event("Metadata")), None);
    }
}
