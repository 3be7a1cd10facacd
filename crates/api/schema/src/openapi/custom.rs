//! OpenAPI of custom resources: the schema of the definition with what every object has, in the same documents and
//! under the same operations as built-in kinds.

use std::collections::BTreeSet;

use descriptions::Descriptions;
use scheme::Resource;
use serde_json::{Value, json};
use types::apiextensions::v1::JSONSchemaProps;

use super::custom_operations::retell;
use super::operation::Path;
use super::paths::{self, Described, DescribedSub};
use super::schemas::{Dialect, Schemas};
use super::{models, v2, v3};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
/// Verbs as they are described: the paths of watches are of old, and custom resources came later.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update"];

/// Groups and versions whose requests upstream's libraries know, as schemas of options of deletion list them.
const KNOWN: &[(&str, &[&str])] = &[
    ("admissionregistration.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("apps", &["v1", "v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("authorization.k8s.io", &["v1", "v1beta1"]),
    ("autoscaling", &["v1", "v2"]),
    ("batch", &["v1", "v1beta1"]),
    ("certificates.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("coordination.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("discovery.k8s.io", &["v1", "v1beta1"]),
    ("events.k8s.io", &["v1", "v1beta1"]),
    ("extensions", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1", "v1beta1", "v1beta2", "v1beta3"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("node.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("policy", &["v1", "v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("resource.k8s.io", &["v1", "v1alpha3", "v1beta1", "v1beta2"]),
    ("scheduling.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("storage.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
];

/// A custom kind as its documents need to know it.
#[derive(Clone, Copy)]
pub struct Custom<'a> {
    /// Names, verbs and subresources.
    pub resource: &'a Resource,
    /// The document of its definition.
    pub schema: &'a JSONSchemaProps,
    /// Everything that the schema does not know is kept.
    pub preserves: bool,
}

/// The document of version 3 for one group and version.
pub fn document(kinds: &[Custom<'_>], about: &Descriptions) -> Value {
    let known: Vec<(&str, &str)> =
        KNOWN.iter().flat_map(|(group, versions)| versions.iter().map(|v| (*group, *v))).collect();
    let mut schemas = Schemas::new(Dialect::V3, about, &known);
    let all = described(kinds, &mut schemas, Dialect::V3);
    let mut document = v3::document(&all, schemas.finish());
    document["info"] = json!({ "title": "Kubernetes CRD Swagger", "version": "v0.1.0" });
    if let Some(components) = document["components"].as_object_mut() {
        components.remove("securitySchemes");
    }
    document
}

/// What custom kinds add to the document of version 2: their paths and their own types. What these refer to besides is in the
/// document of the built-in kinds.
pub fn swagger_part(kinds: &[Custom<'_>], about: &Descriptions) -> Value {
    let mut schemas = Schemas::new(Dialect::V2, about, &[]);
    let all = described(kinds, &mut schemas, Dialect::V2);
    let own: BTreeSet<String> =
        kinds.iter().flat_map(|kind| [model(kind.resource), list_model(kind.resource)]).collect();
    let mut definitions = schemas.finish();
    definitions.retain(|name, _| own.contains(name));
    let mut part = v2::document(&all, definitions);
    // The shared parameters of the whole document have other names than those of a part, so a part tells its own in place.
    let shared = part["parameters"].take();
    resolve(&mut part["paths"], &shared);
    json!({ "paths": part["paths"], "definitions": part["definitions"] })
}

fn resolve(value: &mut Value, shared: &Value) {
    match value {
        Value::Object(map) => {
            let key = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/parameters/"));
            if let Some(found) = key.and_then(|key| shared.get(key)) {
                *value = found.clone();
                return;
            }
            map.values_mut().for_each(|inner| resolve(inner, shared));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| resolve(inner, shared)),
        _ => {}
    }
}

/// `com.example.v1.Widget`
fn model(resource: &Resource) -> String {
    model_of(resource, &resource.kind)
}

fn list_model(resource: &Resource) -> String {
    model_of(resource, &resource.list_kind)
}

fn model_of(resource: &Resource, kind: &str) -> String {
    let group: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{kind}", group.join("."), resource.version)
}

fn described(kinds: &[Custom<'_>], schemas: &mut Schemas<'_>, dialect: Dialect) -> Vec<Path> {
    let mut all = Vec::new();
    let mut own = BTreeSet::new();
    for kind in kinds {
        let resource = kind.resource;
        let model = model(resource);
        let list_model = list_model(resource);
        let subresources = resource.subresources.iter().map(|sub| DescribedSub {
            name: sub.name,
            kind: (&sub.group, &sub.version, &sub.kind),
            model: if sub.name == "scale" { SCALE.to_owned() } else { model.clone() },
            verbs: sub.verbs,
        });
        let gvk = (&*resource.group, &*resource.version, &*resource.kind);
        let mut paths = paths::of(&Described {
            kind: gvk,
            model: model.clone(),
            list_model: list_model.clone(),
            plural: &resource.plural,
            namespaced: resource.namespaced,
            verbs: VERBS,
            subresources: subresources.collect(),
        });
        for operation in paths.iter_mut().flat_map(|path| path.operations.iter_mut()) {
            retell(operation, gvk);
        }
        all.append(&mut paths);
        let object = of_object(kind, schemas, dialect);
        let list = of_list(resource, &model, schemas, dialect);
        for (name, schema) in [(model, object), (list_model, list)] {
            schemas.insert(name.clone(), schema);
            own.insert(name);
        }
    }
    let mut wanted = models(&all);
    wanted.extend([format!("{META}ObjectMeta"), format!("{META}ListMeta")]);
    schemas.include(wanted.into_iter().filter(|name| !own.contains(name)));
    all
}

fn reference(model: &str, about: &str, dialect: Dialect) -> Value {
    let mut reference = dialect.reference(&format!("{META}{model}"));
    if dialect == Dialect::V3 {
        reference = json!({ "allOf": [reference] });
    }
    reference["description"] = json!(about);
    reference
}

fn names_itself(resource: &Resource, kind: &str) -> Value {
    json!([{ "group": resource.group, "version": resource.version, "kind": kind }])
}

fn of_object(kind: &Custom<'_>, schemas: &Schemas<'_>, dialect: Dialect) -> Value {
    let names = names_itself(kind.resource, &kind.resource.kind);
    if dialect == Dialect::V2
        && (kind.preserves || kind.schema.x_kubernetes_preserve_unknown_fields == Some(true))
    {
        // Clients of version 2 refuse what a list of properties does not name, so there is none, not even of metadata.
        return json!({ "type": "object", "x-kubernetes-group-version-kind": names });
    }
    let mut schema = meta::to_value(kind.schema);
    if dialect == Dialect::V2 {
        simplify(&mut schema);
    }
    if kind.preserves {
        schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    embed(&mut schema, true, schemas, dialect);
    schema["x-kubernetes-group-version-kind"] = names;
    schema
}

/// Adds what objects have whatever their schema says, here and in embedded objects.
fn embed(schema: &mut Value, is_object: bool, schemas: &Schemas<'_>, dialect: Dialect) {
    let is_object = is_object || schema["x-kubernetes-embedded-resource"] == true;
    if dialect == Dialect::V3
        && schema["x-kubernetes-int-or-string"] == true
        && let Some(schema) = schema.as_object_mut()
    {
        schema.entry("anyOf").or_insert_with(|| json!([{ "type": "integer" }, { "type": "string" }]));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|inner| embed(inner, false, schemas, dialect));
    }
    for inside in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inside).filter(|inner| inner.is_object()) {
            embed(inner, false, schemas, dialect);
        }
    }
    if is_object {
        let metadata = schemas.about_kind("metadata");
        schema["properties"]["metadata"] = reference("ObjectMeta", &metadata, dialect);
        for name in ["apiVersion", "kind"] {
            let about = schemas.about_kind(name);
            schema["properties"][name] = json!({ "type": "string", "description": about });
        }
    }
}

fn of_list(resource: &Resource, model: &str, schemas: &Schemas<'_>, dialect: Dialect) -> Value {
    let about = |name: &str| schemas.about_kind(name);
    json!({
        "type": "object",
        "required": ["items"],
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "properties": {
            "apiVersion": { "type": "string", "description": about("apiVersion") },
            "kind": { "type": "string", "description": about("kind") },
            "metadata": reference("ListMeta", "Version of the whole list, and where it goes on.", dialect),
            "items": {
                "type": "array",
                "description": format!("List of {}.", resource.plural),
                "items": dialect.reference(model),
            },
        },
        "x-kubernetes-group-version-kind": names_itself(resource, &resource.list_kind),
    })
}

/// What version 2 cannot say goes, so that clients do not refuse what the server takes.
fn simplify(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for keyword in ["allOf", "anyOf", "oneOf", "not", "default"] {
        map.remove(keyword);
    }
    let nullable = map.remove("nullable") == Some(json!(true));
    let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if nullable {
        map.remove("type");
    }
    if nullable || open {
        for keyword in ["items", "properties", "additionalProperties"] {
            map.remove(keyword);
        }
    }
    let nullable_fields: Vec<String> = map
        .get("properties")
        .and_then(Value::as_object)
        .map(|fields| {
            fields.iter().filter(|(_, f)| f["nullable"] == true).map(|(name, _)| name.clone()).collect()
        })
        .unwrap_or_default();
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !name.as_str().is_some_and(|name| nullable_fields.iter().any(|f| f == name)));
        if required.is_empty() {
            map.remove("required");
        }
    }
    if let Some(fields) = map.get_mut("properties").and_then(Value::as_object_mut) {
        fields.values_mut().for_each(simplify);
    }
    for inside in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(inside).filter(|inner| inner.is_object()) {
            simplify(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schemas::references;
    use super::*;

    fn resource() -> Resource {
        let pods = scheme::lookup("apps", "v1", "deployments").expect("built in").clone();
        Resource {
            group: "example.com".into(),
            kind: "Widget".into(),
            list_kind: "WidgetList".into(),
            plural: "widgets".into(),
            ..pods
        }
    }

    #[test]
    fn documents_refer_only_to_what_they_hold() {
        let schema: JSONSchemaProps = meta::from_value(json!({
            "type": "object",
            "properties": { "spec": { "type": "object", "properties": {
                "a": { "type": "integer", "default": 1, "nullable": true },
                "b": { "anyOf": [{ "minimum": 1 }], "type": "integer" },
            }, "required": ["a", "b"] } },
        }))
        .expect("a schema");
        let resource = resource();
        let kinds = [Custom { resource: &resource, schema: &schema, preserves: false }];
        let about = Descriptions::load();
        let document = document(&kinds, &about);
        let held = &document["components"]["schemas"];
        assert_eq!(held["com.example.v1.Widget"]["properties"]["spec"]["properties"]["a"]["default"], 1);
        for name in references(&document) {
            assert!(held.get(&name).is_some(), "{name}");
        }
        let part = swagger_part(&kinds, &about);
        let spec = &part["definitions"]["com.example.v1.Widget"]["properties"]["spec"];
        assert_eq!(spec["required"], json!(["b"]));
        assert_eq!(spec["properties"]["b"], json!({ "type": "integer" }));
        let path = "/apis/example.com/v1/namespaces/{namespace}/widgets";
        assert!(part["paths"][path]["get"]["parameters"].is_array());
        // Nothing is said of protobuf and of strategic merge patches, and a collection is deleted by what lists it.
        let told = document["paths"].to_string();
        assert!(!told.contains("protobuf") && !told.contains("strategic"), "{told}");
        assert!(document["paths"][path]["delete"]["requestBody"].is_null());
        assert!(!part["paths"].to_string().contains("#/parameters/"));
        let built_in = super::super::swagger(&about);
        for name in references(&part) {
            let held = [&part, &built_in].iter().any(|document| document["definitions"].get(&name).is_some());
            assert!(held, "{name}");
        }
    }
    #[test]
    fn version_2_says_nothing_of_the_fields_of_an_open_kind() {
        let resource = resource();
        let about = Descriptions::load();
        for (open, preserves) in [(true, false), (false, true)] {
            let schema: JSONSchemaProps = meta::from_value(json!({
                "type": "object",
                "properties": { "spec": { "type": "object" } },
                "x-kubernetes-preserve-unknown-fields": open.then_some(true),
            }))
            .expect("a schema");
            let kinds = [Custom { resource: &resource, schema: &schema, preserves }];
            let widget = &swagger_part(&kinds, &about)["definitions"]["com.example.v1.Widget"];
            let names = json!([{ "group": "example.com", "version": "v1", "kind": "Widget" }]);
            assert_eq!(*widget, json!({ "type": "object", "x-kubernetes-group-version-kind": names }));
            let document = document(&kinds, &about);
            let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
            assert!(widget["properties"]["metadata"].is_object());
        }
    }
}
