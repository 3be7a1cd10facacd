//! `xtask facts --from DIR [--discovery DIR]`: reads Go type declarations and discovery documents into the fact table.
//!
//! DIR is laid out as `k8s.io/` in a Go tree (`api/`, `apimachinery/`, ...), for example
//! `/usr/share/gocode/src/k8s.io` of Debian's `golang-k8s-*-dev` packages. Go's own formatter fixes the layout of a
//! declaration, so reading line by line is enough; names, tags and `+markers` are kept, prose is not.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::facts::{Field, Named, Package, Resource, Struct, Subresource};

/// Where each package's declarations are: id, group, files below the root, OpenAPI model prefix.
fn sources() -> Vec<(&'static str, &'static str, Vec<String>, String)> {
    let api = |id: &'static str, group: &'static str| {
        (id, group, vec![format!("api/{id}/types.go")], format!("io.k8s.api.{}", id.replace('/', ".")))
    };
    vec![
        api("core/v1", ""),
        api("admission/v1", "admission.k8s.io"),
        api("admissionregistration/v1", "admissionregistration.k8s.io"),
        api("apidiscovery/v2", "apidiscovery.k8s.io"),
        api("apps/v1", "apps"),
        api("authentication/v1", "authentication.k8s.io"),
        api("authorization/v1", "authorization.k8s.io"),
        api("autoscaling/v1", "autoscaling"),
        api("autoscaling/v2", "autoscaling"),
        api("batch/v1", "batch"),
        api("certificates/v1", "certificates.k8s.io"),
        api("coordination/v1", "coordination.k8s.io"),
        api("discovery/v1", "discovery.k8s.io"),
        api("events/v1", "events.k8s.io"),
        api("flowcontrol/v1", "flowcontrol.apiserver.k8s.io"),
        api("networking/v1", "networking.k8s.io"),
        api("node/v1", "node.k8s.io"),
        api("policy/v1", "policy"),
        api("rbac/v1", "rbac.authorization.k8s.io"),
        api("resource/v1", "resource.k8s.io"),
        api("scheduling/v1", "scheduling.k8s.io"),
        api("storage/v1", "storage.k8s.io"),
        (
            "apiextensions/v1",
            "apiextensions.k8s.io",
            ["types.go", "types_jsonschema.go"]
                .map(|f| format!("apiextensions-apiserver/pkg/apis/apiextensions/v1/{f}"))
                .to_vec(),
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1".to_owned(),
        ),
        (
            "apiregistration/v1",
            "apiregistration.k8s.io",
            vec!["kube-aggregator/pkg/apis/apiregistration/v1/types.go".to_owned()],
            "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1".to_owned(),
        ),
        (
            "metrics/v1beta1",
            "metrics.k8s.io",
            vec!["metrics/pkg/apis/metrics/v1beta1/types.go".to_owned()],
            "io.k8s.metrics.pkg.apis.metrics.v1beta1".to_owned(),
        ),
        (
            "meta/v1",
            "",
            ["types.go", "group_version.go", "watch.go"]
                .map(|f| format!("apimachinery/pkg/apis/meta/v1/{f}"))
                .to_vec(),
            "io.k8s.apimachinery.pkg.apis.meta.v1".to_owned(),
        ),
    ]
}

/// Reads every package below `root` and writes one fact file each into `out`.
pub fn packages(root: &Path, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    // String constants by name; later packages refer to earlier ones.
    let mut constants = HashMap::new();
    for (id, group, files, model) in sources() {
        let mut package = Package {
            id: id.to_owned(),
            group: group.to_owned(),
            version: id.split('/').nth(1).unwrap_or_default().to_owned(),
            model,
            ..Package::default()
        };
        for file in files {
            let path = root.join(&file);
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            read_go(&text, &mut package, &mut constants).with_context(|| file.clone())?;
        }
        std::fs::write(out.join(format!("{}.txt", id.replace('/', "_"))), package.render())?;
    }
    Ok(())
}

/// The package id behind an import path: its last two elements, or the last one for helper packages.
fn package_id(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let last = parts.last().copied().unwrap_or_default();
    let is_version = last.starts_with('v') && last[1..].starts_with(|c: char| c.is_ascii_digit());
    if is_version && parts.len() > 1 { format!("{}/{last}", parts[parts.len() - 2]) } else { last.to_owned() }
}

/// Spells the packages of a type expression as ids.
fn resolve(ty: &str, imports: &HashMap<String, String>) -> String {
    let ty = ty.replace("map[string]", "map[]").replace("interface{}", "any");
    // Map keys are strings of some name everywhere; only messages tell the name.
    let ty = match ty.strip_prefix("map[") {
        Some(rest) => match rest.split_once(']') {
            Some((key, value)) => {
                return format!("map[{}]{}", resolve(key, imports), resolve(value, imports));
            }
            None => ty,
        },
        None => ty,
    };
    for prefix in ["[]", "*"] {
        if let Some(rest) = ty.strip_prefix(prefix) {
            return format!("{prefix}{}", resolve(rest, imports));
        }
    }
    match ty.split_once('.') {
        Some((alias, name)) => {
            format!("{}.{name}", imports.get(alias).cloned().unwrap_or_else(|| alias.to_owned()))
        }
        None => ty,
    }
}

fn marker<'a>(comments: &'a [String], name: &str) -> Option<&'a str> {
    comments.iter().rev().find_map(|c| c.strip_prefix('+')?.strip_prefix(name)?.strip_prefix('='))
}

fn has_marker(comments: &[String], name: &str) -> bool {
    comments.iter().any(|c| c.strip_prefix('+') == Some(name))
}

fn read_go(text: &str, package: &mut Package, constants: &mut HashMap<String, String>) -> Result<()> {
    let mut imports: HashMap<String, String> = HashMap::new();
    let mut comments: Vec<String> = Vec::new();
    let mut earlier: Vec<String> = Vec::new();
    let mut enums: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut enum_types: Vec<String> = Vec::new();
    let mut current: Option<Struct> = None;
    let mut in_imports = false;
    let mut in_comment = false;
    for line in text.lines() {
        let line = line.trim();
        if in_comment || line.starts_with("/*") {
            in_comment = !line.ends_with("*/");
            continue;
        }
        if let Some(comment) = line.strip_prefix("//") {
            comments.push(comment.trim().to_owned());
            continue;
        }
        if line.is_empty() {
            earlier = std::mem::take(&mut comments);
            continue;
        }
        if in_imports || (line.starts_with("import ") && line.ends_with('"')) {
            read_import(line.trim_start_matches("import "), &mut imports);
            in_imports &= line != ")";
        } else if line == "import (" {
            in_imports = true;
        } else if let Some(s) = &mut current {
            if line == "}" {
                package.structs.extend(current.take());
            } else if let Some(f) = read_field(line, &comments, &imports, s) {
                s.fields.push(f);
            }
        } else if let Some(rest) = line.strip_prefix("type ") {
            let mut words = rest.split_whitespace();
            let name = words.next().unwrap_or_default().to_owned();
            let mut markers = earlier.clone();
            markers.extend(comments.iter().cloned());
            match rest.split_once(' ').map(|(_, d)| d.trim()) {
                Some("struct {") => {
                    current = Some(Struct {
                        name,
                        atomic: marker(&markers, "structType") == Some("atomic"),
                        resource: marker(&markers, "resourceName").unwrap_or_default().to_owned(),
                        cluster_scoped: has_marker(&markers, "genclient:nonNamespaced"),
                        ..Struct::default()
                    });
                }
                Some("struct{}") => package.structs.push(Struct { name, ..Struct::default() }),
                Some(d) if d.starts_with("interface") || d.starts_with("func") => {}
                Some(d) => {
                    if has_marker(&comments, "enum") {
                        enum_types.push(name.clone());
                    }
                    let d = d.trim_start_matches("= ");
                    let d = d.split(" //").next().unwrap_or_default().trim();
                    package.named.push(Named { name, ty: resolve(d, &imports), values: Vec::new() });
                }
                None => {}
            }
        } else if let Some((name, ty, value)) = constant(line, constants) {
            constants.insert(name, value.clone());
            enums.entry(ty).or_default().push(value);
        }
        comments.clear();
        if !line.starts_with("type") {
            earlier.clear();
        }
    }
    for n in &mut package.named {
        if enum_types.contains(&n.name) {
            n.values = enums.remove(&n.name).unwrap_or_default();
            n.values.sort();
            n.values.dedup();
        }
    }
    // Defaults may name a constant of the same file.
    for f in package.structs.iter_mut().flat_map(|s| &mut s.fields) {
        let name = f.default.strip_prefix("ref(").and_then(|d| d.strip_suffix(')'));
        if let Some(value) = name.and_then(|n| constants.get(n)) {
            f.default = format!("{value:?}");
        }
    }
    Ok(())
}

/// Name, type and value of `Name Type = "value"`, `Name = Type("value")` or `Name = Type(otherConstant)`.
fn constant(line: &str, known: &HashMap<String, String>) -> Option<(String, String, String)> {
    let (left, right) = line.trim_start_matches("const ").split_once(" = ")?;
    let left: Vec<&str> = left.split_whitespace().collect();
    let (ty, value) = match (&left[..], right.split_once('(')) {
        ([_, ty], None) => (*ty, right),
        ([_], Some((ty, value))) => (ty, value.strip_suffix(')')?),
        _ => return None,
    };
    let value = match value.strip_prefix('"') {
        Some(text) => text.split('"').next()?.to_owned(),
        None => known.get(value.rsplit('.').next()?)?.clone(),
    };
    Some(((*left.first()?).to_owned(), ty.to_owned(), value))
}

fn read_import(line: &str, imports: &mut HashMap<String, String>) {
    let Some((alias, rest)) = line.split_once('"') else { return };
    let path = rest.trim_end_matches('"');
    let id = package_id(path);
    let alias = alias.trim();
    let alias = if alias.is_empty() { path.rsplit('/').next().unwrap_or_default() } else { alias };
    imports.insert(alias.to_owned(), id);
}

fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    let start = tags.find(&format!("{name}:\""))? + name.len() + 2;
    tags[start..].split('"').next()
}

fn read_field(
    line: &str,
    comments: &[String],
    imports: &HashMap<String, String>,
    s: &mut Struct,
) -> Option<Field> {
    let (left, tags) = line.split_once('`').unwrap_or((line.split("//").next().unwrap_or_default(), ""));
    let words: Vec<&str> = left.split_whitespace().collect();
    let (go, ty, embedded) = match words[..] {
        [ty] => (ty.rsplit(['.', '*']).next().unwrap_or(ty), ty, true),
        [go, ty] => (go, ty, false),
        _ => return None,
    };
    let json = tag(tags, "json");
    let proto = tag(tags, "protobuf").unwrap_or_default();
    if go == "TypeMeta" && embedded {
        s.type_meta = true;
        return None;
    }
    let mut json_parts = json.unwrap_or_default().split(',');
    let name = json_parts.next().unwrap_or_default();
    let json_flags: Vec<&str> = json_parts.collect();
    let mut f = Field {
        json: if name.is_empty() { go.to_owned() } else { name.to_owned() },
        go: go.to_owned(),
        ty: resolve(ty, imports),
        inline: json_flags.contains(&"inline"),
        omitempty: json_flags.contains(&"omitempty"),
        omitzero: json_flags.contains(&"omitzero"),
        optional: has_marker(comments, "optional") || has_marker(comments, "k8s:optional"),
        required: has_marker(comments, "required") || has_marker(comments, "k8s:required"),
        no_json: name == "-",
        patch_strategy: tag(tags, "patchStrategy").unwrap_or_default().to_owned(),
        merge_key: tag(tags, "patchMergeKey").unwrap_or_default().to_owned(),
        list_type: marker(comments, "listType").unwrap_or_default().to_owned(),
        list_keys: comments
            .iter()
            .filter_map(|c| c.strip_prefix("+listMapKey=").map(|k| k.trim_matches('"').to_owned()))
            .collect(),
        map_type: marker(comments, "mapType")
            .or(marker(comments, "structType"))
            .unwrap_or_default()
            .to_owned(),
        default: marker(comments, "default").unwrap_or_default().to_owned(),
        ..Field::default()
    };
    for part in proto.split(',') {
        match part {
            "rep" => f.repeated = true,
            n => {
                if f.number == 0 {
                    f.number = n.parse().unwrap_or(0);
                }
            }
        }
    }
    (f.number != 0 || !f.no_json).then_some(f)
}

/// Reads discovery documents (`api.json`-style `APIResourceList`s below `dir/resources`) into the resource table.
pub fn resources(dir: &Path, out: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut groups: Vec<PathBuf> =
        std::fs::read_dir(dir.join("resources"))?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    groups.sort();
    for g in groups {
        files.extend(std::fs::read_dir(g)?.map(|e| Ok(e?.path())).collect::<Result<Vec<_>>>()?);
    }
    files.sort();
    let mut all: Vec<Resource> = Vec::new();
    for file in files {
        let doc: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let gv = doc["groupVersion"].as_str().context("groupVersion")?;
        let (group, version) = gv.split_once('/').unwrap_or(("", gv));
        let mut subs: Vec<(String, Subresource)> = Vec::new();
        for r in doc["resources"].as_array().context("resources")? {
            let text = |k: &str| r[k].as_str().unwrap_or_default().to_owned();
            let words = |k: &str| -> Vec<String> {
                r[k].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
            };
            let name = text("name");
            if let Some((parent, sub)) = name.split_once('/') {
                subs.push((
                    parent.to_owned(),
                    Subresource {
                        name: sub.to_owned(),
                        group: text("group"),
                        version: text("version"),
                        kind: text("kind"),
                        verbs: words("verbs"),
                    },
                ));
            } else {
                all.push(Resource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    singular: text("singularName"),
                    kind: text("kind"),
                    namespaced: r["namespaced"].as_bool().unwrap_or_default(),
                    verbs: words("verbs"),
                    short_names: words("shortNames"),
                    categories: words("categories"),
                    plural: name,
                    subresources: Vec::new(),
                });
            }
        }
        for (parent, sub) in subs {
            let at = all.iter_mut().find(|r| r.group == group && r.version == version && r.plural == parent);
            // Some subresources exist without their parent being listed; the parent is then no resource of its own.
            if let Some(parent) = at {
                parent.subresources.push(sub);
            }
        }
    }
    let mut text = String::new();
    for r in &all {
        r.render(&mut text);
    }
    std::fs::write(out.join("resources.txt"), text)?;
    Ok(())
}
