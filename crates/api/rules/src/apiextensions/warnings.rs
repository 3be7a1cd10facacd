//! What to tell the author of a CustomResourceDefinition that was accepted.

use types::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};

/// Texts for `Warning` headers; what was there before is not told again.
pub(super) fn of(crd: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>) -> Vec<String> {
    let known = old.map(unknown_formats).unwrap_or_default();
    let formats = unknown_formats(crd).into_iter().filter(|format| !known.contains(format));
    formats.map(|format| format!("unrecognized format {}", meta::go_quote(&format))).collect()
}

/// Formats that the server does not know.
fn unknown_formats(crd: &CustomResourceDefinition) -> Vec<String> {
    let mut formats = Vec::new();
    let common = super::spec::Common::of(&crd.spec.versions);
    let versions = if common.schema { 1 } else { crd.spec.versions.len() };
    for version in crd.spec.versions.iter().take(versions) {
        let schema = version.schema.as_ref().and_then(|s| s.open_apiv3_schema.as_deref());
        visit(schema, &mut |s| {
            if !s.format.is_empty() && !schema::structural::validate::is_format_of(&s.type_, &s.format) {
                formats.push(s.format.to_string());
            }
        });
    }
    formats
}

/// Visits a schema and everything inside it.
pub(super) fn visit(schema: Option<&JSONSchemaProps>, see: &mut dyn FnMut(&JSONSchemaProps)) {
    let Some(s) = schema else { return };
    see(s);
    if let Some(items) = &s.items {
        visit(items.schema.as_deref(), see);
        items.json_schemas.iter().for_each(|s| visit(Some(s), see));
    }
    for list in [&s.all_of, &s.any_of, &s.one_of] {
        list.iter().for_each(|s| visit(Some(s), see));
    }
    visit(s.not.as_deref(), see);
    s.properties.values().for_each(|s| visit(Some(s), see));
    visit(s.additional_properties.as_ref().and_then(|p| p.schema.as_deref()), see);
}
