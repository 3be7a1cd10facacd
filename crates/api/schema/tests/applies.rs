//! Properties of applies, on random configurations of random managers.

use meta::Time;
use proptest::prelude::*;
use schema::apply::{Comparison, Doc, Managers, OneVersion, Place, Updater};
use serde_json::{Value, json};

/// A map, a set, a list map and an atomic list, each possibly empty or absent.
fn config() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[a-d]", "[01]", 0..4);
    let finalizers = prop::collection::btree_set("x/[a-d]", 0..3);
    let containers = prop::collection::btree_map("[a-d]", "[01]", 0..3);
    let tolerations = prop::option::of(prop::collection::vec("[ab]", 0..2));
    (labels, finalizers, containers, tolerations).prop_map(|(labels, finalizers, containers, tolerations)| {
        let containers: Vec<Value> =
            containers.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
        let mut config = json!({
            "metadata": {"labels": labels, "finalizers": finalizers},
            "spec": {"containers": containers},
        });
        if let Some(keys) = tolerations {
            let keys: Vec<Value> = keys.iter().map(|key| json!({"key": key})).collect();
            config["spec"]["tolerations"] = keys.into();
        }
        config
    })
}

/// The value without what is empty or null.
fn substance(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(k, v)| (k.clone(), substance(v))).filter(|(_, v)| !is_bare(v));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}

/// Nothing but what is empty or null is left in the value.
fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_bare),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applies_hold(steps in prop::collection::vec((0..3usize, config()), 1..7)) {
        let info = scheme::kind("", "v1", "Pod").expect("pods are built in").info;
        let place = Place::Struct(info);
        let rules = Updater { api_version: "v1", place, versions: &OneVersion, reset: None, subresource: "" };
        let names = ["m0", "m1", "m2"];
        let mut live = String::from("{}");
        let mut managers = Managers::default();
        let apply = |live: &str, config: &Value, managers: Managers, name: &str| {
            let text = config.to_string();
            rules.apply(live.as_bytes(), b"{}", text.as_bytes(), managers, name, true, Time::from_unix(1))
                .expect("forced applies of fitting configurations succeed")
        };
        for (who, config) in &steps {
            let done = apply(&live, config, managers, names[*who]);
            managers = done.managers;
            if let Some(object) = done.object {
                live = String::from_utf8(object).expect("JSON is UTF-8");
            }
            // What was applied is there as it was applied; empty lists and maps may be absent.
            let text = config.to_string();
            let (wanted, found) = (Doc::parse(text.as_bytes()).unwrap(), Doc::parse(live.as_bytes()).unwrap());
            let changes = Comparison::of(&wanted.root(), &found.root(), place);
            let lost: Vec<String> = {
                let mut lost = Vec::new();
                changes.removed.each(&mut |path| lost.push(path.iter().map(|e| e.to_string()).collect::<String>()));
                lost
            };
            for path in lost {
                // What holds nothing is owned by nobody.
                if is_bare(&config[path.trim_start_matches('.')]) {
                    continue;
                }
                prop_assert!(
                    ["labels", "finalizers", "containers", "tolerations"].iter().any(|end| path.ends_with(end)),
                    "{path} was applied and is not there: {config} {live}"
                );
            }
            // Once more changes nothing.
            if let Some(again) = apply(&live, config, managers.clone(), names[*who]).object {
                let again: Value = serde_json::from_slice(&again).unwrap();
                let live: Value = serde_json::from_str(&live).unwrap();
                prop_assert_eq!(substance(&again), substance(&live));
            }
        }
        // When nobody wants anything any more, nothing is left.
        for name in names {
            let done = apply(&live, &json!({}), managers, name);
            managers = done.managers;
            if let Some(object) = done.object {
                live = String::from_utf8(object).expect("JSON is UTF-8");
            }
        }
        let rest: Value = serde_json::from_str(&live).unwrap();
        prop_assert!(is_bare(&rest), "{rest}");
        prop_assert!(managers.0.iter().all(|m| !names.contains(&m.id.manager.as_str())));
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}", fields in "\\PC{0,100}") {
        let _ = schema::yaml::document(text.as_bytes());
        let _ = schema::apply::Set::from_fields(fields.as_bytes());
        let _ = Doc::parse(text.as_bytes());
    }
}
