//! OpenAPI version 2 as version 3, for extension API servers that only speak the older one. Pure; whatever does not have the
//! expected shape is left out.

use serde_json::{Map, Value, json};

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
/// Members of a parameter that stay with it; all others describe its value.
const OF_PARAMETER: [&str; 5] = ["name", "in", "description", "required", "allowEmptyValue"];

/// The document of version 3 that says what a part of a version 2 document says.
pub fn document(part: &Value) -> Value {
    let paths: Map<String, Value> =
        members(&part["paths"]).map(|(path, item)| (path.clone(), path_item(item, part))).collect();
    let schemas: Map<String, Value> =
        members(&part["definitions"]).map(|(name, schema)| (name.clone(), upgraded(schema))).collect();
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "unversioned" },
        "paths": paths, "components": { "schemas": schemas },
    })
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The parameters of a list, shared ones in place: those in the body, and the others.
fn parameters(list: &Value, part: &Value) -> (Option<Value>, Vec<Value>) {
    let resolved = list.as_array().into_iter().flatten().map(|parameter| {
        let name = parameter["$ref"].as_str().and_then(|at| at.strip_prefix("#/parameters/"));
        name.map_or(parameter, |name| &part["parameters"][name])
    });
    let (mut body, mut others) = (None, Vec::new());
    for parameter in resolved.filter(|parameter| parameter.is_object()) {
        match parameter["in"].as_str() {
            Some("body") => body = Some(parameter.clone()),
            Some("path" | "query" | "header") => others.push(outside_body(parameter)),
            _ => {}
        }
    }
    (body, others)
}

fn outside_body(parameter: &Value) -> Value {
    let (mut own, mut schema) = (Map::new(), Map::new());
    for (name, value) in members(parameter) {
        let into = if OF_PARAMETER.contains(&name.as_str()) { &mut own } else { &mut schema };
        into.insert(name.clone(), value.clone());
    }
    own.insert("schema".to_owned(), schema.into());
    own.into()
}

fn path_item(item: &Value, part: &Value) -> Value {
    let mut made = Map::new();
    let (common_body, common) = parameters(&item["parameters"], part);
    for (name, value) in members(item) {
        match name.as_str() {
            method if METHODS.contains(&method) => {
                made.insert(name.clone(), operation(value, common_body.as_ref(), part));
            }
            extension if extension.starts_with("x-") => drop(made.insert(name.clone(), value.clone())),
            _ => {}
        }
    }
    if !common.is_empty() {
        made.insert("parameters".to_owned(), common.into());
    }
    made.into()
}

fn operation(operation: &Value, common_body: Option<&Value>, part: &Value) -> Value {
    let kept = |name: &str| {
        name.starts_with("x-")
            || ["tags", "summary", "description", "operationId", "deprecated"].contains(&name)
    };
    let mut made: Map<String, Value> = members(operation)
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let (body, others) = parameters(&operation["parameters"], part);
    if !others.is_empty() {
        made.insert("parameters".to_owned(), others.into());
    }
    if let Some(body) = body.as_ref().or(common_body) {
        let mut request = json!({ "content": content(&operation["consumes"], &body["schema"]) });
        for name in ["description", "required"] {
            if !body[name].is_null() {
                request[name] = body[name].clone();
            }
        }
        made.insert("requestBody".to_owned(), request);
    }
    let responses: Map<String, Value> = members(&operation["responses"])
        .map(|(code, response)| {
            let mut answer = json!({ "description": response["description"].as_str().unwrap_or_default() });
            if !response["schema"].is_null() {
                answer["content"] = content(&operation["produces"], &response["schema"]);
            }
            (code.clone(), answer)
        })
        .collect();
    made.insert("responses".to_owned(), responses.into());
    made.into()
}

/// A schema in each of these media types; in any where none is named.
fn content(media: &Value, schema: &Value) -> Value {
    let named: Vec<&str> = media.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let named = if named.is_empty() { vec!["*/*"] } else { named };
    let schema = json!({ "schema": upgraded(schema) });
    named.into_iter().map(|media| (media.to_owned(), schema.clone())).collect::<Map<_, _>>().into()
}

/// A schema with its references where version 3 has their targets. What stands beside a reference counts for nothing there,
/// so the reference moves into an `allOf`.
fn upgraded(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut made: Map<String, Value> = Map::new();
            for (name, value) in fields {
                let at = value.as_str().and_then(|at| at.strip_prefix("#/definitions/"));
                match at.filter(|_| name == "$ref") {
                    Some(at) => drop(made.insert(name.clone(), format!("#/components/schemas/{at}").into())),
                    None => drop(made.insert(name.clone(), upgraded(value))),
                }
            }
            if made.len() > 1
                && let Some(reference) = made.get("$ref").filter(|reference| reference.is_string()).cloned()
            {
                made.remove("$ref");
                made.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
            made.into()
        }
        Value::Array(items) => items.iter().map(upgraded).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_types_are_said_anew() {
        let thing = json!({ "$ref": "#/definitions/io.ext.Thing" });
        let part = json!({
            "paths": { "/apis/ext.io/v1/things": {
                "parameters": [{ "$ref": "#/parameters/pretty" }, { "$ref": "#/parameters/nowhere" }],
                "post": {
                    "operationId": "create", "consumes": ["application/json"], "produces": ["application/json"],
                    "schemes": ["https"], "x-kubernetes-action": "post",
                    "parameters": [{ "name": "body", "in": "body", "required": true, "schema": thing }],
                    "responses": { "200": { "description": "OK", "schema": thing }, "401": { "description": "no" } },
                },
            } },
            "parameters": { "pretty": { "name": "pretty", "in": "query", "type": "string", "uniqueItems": true } },
            "definitions": { "io.ext.Thing": { "type": "object", "properties": {
                "$ref": { "type": "string" },
                "metadata": { "$ref": "#/definitions/Meta", "description": "about it" },
            } } },
        });
        let made = document(&part);
        let thing = json!({ "schema": { "$ref": "#/components/schemas/io.ext.Thing" } });
        let path = &made["paths"]["/apis/ext.io/v1/things"];
        let pretty =
            json!([{ "name": "pretty", "in": "query", "schema": { "type": "string", "uniqueItems": true } }]);
        assert_eq!(path["parameters"], pretty);
        assert_eq!(
            path["post"],
            json!({
                "operationId": "create", "x-kubernetes-action": "post",
                "requestBody": { "content": { "application/json": thing }, "required": true },
                "responses": {
                    "200": { "description": "OK", "content": { "application/json": thing } },
                    "401": { "description": "no" },
                },
            })
        );
        assert_eq!(
            made["components"]["schemas"]["io.ext.Thing"]["properties"],
            json!({
                "$ref": { "type": "string" },
                "metadata": { "allOf": [{ "$ref": "#/components/schemas/Meta" }], "description": "about it" },
            })
        );
        for garbage in
            [json!(null), json!([1]), json!({ "paths": { "/a": { "get": 3 }, "/b": [] }, "definitions": 7 })]
        {
            assert_eq!(document(&garbage)["openapi"], "3.0.0", "{garbage}");
        }
    }
}
