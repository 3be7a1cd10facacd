//! From the document in a CustomResourceDefinition to a [`Schema`].

use meta::Str;
use types::apiextensions::v1::JSONSchemaProps;

use super::{Additional, Pattern, Schema, ValueRules};

/// Something in the document that has no place in a structural schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// A keyword that is refused altogether.
    #[error("OpenAPIV3Schema '{0}' is not supported")]
    Keyword(&'static str),
    /// A list of schemas for the elements.
    #[error("OpenAPIV3Schema 'items' must be a schema, but is an array")]
    Items,
    /// The extension is there to say no.
    #[error("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")]
    Pruned,
    /// A default, example or enumerated value is no JSON.
    #[error("{0}")]
    Json(String),
}

impl Schema {
    /// Compiles a document. Everything that it may not contain is an error.
    pub fn read(from: &JSONSchemaProps) -> Result<Self, Unsupported> {
        supported(from)?;
        let items = match &from.items {
            Some(items) if !items.json_schemas.is_empty() => return Err(Unsupported::Items),
            Some(items) => items.schema.as_deref().map(Schema::read).transpose()?.map(Box::new),
            None => None,
        };
        let additional = match &from.additional_properties {
            Some(more) => Some(match &more.schema {
                Some(schema) => Additional::Schema(Box::new(Schema::read(schema)?)),
                None => Additional::Allowed(more.allows),
            }),
            None => None,
        };
        let properties = from.properties.iter().map(|(name, schema)| {
            let schema = Schema::read(schema)?;
            Ok((name.clone(), schema))
        });
        let json = |raw: &meta::RawJson| raw.to_value().map_err(|e| Unsupported::Json(e.to_string()));
        let default = from.default.as_ref().map(json).transpose()?.filter(|value| !value.is_null());
        if from.x_kubernetes_preserve_unknown_fields == Some(false) {
            return Err(Unsupported::Pruned);
        }
        Ok(Schema {
            type_: from.type_.clone(),
            description: from.description.clone(),
            title: from.title.clone(),
            nullable: from.nullable,
            default,
            has_example: from.example.is_some(),
            has_external_docs: from.external_docs.is_some(),
            properties: properties.collect::<Result<_, _>>()?,
            additional,
            items,
            rules: value_rules(from)?,
            preserve_unknown_fields: from.x_kubernetes_preserve_unknown_fields == Some(true),
            embedded_resource: from.x_kubernetes_embedded_resource,
            int_or_string: from.x_kubernetes_int_or_string,
            list_map_keys: from.x_kubernetes_list_map_keys.iter().cloned().collect(),
            list_type: from.x_kubernetes_list_type.clone(),
            map_type: from.x_kubernetes_map_type.clone(),
            validations: from.x_kubernetes_validations.iter().cloned().collect(),
        })
    }
}

fn supported(from: &JSONSchemaProps) -> Result<(), Unsupported> {
    let refused = [
        ("id", !from.id.is_empty()),
        ("schema", !from.schema_.is_empty()),
        ("$ref", from.ref_.as_ref().is_some_and(|r| !r.is_empty())),
        ("patternProperties", !from.pattern_properties.is_empty()),
        ("dependencies", !from.dependencies.is_empty()),
        ("additionalItems", from.additional_items.is_some()),
        ("definitions", !from.definitions.is_empty()),
    ];
    match refused.into_iter().find(|(_, there)| *there) {
        Some((keyword, _)) => Err(Unsupported::Keyword(keyword)),
        None => Ok(()),
    }
}

fn value_rules(from: &JSONSchemaProps) -> Result<ValueRules, Unsupported> {
    let all = |list: &[JSONSchemaProps]| list.iter().map(Schema::read).collect::<Result<Vec<_>, _>>();
    let values = from.enum_.iter().map(|raw| raw.to_value().map_err(|e| Unsupported::Json(e.to_string())));
    let pattern = (!from.pattern.is_empty()).then(|| Pattern {
        text: from.pattern.clone(),
        regex: cel::compile_pattern(&from.pattern).map_err(|e| e.to_string()),
    });
    Ok(ValueRules {
        format: known_format(&from.type_, from.x_kubernetes_int_or_string, &from.format),
        maximum: from.maximum,
        exclusive_maximum: from.exclusive_maximum,
        minimum: from.minimum,
        exclusive_minimum: from.exclusive_minimum,
        max_length: from.max_length,
        min_length: from.min_length,
        pattern,
        max_items: from.max_items,
        min_items: from.min_items,
        unique_items: from.unique_items,
        multiple_of: from.multiple_of,
        max_properties: from.max_properties,
        min_properties: from.min_properties,
        required: from.required.iter().cloned().collect(),
        values: values.collect::<Result<_, _>>()?,
        all_of: all(&from.all_of)?,
        any_of: all(&from.any_of)?,
        one_of: all(&from.one_of)?,
        not: from.not.as_deref().map(Schema::read).transpose()?.map(Box::new),
    })
}

/// The format where it means something for the type; upstream drops the others.
fn known_format(type_: &str, int_or_string: bool, format: &Str) -> Str {
    // Two types are none.
    let type_ = if int_or_string { "" } else { type_ };
    let known = super::validate::is_format_of(type_, format);
    if known { format.clone() } else { Str::new() }
}
