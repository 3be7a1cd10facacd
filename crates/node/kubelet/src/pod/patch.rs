//! What to send to the API so that a pod's status there becomes ours: a strategic merge patch of the changed fields, so
//! that conditions written by others meanwhile survive.

use serde_json::{Map, Value, json};
use types::core::v1::PodStatus;

/// The patch from `old` to `new` for the pod with that UID (a pod of the same name but another UID is a conflict).
/// `None` when there is nothing to say.
pub fn patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Vec<u8>> {
    let changed = status_changes(old, new)?;
    serde_json::to_vec(&json!({ "metadata": { "uid": uid }, "status": changed })).ok()
}

/// The changed fields of a status, as a strategic merge patch wants them.
pub fn status_changes<T: meta::Struct>(old: &T, new: &T) -> Option<Map<String, Value>> {
    let (old, new) = (object(old), object(new));
    let mut changed = Map::new();
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            changed.insert(key.clone(), changed_value(key, old.get(key), value));
        }
    }
    for key in old.keys().filter(|k| !new.contains_key(*k)) {
        changed.insert(key.clone(), Value::Null);
    }
    (!changed.is_empty()).then_some(changed)
}

fn object<T: meta::Struct>(status: &T) -> Map<String, Value> {
    match meta::to_value(status) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn changed_value(key: &str, old: Option<&Value>, new: &Value) -> Value {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    match key {
        "conditions" => {
            let before = old.map(list).unwrap_or_default();
            let type_of = |c: &Value| c.get("type").cloned().unwrap_or_default();
            let changed = |now: Value| {
                let old = before.iter().find(|old| type_of(old) == type_of(&now));
                (old != Some(&now)).then(|| without_remains(now, old))
            };
            let mut out: Vec<Value> = list(new).into_iter().filter_map(changed).collect();
            for gone in before.iter().filter(|b| !list(new).iter().any(|n| type_of(n) == type_of(b))) {
                out.push(json!({ "$patch": "delete", "type": type_of(gone) }));
            }
            Value::Array(out)
        }
        // Merged by key unless told otherwise, which would keep addresses that are no more.
        "podIPs" | "hostIPs" | "addresses" if old.is_some() => {
            let mut out = list(new);
            out.push(json!({ "$patch": "replace" }));
            Value::Array(out)
        }
        _ => new.clone(),
    }
}

/// Conditions are merged field by field, so what one no longer says is taken back by name.
fn without_remains(mut condition: Value, old: Option<&Value>) -> Value {
    if let (Some(now), Some(old)) = (condition.as_object_mut(), old.and_then(Value::as_object)) {
        for key in old.keys() {
            now.entry(key.clone()).or_insert(Value::Null);
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::{PodCondition, PodIP};

    #[test]
    fn only_what_changed() {
        let old = PodStatus { phase: "Pending".into(), reason: "X".into(), ..Default::default() };
        assert_eq!(patch("u", &old, &old), None);
        let mut new = PodStatus { phase: "Running".into(), ..Default::default() };
        new.pod_ips.push(PodIP { ip: "10.0.0.1".into() });
        let ready = |s: &str| PodCondition { type_: "Ready".into(), status: s.into(), ..Default::default() };
        let mut old = old;
        old.conditions.push(PodCondition { reason: "ContainersNotReady".into(), ..ready("False") });
        old.conditions.push(PodCondition { type_: "Gone".into(), ..Default::default() });
        new.conditions.push(ready("True"));
        let sent: Value = serde_json::from_slice(&patch("u", &old, &new).unwrap()).unwrap();
        assert_eq!(sent["metadata"]["uid"], "u");
        let status = &sent["status"];
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["reason"], Value::Null);
        assert_eq!(status["podIPs"], json!([{ "ip": "10.0.0.1" }]));
        assert_eq!(status["conditions"][0]["status"], "True");
        assert_eq!(status["conditions"][0].get("reason"), Some(&Value::Null), "it is taken back");
        assert_eq!(status["conditions"][1], json!({ "$patch": "delete", "type": "Gone" }));
    }
}
