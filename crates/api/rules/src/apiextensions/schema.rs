//! The documents with which a CustomResourceDefinition describes its objects.

use std::collections::BTreeSet;

use meta::{FieldError, FieldPath, Str};
use schema::structural::{self, META_FIELDS, Schema};
use types::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps, ValidationRule};

use super::{defaults, field_path, internal};

/// The types of OpenAPI v3.
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Fields that the root of a schema may have when the status is a subresource.
const ROOT_FIELDS: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
/// Why a rule may give.
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// What of the old definition matters for the new one.
#[derive(Default)]
pub(super) struct Options<'a> {
    /// Versions whose schemas did not change.
    unchanged: BTreeSet<&'a str>,
}

impl<'a> Options<'a> {
    pub(super) fn of_change(new: &'a CustomResourceDefinition, old: &CustomResourceDefinition) -> Self {
        let same = new.spec.versions.iter().filter(|v| {
            old.spec.versions.iter().any(|before| before.name == v.name && before.schema == v.schema)
        });
        Options { unchanged: same.map(|v| v.name.as_str()).collect() }
    }
}

/// Checks the schema of a version that stands at `at`.openAPIV3Schema.
pub(super) fn validation(
    at: &FieldPath,
    schema: &JSONSchemaProps,
    status: bool,
    version: &str,
    options: &Options<'_>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let schema_at = at.child("openAPIV3Schema");
    if status {
        root_of_status(&schema_at, schema, &mut errors);
    }
    if schema.nullable {
        errors
            .push(FieldError::forbidden(&schema_at.child("nullable"), "nullable cannot be true at the root"));
    }
    let compiled = Schema::read(schema);
    let mut sound = false;
    if let Ok(compiled) = &compiled {
        let mut found = structural::check::structural(&schema_at, compiled);
        if found.is_empty() {
            found = defaults::validate(&schema_at, compiled);
        }
        sound = found.is_empty();
        errors.extend(found);
    }
    let mut checker = Checker { errors: Vec::new() };
    checker.document(&schema_at, schema, &Place { root: true, ..Place::default() });
    if let Ok(compiled) = &compiled
        && sound
        && checker.errors.is_empty()
    {
        let known = options.unchanged.contains(version);
        errors.extend(crate::expressions::estimate(&schema_at, compiled, known));
    }
    errors.extend(checker.errors);
    if errors.is_empty()
        && let Err(unsupported) = compiled
    {
        errors.push(FieldError::invalid(&schema_at, "", unsupported.to_string()));
    }
    errors
}

/// With a status of its own, the root may only say what does not get lost when the status is checked alone.
fn root_of_status(at: &FieldPath, s: &JSONSchemaProps, errors: &mut Vec<FieldError>) {
    if !s.type_.is_empty() && s.type_ != "object" {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return errors.push(FieldError::invalid(&at.child("type"), &s.type_, detail));
    }
    let refused = s.ref_.is_some()
        || !s.id.is_empty()
        || !s.schema_.is_empty()
        || s.nullable
        || s.default.is_some()
        || !s.enum_.is_empty()
        || s.max_properties.is_some()
        || s.min_properties.is_some()
        || !s.all_of.is_empty()
        || !s.one_of.is_empty()
        || !s.any_of.is_empty()
        || s.not.is_some()
        || s.additional_properties.is_some()
        || !s.pattern_properties.is_empty()
        || !s.dependencies.is_empty()
        || s.additional_items.is_some()
        || !s.definitions.is_empty()
        || s.x_kubernetes_embedded_resource
        || s.x_kubernetes_int_or_string
        || !s.x_kubernetes_list_map_keys.is_empty()
        || s.x_kubernetes_list_type.is_some()
        || s.x_kubernetes_map_type.is_some();
    if refused {
        let detail = format!(
            "only {ROOT_FIELDS} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(FieldError::invalid(at, internal::schema(s), detail));
    }
}

/// What is true of a place in the document because of what is around it.
#[derive(Clone, Default)]
struct Place {
    root: bool,
    /// Inside the metadata of an object or embedded object.
    in_meta: bool,
    /// Why defaults may not be set here.
    no_defaults: Option<String>,
}

struct Checker {
    errors: Vec<FieldError>,
}

impl Checker {
    fn forbid(&mut self, at: FieldPath, detail: &str) {
        self.errors.push(FieldError::forbidden(&at, detail));
    }

    fn require(&mut self, at: FieldPath, detail: &str) {
        self.errors.push(FieldError::required(&at, detail));
    }

    fn invalid(&mut self, at: FieldPath, value: impl Into<meta::BadValue>, detail: &str) {
        self.errors.push(FieldError::invalid(&at, value, detail));
    }

    fn document(&mut self, at: &FieldPath, s: &JSONSchemaProps, place: &Place) {
        self.keywords(at, s, place);
        if s.unique_items {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbid(at.child("uniqueItems"), detail);
        }
        self.inner(at, s, place);
        if s.x_kubernetes_preserve_unknown_fields == Some(false) {
            let at = at.child("x-kubernetes-preserve-unknown-fields");
            self.invalid(at, false, "must be true or undefined");
        }
        self.types(at, s);
        self.map_list(at, s);
        self.map_list_keys(at, s);
        for (i, rule) in s.x_kubernetes_validations.iter().enumerate() {
            self.rule(&at.child("x-kubernetes-validations").index(i), s, rule);
        }
    }

    fn keywords(&mut self, at: &FieldPath, s: &JSONSchemaProps, place: &Place) {
        if !s.type_.is_empty() && !TYPES.contains(&s.type_.as_str()) {
            self.errors.push(FieldError::not_supported(&at.child("type"), &s.type_, TYPES));
        }
        if s.default.is_some()
            && let Some(reason) = &place.no_defaults
        {
            self.forbid(at.child("default"), &format!("must not be set {reason}"));
        }
        let refused = [
            ("id", !s.id.is_empty()),
            ("additionalItems", s.additional_items.is_some()),
            ("patternProperties", !s.pattern_properties.is_empty()),
            ("definitions", !s.definitions.is_empty()),
            ("dependencies", !s.dependencies.is_empty()),
            ("$ref", s.ref_.is_some()),
        ];
        for (keyword, there) in refused {
            if there {
                self.forbid(at.child(keyword), &format!("{keyword} is not supported"));
            }
        }
        if s.type_ == "null" {
            self.forbid(at.child("type"), "type cannot be set to null, use nullable as an alternative");
        }
        if s.items.as_ref().is_some_and(|items| !items.json_schemas.is_empty()) {
            self.forbid(at.child("items"), "items must be a schema object and not an array");
        }
        if place.in_meta && s.x_kubernetes_embedded_resource {
            let at = at.child("x-kubernetes-embedded-resource");
            self.forbid(at, "must not be used inside of resource meta");
        }
    }

    fn inner(&mut self, at: &FieldPath, s: &JSONSchemaProps, place: &Place) {
        let inside = Place { root: false, ..place.clone() };
        if let Some(more) = &s.additional_properties {
            if !s.properties.is_empty() && (!more.allows || more.schema.is_some()) {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.forbid(at.child("additionalProperties"), detail);
            }
            let mut inside = inside.clone();
            if place.in_meta {
                let reason = "inside additionalProperties applying to object metadata";
                inside.no_defaults = Some(reason.to_owned());
            }
            if let Some(schema) = &more.schema {
                self.document(&at.child("additionalProperties"), schema, &inside);
            }
        }
        for (name, schema) in s.properties.iter() {
            let mut inside = inside.clone();
            if (place.root || s.x_kubernetes_embedded_resource) && META_FIELDS.contains(&name.as_str()) {
                inside.in_meta = true;
                if place.root {
                    inside.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            self.document(&at.child("properties").key(name.clone()), schema, &inside);
        }
        if let Some(not) = &s.not {
            self.document(&at.child("not"), not, &inside);
        }
        for (word, list) in [("allOf", &s.all_of), ("oneOf", &s.one_of), ("anyOf", &s.any_of)] {
            for (i, schema) in list.iter().enumerate() {
                self.document(&at.child(word).index(i), schema, &inside);
            }
        }
        for (name, schema) in s.definitions.iter() {
            self.document(&at.child("definitions").key(name.clone()), schema, &inside);
        }
        if let Some(items) = &s.items {
            if let Some(schema) = &items.schema {
                self.document(&at.child("items"), schema, &inside);
            }
            for (i, schema) in items.json_schemas.iter().enumerate() {
                self.document(&at.child("items").index(i), schema, &inside);
            }
        }
        for (name, dependency) in s.dependencies.iter() {
            if let Some(schema) = &dependency.schema {
                self.document(&at.child("dependencies").key(name.clone()), schema, &inside);
            }
        }
    }

    /// The extensions that ask for a type.
    fn types(&mut self, at: &FieldPath, s: &JSONSchemaProps) {
        let type_at = at.child("type");
        if let Some(map_type) = &s.x_kubernetes_map_type {
            if s.type_ != "object" {
                let detail = "must be object if x-kubernetes-map-type is specified";
                self.wrong_type(type_at.clone(), &s.type_, detail);
            }
            if map_type != "atomic" && map_type != "granular" {
                let at = at.child("x-kubernetes-map-type");
                self.errors.push(FieldError::not_supported(&at, map_type, ["atomic", "granular"]));
            }
        }
        let Some(list_type) = &s.x_kubernetes_list_type else { return };
        let items = s.items.as_ref().and_then(|items| items.schema.as_deref());
        if s.type_ != "array" {
            let detail = "must be array if x-kubernetes-list-type is specified";
            self.wrong_type(type_at, &s.type_, detail);
        } else if let Some(items) = items.filter(|_| list_type == "set") {
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let shown = items
                .x_kubernetes_list_type
                .as_ref()
                .map_or_else(|| meta::BadValue::Plain("null".into()), meta::BadValue::from);
            let inner = items.x_kubernetes_list_type.as_deref();
            if items.type_ == "array" && inner.is_some_and(|t| t != "atomic") {
                self.invalid(at.child("items").child("x-kubernetes-list-type"), shown, detail);
            } else if items.type_ == "object" && items.x_kubernetes_map_type.as_deref() != Some("atomic") {
                self.invalid(at.child("items").child("x-kubernetes-map-type"), shown, detail);
            }
        }
        if !["atomic", "set", "map"].contains(&list_type.as_str()) {
            let at = at.child("x-kubernetes-list-type");
            self.errors.push(FieldError::not_supported(&at, list_type, ["atomic", "set", "map"]));
        }
    }

    fn wrong_type(&mut self, at: FieldPath, type_: &Str, detail: &str) {
        match type_.as_str() {
            "" => self.require(at, detail),
            other => self.invalid(at, other, detail),
        }
    }

    /// Lists that are maps by some fields of their elements.
    fn map_list(&mut self, at: &FieldPath, s: &JSONSchemaProps) {
        let keys = &s.x_kubernetes_list_map_keys;
        let keys_at = at.child("x-kubernetes-list-map-keys");
        let list_type = s.x_kubernetes_list_type.as_ref();
        if !keys.is_empty() && list_type.is_none_or(|t| t != "map") {
            let at = at.child("x-kubernetes-list-type");
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                None => self.require(at, detail),
                Some(other) => self.invalid(at, other, detail),
            }
        }
        if list_type.is_none_or(|t| t != "map") {
            return;
        }
        if keys.is_empty() {
            self.require(keys_at.clone(), "must not be empty if x-kubernetes-list-type is map");
        }
        let items_at = at.child("items");
        let Some(items) = &s.items else {
            return self.require(items_at, "must have a schema if x-kubernetes-list-type is map");
        };
        let Some(schema) = &items.schema else {
            let shown = meta::BadValue::of(&**items);
            return self.invalid(
                items_at,
                shown,
                "must only have a single schema if x-kubernetes-list-type is map",
            );
        };
        if schema.type_ != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            return self.invalid(items_at.child("type"), &schema.type_, detail);
        }
        let mut seen = BTreeSet::new();
        for key in keys.iter() {
            match schema.properties.get(key) {
                Some(field) if field.type_ == "array" || field.type_ == "object" => {
                    let at = items_at.child("properties").key(key.clone()).child("type");
                    let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.invalid(at, &schema.type_, detail);
                }
                Some(_) => {}
                None => {
                    let detail = "entries must all be names of item properties";
                    self.invalid(keys_at.clone(), meta::BadValue::of(keys), detail);
                }
            }
            if !seen.insert(key) {
                self.invalid(keys_at.clone(), meta::BadValue::of(keys), "must not contain duplicate entries");
            }
        }
    }

    /// Elements of sets and maps are there, and so are the keys of maps.
    fn map_list_keys(&mut self, at: &FieldPath, s: &JSONSchemaProps) {
        let Some(list_type) = s.x_kubernetes_list_type.as_deref().filter(|t| *t == "set" || *t == "map")
        else {
            return;
        };
        let Some(items) = s.items.as_ref().and_then(|items| items.schema.as_deref()) else { return };
        let items_at = at.child("items");
        if items.nullable {
            let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            self.forbid(items_at.child("nullable"), &detail);
        }
        if list_type != "map" {
            return;
        }
        for key in s.x_kubernetes_list_map_keys.iter() {
            let Some(field) = items.properties.get(key) else { continue };
            let at = items_at.child("properties").key(key.clone());
            if !items.required.contains(key) && field.default.is_none() {
                self.require(at.child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
            }
            if field.nullable {
                self.forbid(
                    at.child("nullable"),
                    "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
                );
            }
        }
    }

    /// What of a rule can be told without reading its expression.
    fn rule(&mut self, at: &FieldPath, s: &JSONSchemaProps, rule: &ValidationRule) {
        let breaks = |text: &str| text.contains(['\n', '\r']);
        let (text, message) = (rule.rule.trim(), rule.message.trim());
        if text.is_empty() {
            self.require(at.child("rule"), "rule is not specified");
        } else if !rule.message.is_empty() && message.is_empty() {
            self.invalid(at.child("message"), &rule.message, "must be non-empty if specified");
        } else if breaks(message) {
            self.invalid(at.child("message"), &rule.message, "must not contain line breaks");
        } else if breaks(text) && message.is_empty() {
            self.require(at.child("message"), "message must be specified if rule contains line breaks");
        }
        if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
            self.require(at.child("messageExpression"), "messageExpression must be non-empty if specified");
        }
        if let Some(reason) = rule.reason.as_ref().filter(|reason| !REASONS.contains(&reason.as_str())) {
            self.errors.push(FieldError::not_supported(&at.child("reason"), reason, REASONS));
        }
        let path_at = at.child("fieldPath");
        if !rule.field_path.is_empty() && rule.field_path.trim().is_empty() {
            self.invalid(path_at.clone(), &rule.field_path, "must be non-empty if specified");
        }
        if breaks(&rule.field_path) {
            self.invalid(path_at.clone(), &rule.field_path, "must not contain line breaks");
        }
        if !rule.field_path.is_empty() {
            let valid =
                Schema::read(s).map_or(true, |s| field_path::resolve(&rule.field_path, &s, true).is_ok());
            if !valid {
                self.invalid(path_at, &rule.field_path, "must be a valid path");
            }
        }
    }
}
