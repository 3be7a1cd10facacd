//! The spec of a CustomResourceDefinition.
//!
//! Upstream checks it in an older form, in which what all versions have in common stands beside them: `validation`,
//! `subresources`, `additionalPrinterColumns`, `selectableFields`. Its paths are those of that form, so [`Common`]
//! tells what would have moved.

use std::collections::BTreeSet;

use super::conversion::conversion;
use super::internal;
use super::names::names;
use super::schema::{Options, validation};
use crate::Path;
use crate::check::{Errs, dns_1035_label, dns_subdomain};
use meta::{BadValue, FieldPath};
use schema::structural::Schema;
use types::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
    CustomResourceSubresources, CustomResourceValidation, SelectableField,
};

const WARNING_BYTES_MAX: usize = 256;
/// Selectable fields of a version at most.
const SELECTABLE_MAX: usize = 8;

/// What all versions of a definition have in common.
pub(super) struct Common {
    pub(super) schema: bool,
    pub(super) subresources: bool,
    pub(super) columns: bool,
    pub(super) selectable: bool,
}

impl Common {
    pub(super) fn of(versions: &[CustomResourceDefinitionVersion]) -> Self {
        let same = |part: fn(&CustomResourceDefinitionVersion, &CustomResourceDefinitionVersion) -> bool| {
            versions.iter().all(|v| part(&versions[0], v))
        };
        Common {
            schema: same(|a, b| a.schema == b.schema),
            subresources: same(|a, b| a.subresources == b.subresources),
            columns: same(|a, b| a.additional_printer_columns == b.additional_printer_columns),
            selectable: same(|a, b| a.selectable_fields == b.selectable_fields),
        }
    }
}

/// Checks a spec.
pub(super) fn spec(e: &mut Errs, spec: &CustomResourceDefinitionSpec, options: &Options<'_>) {
    let at = Path::root("spec");
    let group = at.child("group");
    if spec.group.is_empty() {
        e.required(&group, "");
    } else {
        let messages = dns_subdomain(&spec.group);
        if !messages.is_empty() {
            e.invalid(&group, &spec.group, messages.join(","));
        } else if spec.group.split('.').count() < 2 {
            e.invalid(&group, &spec.group, "should be a domain with at least one dot");
        }
    }
    e.required_one_of(&at.child("scope"), &spec.scope, &["Cluster", "Namespaced"]);
    let common = Common::of(&spec.versions);
    let versions_at = at.child("versions");
    for (i, v) in spec.versions.iter().enumerate() {
        if v.schema.as_ref().is_none_or(|s| s.open_apiv3_schema.is_none()) {
            let item = versions_at.index(i);
            e.required(&item.child("schema").child("openAPIV3Schema"), "");
        }
    }
    versions(e, &versions_at, spec, &common, options);
    if let Some(first) = spec.versions.first().filter(|first| !first.name.is_empty()) {
        let messages = dns_1035_label(&first.name);
        if !messages.is_empty() {
            e.invalid(&at.child("version"), &first.name, messages.join(","));
        }
    }
    let names_at = at.child("names");
    e.present(&names_at.child("plural"), &spec.names.plural);
    e.present(&names_at.child("singular"), &spec.names.singular);
    e.present(&names_at.child("kind"), &spec.names.kind);
    e.present(&names_at.child("listKind"), &spec.names.list_kind);
    names(e, &names_at, &spec.names);
    if let Some(first) = spec.versions.first() {
        if common.schema {
            let any_status = spec.versions.iter().any(|v| has_status(v.subresources.as_deref()));
            schema_of(e, &at.child("validation"), first.schema.as_deref(), any_status, &first.name, options);
        }
        if common.subresources {
            subresources(e, &at.child("subresources"), first.subresources.as_deref());
        }
        if common.columns {
            columns(e, &at.child("additionalPrinterColumns"), &first.additional_printer_columns);
        }
        if common.selectable {
            let schema = first.schema.as_deref().filter(|_| common.schema);
            let refused = "may only be set when validations.schema is included";
            selectable(e, &at.child("selectableFields"), &first.selectable_fields, schema, refused);
        }
    }
    if spec.preserve_unknown_fields && spec.conversion.as_ref().is_some_and(|c| c.strategy != "None") {
        let strategy = spec.conversion.as_ref().map(|c| c.strategy.clone()).unwrap_or_default();
        let detail = "must be None if spec.preserveUnknownFields is true";
        e.invalid(&at.child("conversion").child("strategy"), &strategy, detail);
    }
    conversion(e, &at.child("conversion"), spec.conversion.as_deref());
}

fn versions(
    e: &mut Errs,
    at: &Path<'_>,
    spec: &CustomResourceDefinitionSpec,
    common: &Common,
    options: &Options<'_>,
) {
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (i, v) in spec.versions.iter().enumerate() {
        let at = at.index(i);
        unique &= seen.insert(&v.name);
        let messages = dns_1035_label(&v.name);
        if !messages.is_empty() {
            e.invalid(&at.child("name"), &v.name, messages.join(","));
        }
        deprecation(e, &at.child("deprecationWarning"), v);
        if !common.schema {
            let status = has_status(v.subresources.as_deref());
            schema_of(e, &at.child("schema"), v.schema.as_deref(), status, &v.name, options);
        }
        if !common.subresources {
            subresources(e, &at.child("subresources"), v.subresources.as_deref());
        }
        if !common.columns {
            columns(e, &at.child("additionalPrinterColumns"), &v.additional_printer_columns);
        }
        if !common.selectable {
            let schema = v.schema.as_deref().filter(|_| !common.schema);
            let refused = "may only be set when `version.schema.openAPIV3Schema` is not included";
            selectable(e, &at.child("selectableFields"), &v.selectable_fields, schema, refused);
        }
    }
    if !unique {
        e.invalid(at, internal::versions(&spec.versions, common), "must contain unique version names");
    }
    if spec.versions.iter().filter(|v| v.storage).count() != 1 {
        let shown = internal::versions(&spec.versions, common);
        e.invalid(at, shown, "must have exactly one version marked as storage version");
    }
}

fn has_status(subresources: Option<&CustomResourceSubresources>) -> bool {
    subresources.is_some_and(|s| s.status.is_some())
}

fn schema_of(
    e: &mut Errs,
    at: &Path<'_>,
    schema: Option<&CustomResourceValidation>,
    status: bool,
    version: &str,
    options: &Options<'_>,
) {
    let Some(schema) = schema.and_then(|s| s.open_apiv3_schema.as_deref()) else { return };
    e.extend(validation(&FieldPath::new(at.to_string()), schema, status, version, options));
}

fn deprecation(e: &mut Errs, at: &Path<'_>, v: &CustomResourceDefinitionVersion) {
    let Some(warning) = &v.deprecation_warning else { return };
    if !v.deprecated {
        return e.invalid(at, internal::text(warning), "can only be set for deprecated versions");
    }
    if warning.len() > WARNING_BYTES_MAX {
        e.invalid(at, internal::text(warning), format!("must be <= {WARNING_BYTES_MAX} characters long"));
    }
    if warning.is_empty() {
        e.invalid(at, internal::text(warning), "must not be an empty string");
    }
    if let Some((i, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let detail = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {i}"
        );
        e.invalid(at, internal::text(warning), detail);
    }
}

fn columns(e: &mut Errs, at: &Path<'_>, columns: &[CustomResourceColumnDefinition]) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    for (i, c) in columns.iter().enumerate() {
        let at = at.index(i);
        e.present(&at.child("name"), &c.name);
        let known = format!("must be one of {}", TYPES.join(","));
        if c.type_.is_empty() {
            e.required(&at.child("type"), known);
        } else if !TYPES.contains(&c.type_.as_str()) {
            e.invalid(&at.child("type"), &c.type_, known);
        }
        if !c.format.is_empty() && !FORMATS.contains(&c.format.as_str()) {
            e.invalid(&at.child("format"), &c.format, format!("must be one of {}", FORMATS.join(",")));
        }
        if e.present(&at.child("JSONPath"), &c.json_path) {
            simple_path(e, &at.child("JSONPath"), &c.json_path);
        }
    }
}

/// A path that begins with a dot. Answers whether it does.
fn simple_path(e: &mut Errs, at: &Path<'_>, path: &str) -> bool {
    if !path.starts_with('.') {
        e.invalid(at, path, "must be a simple json path starting with .");
    }
    path.starts_with('.')
}

fn subresources(e: &mut Errs, at: &Path<'_>, subresources: Option<&CustomResourceSubresources>) {
    let Some(scale) = subresources.and_then(|s| s.scale.as_ref()) else { return };
    let required = [
        ("scale.specReplicasPath", &scale.spec_replicas_path, ".spec."),
        ("scale.statusReplicasPath", &scale.status_replicas_path, ".status."),
    ];
    for (field, path, prefix) in required {
        let at = at.child(field);
        if e.present(&at, path) && simple_path(e, &at, path) && !path.starts_with(prefix) {
            let detail = format!("should be a json path under {}", prefix.trim_end_matches('.'));
            e.invalid(&at, path, detail);
        }
    }
    if let Some(path) = scale.label_selector_path.as_ref().filter(|path| !path.is_empty()) {
        let at = at.child("scale.labelSelectorPath");
        let placed = path.starts_with(".spec.") || path.starts_with(".status.");
        if simple_path(e, &at, path) && !placed {
            e.invalid(&at, path, "should be a json path under either .spec or .status");
        }
    }
}

fn selectable(
    e: &mut Errs,
    at: &Path<'_>,
    fields: &[SelectableField],
    schema: Option<&CustomResourceValidation>,
    refused: &str,
) {
    if fields.is_empty() {
        return;
    }
    let Some(schema) = schema.and_then(|s| s.open_apiv3_schema.as_deref()) else {
        return e.invalid(at, "", refused);
    };
    // What is wrong with the schema is told where it stands.
    let Ok(schema) = Schema::read(schema) else { return };
    let mut seen = BTreeSet::new();
    for (i, field) in fields.iter().enumerate() {
        let item = at.index(i);
        let at = item.child("jsonPath");
        if !e.present(&at, &field.json_path) {
            continue;
        }
        let (names, found) = match super::field_path::resolve(&field.json_path, &schema, false) {
            Ok(found) => found,
            Err(why) => {
                e.invalid(&at, &field.json_path, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if names.first().is_some_and(|first| first == "metadata") {
            e.invalid(&at, &field.json_path, "must not point to fields in metadata");
        }
        if !found.is_some_and(|s| matches!(s.type_.as_str(), "string" | "boolean" | "integer")) {
            e.invalid(&at, &field.json_path, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.");
        }
        if !seen.insert(names) {
            e.duplicate(&at, BadValue::from(&field.json_path));
        }
    }
    if seen.len() > SELECTABLE_MAX {
        e.too_many(at, seen.len(), SELECTABLE_MAX);
    }
}
