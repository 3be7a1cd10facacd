//! What extension API servers say of their types: their part of the OpenAPI v2 document and their addresses in the index of
//! v3. Pure.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};

use serde_json::{Map, Value, json};

/// The sections of a document that parts add to.
pub const SECTIONS: [&str; 3] = ["parameters", "definitions", "paths"];
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

/// What a document of version 2 holds, by section and name: enough to see whether something else of that name is the same.
#[derive(Clone, Default)]
pub struct Known {
    digests: HashMap<(&'static str, String), u64>,
}

impl Known {
    /// Takes note of what a document holds.
    pub fn add(&mut self, document: &Value) {
        for section in SECTIONS {
            let members = document.get(section).and_then(Value::as_object);
            let members = members.into_iter().flatten();
            self.digests.extend(members.map(|(name, item)| ((section, name.clone()), digest(item))));
        }
    }

    /// Takes over what another one knows.
    pub fn join(&mut self, other: &Known) {
        self.digests.extend(other.digests.iter().map(|(key, digest)| (key.clone(), *digest)));
    }

    /// What a part adds. Paths that are there stay; types and parameters of the same name that differ get another name.
    pub fn fit(&mut self, part: &Value) -> Value {
        let mut names: BTreeMap<(&'static str, String), String> = BTreeMap::new();
        for section in SHARED {
            for (name, item) in part[section].as_object().into_iter().flatten() {
                let item = digest(item);
                let known = |name: &str| self.digests.get(&(section, name.to_owned()));
                let fits = |name: &str| known(name).is_none_or(|known| *known == item);
                if !fits(name) {
                    let other = (2_u32..).map(|n| format!("{name}_v{n}")).find(|other| fits(other));
                    names.insert((section, name.clone()), other.unwrap_or_else(|| name.clone()));
                }
            }
        }
        let mut added = json!({ "paths": {}, "definitions": {}, "parameters": {} });
        for section in SECTIONS {
            for (name, item) in part[section].as_object().into_iter().flatten() {
                let key = (section, names.get(&(section, name.clone())).unwrap_or(name).clone());
                if !self.digests.contains_key(&key) {
                    // What it is compared with are parts as their servers wrote them.
                    self.digests.insert(key.clone(), digest(item));
                    let mut item = item.clone();
                    rename(&mut item, &names);
                    added[section][key.1] = item;
                }
            }
        }
        added
    }
}

/// Equal values have equal digests, in whatever order their members are.
fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match value {
        Value::Object(members) => {
            // The order does not count, so neither may that of adding up.
            let one = |(name, item): (&String, &Value)| {
                let mut hasher = DefaultHasher::new();
                (name, digest(item)).hash(&mut hasher);
                hasher.finish()
            };
            (1, members.len(), members.iter().map(one).fold(0_u64, u64::wrapping_add)).hash(&mut hasher);
        }
        Value::Array(items) => (2, items.iter().map(digest).collect::<Vec<_>>()).hash(&mut hasher),
        other => (3, other.to_string()).hash(&mut hasher),
    }
    hasher.finish()
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
        let mut known = Known::default();
        known.add(&json!({
            "paths": { "/apis/g/v1/as": "ours" },
            "definitions": { "Meta": { "type": "other" }, "A": {} },
            "parameters": { "limit": { "in": "query" } },
        }));
        let mut part = part_of(&spec(), "g", "v1");
        part["paths"]["/apis/g/v1/bs"] = part["paths"]["/apis/g/v1/as"].clone();
        let added = known.fit(&part);
        assert_eq!(added["paths"]["/apis/g/v1/bs"]["get"]["schema"]["$ref"], "#/definitions/A_v2");
        assert_eq!(added["paths"].as_object().unwrap().len(), 1, "what is there stays");
        assert_eq!(added["definitions"]["A_v2"]["x"]["$ref"], "#/definitions/Meta_v2");
        assert_eq!(added["definitions"]["Meta_v2"]["again"]["$ref"], "#/definitions/A_v2");
        assert_eq!(added["definitions"].as_object().unwrap().len(), 2);
        assert_eq!(added["parameters"], json!({}), "what is the same is shared");
        // Another server of the same kind shares what the first one added.
        let mut other = part.clone();
        other["paths"] = json!({ "/apis/g/v1/cs": { "$ref": "#/definitions/A" } });
        let added = known.fit(&other);
        assert_eq!(added["paths"]["/apis/g/v1/cs"]["$ref"], "#/definitions/A_v2");
        assert_eq!(added["definitions"], json!({}));
        assert_eq!(digest(&json!({ "a": 1, "b": [2] })), digest(&json!({ "b": [2], "a": 1 })));
        assert_ne!(digest(&json!({ "a": 1, "b": 2 })), digest(&json!({ "a": 2, "b": 1 })));
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
