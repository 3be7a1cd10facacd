//! Discovery: which groups, versions and resources there are, in the old form (a document per version) and the
//! aggregated one (everything at once, KEP-3352).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Response, header};
use registry::errors;
use scheme::Resource;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::groups::{self, Group};
use super::plain::{page_not_found, unavailable_representation};
use crate::answer::Answer;
use crate::http::body::Body;
use crate::http::media::{Offer, accept};
use crate::pipeline::Decoded;
use crate::server::Server;

/// Content type of the aggregated form.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Serves `/api`, `/apis` and what is below them down to the version.
pub(super) fn serve(server: &Server, decoded: &Decoded, path: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let document = match parts[..] {
        ["api"] | ["apis"] if decoded.method == Method::GET && wants_aggregated(decoded) => {
            return aggregated(parts[0] == "api");
        }
        ["api"] => versions(server),
        ["api", "v1"] => resource_list("", "v1"),
        ["apis"] => group_list(),
        ["apis", group] => match groups::find(group) {
            Some(group) => {
                let mut document = group_value(group);
                document["kind"] = json!("APIGroup");
                document["apiVersion"] = json!("v1");
                document
            }
            None => return page_not_found(),
        },
        ["apis", group, version] => match groups::find(group) {
            Some(found) if found.versions.contains(&version) => resource_list(group, version),
            Some(_) => return Answer::Refused(errors::no_such_resource()),
            None => return page_not_found(),
        },
        _ => return Answer::Refused(errors::no_such_resource()),
    };
    if decoded.method != Method::GET {
        return Answer::Refused(errors::method_not_allowed());
    }
    let routed = !matches!(parts[..], ["api"] | ["apis"] | ["apis", _]);
    if routed && accept(decoded.header(header::ACCEPT), Offer::PLAIN, false).is_none() {
        let available = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        return Answer::Refused(unavailable_representation(available));
    }
    Answer::Document(document.to_string().into())
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
            if has("g=apidiscovery.k8s.io") && (has("v=v2") || has("v=v2beta1")) {
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
        "name": group.name,
        "versions": group.versions.iter().map(|v| version(v)).collect::<Vec<_>>(),
        "preferredVersion": version(group.versions[0]),
    })
}

fn group_list() -> Value {
    json!({
        "kind": "APIGroupList", "apiVersion": "v1",
        "groups": groups::all().iter().map(group_value).collect::<Vec<_>>(),
    })
}

/// Upstream's fingerprint of the version in which a resource is stored.
fn storage_hash(resource: &Resource) -> String {
    let identity = format!("{}/{}/{}", resource.storage_group, resource.storage_version, resource.kind);
    STANDARD.encode(&Sha256::digest(identity)[..8])
}

fn resource_list(group: &str, version: &str) -> Value {
    let mut entries = Vec::new();
    for resource in groups::resources(group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs,
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

fn aggregated(core: bool) -> Answer {
    let items: Vec<Value> = if core {
        vec![json!({ "metadata": {}, "versions": [aggregated_version("", "v1")] })]
    } else {
        groups::all()
            .iter()
            .map(|group| {
                let versions: Vec<Value> =
                    group.versions.iter().map(|v| aggregated_version(group.name, v)).collect();
                json!({ "metadata": { "name": group.name }, "versions": versions })
            })
            .collect()
    };
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let body = Bytes::from(document.to_string());
    let tag: String = Sha256::digest(&body).iter().map(|b| format!("{b:02X}")).collect();
    let mut response = Response::new(Body::full(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(AGGREGATED));
    headers.insert(header::VARY, header::HeaderValue::from_static("Accept"));
    if let Ok(tag) = header::HeaderValue::from_str(&format!("\"{tag}\"")) {
        headers.insert(header::ETAG, tag);
    }
    Answer::Raw(response)
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let resources: Vec<Value> =
        groups::resources(group, version).into_iter().map(aggregated_resource).collect();
    json!({ "version": version, "resources": resources, "freshness": "Current" })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind("", "", &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs,
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
                let (group, version) = if sub.explicit { (&*sub.group, &*sub.version) } else { ("", "") };
                json!({
                    "subresource": sub.name, "responseKind": kind(group, version, &sub.kind), "verbs": sub.verbs,
                })
            })
            .collect();
        entry["subresources"] = json!(subs);
    }
    entry
}
