//! What keeps a schema from being structural: structure below value validations, types that are not said, metadata that
//! is restricted.

use meta::{BadValue, FieldError, FieldPath, Str};

use super::{Additional, Schema, ValueRules};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What is wrong with the schema of a definition that stands at `at`, by its text.
pub fn structural(at: &FieldPath, schema: &Schema) -> Vec<FieldError> {
    let mut checker = Checker { errors: Vec::new() };
    checker.invariants(at, schema, Level::Root);
    checker.complete_rules(at, at, &schema.rules, Some(schema));
    checker.errors.sort_by_cached_key(ToString::to_string);
    checker.errors
}

struct Checker {
    errors: Vec<FieldError>,
}

impl Checker {
    fn required(&mut self, at: FieldPath, detail: impl Into<String>) {
        self.errors.push(FieldError::required(&at, detail));
    }

    fn forbidden(&mut self, at: FieldPath, detail: &str) {
        self.errors.push(FieldError::forbidden(&at, detail));
    }

    fn invalid(&mut self, at: FieldPath, value: impl Into<BadValue>, detail: &str) {
        self.errors.push(FieldError::invalid(&at, value, detail));
    }

    fn invariants(&mut self, at: &FieldPath, s: &Schema, level: Level) {
        if s.type_ == "array" && s.items.is_none() {
            self.required(at.child("items"), "must be specified");
        }
        if let Some(items) = &s.items {
            self.invariants(&at.child("items"), items, Level::Item);
        }
        for (name, field) in &s.properties {
            self.invariants(&at.child("properties").key(name.clone()), field, Level::Field);
        }
        if let Some(additional) = &s.additional {
            if level == Level::Root {
                self.forbidden(at.child("additionalProperties"), "must not be used at the root");
            }
            if let Additional::Schema(schema) = additional {
                self.invariants(&at.child("additionalProperties"), schema, Level::Field);
            }
        }
        if s.int_or_string && s.preserve_unknown_fields {
            let at = at.child("x-kubernetes-preserve-unknown-fields");
            self.invalid(at, true, "must be false if x-kubernetes-int-or-string is true");
        }
        if s.int_or_string && s.embedded_resource {
            let at = at.child("x-kubernetes-embedded-resource");
            self.invalid(at, true, "must be false if x-kubernetes-int-or-string is true");
        }
        let in_first = s.rules.all_of.first().is_some_and(|first| is_int_or_string(&first.rules));
        self.value_rules(at, &s.rules, is_int_or_string(&s.rules), in_first);
        self.types(at, s, level);
        self.metadata(at, s, level);
        if s.embedded_resource && !s.preserve_unknown_fields && s.properties.is_empty() {
            self.required(at.child("properties"), "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields");
        }
    }

    fn types(&mut self, at: &FieldPath, s: &Schema, level: Level) {
        let type_at = at.child("type");
        if s.embedded_resource && s.type_ != "object" {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            match s.type_.as_str() {
                "" => self.required(type_at.clone(), detail),
                other => self.invalid(type_at.clone(), other, detail),
            }
        } else if s.type_.is_empty() && !s.int_or_string && !s.preserve_unknown_fields {
            let what = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.required(type_at.clone(), what);
        }
        if s.embedded_resource && s.additional.is_some() {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            self.forbidden(at.child("additionalProperties"), detail);
        }
        if level == Level::Root && !s.type_.is_empty() && s.type_ != "object" {
            self.invalid(type_at, &s.type_, "must be object at the root");
        }
    }

    /// What an object has by itself may be restricted to certain names, and nothing more.
    fn metadata(&mut self, at: &FieldPath, s: &Schema, level: Level) {
        let checked = level == Level::Root || s.embedded_resource;
        let at = at.child("properties");
        for name in ["kind", "apiVersion"] {
            if let Some(field) = s.properties.get(name).filter(|f| checked && f.type_ != "string") {
                self.invalid(at.key(name).child("type"), &field.type_, "must be string");
            }
        }
        let Some(metadata) = s.properties.get("metadata") else { return };
        let at = at.key("metadata");
        if checked && metadata.type_ != "object" {
            self.invalid(at.child("type"), &metadata.type_, "must be object");
        }
        if level == Level::Root && !is_bare(metadata) {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden(at, detail);
        }
    }

    fn value_rules(&mut self, at: &FieldPath, rules: &ValueRules, skip_any: bool, skip_first: bool) {
        if !skip_any {
            for (i, nested) in rules.any_of.iter().enumerate() {
                self.nested(&at.child("anyOf").index(i), nested, false);
            }
        }
        for (i, nested) in rules.all_of.iter().enumerate() {
            self.nested(&at.child("allOf").index(i), nested, skip_first && i == 0);
        }
        for (i, nested) in rules.one_of.iter().enumerate() {
            self.nested(&at.child("oneOf").index(i), nested, false);
        }
        if let Some(nested) = &rules.not {
            self.nested(&at.child("not"), nested, false);
        }
        if let Some(pattern) = &rules.pattern
            && let Err(why) = &pattern.regex
        {
            let detail = format!("must be a valid regular expression, but isn't: {why}");
            self.invalid(at.child("pattern"), &pattern.text, &detail);
        }
    }

    /// A value validation must say nothing about structure.
    fn nested(&mut self, at: &FieldPath, v: &Schema, skip_any: bool) {
        self.value_rules(at, &v.rules, skip_any, false);
        if let Some(items) = &v.items {
            self.nested(&at.child("items"), items, false);
        }
        for (name, field) in &v.properties {
            self.nested(&at.child("properties").key(name.clone()), field, false);
        }
        let said = [
            ("type", !v.type_.is_empty(), "must be empty to be structural"),
            (
                "additionalProperties",
                matches!(v.additional, Some(Additional::Schema(_) | Additional::Allowed(true))),
                "must be undefined to be structural",
            ),
            ("default", v.default.is_some(), "must be undefined to be structural"),
            ("title", !v.title.is_empty(), "must be empty to be structural"),
            ("description", !v.description.is_empty(), "must be empty to be structural"),
            ("nullable", v.nullable, "must be false to be structural"),
            (
                "x-kubernetes-preserve-unknown-fields",
                v.preserve_unknown_fields,
                "must be false to be structural",
            ),
            ("x-kubernetes-embedded-resource", v.embedded_resource, "must be false to be structural"),
            ("x-kubernetes-int-or-string", v.int_or_string, "must be false to be structural"),
            ("x-kubernetes-list-map-keys", !v.list_map_keys.is_empty(), "must be empty to be structural"),
            ("x-kubernetes-list-type", v.list_type.is_some(), "must be undefined to be structural"),
            ("x-kubernetes-map-type", v.map_type.is_some(), "must be undefined to be structural"),
            ("x-kubernetes-validations", !v.validations.is_empty(), "must be empty to be structural"),
        ];
        for (keyword, there, detail) in said {
            if there {
                self.forbidden(at.child(keyword), detail);
            }
        }
        if v.properties.contains_key("metadata") {
            let at = at.child("properties").key("metadata");
            self.forbidden(at, "must not be specified in a nested context");
        }
    }

    /// Whatever a value validation speaks of must be there in the structure as well.
    fn complete_rules(&mut self, s_at: &FieldPath, v_at: &FieldPath, rules: &ValueRules, s: Option<&Schema>) {
        if let Some(not) = &rules.not {
            self.complete(s_at, &v_at.child("not"), not, s);
        }
        for (word, list) in [("allOf", &rules.all_of), ("anyOf", &rules.any_of), ("oneOf", &rules.one_of)] {
            for (i, nested) in list.iter().enumerate() {
                self.complete(s_at, &v_at.child(word).index(i), nested, s);
            }
        }
    }

    fn complete(&mut self, s_at: &FieldPath, v_at: &FieldPath, v: &Schema, s: Option<&Schema>) {
        let Some(s) = s else {
            return self.required(s_at.clone(), format!("because it is defined in {v_at}"));
        };
        self.complete_rules(s_at, v_at, &v.rules, Some(s));
        if let Some(items) = &v.items {
            self.complete(&s_at.child("items"), &v_at.child("items"), items, s.items.as_deref());
        }
        for (name, field) in &v.properties {
            let s_at = s_at.child("properties").key(name.clone());
            let v_at = v_at.child("properties").key(name.clone());
            match s.properties.get(name) {
                Some(known) => self.complete(&s_at, &v_at, field, Some(known)),
                None => self.required(s_at, format!("because it is defined in {v_at}")),
            }
        }
    }
}

/// The one pattern in which types may stand below `anyOf`.
fn is_int_or_string(rules: &ValueRules) -> bool {
    let only_type = |schema: &Schema, type_: &str| {
        schema.type_ == type_ && is_empty(&Schema { type_: Str::new(), ..schema.clone() })
    };
    matches!(&rules.any_of[..], [a, b] if only_type(a, "integer") && only_type(b, "string"))
}

/// Whether a schema of metadata restricts nothing but names.
fn is_bare(metadata: &Schema) -> bool {
    let names = metadata.properties.keys().all(|name| name == "name" || name == "generateName");
    let rest =
        Schema { type_: Str::new(), default: None, properties: Default::default(), ..metadata.clone() };
    names && is_empty(&rest)
}

fn is_empty(s: &Schema) -> bool {
    let Schema {
        type_,
        description,
        title,
        nullable,
        default,
        has_example,
        has_external_docs,
        properties,
        additional,
        items,
        rules,
        preserve_unknown_fields,
        embedded_resource,
        int_or_string,
        list_map_keys,
        list_type,
        map_type,
        validations,
    } = s;
    let flags = *nullable
        || *has_example
        || *has_external_docs
        || *preserve_unknown_fields
        || *embedded_resource
        || *int_or_string;
    let texts = type_.is_empty() && description.is_empty() && title.is_empty();
    let parts = default.is_none() && properties.is_empty() && additional.is_none() && items.is_none();
    let lists = list_map_keys.is_empty() && list_type.is_none() && map_type.is_none();
    !flags && texts && parts && lists && validations.is_empty() && rules.is_empty()
}

impl ValueRules {
    /// Nothing is asked of a value.
    pub fn is_empty(&self) -> bool {
        let numbers = self.maximum.is_none() && self.minimum.is_none() && self.multiple_of.is_none();
        let flags = self.exclusive_maximum || self.exclusive_minimum || self.unique_items;
        let lengths = [
            self.max_length,
            self.min_length,
            self.max_items,
            self.min_items,
            self.max_properties,
            self.min_properties,
        ];
        let nested = self.all_of.is_empty() && self.any_of.is_empty() && self.one_of.is_empty();
        numbers
            && !flags
            && lengths.iter().all(Option::is_none)
            && self.format.is_empty()
            && self.pattern.is_none()
            && self.required.is_empty()
            && self.values.is_empty()
            && nested
            && self.not.is_none()
    }
}
