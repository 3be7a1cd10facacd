//! Discovery: which groups, versions and resources there are, in the old form (a document per version) and the
//! aggregated one (everything at once, KEP-3352).

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use meta::{Codec as _, Str, Struct};
use parking_lot::Mutex;
use registry::{Definitions, errors};
use scheme::Resource;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use telemetry::Counter;

use super::groups::{self, Group};
use super::plain::{page_not_found, restful};
use crate::answer::{Answer, Document, proto_envelope};
use crate::http::body::Body;
use crate::http::media::{OBJECTS, Offer, accept};
use crate::pipeline::Decoded;
use crate::server::Server;

/// Serves `/api`, `/apis` and what is below them down to the version.
pub(super) fn serve(server: &Server, decoded: &Decoded, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let aggregated = || accept(decoded.header(header::ACCEPT), Offer::DISCOVERY, false).is_some();
    let document = match parts[..] {
        ["api"] if aggregated() => {
            return restful(decoded, &OBJECTS, || {
                let resources = groups::resources("", "v1").into_iter().map(|r| (r, false)).collect();
                let version = aggregated_version("v1", "", resources);
                Aggregated::new(&[json!({ "metadata": {}, "versions": [version] })]).answer(decoded)
            });
        }
        ["apis"] if aggregated() => {
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
            return plain(&resource_list(group, version, found.into_iter()));
        }
        _ => return Answer::Refused(errors::no_such_resource()),
    };
    // The lists of groups, each group and versions of custom resources have a handler of any method; the others are routes.
    match parts[..] {
        ["apis"] | ["apis", _] => plain(&document),
        _ => restful(decoded, &OBJECTS, || plain(&document)),
    }
}

/// A document in the old form.
fn plain(document: &Value) -> Answer {
    Answer::Document(Document {
        json: in_order(document).into(),
        aggregated: false,
        headers: HeaderMap::new(),
        proto: old_form,
    })
}

/// The protobuf form of a document in the old form, which says what it is as far as the document does.
fn old_form(json: &[u8]) -> Bytes {
    let document: Value = serde_json::from_slice(json).unwrap_or_default();
    let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    let kind = text("kind");
    let raw = match &*kind {
        "APIVersions" => proto_of::<meta::v1::APIVersions>(&document),
        "APIGroupList" => proto_of::<meta::v1::APIGroupList>(&document),
        "APIGroup" => proto_of::<meta::v1::APIGroup>(&document),
        _ => proto_of::<meta::v1::APIResourceList>(&document),
    };
    proto_envelope(&text("apiVersion"), &kind, &raw)
}

/// The protobuf form of a document in the aggregated form.
fn new_form(json: &[u8]) -> Bytes {
    let document: Value = serde_json::from_slice(json).unwrap_or_default();
    let raw = proto_of::<types::apidiscovery::v2::APIGroupDiscoveryList>(&document);
    proto_envelope("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList", &raw)
}

/// A document that was made here through its struct.
fn proto_of<T: Struct>(document: &Value) -> Vec<u8> {
    meta::from_value::<T>(document.clone()).map(|made| made.to_proto()).unwrap_or_default()
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

/// A document in the aggregated form, with its entity tag.
struct Aggregated {
    body: Bytes,
    tag: String,
}

impl Aggregated {
    /// The tag is upstream's (`discovery/aggregated/etag.go`): a hash of the document without its kind, whatever format
    /// it goes out in.
    fn new(items: &[Value]) -> Self {
        let untyped = in_order(&json!({ "metadata": {}, "items": items }));
        let tag: String = Sha512::digest(&untyped).iter().map(|b| format!("{b:02X}")).collect();
        let kind = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","#;
        let body = Bytes::from(format!("{kind}{}", &untyped[1..]));
        Aggregated { body, tag: format!("\"{tag}\"") }
    }

    fn answer(&self, decoded: &Decoded) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        headers.extend(HeaderValue::from_str(&self.tag).ok().map(|tag| (header::ETAG, tag)));
        if decoded.header(header::IF_NONE_MATCH) == self.tag {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.headers_mut() = headers;
            return Answer::Raw(response);
        }
        Answer::Document(Document { json: self.body.clone(), aggregated: true, headers, proto: new_form })
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
    fn documents_have_a_protobuf_form() {
        let list = resource_list("", "v1", groups::resources("", "v1").into_iter().map(|r| (r, false)));
        let envelope = |bytes: &Bytes| {
            let read = meta::Envelope::decode(bytes).unwrap();
            (read.api_version.to_string(), read.kind.to_string(), read.raw.to_vec())
        };
        let (version, kind, raw) = envelope(&old_form(in_order(&list).as_bytes()));
        assert_eq!((&*version, &*kind), ("", "APIResourceList"));
        let read = meta::v1::APIResourceList::from_proto(&raw).unwrap();
        assert_eq!(meta::to_value(&read)["resources"], list["resources"]);

        let resources = groups::resources("apps", "v1").into_iter().map(|r| (r, false)).collect();
        let group =
            json!({ "metadata": { "name": "apps" }, "versions": [aggregated_version("v1", "", resources)] });
        let made = Aggregated::new(std::slice::from_ref(&group));
        let (version, kind, raw) = envelope(&new_form(&made.body));
        assert_eq!((&*version, &*kind), ("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList"));
        let read = types::apidiscovery::v2::APIGroupDiscoveryList::from_proto(&raw).unwrap();
        assert_eq!(meta::to_value(&read)["items"][0], group);
        assert_eq!(made.tag.len(), 130, "SHA-512 in hexadecimal digits and quotes");
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
