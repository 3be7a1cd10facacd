//! The Node authorizer: a kubelet reads what the pods bound to its node refer to, writes its own objects, and beyond
//! that holds the rules of `system:node`.
//!
//! [`Graph`] is an index from an object to the nodes whose pods refer to it, kept by pod, persistent volume and
//! attachment changes. [`decide`] is the pure decision over it.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Instant;

use meta::Str;
use telemetry::HistogramFamily;
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
    /// A pod that is bound to the node.
    Pod,
    /// A resource slice that names the node.
    Slice,
}

/// An object by kind, namespace (empty for cluster scope) and name.
pub type Reference = (Kind, Str, Str);

static ACTIONS: LazyLock<HistogramFamily> = LazyLock::new(|| {
    let limits = telemetry::exponential_buckets(0.0001, 2.0, 12);
    let help = "Seconds that changes of the graph of nodes and what they refer to take.";
    telemetry::histogram("node_authorizer_graph_actions_duration_seconds", help, &["operation"], &limits)
});

/// Measures a change of the graph until it is dropped.
struct Timed(&'static str, Instant);

fn timed(operation: &'static str) -> Timed {
    Timed(operation, Instant::now())
}

impl Drop for Timed {
    fn drop(&mut self) {
        ACTIONS.with(&[self.0]).observe_since(self.1);
    }
}

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
    /// Node of each resource slice that has one.
    slices: HashMap<Str, Str>,
}

impl Graph {
    /// A pod appeared or changed.
    pub fn pod(&mut self, pod: &Pod) {
        let _timed = timed("AddPod");
        let key = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        self.forget_pod(&key.0, &key.1);
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
        let _timed = timed("DeletePod");
        self.forget_pod(namespace, name);
    }

    fn forget_pod(&mut self, namespace: &str, name: &str) {
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
        let _timed = timed("AddPV");
        self.forget_volume(&volume.metadata.name);
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
        let _timed = timed("DeletePV");
        self.forget_volume(name);
    }

    fn forget_volume(&mut self, name: &str) {
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
        let _timed = timed("AddVolumeAttachment");
        self.attachments.insert(name.into(), node.into());
    }

    /// A volume attachment is gone.
    pub fn attachment_gone(&mut self, name: &str) {
        let _timed = timed("DeleteVolumeAttachment");
        self.attachments.remove(name);
    }

    /// A resource slice appeared or changed.
    pub fn slice(&mut self, name: &str, node: Option<&str>) {
        let _timed = timed("AddResourceSlice");
        match node.filter(|node| !node.is_empty()) {
            Some(node) => self.slices.insert(name.into(), node.into()),
            None => self.slices.remove(name),
        };
    }

    /// A resource slice is gone.
    pub fn slice_gone(&mut self, name: &str) {
        let _timed = timed("DeleteResourceSlice");
        self.slices.remove(name);
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
            Kind::Slice => self.slices.get(name).is_some_and(|n| n.as_str() == node),
            Kind::Pod => {
                let key = (Str::from(namespace), Str::from(name));
                self.pods.get(&key).is_some_and(|(bound, _)| bound.as_str() == node)
            }
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
    rules::references::secrets(pod, |name| add(Kind::Secret, name));
    rules::references::config_maps(pod, |name| add(Kind::ConfigMap, name));
    for volume in &spec.volumes {
        volume.persistent_volume_claim.iter().for_each(|c| add(Kind::Claim, &c.claim_name));
        if volume.ephemeral.is_some() {
            add(Kind::Claim, &format!("{}-{}", pod.metadata.name, volume.name).into());
        }
    }
    for status in &pod.status.resource_claim_statuses {
        status.resource_claim_name.iter().for_each(|name| add(Kind::ResourceClaim, name));
    }
    for claim in &spec.resource_claims {
        claim.resource_claim_name.iter().for_each(|name| add(Kind::ResourceClaim, name));
    }
    found
}

/// The decision for a request of `node`'s kubelet. What is not allowed here may be allowed by another authorizer, so no
/// answer is a refusal; the reasons are upstream's.
pub fn decide(graph: &Graph, node: &str, request: &Attributes) -> Decision {
    if request.is_resource {
        let ask = Ask { graph, node, request };
        let status = request.subresource == "status";
        let decided = match (request.group.as_str(), request.resource.as_str()) {
            ("", "secrets") => ask.read(Kind::Secret),
            ("", "configmaps") => ask.read(Kind::ConfigMap),
            ("", "persistentvolumeclaims") if status => ask.write_status(Kind::Claim),
            ("", "persistentvolumeclaims") => ask.get(Kind::Claim),
            ("", "persistentvolumes") => ask.get(Kind::Volume),
            ("resource.k8s.io", "resourceclaims") => ask.get(Kind::ResourceClaim),
            ("storage.k8s.io", "volumeattachments") => ask.get(Kind::Attachment),
            ("", "serviceaccounts") => ask.account(),
            ("coordination.k8s.io", "leases") => ask.lease(),
            ("storage.k8s.io", "csinodes") => ask.csi_node(),
            ("resource.k8s.io", "resourceslices") => ask.slice(),
            ("", "nodes") => ask.node(),
            ("", "pods") => ask.pod(),
            _ => return by_rules(request),
        };
        return match decided {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion(reason),
        };
    }
    by_rules(request)
}

fn by_rules(request: &Attributes) -> Decision {
    if bootstrap::node_rules().iter().any(|rule| rule.allows(request)) {
        return Decision::Allow(String::new());
    }
    Decision::NoOpinion(String::new())
}

/// A node's question about a resource that the rules alone do not decide.
struct Ask<'a> {
    graph: &'a Graph,
    node: &'a str,
    request: &'a Attributes,
}

/// Allowed, or the reason why not.
type Answer = Result<(), String>;

fn no(reason: &str) -> Answer {
    Err(reason.to_owned())
}

impl Ask<'_> {
    fn verb(&self) -> &str {
        &self.request.verb
    }

    fn related(&self, kind: Kind) -> Answer {
        let request = self.request;
        if request.name.is_empty() {
            return no("No Object name found");
        }
        if self.graph.leads(self.node, kind, &request.namespace, &request.name) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{}' and this object", self.node))
    }

    /// One object of a kind, in its namespace, by get, list or watch.
    fn read(&self, kind: Kind) -> Answer {
        match self.verb() {
            "get" | "list" | "watch" if !self.request.subresource.is_empty() => no("cannot read subresource"),
            "get" | "list" | "watch" if self.request.namespace.is_empty() => {
                no("can only read namespaced object of this type")
            }
            "get" | "list" | "watch" => self.related(kind),
            _ => no("can only read resources of this type"),
        }
    }

    fn get(&self, kind: Kind) -> Answer {
        match self.verb() {
            "get" if self.request.subresource.is_empty() => self.related(kind),
            "get" => no("cannot get subresource"),
            _ => no("can only get individual resources of this type"),
        }
    }

    fn write_status(&self, kind: Kind) -> Answer {
        match self.verb() {
            "update" | "patch" => self.related(kind),
            _ => no("can only get/update/patch this type"),
        }
    }

    /// ServiceAccounts are read for the tokens of credential providers, and asked for the tokens of pods.
    fn account(&self) -> Answer {
        let request = self.request;
        if request.verb == "get" && request.subresource.is_empty() {
            return self.read(Kind::Account);
        }
        if request.verb != "create" || request.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if request.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(Kind::Account)
    }

    fn lease(&self) -> Answer {
        let request = self.request;
        if !matches!(self.verb(), "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if request.namespace != "kube-node-lease" {
            return no("can only access leases in the \"kube-node-lease\" system namespace");
        }
        // The name of a new lease is in its body; the admission plugin NodeRestriction looks there.
        if request.verb != "create" && request.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn csi_node(&self) -> Answer {
        let request = self.request;
        if !matches!(self.verb(), "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if !request.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        if request.verb != "create" && request.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        Ok(())
    }

    fn slice(&self) -> Answer {
        if !self.request.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match self.verb() {
            // Which node a new slice belongs to is in its body; the admission plugin NodeRestriction looks there.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(Kind::Slice),
            "watch" | "list" | "deletecollection" if self.request.pinned("spec.nodeName", self.node) => {
                Ok(())
            }
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn node(&self) -> Answer {
        let (request, node) = (self.request, self.node);
        match (self.verb(), request.subresource.as_str()) {
            // That it is the node's own object is for the admission plugin NodeRestriction to see.
            ("create" | "update" | "patch", "") | ("update" | "patch", "status") => Ok(()),
            ("get" | "list" | "watch", "") => match request.name.as_str() {
                name if name == node => Ok(()),
                "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
                name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
            },
            _ => no(""),
        }
    }

    fn pod(&self) -> Answer {
        let request = self.request;
        match (self.verb(), request.subresource.as_str()) {
            ("get", "") => self.related(Kind::Pod),
            ("list" | "watch", "") if request.pinned("spec.nodeName", self.node) => Ok(()),
            ("list" | "watch", "") if !request.name.is_empty() => self.related(Kind::Pod),
            ("list" | "watch", "") => no("can only list/watch pods with spec.nodeName field selector"),
            // Only mirror pods, and only pods of its own: NodeRestriction sees to that.
            ("create" | "delete", "") | ("update" | "patch", "status") | ("create", "eviction") => Ok(()),
            _ => no(""),
        }
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
        list.select("spec.nodeName=n1", "");
        assert_eq!(decide(&graph, "n1", &list), Decision::Allow(String::new()));
    }
}
