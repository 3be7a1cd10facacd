//! What upstream's converter of decoded documents says where the decoder of texts says that a value cannot be
//! unmarshalled. Strategic patches and applies go through the former.

use std::collections::HashSet;

use meta::{Ty, TypeInfo};
use serde_json::Value;

/// The converter's words for what the decoder of texts says about a document of the type `info`.
pub(crate) fn words(decoder: String, document: &Value, info: Option<&'static TypeInfo>) -> String {
    if decoder.starts_with("illegal base64 data") {
        return format!("error decoding from json: {decoder}");
    }
    mismatch(&decoder, document, info).unwrap_or(decoder)
}

fn mismatch(decoder: &str, document: &Value, info: Option<&'static TypeInfo>) -> Option<String> {
    let rest = decoder.strip_prefix("json: cannot unmarshal ")?;
    let (found, rest) = rest.split_once(" into Go ")?;
    let (place, wanted) = rest.rsplit_once("of type ")?;
    let fraction = || {
        let path = place.trim().strip_prefix("struct field ").unwrap_or_default();
        let keys: Vec<&str> = path.split('.').skip(1).collect();
        found.contains('.') || number_at(document, &keys).is_some_and(|number| number.fract() != 0.0)
    };
    let told = found;
    let found = match found.split(' ').next().unwrap_or_default() {
        "number" if fraction() => "float64",
        "number" => "int64",
        "object" => "map",
        "array" => "slice",
        other => other,
    };
    let path = place.trim().strip_prefix("struct field ").unwrap_or_default();
    let ty = info.and_then(|info| {
        let keys: Vec<&str> = path.split('.').skip(1).collect();
        type_at(info, &keys, wanted).or_else(|| find(info, wanted, &mut HashSet::new()))
    });
    if matches!(ty, Some(Ty::Time | Ty::MicroTime | Ty::Quantity | Ty::IntOrString | Ty::Duration)) {
        // These read their JSON themselves.
        return Some(format!("json: cannot unmarshal {} into Go value of type {wanted}", told));
    }
    let number = matches!(found, "int64" | "float64");
    Some(match (ty, wanted) {
        (Some(Ty::Struct(_)), _) => format!("cannot restore struct from: {found}"),
        (Some(Ty::Map(_)), _) => format!("cannot restore map from {found}"),
        (Some(Ty::List(_) | Ty::Bytes), _) => format!("cannot restore slice from {found}"),
        (_, wanted) if wanted.starts_with("[]") => format!("cannot restore slice from {found}"),
        (_, wanted) if wanted.starts_with("map[") => format!("cannot restore map from {found}"),
        // Go converts whole numbers to strings, but the converter does not let it.
        (Some(Ty::Str), wanted) if found == "int64" => format!("cannot convert int64 to {wanted}"),
        (Some(Ty::Str), _) => "unrecognized type: string".to_owned(),
        (Some(Ty::Bool), _) => "unrecognized type: bool".to_owned(),
        (_, "string") if found == "float64" => "unrecognized type: string".to_owned(),
        (_, "bool") => "unrecognized type: bool".to_owned(),
        (_, wanted) if number => format!("cannot convert {found} to {wanted}"),
        (_, wanted) => format!("unrecognized type: {}", wanted.rsplit('.').next().unwrap_or(wanted)),
    })
}

/// The first number at a path of field names, through all elements of lists. A name that is no field is that of an
/// embedded struct.
fn number_at(value: &Value, keys: &[&str]) -> Option<f64> {
    match (value, keys) {
        (Value::Array(items), _) => items.iter().find_map(|item| number_at(item, keys)),
        (Value::Number(number), []) => number.as_f64(),
        // The keys of maps are not told.
        (Value::Object(map), []) => map.values().find_map(|item| number_at(item, keys)),
        (Value::Object(map), [first, rest @ ..]) => match map.get(*first) {
            Some(inner) => number_at(inner, rest),
            None => number_at(value, rest),
        },
        _ => None,
    }
}

/// What stands at a path of field names, at the depth of lists and maps whose Go type is `wanted`. A name that is no
/// field is that of an embedded struct.
fn type_at(info: &'static TypeInfo, keys: &[&str], wanted: &str) -> Option<Ty> {
    let (first, rest) = keys.split_first()?;
    let Some(field) = info.field(first) else { return type_at(info, rest, wanted) };
    let mut ty = field.ty;
    if rest.is_empty() {
        for go in field.go.split('>') {
            match ty {
                _ if go.trim_start_matches('*') == wanted => return Some(ty),
                Ty::List(inner) | Ty::Map(inner) => ty = *inner,
                _ => return Some(ty),
            }
        }
        return Some(ty);
    }
    while let Ty::List(inner) | Ty::Map(inner) = ty {
        ty = *inner;
    }
    let Ty::Struct(inner) = ty else { return None };
    type_at(inner, rest, wanted)
}

/// What a type of this Go name is, where one is used below `info`.
fn find(info: &'static TypeInfo, name: &str, seen: &mut HashSet<&'static str>) -> Option<Ty> {
    if !seen.insert(info.model) {
        return None;
    }
    info.fields.iter().find_map(|field| {
        let mut ty = field.ty;
        for go in field.go.split('>') {
            if go.trim_start_matches('*') == name {
                return Some(ty);
            }
            match ty {
                Ty::List(inner) | Ty::Map(inner) => ty = *inner,
                _ => break,
            }
        }
        let mut inner = field.ty;
        while let Ty::List(element) | Ty::Map(element) = inner {
            inner = *element;
        }
        match inner {
            Ty::Struct(info) => find(info, name, seen),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Struct as _;
    use serde_json::json;

    #[test]
    fn the_converter_has_words_of_its_own() {
        let info = types::core::v1::Pod::INFO;
        let told = |found: &str, place: &str, wanted: &str, document: Value| {
            let text =
                format!("json: cannot unmarshal {found} into Go struct field {place} of type {wanted}");
            words(text, &document, Some(info))
        };
        let table = [
            ("number", "Pod.spec", "v1.PodSpec", json!({"spec": 1}), "cannot restore struct from: int64"),
            ("number", "Pod.spec", "v1.PodSpec", json!({"spec": 1.5}), "cannot restore struct from: float64"),
            ("array", "Pod.spec", "v1.PodSpec", json!({}), "cannot restore struct from: slice"),
            (
                "string",
                "Container.spec.containers",
                "[]v1.Container",
                json!({}),
                "cannot restore slice from string",
            ),
            (
                "string",
                "R.spec.containers.resources.limits",
                "v1.ResourceList",
                json!({}),
                "cannot restore map from string",
            ),
            (
                "number",
                "P.spec.restartPolicy",
                "v1.RestartPolicy",
                json!({}),
                "cannot convert int64 to v1.RestartPolicy",
            ),
            ("bool", "P.spec.restartPolicy", "v1.RestartPolicy", json!({}), "unrecognized type: string"),
            ("number", "P.spec.hostNetwork", "bool", json!({}), "unrecognized type: bool"),
            ("string", "P.spec.priority", "int32", json!({}), "unrecognized type: int32"),
        ];
        for (found, place, wanted, document, expected) in table {
            assert_eq!(told(found, place, wanted, document), expected, "{found} {wanted}");
        }
    }
}
