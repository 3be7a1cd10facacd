//! Discovery: which groups, versions and resources there are, in the old form (a document per version) and the
//! aggregated one (everything at once, KEP-3352).

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use meta::Str;
use parking_lot::Mutex;
use registry::{Definitions, errors};
use scheme::Resource;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use telemetry::Counter;

use super::groups::{self, Group};
use super::plain::{page_not_found, restful};
use crate::answer::{Answer, not_acceptable};
use crate::http::body::Body;
use crate::http::media::{OBJECTS, Offer, accept};
use crate::pipeline::Decoded;
use crate::server::Server;

/// Content type of the aggregated form.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Serves `/api`, `/apis` and what is below them down to the version.
pub(super) fn serve(server: &Server, decoded: &Decoded, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let document = match parts[..] {
        ["api"] if decoded.method == Method::GET && wants_aggregated(decoded) => {
            let resources = groups::resources("", "v1").into_iter().map(|r| (r, false)).collect();
            let items =
                vec![json!({ "metadata": {}, "versions": [aggregated_version("v1", "", resources)] })];
            return Aggregated::new(&items).answer(decoded);
        }
        ["apis"] if wants_aggregated(decoded) => {
            return server.discovery.get(server).answer(decoded);
        }
        ["api"] => versions(server),
        ["api", "v1"] => resource_list("", "v1", groups::resources("", "v1").into_iter().map(|r| (r, false))),
        ["apis"] => group_list(server),
        ["apis", name] => {
            let Some(group) = groups::find(server, name) else { return page_not_found() };
            let mut document = group_value(&group);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            document
        }
        ["apis", group, version] if groups::is_built_in(group, Some(version)) => {
            resource_list(group, version, groups::resources(group, version).into_iter().map(|r| (r, false)))
        }
        ["apis", group, version] => {
            let definitions = server.registry.definitions();
            let found = custom_resources(&definitions, group, version);
            if found.is_empty() {
                return match groups::is_built_in(group, None) {
                    true => Answer::Refused(errors::no_such_resource()),
                    false => page_not_found(),
                };
            }
            resource_list(group, version, found.into_iter())
        }
        _ => return Answer::Refused(errors::no_such_resource()),
    };
    // The list of groups and each group have a handler of any method; the others are routes.
    let is_route = !matches!(parts[..], ["apis"] | ["apis", _]);
    let judged = || match accept(decoded.header(header::ACCEPT), Offer::PLAIN, false) {
        None => Answer::Refused(not_acceptable(Offer::PLAIN)),
        Some(_) => Answer::Document(in_order(&document).into()),
    };
    if is_route { restful(decoded, &OBJECTS, judged) } else { judged() }
}

/// Members of discovery documents in the order in which upstream's structs have them.
const ORDER: [&str; 26] = [
    "apiVersion",
    "metadata",
    "name",
    "groupVersion",
    "singularName",
    "namespaced",
    "group",
    "version",
    "kind",
    "resource",
    "subresource",
    "responseKind",
    "scope",
    "singularResource",
    "resources",
    "freshness",
    "verbs",
    "shortNames",
    "categories",
    "subresources",
    "storageVersionHash",
    "versions",
    "preferredVersion",
    "groups",
    "items",
    "serverAddressByClientCIDRs",
];

/// The text of a document, its members as upstream writes them: what it is comes first.
fn in_order(document: &Value) -> String {
    let mut text = String::new();
    write_in_order(document, true, &mut text);
    text
}

fn write_in_order(value: &Value, is_root: bool, text: &mut String) {
    match value {
        Value::Object(members) => {
            let rank = |name: &str| match name {
                "kind" if is_root => 0,
                name => 1 + ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len()),
            };
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| rank(name));
            text.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                let _ = write!(text, "{}:", json!(name));
                write_in_order(member, false, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_in_order(item, false, text);
            }
            text.push(']');
        }
        plain => {
            let _ = write!(text, "{plain}");
        }
    }
}

fn wants_aggregated(decoded: &Decoded) -> bool {
    // The first clause that this endpoint can satisfy decides.
    for clause in decoded.header(header::ACCEPT).split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let json =
            parts.next().is_some_and(|m| m == "application/json" || m == "*/*" || m == "application/*");
        if !json {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let has = |p: &str| parameters.contains(&p);
        if has("as=APIGroupDiscoveryList") {
            if has("g=apidiscovery.k8s.io") && has("v=v2") {
                return true;
            }
            continue;
        }
        return false;
    }
    false
}

fn versions(server: &Server) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": server.address.to_string() }],
    })
}

fn group_value(group: &Group) -> Value {
    let version = |v: &str| json!({ "groupVersion": format!("{}/{v}", group.name), "version": v });
    json!({
        "name": group.name.as_str(),
        "versions": group.versions.iter().map(|v| version(v)).collect::<Vec<_>>(),
        "preferredVersion": version(&group.versions[0]),
    })
}

fn group_list(server: &Server) -> Value {
    let groups: Vec<Value> = groups::all(server).iter().map(group_value).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// What definitions describe of a version, by name, and whether it is about to go.
fn custom_resources<'a>(
    definitions: &'a Definitions,
    group: &str,
    version: &str,
) -> Vec<(&'a Resource, bool)> {
    let of_version = definitions.of_group(group).filter(|served| served.resource().version == version);
    let mut found: Vec<(&Resource, bool)> = of_version
        .map(|served| {
            let ends = served.custom().is_some_and(|custom| custom.definition.is_terminating());
            (served.resource(), ends)
        })
        .collect();
    found.sort_by(|a, b| a.0.plural.cmp(&b.0.plural));
    found
}

/// The verbs of a resource; nothing can be created any more when it is about to go.
fn verbs(resource: &Resource, ends: bool) -> Vec<&'static str> {
    resource.verbs.iter().copied().filter(|verb| !ends || *verb != "create").collect()
}

/// Upstream's fingerprint of the version in which a resource is stored.
fn storage_hash(resource: &Resource) -> String {
    let identity = format!("{}/{}/{}", resource.storage_group, resource.storage_version, resource.kind);
    STANDARD.encode(&Sha256::digest(identity)[..8])
}

fn resource_list<'a>(
    group: &str,
    version: &str,
    resources: impl Iterator<Item = (&'a Resource, bool)>,
) -> Value {
    let mut entries = Vec::new();
    for (resource, ends) in resources {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs(resource, ends),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        if resource.has_verb("watch") {
            entry["storageVersionHash"] = json!(storage_hash(resource));
        }
        entries.push(entry);
        for sub in &*resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if sub.explicit {
                entry["group"] = json!(sub.group);
                entry["version"] = json!(sub.version);
            }
            entries.push(entry);
        }
    }
    let mut list = json!({ "kind": "APIResourceList" });
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    list["groupVersion"] = json!(group_version);
    list["resources"] = json!(entries);
    list
}

/// The aggregated document of all named groups, made anew only when what it tells of has changed.
#[derive(Default)]
pub(crate) struct Discovery {
    kept: Mutex<Option<Kept>>,
}

/// The document, and of what it was made.
struct Kept {
    of: Arc<Definitions>,
    at: u64,
    made: Arc<Aggregated>,
}

/// Times that the document with everything was made.
static AGGREGATIONS: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Times that the documents of all groups were put together into one.";
    telemetry::counter("aggregator_discovery_aggregation_count_total", help, &[]).with(&[])
});

impl Discovery {
    fn get(&self, server: &Server) -> Arc<Aggregated> {
        // What changes while the document is made has it made again.
        let (definitions, generation) = (server.registry.definitions(), server.aggregator.generation());
        if let Some(kept) = &*self.kept.lock()
            && Arc::ptr_eq(&kept.of, &definitions)
            && kept.at == generation
        {
            return kept.made.clone();
        }
        let groups = groups::all(server);
        let items: Vec<Value> =
            groups.iter().filter_map(|group| aggregated_group(server, &definitions, group)).collect();
        let made = Arc::new(Aggregated::new(&items));
        AGGREGATIONS.inc();
        *self.kept.lock() = Some(Kept { of: definitions, at: generation, made: made.clone() });
        made
    }
}

/// A document in the aggregated form, with the hash of its text.
struct Aggregated {
    body: Bytes,
    tag: String,
}

impl Aggregated {
    fn new(items: &[Value]) -> Self {
        let document = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
        });
        let body = Bytes::from(in_order(&document));
        let tag: String = Sha256::digest(&body).iter().map(|b| format!("{b:02X}")).collect();
        Aggregated { body, tag: format!("\"{tag}\"") }
    }

    fn answer(&self, decoded: &Decoded) -> Answer {
        let known = decoded.header(header::IF_NONE_MATCH).split(',').any(|known| known.trim() == self.tag);
        let mut response = Response::new(if known { Body::empty() } else { Body::full(self.body.clone()) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        if !known {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(AGGREGATED));
        }
        headers.insert(header::VARY, header::HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("public"));
        if let Ok(tag) = header::HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        Answer::Raw(response)
    }
}

/// A group with the resources of its versions; `None` when nobody serves any of them.
fn aggregated_group(server: &Server, definitions: &Definitions, group: &Group) -> Option<Value> {
    let version = |version: &Str| {
        if let Some(remote) = server.aggregator.find(&group.name, version) {
            let documents = remote.documents();
            let mut entry = match &documents.discovery {
                Some(entry) => entry.clone(),
                None => json!({ "version": version.as_str() }),
            };
            entry["freshness"] = if documents.fresh { "Current" } else { "Stale" }.into();
            return Some(entry);
        }
        if groups::is_built_in(&group.name, Some(version)) {
            let resources = groups::resources(&group.name, version).into_iter().map(|r| (r, false));
            return Some(aggregated_version(version, "", resources.collect()));
        }
        let resources = custom_resources(definitions, &group.name, version);
        (!resources.is_empty()).then(|| aggregated_version(version, &group.name, resources))
    };
    let versions: Vec<Value> = group.versions.iter().filter_map(version).collect();
    let name = group.name.as_str();
    (!versions.is_empty()).then(|| json!({ "metadata": { "name": name }, "versions": versions }))
}

/// A version; `of_group` names the group of custom resources, whose kinds say in full what they are. Those of built-in
/// groups leave it to where they stand.
fn aggregated_version(version: &str, of_group: &str, resources: Vec<(&Resource, bool)>) -> Value {
    let home = if of_group.is_empty() { ("", "") } else { (of_group, version) };
    let resources: Vec<Value> =
        resources.into_iter().map(|(resource, ends)| aggregated_resource(resource, home, ends)).collect();
    json!({ "version": version, "resources": resources, "freshness": "Current" })
}

fn aggregated_resource(resource: &Resource, home: (&str, &str), ends: bool) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind(home.0, home.1, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": verbs(resource, ends),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subs: Vec<Value> = resource
            .subresources
            .iter()
            .map(|sub| {
                let (group, version) = if sub.explicit { (&*sub.group, &*sub.version) } else { home };
                json!({
                    "subresource": sub.name, "responseKind": kind(group, version, &sub.kind), "verbs": sub.verbs,
                })
            })
            .collect();
        entry["subresources"] = json!(subs);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_upstreams_order() {
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "a/v1", "resources": [{
            "kind": "K", "name": "ks", "verbs": ["get"], "namespaced": true, "singularName": "k", "group": "g",
            "version": "v", "categories": ["all"], "shortNames": ["s"], "x": null,
        }]});
        assert_eq!(
            in_order(&list),
            r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"a/v1","resources":[{"name":"ks","singularName":"k","namespaced":true,"group":"g","version":"v","kind":"K","verbs":["get"],"shortNames":["s"],"categories":["all"],"x":null}]}"#
        );
    }

    #[test]
    fn custom_kinds_say_in_full_what_they_are() {
        let core = groups::resources("", "v1");
        let pods = || core.iter().copied().filter(|r| r.plural == "pods").map(|r| (r, false)).collect();
        for (of_group, group, version) in [("", "", ""), ("x.y", "x.y", "v2")] {
            let made = aggregated_version("v2", of_group, pods());
            let resource = &made["resources"][0];
            let of_kind = |kind: &Value| (kind["group"].clone(), kind["version"].clone());
            assert_eq!(of_kind(&resource["responseKind"]), (json!(group), json!(version)));
            let subresources = resource["subresources"].as_array().unwrap();
            let status = subresources.iter().find(|sub| sub["subresource"] == "status").unwrap();
            assert_eq!(of_kind(&status["responseKind"]), (json!(group), json!(version)));
            let eviction = subresources.iter().find(|sub| sub["subresource"] == "eviction").unwrap();
            assert_eq!(of_kind(&eviction["responseKind"]), (json!("policy"), json!("v1")));
        }
    }
}
