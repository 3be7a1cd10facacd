//! What extension API servers say of their types: their part of the OpenAPI v2 document and their addresses in the index of
//! v3. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

const SHARED: [&str; 2] = ["definitions", "parameters"];

/// The part of a version 2 document about one group and version: its paths and whatever these refer to.
pub fn part_of(spec: &Value, group: &str, version: &str) -> Value {
    let prefix = format!("/apis/{group}/{version}/");
    let all = spec["paths"].as_object();
    let paths: Map<String, Value> = all
        .into_iter()
        .flatten()
        .filter(|(path, _)| path.starts_with(&prefix))
        .map(|(path, item)| (path.clone(), item.clone()))
        .collect();
    let paths = Value::Object(paths);
    let mut needed = BTreeSet::new();
    let mut open = references(&paths);
    let mut part = json!({ "paths": null, "definitions": {}, "parameters": {} });
    while let Some((section, name)) = open.pop() {
        if !needed.insert((section, name.clone())) {
            continue;
        }
        if let Some(item) = spec[section].get(&name) {
            open.extend(references(item));
            part[section][name] = item.clone();
        }
    }
    part["paths"] = paths;
    part
}

/// Adds such a part to a document. Paths that are there stay; types and parameters of the same name that differ get
/// another name.
pub fn merge(document: &mut Value, part: &Value) {
    let mut names: BTreeMap<(&'static str, String), String> = BTreeMap::new();
    for section in SHARED {
        let there = document.get(section).and_then(Value::as_object);
        for (name, item) in part[section].as_object().into_iter().flatten() {
            let fits = |name: &str| there.and_then(|all| all.get(name)).is_none_or(|known| known == item);
            if !fits(name) {
                let other = (2_u32..).map(|n| format!("{name}_v{n}")).find(|other| fits(other));
                names.insert((section, name.clone()), other.unwrap_or_else(|| name.clone()));
            }
        }
    }
    let Some(document) = document.as_object_mut() else { return };
    for section in SHARED.into_iter().chain(["paths"]) {
        let all = document.entry(section).or_insert_with(|| json!({}));
        let Some(all) = all.as_object_mut() else { continue };
        for (name, item) in part[section].as_object().into_iter().flatten() {
            let name = names.get(&(section, name.clone())).unwrap_or(name);
            if !all.contains_key(name) {
                let mut item = item.clone();
                rename(&mut item, &names);
                all.insert(name.clone(), item);
            }
        }
    }
}

/// Everything that a value refers to.
fn references(value: &Value) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    walk(value, &mut |reference| found.extend(parse(reference)));
    found
}

fn walk(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(reference) if name == "$ref" => found(reference),
                    _ => walk(field, found),
                }
            }
        }
        _ => {}
    }
}

/// `#/definitions/name` as its parts.
fn parse(reference: &str) -> Option<(&'static str, String)> {
    let (section, name) = reference.strip_prefix("#/")?.split_once('/')?;
    let section = SHARED.into_iter().find(|known| *known == section)?;
    Some((section, name.replace("~1", "/").replace("~0", "~")))
}

fn rename(value: &mut Value, names: &BTreeMap<(&'static str, String), String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        Value::Object(fields) => {
            for (name, field) in fields {
                let reference = field.as_str().filter(|_| name == "$ref").and_then(parse);
                match reference {
                    Some(reference) => {
                        if let Some(other) = names.get(&reference) {
                            let escaped = other.replace('~', "~0").replace('/', "~1");
                            *field = format!("#/{}/{escaped}", reference.0).into();
                        }
                    }
                    None => rename(field, names),
                }
            }
        }
        _ => {}
    }
}

/// The addresses of a group's version 3 documents in a server's index, by path. What the server says of other groups is
/// not its business.
pub fn addresses(index: &Value, group: &str, version: &str) -> BTreeMap<String, String> {
    let mine = [format!("apis/{group}"), format!("apis/{group}/{version}")];
    let all = index["paths"].as_object();
    all.into_iter()
        .flatten()
        .filter(|(path, _)| mine.contains(path))
        .filter_map(|(path, item)| Some((path.clone(), item["serverRelativeURL"].as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Value {
        json!({
            "paths": {
                "/apis/g/v1/as": { "get": { "schema": { "$ref": "#/definitions/A" }, "p": [{ "$ref": "#/parameters/limit" }] } },
                "/apis/g/v2/as": { "get": { "schema": { "$ref": "#/definitions/Unrelated" } } },
                "/version/": {},
            },
            "definitions": {
                "A": { "x": { "$ref": "#/definitions/Meta" }, "$ref": "elsewhere" },
                "Meta": { "again": { "$ref": "#/definitions/A" }, "type": "object" },
                "Unrelated": {},
            },
            "parameters": { "limit": { "in": "query" }, "unused": {} },
        })
    }

    #[test]
    fn a_part_is_whole() {
        let part = part_of(&spec(), "g", "v1");
        let keys = |section: &str| part[section].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys("paths"), ["/apis/g/v1/as"]);
        assert_eq!(keys("definitions"), ["A", "Meta"]);
        assert_eq!(keys("parameters"), ["limit"]);
        for garbage in
            [json!(null), json!([]), json!({ "paths": 3 }), json!({ "paths": { "/apis/g/v1/": 3 } })]
        {
            assert!(part_of(&garbage, "g", "v1")["paths"].is_object(), "{garbage}");
        }
    }

    #[test]
    fn names_that_clash_change() {
        let mut document = json!({
            "paths": { "/apis/g/v1/as": "ours" },
            "definitions": { "Meta": { "type": "other" }, "A": {} },
            "parameters": { "limit": { "in": "query" } },
        });
        let mut part = part_of(&spec(), "g", "v1");
        part["paths"]["/apis/g/v1/bs"] = part["paths"]["/apis/g/v1/as"].clone();
        merge(&mut document, &part);
        assert_eq!(document["paths"]["/apis/g/v1/as"], "ours");
        assert_eq!(document["paths"]["/apis/g/v1/bs"]["get"]["schema"]["$ref"], "#/definitions/A_v2");
        assert_eq!(document["definitions"]["A_v2"]["x"]["$ref"], "#/definitions/Meta_v2");
        assert_eq!(document["definitions"]["Meta_v2"]["again"]["$ref"], "#/definitions/A_v2");
        assert_eq!(document["definitions"]["Meta"], json!({ "type": "other" }));
        assert_eq!(document["parameters"].as_object().unwrap().len(), 1, "what is the same is shared");
    }

    #[test]
    fn the_index_tells_of_the_own_group_alone() {
        let at = |url: &str| json!({ "serverRelativeURL": url });
        let index = json!({ "paths": { "apis/g/v1": at("/x?hash=1"), "apis/g": at("/y"), "apis/apps/v1": at("/z"),
            "apis/g/v2": at("/other"), "version": at("/v") } });
        let found: Vec<String> = addresses(&index, "g", "v1").into_keys().collect();
        assert_eq!(found, ["apis/g", "apis/g/v1"]);
        assert!(addresses(&json!({ "paths": { "apis/g/v1": 7 } }), "g", "v1").is_empty());
    }
}
