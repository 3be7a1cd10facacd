//! `status` of the Node object. Pure.

use std::net::IpAddr;
use std::time::SystemTime;

use meta::{List, Map, Quantity, Time};
use types::core::v1::{
    ContainerImage, Node, NodeAddress, NodeCondition, NodeFeatures, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeStatus,
};

use super::info::Machine;
use super::pressure::Pressure;
use crate::backend::ImageInfo;
use crate::pod::container_status::api_time;

/// Most images that the status names.
const MAX_IMAGES: usize = 50;

/// Everything that the status says.
pub struct Facts<'a> {
    /// Name of the node, which is its host name.
    pub name: &'a str,
    /// Its addresses.
    pub ips: &'a [IpAddr],
    /// Port of the kubelet's API.
    pub port: u16,
    /// The machine.
    pub machine: &'a Machine,
    /// Most pods.
    pub max_pods: i64,
    /// `v1.36.…`.
    pub version: &'a str,
    /// `ferrokube://…`.
    pub runtime_version: &'a str,
    /// Images on the node.
    pub images: &'a [ImageInfo],
    /// What is short.
    pub pressure: Pressure,
    /// Why the node is not ready.
    pub not_ready: Option<String>,
    /// Now.
    pub now: SystemTime,
}

/// The labels that the kubelet gives its node.
pub fn labels(name: &str, arch: &str) -> [(&'static str, String); 5] {
    [
        ("kubernetes.io/hostname", name.to_owned()),
        ("kubernetes.io/os", "linux".to_owned()),
        ("kubernetes.io/arch", arch.to_owned()),
        ("beta.kubernetes.io/os", "linux".to_owned()),
        ("beta.kubernetes.io/arch", arch.to_owned()),
    ]
}

/// The status, where `old` is what the API has: conditions of others stay.
pub fn node_status(facts: &Facts<'_>, old: &Node) -> NodeStatus {
    let mut status = old.status.clone();
    let now = api_time(facts.now);
    status.capacity = with_extended(facts.machine.capacity(facts.max_pods), &old.status.capacity);
    status.allocatable = with_extended(facts.machine.allocatable(facts.max_pods), &old.status.allocatable);
    for (name, quantity) in status.capacity.iter().filter(|(name, _)| is_extended(name)) {
        // Nobody reserves anything of what others announce.
        if !status.allocatable.contains_key(name.as_str()) {
            status.allocatable.insert(name.clone(), *quantity);
        }
    }
    let address = |type_: &str, address: String| NodeAddress { type_: type_.into(), address: address.into() };
    let mut addresses: List<NodeAddress> =
        facts.ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
    addresses.push(address("Hostname", facts.name.to_owned()));
    status.addresses = addresses;
    status.daemon_endpoints.kubelet_endpoint.port = i32::from(facts.port);
    let mut info = facts.machine.info.clone();
    info.kubelet_version = facts.version.into();
    info.container_runtime_version = facts.runtime_version.into();
    *status.node_info = info;
    status.images = images(facts.images);
    let features =
        NodeRuntimeHandlerFeatures { recursive_read_only_mounts: Some(true), user_namespaces: Some(false) };
    let handler = NodeRuntimeHandler { name: Default::default(), features: Some(Box::new(features)) };
    status.runtime_handlers = [handler].into_iter().collect();
    status.features = Some(Box::new(NodeFeatures { supplemental_groups_policy: Some(true) }));
    for condition in conditions(facts) {
        set(&mut status.conditions, condition, now);
    }
    status
}

/// Whether a resource is none of the kubelet's own: whoever announces it in the node's status keeps it there.
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.starts_with("hugepages-")
}

/// The kubelet's own resources with what others announce.
pub fn with_extended(mut own: Map<Quantity>, old: &Map<Quantity>) -> Map<Quantity> {
    for (name, quantity) in old.iter().filter(|(name, _)| is_extended(name)) {
        own.insert(name.clone(), *quantity);
    }
    own
}

/// Largest first; names by digest, then by tag.
fn images(images: &[ImageInfo]) -> List<ContainerImage> {
    let mut sorted: Vec<&ImageInfo> = images.iter().collect();
    sorted.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then(a.id.cmp(&b.id)));
    let image = |image: &&ImageInfo| ContainerImage {
        names: image.repo_digests.iter().chain(&image.repo_tags).take(5).map(|n| n.as_str().into()).collect(),
        size_bytes: image.size_bytes as i64,
    };
    sorted.iter().take(MAX_IMAGES).map(image).collect()
}

fn conditions(facts: &Facts<'_>) -> Vec<NodeCondition> {
    let condition = |type_: &str, bad: bool, reason: [&str; 2], message: [&str; 2]| NodeCondition {
        type_: type_.into(),
        status: if bad { "True" } else { "False" }.into(),
        reason: reason[usize::from(bad)].into(),
        message: message[usize::from(bad)].into(),
        ..Default::default()
    };
    let ready = NodeCondition {
        type_: "Ready".into(),
        status: if facts.not_ready.is_none() { "True" } else { "False" }.into(),
        reason: if facts.not_ready.is_none() { "KubeletReady" } else { "KubeletNotReady" }.into(),
        message: facts.not_ready.as_deref().unwrap_or("kubelet is posting ready status").into(),
        ..Default::default()
    };
    vec![
        condition(
            "MemoryPressure",
            facts.pressure.memory,
            ["KubeletHasSufficientMemory", "KubeletHasInsufficientMemory"],
            ["kubelet has sufficient memory available", "kubelet has insufficient memory available"],
        ),
        condition(
            "DiskPressure",
            facts.pressure.disk,
            ["KubeletHasNoDiskPressure", "KubeletHasDiskPressure"],
            ["kubelet has no disk pressure", "kubelet has disk pressure"],
        ),
        condition(
            "PIDPressure",
            false,
            ["KubeletHasSufficientPID", "KubeletHasInsufficientPID"],
            ["kubelet has sufficient PID available", "kubelet has insufficient PID available"],
        ),
        ready,
    ]
}

fn set(conditions: &mut List<NodeCondition>, mut condition: NodeCondition, now: Time) {
    condition.last_heartbeat_time = Some(now);
    condition.last_transition_time = Some(now);
    match conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time;
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// Whether two statuses say the same, heartbeats aside.
pub fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(a) == still(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn resources_of_others_stay() {
        let list = |names: &[&str]| names.iter().map(|n| (*n, "3".parse::<Quantity>().unwrap())).collect();
        let got = with_extended(list(&["cpu"]), &list(&["cpu", "example.com/foo", "ephemeral-storage"]));
        assert_eq!(got.keys().map(|k| k.as_str()).collect::<Vec<_>>(), ["cpu", "example.com/foo"]);
    }

    #[test]
    fn conditions_keep_their_transition_times() {
        let machine = Machine::read(std::path::Path::new("/"));
        let mut facts = Facts {
            name: "n1",
            ips: &["10.0.0.1".parse().unwrap()],
            port: 10250,
            machine: &machine,
            max_pods: 110,
            version: "v1.36.0",
            runtime_version: "ferrokube://0",
            images: &[],
            pressure: Pressure::default(),
            not_ready: None,
            now: UNIX_EPOCH + Duration::from_secs(100),
        };
        let mut node = Node::default();
        let foreign = NodeCondition { type_: "NetworkUnavailable".into(), ..Default::default() };
        node.status.conditions.push(foreign);
        node.status = node_status(&facts, &node);
        assert_eq!(node.status.conditions.len(), 5);
        facts.now += Duration::from_secs(10);
        let later = node_status(&facts, &node);
        assert!(same(&node.status, &later) && node.status != later);
        facts.not_ready = Some("network".into());
        let later = node_status(&facts, &node);
        let ready = later.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "KubeletNotReady"));
        assert_eq!(ready.last_transition_time.unwrap().seconds, 110);
    }
}
