//! Whether the node takes a pod: resources, host ports, node selector. The scheduler asked the same before, but it may have
//! been wrong by now, and static pods and pods with a node name never met it.

use std::sync::Arc;

use meta::{Map, Quantity};
use types::core::v1::{Node, Pod};

use crate::pod::resources::requests;
use crate::pod::status::Verdict;
use crate::room::{Lacking, Room};

/// Decides about `pod`, given the pods that the node has taken already, and gives it its room.
pub fn admit(
    pod: &Pod,
    others: &[Arc<Pod>],
    room: &Room,
    node: &Node,
    allocatable: &Map<Quantity>,
    max_pods: i64,
) -> Result<(), Verdict> {
    let refuse = |reason: &str, message: String| Err(Verdict { reason: reason.into(), message });
    if pod.spec.os.as_deref().is_some_and(|os| os.name != "linux" && !os.name.is_empty()) {
        return refuse(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS".into(),
        );
    }
    for (key, value) in pod.spec.node_selector.iter() {
        if node.metadata.labels.get(key) != Some(value) {
            return refuse(
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into(),
            );
        }
    }
    if let Some(message) = forbidden_sysctl(pod) {
        return refuse("SysctlForbidden", message);
    }
    let count = others.len() as i64;
    if count + 1 > max_pods {
        return Err(out_of(Lacking {
            resource: "pods".into(),
            requested: 1,
            used: count,
            capacity: max_pods,
        }));
    }
    for (name, want) in requests(pod).iter().filter(|(name, _)| !matches!(name.as_str(), "cpu" | "memory")) {
        let want = want.value();
        if want == 0 {
            continue;
        }
        let Some(capacity) = allocatable.get(name.as_str()).map(|have| have.value()) else {
            // What the node knows nothing of (an extended resource that went away) is the scheduler's business.
            continue;
        };
        let used: i64 = others.iter().map(|p| requests(p).get(name).map_or(0, |used| used.value())).sum();
        if used + want > capacity {
            return Err(out_of(Lacking { resource: name.clone(), requested: want, used, capacity }));
        }
    }
    room.admit(pod).map_err(out_of)?;
    if ports_conflict(pod, others) {
        room.release(&pod.metadata.uid);
        return refuse(
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".into(),
        );
    }
    Ok(())
}

/// Kernel settings that a pod may change in its own namespaces without harm to others.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Why the pod's kernel settings are refused.
fn forbidden_sysctl(pod: &Pod) -> Option<String> {
    let wanted = pod.spec.security_context.iter().flat_map(|s| s.sysctls.iter());
    wanted.map(|s| s.name.as_str()).find_map(|given| {
        let name = given.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Some(format!("forbidden sysctl: {given:?} not allowlisted"));
        }
        if pod.spec.host_network && name.starts_with("net.") {
            return Some(format!("forbidden sysctl: {given:?} not allowed with host net enabled"));
        }
        if pod.spec.host_ipc && name.starts_with("kernel.shm") {
            return Some(format!("forbidden sysctl: {given:?} not allowed with host ipc enabled"));
        }
        None
    })
}

fn out_of(lacking: Lacking) -> Verdict {
    Verdict { reason: format!("OutOf{}", lacking.resource), message: lacking.to_string() }
}

fn ports(pod: &Pod) -> impl Iterator<Item = (&str, &str, i32)> {
    pod.spec.containers.iter().flat_map(|c| c.ports.iter()).filter(|p| p.host_port > 0).map(|p| {
        let protocol = if p.protocol.is_empty() { "TCP" } else { p.protocol.as_str() };
        let ip = if p.host_ip.is_empty() { "0.0.0.0" } else { p.host_ip.as_str() };
        (ip, protocol, p.host_port)
    })
}

fn ports_conflict(pod: &Pod, others: &[Arc<Pod>]) -> bool {
    let any = |ip: &str| matches!(ip, "0.0.0.0" | "::");
    ports(pod).any(|(ip, protocol, port)| {
        others.iter().any(|other| {
            ports(other).any(|(oip, oprotocol, oport)| {
                port == oport && protocol == oprotocol && (ip == oip || any(ip) || any(oip))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Amounts;
    use types::core::v1::{Container, ContainerPort};

    fn pod(cpu: &str, port: i32) -> Pod {
        let mut container = Container::default();
        container.resources.requests.insert("cpu", cpu.parse().unwrap());
        if port > 0 {
            container.ports.push(ContainerPort { host_port: port, ..Default::default() });
        }
        let mut pod = Pod::default();
        pod.spec.containers.push(container);
        pod
    }

    #[test]
    fn table() {
        let mut allocatable = Map::new();
        allocatable.insert("cpu", "2".parse().unwrap());
        let mut node = Node::default();
        node.metadata.labels.insert("disk", "ssd".into());
        let taken = [Arc::new(pod("1500m", 80))];
        let check = |p: &Pod, max| {
            let room = Room::new(&allocatable);
            room.has("other", Amounts::of(&taken[0]));
            admit(p, &taken, &room, &node, &allocatable, max).map_err(|v| (v.reason, v.message))
        };
        assert_eq!(check(&pod("500m", 81), 110), Ok(()));
        let (reason, message) = check(&pod("501m", 0), 110).unwrap_err();
        assert_eq!(reason, "OutOfcpu");
        assert_eq!(
            message,
            "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"
        );
        assert_eq!(check(&pod("0", 80), 110).unwrap_err().0, "NodePorts");
        assert_eq!(check(&pod("0", 0), 1).unwrap_err().0, "OutOfpods");
        let mut selective = pod("0", 0);
        selective.spec.node_selector.insert("disk", "hdd".into());
        assert_eq!(check(&selective, 110).unwrap_err().0, "NodeAffinity");
        let mut extended = pod("0", 0);
        extended.spec.containers[0].resources.requests.insert("example.com/foo", "1".parse().unwrap());
        assert_eq!(check(&extended, 110), Ok(()), "the node knows nothing of that resource");
    }

    #[test]
    fn kernel_settings() {
        for (name, host_network, want) in [
            ("kernel.shm_rmid_forced", false, None),
            ("net/ipv4/tcp_syncookies", false, None),
            ("net.ipv4.tcp_syncookies", true, Some("not allowed with host net enabled")),
            ("kernel.msgmax", false, Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted")),
        ] {
            let mut pod = pod("0", 0);
            pod.spec.host_network = host_network;
            let sysctl = types::core::v1::Sysctl { name: name.into(), value: "1".into() };
            let context = types::core::v1::PodSecurityContext {
                sysctls: [sysctl].into_iter().collect(),
                ..Default::default()
            };
            pod.spec.security_context = Some(Box::new(context));
            let got = forbidden_sysctl(&pod);
            assert!(
                match want {
                    None => got.is_none(),
                    Some(text) => got.as_deref().is_some_and(|got| got.contains(text)),
                },
                "{name}: {got:?}"
            );
        }
    }
}
