//! The Node authorizer: a kubelet reads what the pods bound to its node refer to, writes its own objects, and beyond
//! that holds the rules of `system:node`.
//!
//! [`Graph`] is an index from an object to the nodes whose pods refer to it, kept by pod, persistent volume and
//! attachment changes. [`decide`] is the pure decision over it.

use std::collections::{HashMap, HashSet};

use meta::Str;
use types::core::v1::{PersistentVolume, Pod};

use crate::attributes::Attributes;
use crate::bootstrap;
use crate::decide::Decision;

/// Kinds of objects that a pod can lead a node to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A secret.
    Secret,
    /// A config map.
    ConfigMap,
    /// A persistent volume claim.
    Claim,
    /// A persistent volume, reached through a claim.
    Volume,
    /// A ServiceAccount, for its tokens.
    Account,
    /// A resource claim.
    ResourceClaim,
    /// A volume attachment of the node.
    Attachment,
}

/// An object by kind, namespace (empty for cluster scope) and name.
pub type Reference = (Kind, Str, Str);

/// Who refers to what.
#[derive(Debug, Default)]
pub struct Graph {
    pods: HashMap<(Str, Str), (Str, Vec<Reference>)>,
    nodes: HashMap<Reference, HashMap<Str, u32>>,
    /// Claim of each volume.
    volumes: HashMap<Str, (Str, Str)>,
    /// Secrets that a volume's driver needs.
    volume_secrets: HashMap<(Str, Str), HashSet<Str>>,
    attachments: HashMap<Str, Str>,
}

impl Graph {
    /// A pod appeared or changed.
    pub fn pod(&mut self, pod: &Pod) {
        let key = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        self.pod_gone(&key.0, &key.1);
        let node = pod.spec.node_name.clone();
        if node.is_empty() {
            return;
        }
        let references = references(pod);
        for reference in &references {
            *self.nodes.entry(reference.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        self.pods.insert(key, (node, references));
    }

    /// A pod is gone.
    pub fn pod_gone(&mut self, namespace: &str, name: &str) {
        let Some((node, references)) = self.pods.remove(&(namespace.into(), name.into())) else { return };
        for reference in references {
            let Some(nodes) = self.nodes.get_mut(&reference) else { continue };
            if let Some(count) = nodes.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(&reference);
            }
        }
    }

    /// A persistent volume appeared or changed.
    pub fn volume(&mut self, volume: &PersistentVolume) {
        self.volume_gone(&volume.metadata.name);
        let Some(claim) = &volume.spec.claim_ref else { return };
        self.volumes.insert(volume.metadata.name.clone(), (claim.namespace.clone(), claim.name.clone()));
        let csi = volume.spec.csi.as_deref();
        let secrets = csi.into_iter().flat_map(|csi| {
            [&csi.node_stage_secret_ref, &csi.node_publish_secret_ref, &csi.node_expand_secret_ref]
        });
        for secret in secrets.flatten() {
            let key = (secret.namespace.clone(), secret.name.clone());
            self.volume_secrets.entry(key).or_default().insert(volume.metadata.name.clone());
        }
    }

    /// A persistent volume is gone.
    pub fn volume_gone(&mut self, name: &str) {
        if self.volumes.remove(name).is_none() {
            return;
        }
        self.volume_secrets.retain(|_, volumes| {
            volumes.remove(name);
            !volumes.is_empty()
        });
    }

    /// A volume attachment appeared or changed.
    pub fn attachment(&mut self, name: &str, node: &str) {
        self.attachments.insert(name.into(), node.into());
    }

    /// A volume attachment is gone.
    pub fn attachment_gone(&mut self, name: &str) {
        self.attachments.remove(name);
    }

    /// Whether anything on `node` leads to the object.
    pub fn leads(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let direct = |kind, namespace: &str, name: &str| {
            self.nodes
                .get(&(kind, Str::from(namespace), Str::from(name)))
                .is_some_and(|nodes| nodes.contains_key(node))
        };
        let volume = |name: &str| {
            self.volumes.get(name).is_some_and(|(namespace, name)| direct(Kind::Claim, namespace, name))
        };
        match kind {
            Kind::Volume => volume(name),
            Kind::Attachment => self.attachments.get(name).is_some_and(|n| n.as_str() == node),
            Kind::Secret => {
                direct(kind, namespace, name)
                    || self
                        .volume_secrets
                        .get(&(namespace.into(), name.into()))
                        .is_some_and(|volumes| volumes.iter().any(|v| volume(v)))
            }
            _ => direct(kind, namespace, name),
        }
    }
}

/// Everything that a pod's spec refers to.
fn references(pod: &Pod) -> Vec<Reference> {
    let namespace = &pod.metadata.namespace;
    let mut found = Vec::new();
    let mut add = |kind, name: &Str| {
        if !name.is_empty() {
            found.push((kind, namespace.clone(), name.clone()));
        }
    };
    let spec = &pod.spec;
    // A mirror pod comes from a file on the node; what it claims to need gives that node no rights.
    if pod.metadata.annotations.contains_key("kubernetes.io/config.mirror") {
        return Vec::new();
    }
    add(Kind::Account, &spec.service_account_name);
    spec.image_pull_secrets.iter().for_each(|s| add(Kind::Secret, &s.name));
    let containers = spec.init_containers.iter().chain(spec.containers.iter());
    let containers = containers.map(|c| (&c.env, &c.env_from));
    let ephemeral = spec.ephemeral_containers.iter().map(|c| (&c.env, &c.env_from));
    for (env, env_from) in containers.chain(ephemeral) {
        for source in env.iter().filter_map(|e| e.value_from.as_deref()) {
            source.secret_key_ref.iter().for_each(|s| add(Kind::Secret, &s.name));
            source.config_map_key_ref.iter().for_each(|s| add(Kind::ConfigMap, &s.name));
        }
        for source in env_from {
            source.secret_ref.iter().for_each(|s| add(Kind::Secret, &s.name));
            source.config_map_ref.iter().for_each(|s| add(Kind::ConfigMap, &s.name));
        }
    }
    for volume in &spec.volumes {
        volume.secret.iter().for_each(|s| add(Kind::Secret, &s.secret_name));
        volume.config_map.iter().for_each(|s| add(Kind::ConfigMap, &s.name));
        volume.persistent_volume_claim.iter().for_each(|c| add(Kind::Claim, &c.claim_name));
        if volume.ephemeral.is_some() {
            add(Kind::Claim, &format!("{}-{}", pod.metadata.name, volume.name).into());
        }
        for source in volume.projected.iter().flat_map(|p| &p.sources) {
            source.secret.iter().for_each(|s| add(Kind::Secret, &s.name));
            source.config_map.iter().for_each(|s| add(Kind::ConfigMap, &s.name));
        }
        let csi = volume.csi.as_ref().and_then(|c| c.node_publish_secret_ref.as_ref());
        csi.into_iter().for_each(|s| add(Kind::Secret, &s.name));
    }
    for status in &pod.status.resource_claim_statuses {
        status.resource_claim_name.iter().for_each(|name| add(Kind::ResourceClaim, name));
    }
    for claim in &spec.resource_claims {
        claim.resource_claim_name.iter().for_each(|name| add(Kind::ResourceClaim, name));
    }
    found
}

/// The decision for a request of `node`'s kubelet.
pub fn decide(graph: &Graph, node: &str, request: &Attributes) -> Decision {
    let no = |reason: &str| Decision::NoOpinion(reason.to_owned());
    if request.is_resource {
        let verb = request.verb.as_str();
        let reads = matches!(verb, "get" | "list" | "watch");
        let refusal = match (request.group.as_str(), request.resource.as_str()) {
            ("", "secrets") => return by_graph(graph, node, Kind::Secret, reads, request),
            ("", "configmaps") => return by_graph(graph, node, Kind::ConfigMap, reads, request),
            ("", "persistentvolumeclaims") if request.subresource == "status" => {
                let writes = matches!(verb, "get" | "update" | "patch");
                return by_graph(graph, node, Kind::Claim, writes, request);
            }
            ("", "persistentvolumeclaims") => {
                return by_graph(graph, node, Kind::Claim, verb == "get", request);
            }
            ("", "persistentvolumes") => return by_graph(graph, node, Kind::Volume, verb == "get", request),
            ("resource.k8s.io", "resourceclaims") => {
                return by_graph(graph, node, Kind::ResourceClaim, verb == "get", request);
            }
            ("storage.k8s.io", "volumeattachments") => {
                return by_graph(graph, node, Kind::Attachment, verb == "get", request);
            }
            ("", "serviceaccounts") if request.subresource == "token" => {
                if verb != "create" {
                    return no("only create is allowed for ServiceAccount tokens");
                }
                return by_graph(graph, node, Kind::Account, true, request);
            }
            ("", "serviceaccounts") => return by_graph(graph, node, Kind::Account, verb == "get", request),
            ("coordination.k8s.io", "leases") => lease(node, request),
            ("storage.k8s.io", "csinodes") => {
                own(node, request, "CSINode", &["get", "create", "update", "patch", "delete"])
            }
            ("resource.k8s.io", "resourceslices") => return slices(node, request),
            ("", "nodes") => nodes(node, request),
            ("", "pods") => pods(node, request),
            _ => None,
        };
        if let Some(reason) = refusal {
            return Decision::NoOpinion(reason);
        }
    }
    if bootstrap::node_rules().iter().any(|rule| rule.allows(request)) {
        return Decision::Allow(String::new());
    }
    no("")
}

fn by_graph(graph: &Graph, node: &str, kind: Kind, verb_fits: bool, request: &Attributes) -> Decision {
    let namespaced = !matches!(kind, Kind::Volume | Kind::Attachment);
    let lists = matches!(kind, Kind::Secret | Kind::ConfigMap);
    let subresource_fits = matches!(
        (kind, request.subresource.as_str()),
        (_, "") | (Kind::Claim, "status") | (Kind::Account, "token")
    );
    let refusal = if !verb_fits && lists {
        "can only read resources of this type".to_owned()
    } else if !verb_fits && request.subresource == "status" {
        "can only get/update/patch this type".to_owned()
    } else if !verb_fits {
        "can only get individual resources of this type".to_owned()
    } else if !subresource_fits {
        "cannot read subresource".to_owned()
    } else if namespaced && request.namespace.is_empty() {
        "can only read namespaced object of this type".to_owned()
    } else if request.name.is_empty() {
        "No Object name found".to_owned()
    } else if !graph.leads(node, kind, &request.namespace, &request.name) {
        format!("no relationship found between node '{node}' and this object")
    } else {
        return Decision::Allow(String::new());
    };
    Decision::NoOpinion(refusal)
}

fn lease(node: &str, request: &Attributes) -> Option<String> {
    if !matches!(request.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Some("can only get, create, update, patch, or delete a node lease".into());
    }
    if request.namespace != "kube-node-lease" {
        return Some("can only access leases in the \"kube-node-lease\" system namespace".into());
    }
    // The name of a new lease is in its body; the admission plugin NodeRestriction looks there.
    if request.verb != "create" && request.name.as_str() != node {
        return Some("can only access node lease with the same name as the requesting node".into());
    }
    None
}

fn own(node: &str, request: &Attributes, what: &str, verbs: &[&str]) -> Option<String> {
    if !verbs.contains(&request.verb.as_str()) {
        return Some(format!("can only get, create, update, patch, or delete a {what}"));
    }
    if !request.subresource.is_empty() {
        return Some(format!("cannot authorize {what} subresources"));
    }
    if request.verb != "create" && request.name.as_str() != node {
        return Some(format!("can only access {what} with the same name as the requesting node"));
    }
    None
}

fn slices(node: &str, request: &Attributes) -> Decision {
    if !request.subresource.is_empty() {
        return Decision::NoOpinion("cannot authorize ResourceSlice subresources".into());
    }
    match request.verb.as_str() {
        // Which node a single slice belongs to is in the object; the admission plugin NodeRestriction looks there.
        "get" | "create" | "update" | "patch" | "delete" => Decision::Allow(String::new()),
        "watch" | "list" | "deletecollection" if request.pinned("spec.nodeName", node) => {
            Decision::Allow(String::new())
        }
        "watch" | "list" | "deletecollection" => Decision::NoOpinion(
            "can only list/watch/deletecollection resourceslices with nodeName field selector".into(),
        ),
        _ => Decision::NoOpinion("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection".into()),
    }
}

fn nodes(node: &str, request: &Attributes) -> Option<String> {
    match (request.verb.as_str(), request.subresource.as_str()) {
        ("create", "") | ("update" | "patch", "" | "status") => None,
        ("get" | "list" | "watch", "")
            if request.name.as_str() == node || request.pinned("metadata.name", node) =>
        {
            None
        }
        ("get" | "list" | "watch", "") => {
            Some(format!("node '{node}' cannot read '{}', only its own Node object", request.name))
        }
        _ => None,
    }
}

fn pods(node: &str, request: &Attributes) -> Option<String> {
    match (request.verb.as_str(), request.subresource.as_str()) {
        ("list" | "watch", "") if !request.pinned("spec.nodeName", node) => {
            Some("can only list/watch pods with spec.nodeName field selector".into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;

    fn pod(node: &str) -> Pod {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p","namespace":"ns"}},"spec":{{"nodeName":"{node}",
            "serviceAccountName":"sa","containers":[{{"name":"c","envFrom":[{{"secretRef":{{"name":"env"}}}}]}}],
            "volumes":[{{"name":"v","configMap":{{"name":"cfg"}}}}]}}}}"#
        );
        Pod::from_json(json.as_bytes()).unwrap()
    }

    fn ask(graph: &Graph, verb: &str, resource: &str, name: &str) -> Decision {
        decide(graph, "n1", &Attributes::resource(verb, "", resource, "ns", name))
    }

    #[test]
    fn a_node_reads_what_its_pods_refer_to() {
        let mut graph = Graph::default();
        graph.pod(&pod("n1"));
        let allowed = Decision::Allow(String::new());
        assert_eq!(ask(&graph, "get", "secrets", "env"), allowed);
        assert_eq!(ask(&graph, "watch", "configmaps", "cfg"), allowed);
        let unrelated = Decision::NoOpinion("no relationship found between node 'n1' and this object".into());
        assert_eq!(ask(&graph, "get", "secrets", "other"), unrelated);
        assert_eq!(ask(&graph, "list", "configmaps", ""), Decision::NoOpinion("No Object name found".into()));
        graph.pod(&pod("n2"));
        assert_eq!(ask(&graph, "get", "secrets", "env"), unrelated);
    }

    #[test]
    fn listing_pods_needs_the_field_selector() {
        let graph = Graph::default();
        let mut list = Attributes::resource("list", "", "pods", "", "");
        assert!(matches!(decide(&graph, "n1", &list), Decision::NoOpinion(_)));
        list.fields.push(crate::FieldRequirement { key: "spec.nodeName".into(), value: "n1".into() });
        assert_eq!(decide(&graph, "n1", &list), Decision::Allow(String::new()));
    }
}
