//! What extension API servers say of their resources, in the aggregated form. Pure: whatever a server sends becomes an
//! entry that clients can read, or none.

use serde_json::{Map, Value, json};

/// The content type in which servers are asked for the aggregated form.
pub const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether a content type is that of the aggregated form.
pub fn is_aggregated(content_type: &str) -> bool {
    let parts: Vec<&str> = content_type.split(';').map(str::trim).collect();
    ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"].iter().all(|part| parts.contains(part))
}

/// The entry of a version in an `APIGroupDiscoveryList`; an empty one when the server does not list it.
pub fn entry_of(list: &Value, group: &str, version: &str) -> Value {
    let groups = list["items"].as_array().into_iter().flatten();
    let of_group = groups.filter(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group);
    let mut versions = of_group.filter_map(|item| item["versions"].as_array()).flatten();
    let found = versions.find(|item| item["version"] == version);
    let resources = found.and_then(|item| item["resources"].as_array()).cloned().unwrap_or_default();
    let mut resources: Vec<Value> = resources.into_iter().filter(|resource| resource.is_object()).collect();
    for resource in &mut resources {
        let subresources = resource.get_mut("subresources").and_then(Value::as_array_mut);
        subresources.into_iter().flatten().for_each(answers_with_something);
        answers_with_something(resource);
    }
    json!({ "version": version, "resources": resources })
}

/// Old clients rely on the kind of the answer.
fn answers_with_something(resource: &mut Value) {
    if let Some(fields) = resource.as_object_mut()
        && !fields.get("responseKind").is_some_and(Value::is_object)
    {
        fields.insert("responseKind".to_owned(), kind("", "", ""));
    }
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}

/// The entry of a version from its old form, an `APIResourceList`. `None` when that contradicts itself.
pub fn entry_from_list(list: &Value, version: &str) -> Option<Value> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let scope = |item: &Value| if item["namespaced"] == true { "Namespaced" } else { "Cluster" };
    let of = |item: &Value| match text(item, "kind").as_str() {
        "" => kind("", "", ""),
        named => kind(&text(item, "group"), &text(item, "version"), named),
    };
    let items: Vec<&Value> = list["resources"].as_array()?.iter().filter(|item| item.is_object()).collect();
    let mut resources: Vec<Map<String, Value>> = Vec::new();
    for item in items.iter().filter(|item| !text(item, "name").contains('/')) {
        let mut resource = Map::new();
        resource.insert("resource".to_owned(), text(item, "name").into());
        resource.insert("responseKind".to_owned(), of(item));
        resource.insert("scope".to_owned(), scope(item).into());
        resource.insert("singularResource".to_owned(), text(item, "singularName").into());
        for field in ["verbs", "shortNames", "categories"] {
            if item[field].is_array() {
                resource.insert(field.to_owned(), item[field].clone());
            }
        }
        resources.push(resource);
    }
    for item in &items {
        let name = text(item, "name");
        let Some((parent, subresource)) = name.split_once('/') else { continue };
        let at = match resources.iter().position(|resource| resource["resource"] == parent) {
            Some(at) => at,
            None => {
                let made =
                    json!({ "resource": parent, "scope": scope(item), "responseKind": kind("", "", "") });
                resources.push(made.as_object()?.clone());
                resources.len() - 1
            }
        };
        if resources[at]["scope"] != scope(item) {
            return None;
        }
        let mut entry = json!({ "subresource": subresource, "responseKind": of(item) });
        if item["verbs"].is_array() {
            entry["verbs"] = item["verbs"].clone();
        }
        let all = resources[at].entry("subresources").or_insert_with(|| json!([]));
        all.as_array_mut()?.push(entry);
    }
    Some(json!({ "version": version, "resources": resources }))
}

/// The namespaced resources of an entry that can be listed and deleted as a whole, by plural.
pub fn sweepable(entry: &Value) -> Vec<&str> {
    let resources = entry["resources"].as_array().into_iter().flatten();
    let fits = |resource: &&Value| {
        let verbs = resource["verbs"].as_array();
        let has = |wanted: &str| verbs.is_some_and(|verbs| verbs.iter().any(|verb| verb == wanted));
        resource["scope"] == "Namespaced" && ["list", "delete", "deletecollection"].into_iter().all(has)
    };
    resources.filter(fits).filter_map(|resource| resource["resource"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (text, want) in [
            (ACCEPT, true),
            ("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", true),
            ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", false),
            ("application/json", false),
        ] {
            assert_eq!(is_aggregated(text), want, "{text}");
        }
    }

    #[test]
    fn entries_are_what_clients_can_read() {
        let list = json!({ "items": [
            { "metadata": { "name": "other" }, "versions": [{ "version": "v1", "resources": [] }] },
            { "metadata": { "name": "g" }, "versions": [{ "version": "v1", "resources": [
                { "resource": "as", "responseKind": { "kind": "A" }, "subresources": [{ "subresource": "status" }, 7] },
                { "resource": "bs", "responseKind": 3 },
                "garbage",
            ] }] },
            "garbage",
        ] });
        let nothing = json!({ "group": "", "version": "", "kind": "" });
        let want = json!({ "version": "v1", "resources": [
            { "resource": "as", "responseKind": { "kind": "A" },
              "subresources": [{ "subresource": "status", "responseKind": nothing }, 7] },
            { "resource": "bs", "responseKind": nothing },
        ] });
        assert_eq!(entry_of(&list, "g", "v1"), want);
        for list in [json!(null), json!([]), json!({ "items": 3 }), list] {
            assert_eq!(entry_of(&list, "g", "v2"), json!({ "version": "v2", "resources": [] }));
        }
    }

    #[test]
    fn the_old_form() {
        let list = json!({ "resources": [
            { "name": "as", "singularName": "a", "namespaced": true, "kind": "A", "verbs": ["get"] },
            { "name": "as/status", "namespaced": true, "kind": "A", "verbs": ["update"] },
            { "name": "lost/scale", "namespaced": false, "kind": "" },
        ] });
        let of = |kind: &str| json!({ "group": "", "version": "", "kind": kind });
        let want = json!({ "version": "v1", "resources": [
            { "resource": "as", "responseKind": of("A"), "scope": "Namespaced", "singularResource": "a", "verbs": ["get"],
              "subresources": [{ "subresource": "status", "responseKind": of("A"), "verbs": ["update"] }] },
            { "resource": "lost", "responseKind": of(""), "scope": "Cluster",
              "subresources": [{ "subresource": "scale", "responseKind": of("") }] },
        ] });
        assert_eq!(entry_from_list(&list, "v1"), Some(want));
        let torn = json!({ "resources": [{ "name": "a", "namespaced": true }, { "name": "a/b", "namespaced": false }] });
        assert_eq!(entry_from_list(&torn, "v1"), None);
        assert_eq!(entry_from_list(&json!("garbage"), "v1"), None);
    }
}
