//! Gives every node a range of pod addresses out of the cluster's.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use call::PatchKind;
use informer::Key;
use ipnet::Ipv4Net;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::core::v1::Node;

use super::metrics::Ranges;

/// Prefix length of a node's range, upstream's default.
const NODE_PREFIX: u8 = 24;

/// Starts the controller that divides `cluster`.
pub(crate) fn start(context: &Context, cluster: Ipv4Net) -> Running {
    let ipam = Ipam::new(cluster);
    let ranges = ipam.ranges.clone();
    Controller::new("node_ipam", "node-ipam-controller", context.clone(), ipam)
        .on_change::<Node>(move |change, _| {
            ranges.follow(change);
            Vec::new()
        })
        .on::<Node>(|node, _| if node.spec.pod_cidr.is_empty() { vec![Key::of(node)] } else { Vec::new() })
        // One at a time: the cache shows each range given before the next one is chosen.
        .workers(1)
        .start()
}

pub(crate) struct Ipam {
    cluster: Ipv4Net,
    ranges: Arc<Ranges>,
}

impl Ipam {
    /// Divides `cluster`.
    pub(crate) fn new(cluster: Ipv4Net) -> Self {
        let all = cluster.subnets(NODE_PREFIX).map_or(0, Iterator::count);
        Ipam { cluster, ranges: Arc::new(Ranges::new(cluster, all)) }
    }
}

impl Reconciler for Ipam {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let node = world
            .get_key::<Node>(key)
            .filter(|node| node.spec.pod_cidr.is_empty() && node.metadata.deletion_timestamp.is_none());
        let Some(node) = node else { return Next::Done };
        let taken: BTreeSet<Ipv4Addr> = world
            .list_all::<Node>()
            .iter()
            .flat_map(|node| node.spec.pod_cidrs.iter().cloned().chain([node.spec.pod_cidr.clone()]))
            .filter_map(|range| range.parse::<Ipv4Net>().ok())
            .map(|range| range.network())
            .collect();
        let free = self
            .cluster
            .subnets(NODE_PREFIX)
            .ok()
            .and_then(|ranges| ranges.enumerate().find(|(_, range)| !taken.contains(&range.network())));
        let Some((before, range)) = free else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            plan.event(Note::normal(&*node, "CIDRNotAvailable", message));
            return Next::Retry;
        };
        let document =
            serde_json::json!({ "spec": { "podCIDR": range.to_string(), "podCIDRs": [range.to_string()] } });
        let document = Bytes::from(document.to_string());
        let write = Write::patch::<Node>("", &key.name, "", PatchKind::Strategic, document).ignore(404);
        let count = self.ranges.gives(before + 1);
        plan.push(write.measured(move |refusal| {
            if refusal.is_none() {
                count();
            }
        }));
        Next::Done
    }
}
