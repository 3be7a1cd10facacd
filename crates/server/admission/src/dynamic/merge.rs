//! Merging an applied configuration into an object: fields by name, keyed lists by key, sets by value; the rest is replaced.

use meta::{Field, Ty, TypeInfo};
use serde_json::{Map, Value as Json};

/// The object with the configuration in it. `info` tells which lists have keys; without it objects are merged and lists
/// replaced.
pub(super) fn apply(
    live: &Json,
    configuration: &Json,
    info: Option<&'static TypeInfo>,
) -> Result<Json, String> {
    let mut merged = live.clone();
    let place = info.map_or(Place::Unknown, |info| Place::Of(Ty::Struct(info), None));
    merge(&mut merged, configuration, place, "")?;
    Ok(merged)
}

/// What is known of a value.
#[derive(Clone, Copy)]
enum Place {
    Of(Ty, Option<&'static Field>),
    Unknown,
}

fn merge(live: &mut Json, configuration: &Json, place: Place, path: &str) -> Result<(), String> {
    match (live, configuration, place) {
        (Json::Object(live), Json::Object(wanted), place) => maps(live, wanted, place, path),
        (Json::Array(live), Json::Array(wanted), Place::Of(Ty::List(element), Some(field))) => {
            match field.list_type {
                "map" => keyed(live, wanted, *element, field.list_map_keys, path),
                "set" => {
                    live.extend(
                        wanted.iter().filter(|value| !live.contains(value)).cloned().collect::<Vec<_>>(),
                    );
                    Ok(())
                }
                _ => Err(atomic("list", path)),
            }
        }
        (live, wanted, _) => {
            *live = wanted.clone();
            Ok(())
        }
    }
}

/// Changing a part of what is one unit would drop the rest of it unseen.
fn atomic(what: &str, path: &str) -> String {
    format!(
        "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {path} is an \
         atomic {what}"
    )
}

fn maps(
    live: &mut Map<String, Json>,
    wanted: &Map<String, Json>,
    place: Place,
    path: &str,
) -> Result<(), String> {
    if let Place::Of(ty, field) = place {
        let whole = match ty {
            Ty::Struct(info) => info.atomic,
            _ => false,
        };
        if whole || field.is_some_and(|field| field.map_type == "atomic") {
            return Err(atomic("map", path));
        }
    }
    for (name, value) in wanted {
        let inner_path = format!("{path}.{name}");
        let inner = match place {
            Place::Of(Ty::Struct(info), _) => match info.field(name) {
                Some(field) => Place::Of(field.ty, Some(field)),
                None if matches!(name.as_str(), "kind" | "apiVersion") => Place::Unknown,
                None => return Err(format!("{inner_path}: field not declared in schema")),
            },
            Place::Of(Ty::Map(element), _) => Place::Of(*element, None),
            _ => Place::Unknown,
        };
        match live.get_mut(name) {
            Some(live) => merge(live, value, inner, &inner_path)?,
            None => {
                live.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(())
}

fn keyed(
    live: &mut Vec<Json>,
    wanted: &[Json],
    element: Ty,
    keys: &[&str],
    path: &str,
) -> Result<(), String> {
    let default = |key: &str| match element {
        Ty::Struct(info) => {
            info.field(key).map(|field| field.default.trim_matches('"')).filter(|text| !text.is_empty())
        }
        _ => None,
    };
    let same = |one: &Json, other: &Json| {
        keys.iter().all(|key| {
            let value = |json: &Json| json.get(key).cloned().or_else(|| default(key).map(Json::from));
            value(one) == value(other)
        })
    };
    for value in wanted {
        match live.iter_mut().find(|live| same(live, value)) {
            Some(live) => merge(live, value, Place::Of(element, None), path)?,
            None => live.push(value.clone()),
        }
    }
    Ok(())
}
