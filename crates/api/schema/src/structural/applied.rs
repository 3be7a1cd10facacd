//! A schema as server-side apply sees it: which lists are sets and maps, which objects are one unit.

use meta::Struct as _;

use super::{Additional, META_FIELDS, Schema};
use crate::apply::{Element, FieldType, ListType, MapType, Relation, Scalar, Type};

impl Schema {
    /// The type of the objects of a definition.
    pub fn apply_type(&self) -> Type {
        of(self, true, false)
    }
}

/// `keeps`: unknown fields are kept here, by this schema or by one around it.
fn of(schema: &Schema, is_object: bool, keeps: bool) -> Type {
    let keeps = keeps || schema.preserve_unknown_fields;
    let scalar = |scalar| Type { scalar: Some(scalar), ..Type::default() };
    if schema.int_or_string {
        return scalar(Scalar::Any);
    }
    match schema.type_.as_str() {
        "string" => scalar(Scalar::Text),
        "integer" | "number" => scalar(Scalar::Number),
        "boolean" => scalar(Scalar::Bool),
        "array" => Type { list: Some(Box::new(list(schema, keeps))), ..Type::default() },
        "object" => {
            let map = map(schema, is_object || schema.embedded_resource, keeps);
            Type { map: Some(Box::new(map)), ..Type::default() }
        }
        _ => Type {
            scalar: Some(Scalar::Any),
            list: Some(Box::new(ListType { relation: Relation::Atomic, element: Element::Untyped })),
            map: Some(Box::new(MapType {
                atomic: false,
                fields: Default::default(),
                element: Some(Element::Deduced),
            })),
        },
    }
}

fn element(schema: &Schema, keeps: bool) -> Element {
    let untold = schema.type_.is_empty() && !schema.int_or_string;
    if untold { Element::Deduced } else { Element::Type(of(schema, false, keeps)) }
}

fn list(schema: &Schema, keeps: bool) -> ListType {
    let relation = match schema.list_type.as_deref() {
        Some("set") => Relation::Set,
        Some("map") => Relation::Map(schema.list_map_keys.iter().map(ToString::to_string).collect()),
        _ => Relation::Atomic,
    };
    let element = schema.items.as_deref().map_or(Element::Deduced, |items| element(items, keeps));
    ListType { relation, element }
}

fn map(schema: &Schema, is_object: bool, keeps: bool) -> MapType {
    let field = |element| FieldType { element, default: None };
    let mut fields: std::collections::BTreeMap<String, FieldType> = schema
        .properties
        .iter()
        .map(|(name, inner)| {
            let default = inner.default.as_ref().map(super::shown);
            (name.to_string(), FieldType { element: element(inner, keeps), default })
        })
        .collect();
    if is_object {
        let text = || Element::Type(Type { scalar: Some(Scalar::Text), ..Type::default() });
        let [version, kind, metadata] = META_FIELDS;
        fields.insert(version.to_owned(), field(text()));
        fields.insert(kind.to_owned(), field(text()));
        fields.insert(metadata.to_owned(), field(Element::Struct(meta::ObjectMeta::INFO)));
    }
    let element = match &schema.additional {
        Some(Additional::Schema(inner)) => Some(element(inner, keeps)),
        Some(Additional::Allowed(true)) => Some(Element::Deduced),
        Some(Additional::Allowed(false)) => None,
        None => (keeps || schema.properties.is_empty()).then_some(Element::Deduced),
    };
    MapType { atomic: schema.map_type.as_deref() == Some("atomic"), fields, element }
}
