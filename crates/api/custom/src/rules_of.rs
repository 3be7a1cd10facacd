//! The rules of a custom kind: those of its schema, and those of every custom resource.

use meta::{FieldError, FieldErrorKind, FieldPath, Object, Str};
use rules::check::{Errs, metadata, name_subdomain, path_segment, qualified_name};
use rules::{Context, KindRules, Subresource, embedded, keep_system_fields, metadata_field};
use schema::structural::{lists, validate};
use scheme::Unstructured;
use serde_json::Value;

use crate::{Kind, scale, whole};

/// Finalizers that carry no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Findings that make a value too strange for rules with expressions.
const BLOCKING: [FieldErrorKind; 5] = [
    FieldErrorKind::NotSupported,
    FieldErrorKind::Required,
    FieldErrorKind::TooLong,
    FieldErrorKind::TooMany,
    FieldErrorKind::TypeInvalid,
];

fn custom(object: &dyn Object) -> Option<&Unstructured> {
    meta::downcast_ref(object)
}

impl Kind {
    /// Kind and version of an object, which may be another's.
    fn type_meta(&self, object: &Unstructured) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut same = |name: &str, found: &Str, wanted: &str| {
            if found != wanted {
                let at = FieldPath::new(name);
                errors.push(FieldError::invalid(&at, found, format!("must be {wanted}")));
            }
        };
        same("kind", &object.kind, &self.resource.kind);
        same("apiVersion", &object.api_version, &self.api_version);
        errors
    }

    fn metadata_of_change(&self, new: &Unstructured, old: &Unstructured) -> Vec<FieldError> {
        let mut e = Errs::new();
        metadata::create(&mut e, &new.metadata, self.resource.namespaced, path_segment);
        metadata::update(&mut e, &new.metadata, &old.metadata);
        metadata::update(&mut e, &new.metadata, &old.metadata);
        e.into_vec()
    }

    /// The rules with expressions, unless the object is too strange for them.
    fn expressions(&self, value: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        if self.expressions.is_empty() {
            return;
        }
        if errors.iter().any(|error| BLOCKING.contains(&error.kind)) {
            errors.push(FieldError {
                kind: FieldErrorKind::Invalid,
                field: FieldPath::root().to_string(),
                value: meta::BadValue::Plain("null".into()),
                detail: "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation".into(),
            });
            return;
        }
        errors.extend(self.expressions.validate(&FieldPath::root(), value, old));
    }
}

impl KindRules for Kind {
    fn group(&self) -> &str {
        &self.resource.group
    }
    fn version(&self) -> &str {
        &self.resource.version
    }
    fn kind(&self) -> &str {
        &self.resource.kind
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn has_field(&self, label: &str) -> bool {
        self.selectable.iter().any(|(known, _)| known == label)
    }
    fn has_fields(&self) -> bool {
        true
    }

    fn default(&self, object: &mut dyn Object) {
        if let Some(object) = object.as_any_mut().downcast_mut::<Unstructured>() {
            self.complete(object);
        }
    }

    fn prepare_create(&self, _: &Context, object: &mut dyn Object) {
        if let Some(object) = object.as_any_mut().downcast_mut::<Unstructured>() {
            if self.has_status {
                object.fields.remove("status");
            }
            object.metadata.generation = 1;
        }
    }

    fn settle(&self, _: &mut dyn Object) {}

    fn prepare_update(&self, _: &Context, new: &mut dyn Object, old: &dyn Object, part: Subresource<'_>) {
        let (Some(new), Some(old)) = (new.as_any_mut().downcast_mut::<Unstructured>(), custom(old)) else {
            return;
        };
        if part == Subresource::Status {
            let status = new.fields.remove("status");
            let managed = std::mem::take(&mut new.metadata.managed_fields);
            let version = new.metadata.resource_version.clone();
            *new = old.clone();
            new.metadata.managed_fields = managed;
            new.metadata.resource_version = version;
            match status {
                Some(status) => drop(new.fields.insert("status".into(), status)),
                None => drop(new.fields.remove("status")),
            }
            return;
        }
        keep_system_fields(new, old, |new| {
            if self.has_status {
                match old.fields.get("status") {
                    Some(status) => drop(new.fields.insert("status".into(), status.clone())),
                    None => drop(new.fields.remove("status")),
                }
            }
            if new.fields != old.fields {
                new.metadata.generation = old.metadata.generation + 1;
            }
        });
    }

    fn validate_create(&self, _: &Context, object: &dyn Object) -> Vec<FieldError> {
        let Some(object) = custom(object) else { return Vec::new() };
        let strange = self.type_meta(object);
        let at = FieldPath::root();
        let value = whole(object);
        let mut errors = strange.clone();
        if strange.is_empty() {
            let mut e = Errs::new();
            metadata::create(&mut e, &object.metadata, self.resource.namespaced, name_subdomain);
            errors.extend(e.into_vec());
            errors.extend(validate::of(&at, &self.schema, &value));
            if let Some(paths) = &self.scale {
                errors.extend(scale::validate(paths, &value, true));
            }
        }
        errors.extend(embedded::validate(&at, &value, &self.schema, false));
        lists::validate(&at, &self.schema, &value, &mut errors);
        self.expressions(&value, None, &mut errors);
        errors
    }

    fn validate_update(
        &self,
        _: &Context,
        new: &dyn Object,
        old: &dyn Object,
        part: Subresource<'_>,
    ) -> Vec<FieldError> {
        let (Some(new), Some(old)) = (custom(new), custom(old)) else { return Vec::new() };
        let mut errors = self.type_meta(new);
        let at = FieldPath::root();
        let (value, before) = (whole(new), whole(old));
        let status = part == Subresource::Status;
        if errors.is_empty() {
            errors.extend(self.metadata_of_change(new, old));
            if !status {
                errors.extend(validate::of_change(&at, &self.schema, &value, &before));
            } else if let (Some(schema), Some(found)) =
                (self.schema.properties.get("status"), value.get("status"))
            {
                let before = before.get("status").unwrap_or(&Value::Null);
                errors.extend(validate::of_change(&FieldPath::new("status"), schema, found, before));
            }
            if let Some(paths) = &self.scale {
                errors.extend(scale::validate(paths, &value, !status));
            }
        }
        if !status {
            errors.extend(embedded::validate(&at, &value, &self.schema, false));
        }
        let (mut twice, mut twice_before) = (Vec::new(), Vec::new());
        lists::validate(&at, &self.schema, &value, &mut twice);
        if !twice.is_empty() {
            lists::validate(&at, &self.schema, &before, &mut twice_before);
        }
        if twice_before.is_empty() {
            errors.extend(twice);
        }
        self.expressions(&value, Some(&before), &mut errors);
        errors
    }

    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        let known = |name: &Str| old.is_some_and(|old| old.meta().finalizers.contains(name));
        let mut added: Vec<&Str> = new.meta().finalizers.iter().filter(|name| !known(name)).collect();
        added.sort();
        added.dedup();
        let mut warnings = Vec::new();
        for name in added {
            let quoted = meta::go_quote(name);
            for message in qualified_name(name) {
                warnings.push(format!("metadata.finalizers: {quoted}: {message}"));
            }
            if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name.as_str()) {
                let path = if name.contains('.') { " including a path (/)" } else { "" };
                warnings.push(format!("metadata.finalizers: {quoted}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"));
            }
        }
        warnings
    }

    /// What rules would refuse if it had not been there before.
    fn early_warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        let (Some(new), Some(old)) = (custom(new), old.and_then(custom)) else { return Vec::new() };
        if self.expressions.is_empty() {
            return Vec::new();
        }
        let (at, value, before) = (FieldPath::root(), whole(new), whole(old));
        let forgiven = self.expressions.forgiven(&at, &value, &before);
        // Nobody asks the rules about an object that is too strange for them.
        let strange = || {
            let found = validate::of_change(&at, &self.schema, &value, &before);
            found.iter().any(|error| BLOCKING.contains(&error.kind))
        };
        if forgiven.is_empty() || strange() {
            return Vec::new();
        }
        forgiven.iter().map(ToString::to_string).collect()
    }

    fn graceful_delete(&self, _: &dyn Object, _: Option<i64>) -> Option<i64> {
        None
    }

    fn field(&self, object: &dyn Object, label: &str) -> Option<Str> {
        metadata_field(object, label).or_else(|| {
            let (_, path) = self.selectable.iter().find(|(known, _)| known == label)?;
            let path: Vec<&str> = path.iter().map(Str::as_str).collect();
            Some(match custom(object)?.get(&path) {
                None | Some(Value::Null) => Str::new(),
                Some(Value::String(text)) => text.as_str().into(),
                Some(other) => other.to_string().into(),
            })
        })
    }
}
