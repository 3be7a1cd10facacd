//! A pod with what plugins need of it computed once: sums of its requests, host ports, and its affinity terms parsed.

use std::sync::{Arc, OnceLock};

use meta::Selector;
use meta::{Codec, Map, Str};
use types::core::v1::{Pod, PodAffinityTerm};

use crate::resources::{Resources, pod_requests, pod_requests_nonzero, pod_requests_scored};

/// A port of the node that a pod occupies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Address it is bound to; `0.0.0.0` means every address.
    pub ip: Str,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Str,
    /// Port number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be bound on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

/// The host ports of a pod, init containers that keep running included.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod.spec.init_containers.iter().filter(|one| rules::amounts::is_sidecar(one));
    let ports = pod.spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter());
    ports
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: if port.host_ip.is_empty() { "0.0.0.0".into() } else { port.host_ip.clone() },
            protocol: if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() },
            port: port.host_port,
        })
        .collect()
}

/// One pod affinity or anti-affinity term, ready to be matched.
#[derive(Clone, Debug)]
pub struct Term {
    namespaces: Vec<Str>,
    namespace_selector: Selector,
    selector: Selector,
    /// Label of the node whose value says what "together" means.
    pub topology_key: Str,
    /// Weight of a preferred term, 0 for a required one.
    pub weight: i64,
}

impl Term {
    fn new(owner: &Pod, term: &PodAffinityTerm, weight: i64) -> Self {
        let mut namespaces: Vec<Str> = term.namespaces.iter().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(owner.metadata.namespace.clone());
        }
        let parse = |selector: Option<&meta::v1::LabelSelector>| {
            // Validation keeps malformed selectors out; one that comes through selects nothing.
            Selector::from_label_selector(selector).unwrap_or_else(|_| Selector::nothing())
        };
        Term {
            namespaces,
            namespace_selector: parse(term.namespace_selector.as_deref()),
            selector: parse(term.label_selector.as_deref()),
            topology_key: term.topology_key.clone(),
            weight,
        }
    }

    /// What the term asks of the labels of pods in `namespace`; `None` when it asks nothing, or looks elsewhere.
    pub fn asked_at_home(&self, namespace: &Str) -> Option<Str> {
        let home = self.namespaces.contains(namespace) && !self.selector.requirements().is_empty();
        home.then(|| self.selector.to_string().into())
    }

    /// Whether the term selects `pod`, whose namespace has these labels.
    pub fn matches(&self, pod: &Pod, namespace_labels: &Map<Str>) -> bool {
        let here = self.namespaces.contains(&pod.metadata.namespace);
        (here || self.namespace_selector.matches(namespace_labels))
            && self.selector.matches(&pod.metadata.labels)
    }
}

/// A pod and what is derived from it.
#[derive(Debug)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its requests.
    pub requests: Resources,
    /// Its requests with amounts for containers that ask for nothing.
    pub nonzero: Resources,
    /// What it counts as when use is scored.
    pub scored: Resources,
    /// Host ports it needs.
    pub ports: Vec<HostPort>,
    /// How many claims its volumes use.
    pub claims: usize,
    /// Its priority.
    pub priority: i32,
    /// Required pod affinity.
    pub affinity: Vec<Term>,
    /// Required pod anti-affinity.
    pub anti_affinity: Vec<Term>,
    /// Preferred pod affinity (weight positive) and anti-affinity (weight negative).
    pub preferred: Vec<Term>,
    /// See [`PodInfo::class`]: made when it is first asked for, since pods that have a node are never asked.
    class: OnceLock<Option<Arc<[u8]>>>,
}

impl PodInfo {
    /// Derives everything.
    pub fn new(pod: Arc<Pod>) -> Self {
        let requests = pod_requests(&pod);
        let nonzero = pod_requests_nonzero(&pod, &requests);
        let mut info = PodInfo {
            ports: host_ports(&pod),
            claims: 0,
            priority: pod.spec.priority.unwrap_or(0),
            scored: pod_requests_scored(&pod),
            requests,
            nonzero,
            affinity: Vec::new(),
            anti_affinity: Vec::new(),
            preferred: Vec::new(),
            class: OnceLock::new(),
            pod: pod.clone(),
        };
        info.claims = info.claim_names().count();
        let Some(affinity) = &pod.spec.affinity else { return info };
        if let Some(own) = &affinity.pod_affinity {
            let required = own.required_during_scheduling_ignored_during_execution.iter();
            info.affinity = required.map(|term| Term::new(&pod, term, 0)).collect();
            let preferred = own.preferred_during_scheduling_ignored_during_execution.iter();
            info.preferred
                .extend(preferred.map(|term| Term::new(&pod, &term.pod_affinity_term, term.weight.into())));
        }
        if let Some(own) = &affinity.pod_anti_affinity {
            let required = own.required_during_scheduling_ignored_during_execution.iter();
            info.anti_affinity = required.map(|term| Term::new(&pod, term, 0)).collect();
            let preferred = own.preferred_during_scheduling_ignored_during_execution.iter();
            info.preferred.extend(
                preferred.map(|term| Term::new(&pod, &term.pod_affinity_term, -i64::from(term.weight))),
            );
        }
        info
    }

    /// Pods with equal keys get equal answers from every plugin, but for those whose answers are a pod's own
    /// ([`crate::plugin::Plugin::is_own`]); `None` when this pod is like no other.
    pub fn class(&self) -> Option<&Arc<[u8]>> {
        self.class.get_or_init(|| class_key(&self.pod)).as_ref()
    }

    /// Whether some plugin's answers may be for this pod alone: it has volumes, devices or extended resources.
    pub fn has_own_answers(&self) -> bool {
        !self.pod.spec.resource_claims.is_empty() || !self.requests.scalars.is_empty() || self.has_volumes()
    }

    /// Whether it has volumes that plugins look at.
    pub fn has_volumes(&self) -> bool {
        self.pod.spec.volumes.iter().any(matters)
    }

    /// What it is told apart by while it waits: as [`PodInfo::class`], but a pod with volumes or devices waits alone.
    pub fn waiting_class(&self) -> Option<&Arc<[u8]>> {
        let alone = !self.pod.spec.resource_claims.is_empty() || self.has_volumes();
        if alone { None } else { self.class() }
    }

    /// Its uid.
    pub fn uid(&self) -> &Str {
        &self.pod.metadata.uid
    }

    /// Whether it is on its way out.
    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether it has any pod affinity or anti-affinity term.
    pub fn has_affinity(&self) -> bool {
        !(self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty())
    }

    /// Names of the claims its volumes use, those of generic ephemeral volumes included.
    pub fn claim_names(&self) -> impl Iterator<Item = (Str, bool)> + '_ {
        self.pod.spec.volumes.iter().filter_map(|volume| {
            if let Some(source) = &volume.persistent_volume_claim {
                return Some((source.claim_name.clone(), false));
            }
            let name = || format!("{}-{}", self.pod.metadata.name, volume.name);
            volume.ephemeral.is_some().then(|| (name().into(), true))
        })
    }
}

/// Whether a volume is looked at by a plugin.
fn matters(volume: &types::core::v1::Volume) -> bool {
    volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.iscsi.is_some()
        || volume.rbd.is_some()
        || volume.azure_disk.is_some()
        || volume.cinder.is_some()
        || volume.csi.is_some()
}

/// Everything that a plugin may look at, as bytes. What it leaves out (names, environment, mounts) has no influence.
fn class_key(pod: &Pod) -> Option<Arc<[u8]>> {
    let spec = &pod.spec;
    let resized = |statuses: &[types::core::v1::ContainerStatus]| {
        statuses.iter().any(|status| status.resources.is_some())
    };
    if resized(&pod.status.container_statuses) || resized(&pod.status.init_container_statuses) {
        return None;
    }
    let mut like = types::core::v1::PodSpec {
        node_selector: spec.node_selector.clone(),
        node_name: spec.node_name.clone(),
        affinity: spec.affinity.clone(),
        tolerations: spec.tolerations.clone(),
        topology_spread_constraints: spec.topology_spread_constraints.clone(),
        scheduler_name: spec.scheduler_name.clone(),
        overhead: spec.overhead.clone(),
        resources: spec.resources.clone(),
        priority: spec.priority,
        host_network: spec.host_network,
        host_users: spec.host_users,
        ..Default::default()
    };
    let lean = |container: &types::core::v1::Container| types::core::v1::Container {
        name: container.name.clone(),
        image: container.image.clone(),
        resources: container.resources.clone(),
        ports: container.ports.clone(),
        restart_policy: container.restart_policy.clone(),
        restart_policy_rules: container.restart_policy_rules.clone(),
        ..Default::default()
    };
    // Of volumes images count as such; of the others, and of devices, only that there are some.
    like.volumes = spec.volumes.iter().filter(|volume| volume.image.is_some()).cloned().collect();
    like.hostname = match (spec.volumes.iter().any(matters), spec.resource_claims.is_empty()) {
        (false, true) => Default::default(),
        (volumes, devices) => format!("volumes={volumes},devices={}", !devices).into(),
    };
    like.containers = spec.containers.iter().map(lean).collect();
    like.init_containers = spec.init_containers.iter().map(lean).collect();
    let metadata = meta::ObjectMeta {
        namespace: pod.metadata.namespace.clone(),
        labels: pod.metadata.labels.clone(),
        owner_references: pod.metadata.owner_references.clone(),
        ..Default::default()
    };
    Some(Pod { metadata, spec: Box::new(like), ..Pod::default() }.to_json().into())
}
