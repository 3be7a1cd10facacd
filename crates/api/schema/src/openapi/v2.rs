//! Operations as OpenAPI 2.0 (Swagger) writes them: one document for the whole server. Parameters that many operations
//! take are told once, under `parameters`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operation::{Body, Operation, Parameter, Path, code_text};
use super::schemas::Dialect;
use super::v3::extensions;

/// Parameters told once, by key; several of one name are numbered.
#[derive(Default)]
struct Shared {
    keys: BTreeMap<Parameter, String>,
    taken: BTreeMap<String, usize>,
}

impl Shared {
    /// A reference to the parameter. Names in paths differ in their descriptions and are told in place.
    fn reference(&mut self, parameter: &Parameter) -> Value {
        if parameter.name == "name" {
            return self::parameter(parameter);
        }
        let key = self.keys.entry(parameter.clone()).or_insert_with(|| {
            let number = self.taken.entry(parameter.name.to_owned()).or_default();
            *number += 1;
            if *number == 1 { parameter.name.to_owned() } else { format!("{}-{number}", parameter.name) }
        });
        json!({ "$ref": format!("#/parameters/{key}") })
    }

    fn finish(self) -> Map<String, Value> {
        self.keys.into_iter().map(|(parameter, key)| (key, self::parameter(&parameter))).collect()
    }
}

/// The document with these paths and definitions.
pub fn document(paths: &[Path], definitions: Map<String, Value>) -> Value {
    let mut shared = Shared::default();
    let items: Map<String, Value> =
        paths.iter().map(|path| (path.path.clone(), item(path, &mut shared))).collect();
    json!({
        "swagger": "2.0", "info": { "title": "Kubernetes", "version": "1.36" },
        "paths": items, "definitions": definitions, "parameters": shared.finish(),
        "securityDefinitions": { "BearerToken": {
            "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
        }},
        "security": [{ "BearerToken": [] }],
    })
}

fn item(path: &Path, shared: &mut Shared) -> Value {
    let common = path.shared();
    let mut item: Map<String, Value> =
        path.operations.iter().map(|o| (o.method.to_owned(), operation(o, &common, shared))).collect();
    if !common.is_empty() {
        item.insert("parameters".into(), common.into_iter().map(|p| shared.reference(p)).collect());
    }
    item.into()
}

fn operation(operation: &Operation, common: &[&Parameter], shared: &mut Shared) -> Value {
    let answer = match &operation.answer {
        Some(model) => Dialect::V2.reference(model),
        None => json!({ "type": "string" }),
    };
    let mut responses: Map<String, Value> = operation
        .codes
        .iter()
        .map(|code| ((*code).to_owned(), json!({ "description": code_text(code), "schema": answer })))
        .collect();
    responses.insert("401".into(), json!({ "description": code_text("401") }));
    let mut written = json!({
        "tags": [operation.tag], "description": operation.about, "operationId": operation.id,
        "produces": operation.produces, "schemes": ["https"], "responses": responses,
    });
    if let Some(body) = &operation.body
        && body.media.len() > 1
    {
        written["consumes"] = json!(body.media);
    } else if !operation.consumes.is_empty() {
        written["consumes"] = json!(operation.consumes);
    }
    let own = operation.parameters.iter().filter(|p| !common.contains(p)).map(|p| shared.reference(p));
    let parameters: Vec<Value> = operation.body.iter().map(body).chain(own).collect();
    if !parameters.is_empty() {
        written["parameters"] = parameters.into();
    }
    extensions(operation, &mut written);
    written
}

fn body(body: &Body) -> Value {
    let mut written = json!({ "name": "body", "in": "body", "schema": Dialect::V2.reference(&body.model) });
    if body.required {
        written["required"] = json!(true);
    }
    written
}

fn parameter(parameter: &Parameter) -> Value {
    let mut written = json!({
        "name": parameter.name, "in": parameter.place, "description": parameter.about,
        "type": parameter.ty, "uniqueItems": true,
    });
    if parameter.place == "path" {
        written["required"] = json!(true);
    }
    written
}
