//! Operations as OpenAPI 3.0 writes them.

use serde_json::{Map, Value, json};

use super::operation::{Operation, Parameter, Path, code_text};
use super::schemas::Dialect;

/// A document with these paths and schemas.
pub fn document(paths: &[Path], schemas: Map<String, Value>) -> Value {
    let items: Map<String, Value> = paths.iter().map(|path| (path.path.clone(), item(path))).collect();
    let mut components = json!({
        "securitySchemes": { "BearerToken": {
            "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
        }},
    });
    if !schemas.is_empty() {
        components["schemas"] = schemas.into();
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "1.36" },
        "paths": items, "components": components,
    })
}

fn item(path: &Path) -> Value {
    let shared = path.shared();
    let mut item: Map<String, Value> =
        path.operations.iter().map(|o| (o.method.to_owned(), operation(o, &shared))).collect();
    if !shared.is_empty() {
        item.insert("parameters".into(), shared.into_iter().map(parameter).collect());
    }
    item.into()
}

fn operation(operation: &Operation, shared: &[&Parameter]) -> Value {
    let answer = match &operation.answer {
        Some(model) => Dialect::V3.reference(model),
        None => json!({ "type": "string" }),
    };
    let mut responses: Map<String, Value> = operation
        .codes
        .iter()
        .map(|code| {
            let content = content(operation.produces, &answer);
            ((*code).to_owned(), json!({ "description": code_text(code), "content": content }))
        })
        .collect();
    responses.insert("401".into(), json!({ "description": code_text("401") }));
    let mut written = json!({
        "tags": [operation.tag], "description": operation.about, "operationId": operation.id, "responses": responses,
    });
    let own: Vec<Value> =
        operation.parameters.iter().filter(|p| !shared.contains(p)).map(parameter).collect();
    if !own.is_empty() {
        written["parameters"] = own.into();
    }
    if let Some(body) = &operation.body {
        written["requestBody"] =
            json!({ "content": content(body.media, &Dialect::V3.reference(&body.model)) });
        if body.required {
            written["requestBody"]["required"] = json!(true);
        }
    }
    extensions(operation, &mut written);
    written
}

/// What Kubernetes adds to an operation.
pub fn extensions(operation: &Operation, written: &mut Value) {
    if !operation.action.is_empty() {
        written["x-kubernetes-action"] = json!(operation.action);
    }
    if let Some((group, version, kind)) = &operation.kind {
        written["x-kubernetes-group-version-kind"] =
            json!({ "group": group, "version": version, "kind": kind });
    }
}

fn content(media: &[&str], schema: &Value) -> Value {
    media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect::<Map<_, _>>().into()
}

fn parameter(parameter: &Parameter) -> Value {
    let mut written = json!({
        "name": parameter.name, "in": parameter.place, "description": parameter.about,
        "schema": { "type": parameter.ty, "uniqueItems": true },
    });
    if parameter.place == "path" {
        written["required"] = json!(true);
    }
    written
}
