//! A node's credentials tried against every resource, subresource and verb that the API has.
//!
//! The lines below are everything that the Node authorizer allows upstream (v1.36, default features); whatever is not there
//! must be refused. `own` is an object that leads to the node (or the node's own), named in the request; `other` is one
//! that does not; `all` is a request that names no object; `pinned` is the same with the field selector
//! `spec.nodeName=n1`; without a word it is the same in all these cases. What admission (NodeRestriction) has to look at in a body is allowed here.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

use std::collections::BTreeMap;

use authn::User;
use authz::node::{Graph, decide};
use authz::{Attributes, Decision};
use meta::Codec as _;
use types::core::v1::{PersistentVolume, Pod};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

const ALLOWED: &str = "\
certificatesigningrequests.certificates.k8s.io: create,get,list,watch
configmaps own: get,list,watch
csidrivers.storage.k8s.io: get,list,watch
csinodes.storage.k8s.io all: create
csinodes.storage.k8s.io other: create
csinodes.storage.k8s.io own: create,delete,get,patch,update
csinodes.storage.k8s.io pinned: create
endpoints: get
events.events.k8s.io: create,patch,update
events: create,patch,update
leases.coordination.k8s.io all: create
leases.coordination.k8s.io other: create
leases.coordination.k8s.io own: create,delete,get,patch,update
leases.coordination.k8s.io pinned: create
localsubjectaccessreviews.authorization.k8s.io: create
nodes all: create,patch,update
nodes other: create,patch,update
nodes own: create,get,list,patch,update,watch
nodes pinned: create,patch,update
nodes/status: patch,update
persistentvolumeclaims own: get
persistentvolumeclaims/status own: patch,update
persistentvolumes own: get
pods all: create,delete
pods other: create,delete
pods own: create,delete,get,list,watch
pods pinned: create,delete,list,watch
pods/eviction: create
pods/status: patch,update
resourceclaims.resource.k8s.io own: get
resourceslices.resource.k8s.io all: create
resourceslices.resource.k8s.io other: create
resourceslices.resource.k8s.io own: create,delete,get,patch,update
resourceslices.resource.k8s.io pinned: create,deletecollection,list,watch
runtimeclasses.node.k8s.io: get,list,watch
secrets own: get,list,watch
serviceaccounts own: get
serviceaccounts/token own: create
services: get,list,watch
subjectaccessreviews.authorization.k8s.io: create
tokenreviews.authentication.k8s.io: create
volumeattachments.storage.k8s.io own: get
";

fn graph() -> Graph {
    let mut graph = Graph::default();
    let pod = |name: &str, node: &str, suffix: &str| {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"ns"}},"spec":{{"nodeName":"{node}",
            "serviceAccountName":"{suffix}","containers":[{{"name":"c"}}],"resourceClaims":[{{"name":"r","resourceClaimName":"{suffix}"}}],
            "volumes":[{{"name":"a","configMap":{{"name":"{suffix}"}}}},{{"name":"b","secret":{{"secretName":"{suffix}"}}}},
            {{"name":"d","persistentVolumeClaim":{{"claimName":"{suffix}"}}}}]}}}}"#
        );
        Pod::from_json(json.as_bytes()).unwrap()
    };
    let volume = |name: &str, secret: &str| {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"{name}"}},"spec":{{"claimRef":{{"namespace":"ns","name":"{name}"}},
            "csi":{{"driver":"d","volumeHandle":"h","nodeStageSecretRef":{{"namespace":"ns","name":"{secret}"}}}}}}}}"#
        );
        PersistentVolume::from_json(json.as_bytes()).unwrap()
    };
    graph.pod(&pod("own", "n1", "own"));
    graph.pod(&pod("other", "n2", "other"));
    graph.volume(&volume("own", "driver"));
    graph.volume(&volume("other", "foreign-driver"));
    graph.attachment("own", "n1");
    graph.attachment("other", "n2");
    graph.slice("own", Some("n1"));
    graph.slice("other", Some("n2"));
    graph.slice("nobodys", None);
    graph
}

/// The name of the node's own object of a resource.
fn own(resource: &str) -> &'static str {
    if matches!(resource, "nodes" | "leases" | "csinodes") { "n1" } else { "own" }
}

fn allows(graph: &Graph, request: &Attributes) -> bool {
    matches!(decide(graph, "n1", request), Decision::Allow(_))
}

#[test]
fn a_node_does_exactly_what_upstream_allows() {
    let graph = graph();
    let mut found: BTreeMap<String, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for resource in scheme::RESOURCES {
        let subresources = resource.subresources.iter().map(|sub| sub.name);
        for subresource in std::iter::once("").chain(subresources) {
            let group: &str = &resource.group;
            let plural: &str = &resource.plural;
            let mut title = plural.to_owned();
            if !subresource.is_empty() {
                title = format!("{title}/{subresource}");
            }
            if !group.is_empty() {
                title = format!("{title}.{group}");
            }
            let namespace = match (resource.namespaced, plural) {
                (false, _) => "",
                (true, "leases") => "kube-node-lease",
                (true, _) => "ns",
            };
            for verb in VERBS {
                for (case, name, selector) in [
                    ("own", own(plural), ""),
                    ("other", "other", ""),
                    ("all", "", ""),
                    ("pinned", "", "spec.nodeName=n1"),
                ] {
                    let mut request = Attributes::resource(verb, group, plural, namespace, name);
                    request.subresource = subresource.into();
                    request.select(selector, "");
                    let verbs = found.entry(title.clone()).or_default().entry(case).or_default();
                    if allows(&graph, &request) && !verbs.contains(&verb) {
                        verbs.push(verb);
                    }
                }
            }
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for (title, cases) in found {
        let same = cases.values().all(|verbs| *verbs == cases["own"]);
        let told = cases.iter().filter(|(case, verbs)| !verbs.is_empty() && (!same || **case == "own"));
        lines.extend(told.map(|(case, verbs)| {
            let case = if same { String::new() } else { format!(" {case}") };
            format!("{title}{case}: {}\n", verbs.join(","))
        }));
    }
    lines.sort();
    let text = lines.concat();
    assert_eq!(text, ALLOWED);
}

#[test]
fn names_and_namespaces_of_relations_both_count() {
    let graph = graph();
    let reads = |resource: &str, namespace: &str, name: &str| {
        allows(&graph, &Attributes::resource("get", "", resource, namespace, name))
    };
    assert!(reads("secrets", "ns", "driver"));
    assert!(!reads("secrets", "ns", "foreign-driver"));
    assert!(!reads("secrets", "elsewhere", "own"));
    assert!(!reads("secrets", "", "own"));
    let lease = |namespace| Attributes::resource("update", "coordination.k8s.io", "leases", namespace, "n1");
    assert!(allows(&graph, &lease("kube-node-lease")) && !allows(&graph, &lease("kube-system")));
    let slice = Attributes::resource("delete", "resource.k8s.io", "resourceslices", "", "nobodys");
    assert!(!allows(&graph, &slice));
}

#[test]
fn a_name_without_the_group_is_no_node() {
    let authorizer = authz::Authorizer::node_rbac();
    authorizer.graph.write().pod(
        &Pod::from_json(br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns"},"spec":{"nodeName":"n1","containers":[],"volumes":[{"name":"s","secret":{"secretName":"s"}}]}}"#).unwrap(),
    );
    let read = Attributes::resource("get", "", "secrets", "ns", "s");
    assert!(authorizer.allows(&User::new("system:node:n1", &["system:nodes"]), &read));
    for stranger in [
        User::new("system:node:n1", &["system:authenticated"]),
        User::new("system:node:", &["system:nodes"]),
        User::new("n1", &["system:nodes"]),
        User::new("system:node:n2", &["system:nodes"]),
    ] {
        assert!(!authorizer.allows(&stranger, &read), "{}", stranger.name);
    }
}
