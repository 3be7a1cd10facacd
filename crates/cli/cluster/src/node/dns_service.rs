//! The Service `kube-system/kube-dns` and its endpoints: the nodes that say, by an annotation of their Node object, where
//! they answer DNS. Part of the control plane: a node may not write EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use call::ListOptions;
use client::Client;
use dns::objects::{DnsNode, MANAGED_BY, NAME, NAMESPACE};
use env::Env;
use informer::{Cache, Informers};
use ipnet::IpNet;
use meta::Status;
use types::core::v1::{Node, Service};
use types::discovery::v1::EndpointSlice;

/// Annotation of a Node: the addresses at which it answers DNS, separated by commas.
pub(super) const ANSWERS_AT: &str = "dns.ferrokube.io/addresses";
/// Port at which nodes answer.
const PORT: u16 = 53;
/// Pause after a refusal.
const PAUSE: Duration = Duration::from_secs(2);

/// Keeps Service and endpoints like the nodes, until dropped.
pub(crate) async fn publish(masters: Client, informers: Arc<Informers>, env: Env, address: IpAddr) {
    let nodes: Arc<Cache<Node>> = informers.cache();
    let changed = nodes.changes();
    nodes.synced().await;
    let mut published = None;
    loop {
        let wanted: Vec<DnsNode> = nodes.list().iter().filter_map(|node| dns_node(node)).collect();
        // Without a node that answers there never was a Service, unless a former process made it.
        if published.as_ref() != Some(&wanted) && !(published.is_none() && wanted.is_empty()) {
            match write(&masters, &wanted, address).await {
                Ok(()) => published = Some(wanted),
                Err(status) => {
                    tracing::error!("cluster DNS is not published: {}", status.message);
                    env.sleep(PAUSE).await;
                    continue;
                }
            }
        }
        changed.notified().await;
    }
}

/// A node as DNS sees it; `None` for one that does not answer. A node speaks for its own range of pod addresses alone: what
/// else it names would draw the questions of the whole cluster to wherever it likes.
fn dns_node(node: &Node) -> Option<DnsNode> {
    let text = node.metadata.annotations.get(ANSWERS_AT)?;
    let ranges: Vec<IpNet> = node.spec.pod_cidrs.iter().filter_map(|range| range.parse().ok()).collect();
    let own = |address: &IpAddr| ranges.iter().any(|range| range.contains(address)) && is_of_pods(*address);
    let addresses = text.split(',').filter_map(|one| one.trim().parse().ok()).filter(own);
    let addresses: Vec<IpAddr> = addresses.collect();
    let ready = node.status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    (!addresses.is_empty()).then(|| DnsNode {
        name: node.metadata.name.to_string(),
        addresses,
        port: PORT,
        ready,
    })
}

/// Whether an endpoint may have the address at all.
fn is_of_pods(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || link_local)
}

async fn write(masters: &Client, nodes: &[DnsNode], address: IpAddr) -> Result<(), Status> {
    let services = masters.namespaced::<Service>(NAMESPACE);
    if services.get_optional(NAME).await?.is_none() {
        services.create(dns::objects::service(&[address])).await?;
    }
    let api = masters.namespaced::<EndpointSlice>(NAMESPACE);
    let wanted = dns::objects::slices(nodes);
    let names: BTreeSet<String> = wanted.iter().map(|slice| slice.metadata.name.to_string()).collect();
    for slice in wanted {
        match api.get_optional(&slice.metadata.name).await? {
            Some(old) if old.endpoints == slice.endpoints && old.ports == slice.ports => {}
            Some(old) => {
                api.update(EndpointSlice { metadata: old.metadata.clone(), ..slice }).await?;
            }
            None => {
                api.create(slice).await?;
            }
        }
    }
    let ours = format!("endpointslice.kubernetes.io/managed-by={MANAGED_BY}");
    let options = ListOptions { label_selector: ours.into(), ..ListOptions::default() };
    for stale in api.list(&options).await?.items {
        if !names.contains(stale.metadata.name.as_str()) {
            api.delete(&stale.metadata.name, &call::DeleteOptions::default()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_say_where_they_answer() {
        let node = |addresses: Option<&str>, ready: &str| -> Node {
            let annotations = addresses.map(|text| serde_json::json!({ANSWERS_AT: text}));
            meta::from_value(serde_json::json!({
                "metadata": {"name": "n1", "annotations": annotations.unwrap_or_default()},
                "spec": {"podCIDRs": ["10.244.1.0/24", "fd00::/64", "127.0.0.0/8"]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        assert_eq!(dns_node(&node(None, "True")), None);
        assert_eq!(dns_node(&node(Some("nonsense"), "True")), None);
        let both = dns_node(&node(Some("10.244.1.1, fd00::1"), "True")).unwrap();
        assert_eq!((both.name.as_str(), both.addresses.len(), both.ready), ("n1", 2, true));
        assert!(!dns_node(&node(Some("10.244.1.1"), "Unknown")).unwrap().ready);
        // Not its own, or nobody's.
        for foreign in ["10.244.2.1", "192.0.2.1", "127.0.0.1", "fd01::1"] {
            assert_eq!(dns_node(&node(Some(foreign), "True")), None, "{foreign}");
        }
    }
}
