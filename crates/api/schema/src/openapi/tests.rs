//! References hold, clients find what they look for, and the documents equal the recorded ones but for descriptions.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use serde_json::json;

use super::*;

#[test]
fn every_reference_has_its_schema() {
    let about = Descriptions::load();
    for path in document_paths() {
        let value = document(&path, &about).unwrap();
        let schemas = &value["components"]["schemas"];
        for name in schemas::references(&value) {
            assert!(schemas.get(&name).is_some(), "{path} lacks {name}");
        }
    }
    let value = swagger(&about);
    for name in schemas::references(&value) {
        let found = value["definitions"].get(&name).or_else(|| value["parameters"].get(&name));
        assert!(found.is_some(), "version 2 lacks {name}");
    }
    assert!(document("apis/none/v1", &about).is_none());
}

#[test]
fn a_patch_takes_field_validation_and_lists_tell_their_keys() {
    let apps = document("apis/apps/v1", &Descriptions::load()).unwrap();
    let item = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let patch = &apps["paths"][item]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group":"apps","kind":"Deployment","version":"v1"})
    );
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    let containers = &apps["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert!(containers["description"].as_str().is_some_and(|text| text.starts_with("List of containers")));
}

#[test]
fn operations_have_ids_of_their_own() {
    let mut ids = BTreeMap::new();
    let value = swagger(&Descriptions::load());
    for (path, item) in value["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert_eq!(ids.insert(id.clone(), (path, method)), None, "{id} of {path} twice");
        }
    }
}

/// Without descriptions, and with the order of alternatives made one.
fn plain(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| key != "description" || !value.is_string());
            map.values_mut().for_each(plain);
        }
        Value::Array(list) => {
            list.iter_mut().for_each(plain);
            list.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

/// The places where two values differ.
fn differences(at: &str, got: &Value, want: &Value, found: &mut Vec<String>) {
    match (got, want) {
        (Value::Object(got), Value::Object(want)) => {
            let keys: BTreeSet<&String> = got.keys().chain(want.keys()).collect();
            for key in keys {
                match (got.get(key), want.get(key)) {
                    (Some(got), Some(want)) => differences(&format!("{at} {key}"), got, want, found),
                    (got, _) => found
                        .push(format!("{at} {key}: {}", if got.is_some() { "too much" } else { "absent" })),
                }
            }
        }
        _ if got != want => {
            let short = |v: &Value| v.to_string().chars().take(200).collect::<String>();
            found.push(format!("{at}: {} instead of {}", short(got), short(want)));
        }
        _ => {}
    }
}

#[test]
fn documents_equal_the_recorded_ones() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/golden/openapi/v3");
    if !folder.is_dir() {
        println!("skipped: no recorded documents beside the checkout");
        return;
    }
    let about = Descriptions::load();
    let mut found = Vec::new();
    for path in document_paths() {
        let file = folder.join(format!("{}.json.gz", path.replace('/', "_")));
        let Ok(output) = std::process::Command::new("gzip").arg("-dc").arg(&file).output() else { return };
        let Ok(mut want) = serde_json::from_slice::<Value>(&output.stdout) else {
            found.push(format!("{path}: not recorded"));
            continue;
        };
        let mut got = document(&path, &about).unwrap();
        plain(&mut got);
        plain(&mut want);
        // The recordings have the version in another spelling than the server that they are of.
        want["info"]["version"] = json!("1.36");
        differences(&path, &got, &want, &mut found);
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
