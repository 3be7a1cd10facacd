//! Schemas of types, and the closure of everything that a document refers to.

use std::collections::BTreeSet;

use descriptions::Descriptions;
use meta::{Field, Ty, TypeInfo};
use serde_json::{Map, Value, json};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const FIELDS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const VERSION: &str = "io.k8s.apimachinery.pkg.version.Info";

/// Members of a union and the discriminator's value for each.
type Members = &'static [(&'static str, &'static str)];

/// Structs of which one member is set, by model: the discriminating field, and the value that stands for each member.
const UNIONS: &[(&str, &str, Members)] = &[
    ("io.k8s.api.core.v1.AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.core.v1.PodSchedulingGroup", "", &[("podGroupName", "PodGroupName")]),
    ("io.k8s.api.core.v1.SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.flowcontrol.v1.LimitResponse", "type", &[("queuing", "Queuing")]),
    (
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec",
        "type",
        &[("exempt", "Exempt"), ("limited", "Limited")],
    ),
    (
        "io.k8s.api.flowcontrol.v1.Subject",
        "kind",
        &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")],
    ),
];

/// Values of the one map whose values are an enumeration.
const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// What a few fields are that the documentation has nothing about.
const OWN_WORDS: &[(&str, &str, &str)] = &[(
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
    "object",
    "The object, or a Status where the type is ERROR.",
)];
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const DURATION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Duration";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

/// Which version of OpenAPI schemas are written for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// 2.0: one document, no alternatives, no defaults.
    V2,
    /// 3.0.
    V3,
}

impl Dialect {
    const fn prefix(self) -> &'static str {
        match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        }
    }

    /// The reference to a model's schema.
    pub fn reference(self, model: &str) -> Value {
        json!({ "$ref": format!("{}{model}", self.prefix()) })
    }
}

/// The schemas of one document, by model name.
pub struct Schemas<'a> {
    dialect: Dialect,
    about: &'a Descriptions,
    /// Groups and versions that the document covers; options and events are kinds of each.
    versions: &'a [(&'a str, &'a str)],
    done: Map<String, Value>,
}

/// The model names that a value refers to, in either dialect.
pub fn references(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.insert(name.rsplit('/').next().unwrap_or_default().to_owned());
            }
            map.values().for_each(|value| collect(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

impl<'a> Schemas<'a> {
    /// Nothing yet.
    pub fn new(dialect: Dialect, about: &'a Descriptions, versions: &'a [(&'a str, &'a str)]) -> Self {
        Schemas { dialect, about, versions, done: Map::new() }
    }

    /// Adds the schemas of these models, and what they need in turn.
    pub fn include(&mut self, models: impl IntoIterator<Item = String>) {
        let mut open: Vec<String> = models.into_iter().collect();
        while let Some(name) = open.pop() {
            if self.done.contains_key(&name) {
                continue;
            }
            let schema = self.schema(&name);
            open.extend(references(&schema));
            self.done.insert(name, schema);
        }
    }

    /// Adds a schema that was made elsewhere, and what it needs.
    pub fn insert(&mut self, name: String, schema: Value) {
        self.done.insert(name, schema);
    }

    /// What is said of a field that every kind has.
    pub fn about_kind(&self, field: &str) -> String {
        let mut property = json!({});
        self.describe("io.k8s.api.core.v1.Pod", field, &mut property);
        property["description"].as_str().unwrap_or_default().to_owned()
    }

    /// All schemas by name.
    pub fn finish(self) -> Map<String, Value> {
        self.done
    }

    fn schema(&self, model: &str) -> Value {
        let v3 = self.dialect == Dialect::V3;
        let mut schema = match model {
            QUANTITY if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            INT_OR_STRING if v3 => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            INT_OR_STRING => json!({"format": "int-or-string", "type": "string"}),
            TIME | MICRO_TIME => json!({"type": "string", "format": "date-time"}),
            QUANTITY | DURATION => json!({"type": "string"}),
            VERSION => self.version(),
            _ => match scheme::fields::of(model) {
                // Written by hand in Go: any JSON.
                Some(_)
                    if model.rsplit('.').next().is_some_and(|name| name.starts_with("JSONSchemaPropsOr")) =>
                {
                    json!({})
                }
                Some(info) => self.structure(info),
                None if model.ends_with(".JSON") => json!({}),
                None => match model.strip_suffix("List").and_then(scheme::fields::of) {
                    Some(item) => self.list(item),
                    // Raw JSON, patches and field sets: any object.
                    None => json!({"type": "object"}),
                },
            },
        };
        if let Some(text) = self.about.of_type(model) {
            schema["description"] = json!(text);
        }
        schema
    }

    /// The list of a kind.
    fn list(&self, item: &TypeInfo) -> Value {
        let reference = |model| self.dialect.reference(model);
        let about = "Version of the whole list, and where it goes on.";
        let mut list_meta = reference(LIST_META);
        if self.dialect == Dialect::V3 {
            list_meta = json!({"allOf": [list_meta], "default": {}});
        }
        list_meta["description"] = json!(about);
        let mut schema = json!({
            "type": "object", "required": ["items"],
            "description": format!("A list of objects of kind {}.", item.name),
            "properties": {
                "metadata": list_meta,
                "items": {"type": "array", "items": reference(item.model), "description": "The objects."},
            },
            "x-kubernetes-group-version-kind": [
                {"group": item.group, "version": item.version, "kind": format!("{}List", item.name)}
            ],
        });
        for name in ["kind", "apiVersion"] {
            let mut property = json!({"type": "string"});
            self.describe("io.k8s.api.core.v1.Pod", name, &mut property);
            schema["properties"][name] = property;
        }
        schema
    }

    /// The answer of `/version`, which is no kind of ours.
    fn version(&self) -> Value {
        let required = [
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ];
        let optional = ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
        let mut properties = Map::new();
        for name in required.iter().chain(&optional) {
            let mut property = json!({"type": "string"});
            if self.dialect == Dialect::V3 && required.contains(name) {
                property["default"] = json!("");
            }
            self.describe(VERSION, name, &mut property);
            properties.insert((*name).into(), property);
        }
        json!({"type": "object", "properties": properties, "required": required})
    }

    fn describe(&self, model: &str, field: &str, property: &mut Value) {
        let own = || OWN_WORDS.iter().find(|(m, f, _)| (*m, *f) == (model, field)).map(|(_, _, text)| *text);
        if let Some(text) = self.about.of_field(model, field).or_else(own) {
            property["description"] = json!(text);
        }
    }

    fn structure(&self, info: &TypeInfo) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        if info.type_meta.is_some() {
            for name in ["kind", "apiVersion"] {
                let mut property = json!({"type": "string"});
                self.describe(info.model, name, &mut property);
                properties.insert(name.into(), property);
            }
        }
        for field in info.fields {
            if field.required || !(field.omitempty || field.omitzero || field.optional) {
                required.push(field.name);
            }
            properties.insert(field.name.into(), self.property(info, field));
        }
        let mut schema = json!({"type": "object"});
        if !properties.is_empty() {
            schema["properties"] = properties.into();
        }
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if info.atomic {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
        if let Some((_, discriminator, members)) = UNIONS.iter().find(|(model, ..)| *model == info.model) {
            let members: Map<String, Value> =
                members.iter().map(|(field, value)| ((*field).into(), json!(value))).collect();
            let mut union = json!({"fields-to-discriminateBy": members});
            if !discriminator.is_empty() {
                union["discriminator"] = json!(discriminator);
            }
            schema["x-kubernetes-unions"] = json!([union]);
        }
        let kinds = self.kinds(info);
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        schema
    }

    /// The kinds that a model is: its own, and for options and events one in each group.
    fn kinds(&self, info: &TypeInfo) -> Vec<Value> {
        let kind =
            |(group, version): (&str, &str)| json!({"group": group, "version": version, "kind": info.name});
        if matches!(info.model.strip_prefix(META), Some("DeleteOptions" | "WatchEvent")) {
            let mut versions = self.versions.to_vec();
            versions.push(("", "v1"));
            versions.sort_unstable();
            versions.dedup();
            return versions.into_iter().map(kind).collect();
        }
        info.type_meta.iter().map(|_| kind((info.group, info.version))).collect()
    }

    fn property(&self, owner: &TypeInfo, field: &Field) -> Value {
        let mut schema = match field.ty {
            Ty::Raw if field.go.ends_with("v1.FieldsV1") => self.dialect.reference(FIELDS),
            _ => self.value(owner, &field.ty),
        };
        let mut extra = json!({});
        self.describe(owner.model, field.name, &mut extra);
        let values = if field.name == "allocatedResourceStatuses" { RESIZE_STATES } else { field.values };
        if !values.is_empty() {
            let element = if schema.get("items").is_some() { "items" } else { "additionalProperties" };
            if let Some(text) = extra["description"].as_str() {
                let listed: String = values.iter().map(|value| format!("\n - `{value:?}`")).collect();
                extra["description"] = json!(format!("{text}\n\nPossible enum values:{listed}"));
            }
            match schema.get_mut(element) {
                Some(element) => element["enum"] = json!(values),
                None => extra["enum"] = json!(values),
            }
        }
        for (key, text) in [
            ("x-kubernetes-list-type", field.list_type),
            ("x-kubernetes-map-type", field.map_type),
            ("x-kubernetes-patch-strategy", field.patch_strategy),
            ("x-kubernetes-patch-merge-key", field.patch_merge_key),
        ] {
            if !text.is_empty() {
                extra[key] = json!(text);
            }
        }
        if !field.list_map_keys.is_empty() {
            extra["x-kubernetes-list-map-keys"] = json!(field.list_map_keys);
        }
        if self.dialect == Dialect::V3
            && let Some(default) = default(field)
        {
            extra["default"] = default;
        }
        let Value::Object(extra) = extra else { return schema };
        if self.dialect == Dialect::V3 && schema.get("$ref").is_some() && !extra.is_empty() {
            // Version 3.0 ignores what stands beside a reference.
            schema = json!({"allOf": [schema]});
        }
        if let Value::Object(schema) = &mut schema {
            schema.extend(extra);
        }
        schema
    }

    fn value(&self, owner: &TypeInfo, ty: &Ty) -> Value {
        let reference = |model: &str| self.dialect.reference(model);
        match ty {
            Ty::Str => json!({"type": "string"}),
            Ty::Bool => json!({"type": "boolean"}),
            Ty::Int32 => json!({"type": "integer", "format": "int32"}),
            Ty::Int64 => json!({"type": "integer", "format": "int64"}),
            Ty::Double => json!({"type": "number", "format": "double"}),
            Ty::Bytes => json!({"type": "string", "format": "byte"}),
            Ty::Quantity => reference(QUANTITY),
            Ty::IntOrString => reference(INT_OR_STRING),
            Ty::Time => reference(TIME),
            Ty::MicroTime => reference(MICRO_TIME),
            Ty::Duration => reference(DURATION),
            Ty::Raw => match owner.model.strip_suffix("JSONSchemaProps") {
                Some(package) => reference(&format!("{package}JSON")),
                None => reference(RAW),
            },
            Ty::Struct(info) => reference(info.model),
            Ty::List(element) => json!({"type": "array", "items": self.value(owner, element)}),
            Ty::Map(element) => json!({"type": "object", "additionalProperties": self.value(owner, element)}),
        }
    }
}

/// The declared default, and for values that are always written their zero.
fn default(field: &Field) -> Option<Value> {
    if let Ok(declared) = serde_json::from_str(field.default) {
        return Some(declared);
    }
    let always = !(field.pointer || field.omitempty || field.omitzero);
    match field.ty {
        Ty::Struct(_) if !field.pointer => Some(json!({})),
        Ty::Str if always => Some(json!("")),
        Ty::Bool if always => Some(json!(false)),
        Ty::Int32 | Ty::Int64 | Ty::Double if always => Some(json!(0)),
        _ => None,
    }
}
