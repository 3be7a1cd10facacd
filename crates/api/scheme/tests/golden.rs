//! Compares the facts with what a reference server of v1.36 publishes: OpenAPI and discovery.
//!
//! The recordings are not part of the repository: set `FERROKUBE_GOLDEN` to their folder, or keep them in
//! `../shared/golden` beside the checkout.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use meta::{Field, Ty};
use serde_json::Value;

fn golden() -> Option<PathBuf> {
    let dir = std::env::var_os("FERROKUBE_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/golden"),
        PathBuf::from,
    );
    if !dir.is_dir() {
        println!("skipped: needs FERROKUBE_GOLDEN");
        return None;
    }
    Some(dir)
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("readable");
    if path.extension().is_some_and(|e| e == "gz") {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).expect("gzip");
        return serde_json::from_slice(&text).unwrap_or_default();
    }
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Structs with a JSON form of their own have no fields to compare.
fn has_own_json(model: &str) -> bool {
    model.contains(".JSONSchemaPropsOr")
}

/// Upstream's rule: what is neither optional nor left out when empty is required.
fn is_required(f: &Field) -> bool {
    f.required || !(f.optional || f.omitempty || f.omitzero)
}

/// Attributes of a field as OpenAPI shows them, as text.
fn ours(f: &Field) -> String {
    format!("{} {} {} {:?} {}", f.patch_strategy, f.patch_merge_key, f.list_type, f.list_map_keys, f.map_type)
}

fn theirs(v: &Value) -> String {
    let text = |k: &str| v[k].as_str().unwrap_or_default().to_owned();
    let keys: Vec<&str> =
        v["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "{} {} {} {keys:?} {}",
        text("x-kubernetes-patch-strategy"),
        text("x-kubernetes-patch-merge-key"),
        text("x-kubernetes-list-type"),
        text("x-kubernetes-map-type"),
    )
}

#[test]
fn fields_equal_the_published_schemas() {
    let Some(dir) = golden() else { return };
    let doc = read(&dir.join("openapi/v2.json.gz"));
    let definitions = doc["definitions"].as_object().expect("definitions");
    let (mut checked, mut wrong) = (0, Vec::new());
    for (model, definition) in definitions {
        if has_own_json(model) {
            continue;
        }
        let Some(info) = scheme::fields::of(model) else { continue };
        let empty = serde_json::Map::new();
        let properties = definition["properties"].as_object().unwrap_or(&empty);
        let required: Vec<&str> =
            definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if info.atomic != (definition["x-kubernetes-map-type"] == "atomic") {
            wrong.push(format!("{model}: atomic"));
        }
        for name in properties.keys().filter(|n| info.field(n).is_none()) {
            if info.type_meta.is_none() || !matches!(name.as_str(), "kind" | "apiVersion") {
                wrong.push(format!("{model}: no field {name}"));
            }
        }
        for f in info.fields {
            checked += 1;
            let Some(v) = properties.get(f.name) else {
                wrong.push(format!("{model}: extra field {}", f.name));
                continue;
            };
            if ours(f) != theirs(v) {
                wrong.push(format!("{model}.{}: {} but published {}", f.name, ours(f), theirs(v)));
            }
            if is_required(f) != required.contains(&f.name) {
                wrong.push(format!("{model}.{}: required", f.name));
            }
            let values = if v["enum"].is_array() { &v["enum"] } else { &v["items"]["enum"] };
            let values: Vec<&str> =
                values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if values != f.values {
                wrong.push(format!("{model}.{}: values {:?} but published {values:?}", f.name, f.values));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 2000, "only {checked} fields");
}

#[test]
fn defaults_equal_the_published_schemas() {
    let Some(dir) = golden() else { return };
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    for entry in std::fs::read_dir(dir.join("openapi/v3")).expect("readable") {
        let doc = read(&entry.expect("entry").path());
        for (model, schema) in doc["components"]["schemas"].as_object().into_iter().flatten() {
            schemas.insert(model.clone(), schema.clone());
        }
    }
    let (mut checked, mut wrong) = (0, Vec::new());
    for (model, schema) in schemas.iter().filter(|(model, _)| !has_own_json(model)) {
        let Some(info) = scheme::fields::of(model) else { continue };
        for f in info.fields {
            let published = &schema["properties"][f.name]["default"];
            // A scalar that is always written defaults to its zero value.
            let zero = if f.pointer || f.omitempty || f.omitzero { None } else { zero(&f.ty) };
            let want: Value = if f.default.is_empty() {
                zero.unwrap_or_default()
            } else {
                serde_json::from_str(f.default).unwrap_or_default()
            };
            if published.is_object() {
                continue;
            }
            checked += 1;
            if *published != want {
                wrong.push(format!("{model}.{}: {want} but published {published}", f.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 1800, "only {checked} fields");
}

fn zero(ty: &Ty) -> Option<Value> {
    Some(match ty {
        Ty::Str => "".into(),
        Ty::Bool => false.into(),
        Ty::Int32 | Ty::Int64 | Ty::Double => 0.into(),
        _ => return None,
    })
}

#[test]
fn resources_equal_discovery() {
    let Some(dir) = golden() else { return };
    let mut all = 0;
    for group in std::fs::read_dir(dir.join("discovery/resources")).expect("readable") {
        for file in std::fs::read_dir(group.expect("entry").path()).expect("readable") {
            let doc = read(&file.expect("entry").path());
            let gv = doc["groupVersion"].as_str().expect("groupVersion");
            let (group, version) = gv.split_once('/').unwrap_or(("", gv));
            for r in doc["resources"].as_array().expect("resources") {
                let name = r["name"].as_str().expect("name");
                let (plural, sub) = name.split_once('/').map_or((name, None), |(p, s)| (p, Some(s)));
                let ours = scheme::lookup(group, version, plural).unwrap_or_else(|| panic!("{gv} {plural}"));
                let verbs: Vec<&str> =
                    r["verbs"].as_array().expect("verbs").iter().filter_map(Value::as_str).collect();
                let (kind, our_verbs) = match sub {
                    Some(sub) => {
                        let s = ours.subresource(sub).unwrap_or_else(|| panic!("{gv} {name}"));
                        assert_eq!(r["version"].as_str().is_some(), s.explicit, "{name}");
                        (&s.kind, &s.verbs)
                    }
                    None => (&ours.kind, &ours.verbs),
                };
                assert_eq!((r["kind"].as_str(), &verbs[..]), (Some(&**kind), &our_verbs[..]), "{gv} {name}");
                all += 1;
            }
        }
    }
    assert!(all > 100, "only {all} resources");
}
