//! Paths and operations of one resource and its subresources.

use scheme::{Resource, Subresource};
use serde_json::{Map, Value, json};

use super::reference;
use super::schemas::patch_model;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const MEDIA: [&str; 3] = ["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
const PATCH_MEDIA: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

/// What an operation works on: the kind that it takes and gives.
#[derive(Clone, Copy)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    name: &'a str,
    model: &'a str,
}

impl Kind<'_> {
    fn gvk(self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.name})
    }
}

/// Adds the paths of a resource.
pub fn add(resource: &Resource, paths: &mut Map<String, Value>) {
    let own = Kind {
        group: resource.info.group,
        version: resource.info.version,
        name: resource.kind,
        model: resource.info.model,
    };
    let root = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", resource.plural);
    let operations = collection_operations(resource, own);
    if !operations.is_empty() {
        paths.insert(collection.clone(), with_parameters(operations, resource.namespaced, false, &[]));
    }
    if resource.namespaced && resource.has_verb("list") {
        let mut operations = Map::new();
        operations.insert("get".into(), list(resource, own));
        paths.insert(format!("{root}/{}", resource.plural), with_parameters(operations, false, false, LIST));
    }
    let operations = item_operations(resource.verbs, own);
    if !operations.is_empty() {
        paths.insert(
            format!("{collection}/{{name}}"),
            with_parameters(operations, resource.namespaced, true, &[]),
        );
    }
    for subresource in resource.subresources {
        add_subresource(resource, subresource, &collection, paths);
    }
}

fn add_subresource(resource: &Resource, sub: &Subresource, collection: &str, paths: &mut Map<String, Value>) {
    let (group, version) = if sub.group.is_empty() && sub.version.is_empty() {
        (resource.group, resource.version)
    } else {
        (sub.group, sub.version)
    };
    let Some(object) = scheme::kind(group, version, sub.kind) else { return };
    let kind = Kind { group, version, name: sub.kind, model: object.info.model };
    let mut operations = item_operations(sub.verbs, kind);
    if sub.verbs.contains(&"create") {
        operations.insert("post".into(), write("post", kind, WRITE, &["200", "201", "202"]));
    }
    if !operations.is_empty() {
        let path = format!("{collection}/{{name}}/{}", sub.name);
        paths.insert(path, with_parameters(operations, resource.namespaced, true, &[]));
    }
}

fn collection_operations(resource: &Resource, own: Kind<'_>) -> Map<String, Value> {
    let mut operations = Map::new();
    if resource.has_verb("list") {
        let mut get = list(resource, own);
        get["parameters"] = parameters(LIST);
        operations.insert("get".into(), get);
    }
    if resource.has_verb("create") {
        operations.insert("post".into(), write("post", own, WRITE, &["200", "201", "202"]));
    }
    if resource.has_verb("deletecollection") {
        operations.insert("delete".into(), delete("deletecollection", own));
    }
    operations
}

fn item_operations(verbs: &[&str], kind: Kind<'_>) -> Map<String, Value> {
    let mut operations = Map::new();
    if verbs.contains(&"get") {
        operations.insert("get".into(), operation("get", kind, &["200"], kind.model));
    }
    if verbs.contains(&"update") {
        operations.insert("put".into(), write("put", kind, WRITE, &["200", "201"]));
    }
    if verbs.contains(&"patch") {
        let mut patch = operation("patch", kind, &["200", "201"], kind.model);
        patch["parameters"] = parameters(PATCH);
        patch["requestBody"] = json!({"content": content(&PATCH_MEDIA, patch_model()), "required": true});
        operations.insert("patch".into(), patch);
    }
    if verbs.contains(&"delete") {
        operations.insert("delete".into(), delete("delete", kind));
    }
    operations
}

fn list(resource: &Resource, own: Kind<'_>) -> Value {
    let model =
        scheme::kind(own.group, own.version, resource.list_kind).map_or(own.model, |list| list.info.model);
    operation("list", own, &["200"], model)
}

fn write(action: &str, kind: Kind<'_>, query: &[(&str, &str)], codes: &[&str]) -> Value {
    let mut operation = operation(action, kind, codes, kind.model);
    operation["parameters"] = parameters(query);
    operation["requestBody"] = json!({"content": content(&["*/*"], kind.model), "required": true});
    operation
}

fn delete(action: &str, kind: Kind<'_>) -> Value {
    let mut operation = operation(action, kind, &["200", "202"], STATUS);
    operation["parameters"] = parameters(DELETE);
    operation["requestBody"] = json!({"content": content(&["*/*"], DELETE_OPTIONS)});
    operation
}

fn operation(action: &str, kind: Kind<'_>, codes: &[&str], answer: &str) -> Value {
    let description = |code: &str| match code {
        "201" => "Created",
        "202" => "Accepted",
        _ => "OK",
    };
    let mut responses: Map<String, Value> = codes
        .iter()
        .map(|code| {
            (
                (*code).to_owned(),
                json!({"description": description(code), "content": content(&MEDIA, answer)}),
            )
        })
        .collect();
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    json!({
        "responses": responses,
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind.gvk(),
    })
}

fn content(media: &[&str], model: &str) -> Value {
    media
        .iter()
        .map(|media| ((*media).to_owned(), json!({"schema": reference(model)})))
        .collect::<Map<_, _>>()
        .into()
}

fn parameters(query: &[(&str, &str)]) -> Value {
    query.iter().map(|(name, ty)| parameter(name, "query", ty)).collect()
}

fn parameter(name: &str, place: &str, ty: &str) -> Value {
    let mut parameter = json!({"name": name, "in": place, "schema": {"type": ty, "uniqueItems": true}});
    if place == "path" {
        parameter["required"] = json!(true);
    }
    parameter
}

/// A path item: its operations, and the parameters that they share.
fn with_parameters(
    operations: Map<String, Value>,
    namespaced: bool,
    named: bool,
    query: &[(&str, &str)],
) -> Value {
    let mut shared: Vec<Value> = query.iter().map(|(name, ty)| parameter(name, "query", ty)).collect();
    if named {
        shared.push(parameter("name", "path", "string"));
    }
    if namespaced {
        shared.push(parameter("namespace", "path", "string"));
    }
    shared.push(parameter("pretty", "query", "string"));
    let mut item = operations;
    item.insert("parameters".into(), shared.into());
    item.into()
}
