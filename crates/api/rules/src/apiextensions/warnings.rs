//! What to tell the author of a CustomResourceDefinition that was accepted.

use std::collections::BTreeSet;

use types::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};

/// Texts for `Warning` headers; what was there before is not told again.
pub(super) fn of(crd: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>) -> Vec<String> {
    let (formats, sets) = findings(crd);
    let (old_formats, old_sets) = old.map(findings).unwrap_or_default();
    let formats = formats.into_iter().filter(|format| !old_formats.contains(format));
    let told = formats.map(|format| format!("unrecognized format {}", meta::go_quote(&format)));
    let sets = sets.into_iter().filter(|type_| !old_sets.contains(type_)).map(|type_| {
        format!("x-kubernetes-list-type: set for items of type {type_:?} is not supported by server-side apply or CEL validation rules")
    });
    told.chain(sets).collect()
}

/// Formats that the server does not know, and the types of elements of sets that are no scalars.
fn findings(crd: &CustomResourceDefinition) -> (Vec<String>, BTreeSet<String>) {
    let (mut formats, mut sets) = (Vec::new(), BTreeSet::new());
    let common = super::spec::Common::of(&crd.spec.versions);
    let versions = if common.schema { 1 } else { crd.spec.versions.len() };
    for version in crd.spec.versions.iter().take(versions) {
        let schema = version.schema.as_ref().and_then(|s| s.open_apiv3_schema.as_deref());
        visit(schema, &mut |s| {
            if !s.format.is_empty() && !schema::structural::validate::is_format_of(&s.type_, &s.format) {
                formats.push(s.format.to_string());
            }
            let items = s.items.as_ref().and_then(|items| items.schema.as_deref());
            if let Some(items) = items.filter(|_| s.x_kubernetes_list_type.as_deref() == Some("set"))
                && matches!(items.type_.as_str(), "object" | "array")
            {
                sets.insert(items.type_.to_string());
            }
        });
    }
    (formats, sets)
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
