//! OpenAPI v3 documents of the built-in groups, derived from the table of kinds and the facts about their types.
//!
//! One document for each group version, under the path that `/openapi/v3` names it by (`api/v1`, `apis/apps/v1`). What a
//! client needs of them: which operations a resource has, that they take `fieldValidation`, and the schema of every
//! type with its list and merge keys. kubectl checks manifests and builds patches with that.

mod paths;
mod schemas;

use std::sync::LazyLock;

use scheme::RESOURCES;
use serde_json::{Map, Value, json};

/// One document.
pub struct Document {
    /// The path below `/openapi/v3/`, such as `apis/apps/v1`.
    pub path: String,
    /// The JSON text.
    pub json: Vec<u8>,
}

static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(build);

/// The documents of all built-in group versions, sorted by path. Built when first asked for.
pub fn documents() -> &'static [Document] {
    &DOCUMENTS
}

fn build() -> Vec<Document> {
    let mut versions: Vec<(&str, &str)> =
        RESOURCES.iter().map(|resource| (resource.group, resource.version)).collect();
    versions.sort_unstable();
    versions.dedup();
    let mut documents: Vec<Document> = versions
        .into_iter()
        .map(|(group, version)| Document {
            path: document_path(group, version),
            json: document(group, version).to_string().into_bytes(),
        })
        .collect();
    documents.sort_by(|left, right| left.path.cmp(&right.path));
    documents
}

fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn document(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for resource in scheme::resources_of(group, version) {
        paths::add(resource, &mut paths);
    }
    let mut schemas = schemas::Schemas::default();
    schemas.include_referenced(&Value::Object(paths.clone()));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": {
                "BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}
            }
        }
    })
}

/// The reference to a type's schema.
fn reference(model: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{model}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_its_schema() {
        for document in documents() {
            let value: Value = serde_json::from_slice(&document.json).unwrap();
            let schemas = &value["components"]["schemas"];
            for name in schemas::references(&value) {
                assert!(schemas.get(&name).is_some(), "{} lacks {name}", document.path);
            }
        }
    }

    #[test]
    fn a_patch_takes_field_validation_and_lists_tell_their_keys() {
        let apps = documents().iter().find(|document| document.path == "apis/apps/v1").unwrap();
        let apps: Value = serde_json::from_slice(&apps.json).unwrap();
        let item = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
        let patch = &apps["paths"][item]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group":"apps","kind":"Deployment","version":"v1"})
        );
        let parameters = patch["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
        let containers =
            &apps["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    }
}
