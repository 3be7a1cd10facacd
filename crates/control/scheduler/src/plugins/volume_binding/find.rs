//! Which volume a claim gets on a node: the smallest one that fits, or a new one where the class can provision it there.

use std::sync::Arc;

use meta::{Selector, Str};
use types::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use types::storage::v1::StorageClass;

use super::{Claims, class_of};
use crate::cluster::{Cluster, key};
use crate::plugin::Cx;
use crate::plugins::node_selector::any_term_selects;

const NODE_CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const BIND_CONFLICT: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SPACE: &str = "node(s) did not have enough free storage";
const NO_VOLUME: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// What a pod's unbound claims get on a node.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Claims with the volumes that are bound to them.
    pub bind: Vec<(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>)>,
    /// Claims for which a volume is provisioned.
    pub provision: Vec<Arc<PersistentVolumeClaim>>,
}

/// What the pod's claims would get on the node, and every reason why not.
pub fn choose(cx: &Cx<'_>, claims: &Claims, node: usize) -> (Choice, Vec<&'static str>) {
    let mut choice = Choice::default();
    let cluster = cx.cluster();
    let Some(node) = cx.row(node).node() else { return (choice, vec![BIND_CONFLICT]) };
    let (mut reasons, mut missing) = (Vec::new(), false);
    for claim in &claims.bound {
        match cluster.volumes.get(&claim.spec.volume_name) {
            None => missing = true,
            Some(volume) if !reachable(volume, node) => reasons.push(NODE_CONFLICT),
            Some(_) => continue,
        }
        break;
    }
    reasons.extend(choose_delayed(cluster, &claims.delayed, node, &mut choice).err());
    reasons.extend(missing.then_some(NO_VOLUME));
    (choice, reasons)
}

/// Volumes for claims that waited for the node: such as there are, the smallest claims first, then new ones.
fn choose_delayed(
    cluster: &Cluster,
    claims: &[Arc<PersistentVolumeClaim>],
    node: &Node,
    choice: &mut Choice,
) -> Result<(), &'static str> {
    let selected = |claim: &PersistentVolumeClaim| claim.metadata.annotations.get(SELECTED_NODE).cloned();
    if claims.iter().filter_map(|claim| selected(claim)).any(|selected| selected != node.metadata.name) {
        return Err(BIND_CONFLICT);
    }
    let (mut provision, mut rest): (Vec<_>, Vec<_>) =
        claims.iter().cloned().partition(|claim| selected(claim).is_some());
    rest.sort_by_key(|claim| requested(claim));
    for claim in rest {
        let taken: Vec<Str> = choice.bind.iter().map(|(_, volume)| volume.metadata.name.clone()).collect();
        match matching(cluster, &claim, node, &taken) {
            Some(volume) => choice.bind.push((claim, volume.clone())),
            None => provision.push(claim),
        }
    }
    for claim in provision {
        let class = provisioner(cluster, &claim, node).ok_or(BIND_CONFLICT)?;
        if !has_room(cluster, class, &claim, node) {
            return Err(NO_SPACE);
        }
        choice.provision.push(claim);
    }
    Ok(())
}

fn requested(claim: &PersistentVolumeClaim) -> i64 {
    claim.spec.resources.requests.get("storage").map_or(0, |size| size.value())
}

/// Whether the volume's node affinity allows the node.
fn reachable(volume: &PersistentVolume, node: &Node) -> bool {
    let required = volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|required| any_term_selects(&required.node_selector_terms, node))
}

/// The name of the volume's class, which an annotation may give.
fn class_of_volume(volume: &PersistentVolume) -> &str {
    let annotated = volume.metadata.annotations.get("volume.beta.kubernetes.io/storage-class");
    annotated.unwrap_or(&volume.spec.storage_class_name)
}

/// The smallest available volume that fits, or the one that is reserved for the claim.
fn matching<'a>(
    cluster: &'a Cluster,
    claim: &PersistentVolumeClaim,
    node: &Node,
    taken: &[Str],
) -> Option<&'a Arc<PersistentVolume>> {
    let own_key = key(&claim.metadata.namespace, &claim.metadata.name);
    let class = class_of(claim);
    let mode = |mode: &Option<Str>| mode.as_deref().unwrap_or("Filesystem").to_owned();
    let selector = match &claim.spec.selector {
        None => Selector::everything(),
        Some(selector) => Selector::from_label_selector(Some(selector)).ok()?,
    };
    let mut best: Option<(i64, &Arc<PersistentVolume>)> = None;
    for volume in cluster.volumes.values() {
        let name = &volume.metadata.name;
        let size = volume.spec.capacity.get("storage").map_or(0, |size| size.value());
        let promised = cluster.assumed_volumes.get(name).is_some_and(|other| *other != own_key);
        if taken.contains(name) || promised || size < requested(claim) || class_of_volume(volume) != class {
            continue;
        }
        if mode(&volume.spec.volume_mode) != mode(&claim.spec.volume_mode)
            || volume.spec.volume_attributes_class_name != claim.spec.volume_attributes_class_name
            || volume.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        if let Some(reference) = &volume.spec.claim_ref {
            let ours = reference.name == claim.metadata.name
                && reference.namespace == claim.metadata.namespace
                && (reference.uid.is_empty() || reference.uid == claim.metadata.uid);
            if !ours {
                continue;
            }
            return reachable(volume, node).then_some(volume);
        }
        let suits = volume.status.phase == "Available"
            && selector.matches(&volume.metadata.labels)
            && claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
            && reachable(volume, node);
        // Of equal sizes the one that serves fewest purposes, so that it is not missed by the pod's next claim; then by
        // name, so that the choice does not depend on the order of a table.
        let better = best.is_none_or(|(least, other)| {
            let rank = |volume: &PersistentVolume| volume.spec.access_modes.len();
            (size, rank(volume), name) < (least, rank(other), &other.metadata.name)
        });
        if suits && better {
            best = Some((size, volume));
        }
    }
    best.map(|(_, volume)| volume)
}

/// The claim's class when it can provision a volume for the node.
fn provisioner<'a>(
    cluster: &'a Cluster,
    claim: &PersistentVolumeClaim,
    node: &Node,
) -> Option<&'a StorageClass> {
    let class = cluster.storage_classes.get(class_of(claim))?;
    if class.provisioner.is_empty() || class.provisioner == "kubernetes.io/no-provisioner" {
        return None;
    }
    let allowed = class.allowed_topologies.is_empty()
        || class.allowed_topologies.iter().any(|term| {
            !term.match_label_expressions.is_empty()
                && term.match_label_expressions.iter().all(|one| {
                    node.metadata.labels.get(&one.key).is_some_and(|value| one.values.contains(value))
                })
        });
    allowed.then_some(class)
}

/// Whether the driver has room for the claim where the node can reach it. Drivers that do not publish capacity always do.
fn has_room(cluster: &Cluster, class: &StorageClass, claim: &PersistentVolumeClaim, node: &Node) -> bool {
    let publishes = cluster
        .csi_drivers
        .get(&class.provisioner)
        .is_some_and(|driver| driver.spec.storage_capacity == Some(true));
    if !publishes {
        return true;
    }
    if !claim.spec.resources.requests.contains_key("storage") {
        return true;
    }
    let size = requested(claim);
    cluster.capacities.values().any(|capacity| {
        let limit = capacity.maximum_volume_size.as_ref().or(capacity.capacity.as_ref());
        capacity.storage_class_name == class.metadata.name
            && limit.is_some_and(|limit| limit.value() >= size)
            && capacity.node_topology.as_ref().is_some_and(|topology| {
                Selector::from_label_selector(Some(topology))
                    .is_ok_and(|selector| selector.matches(&node.metadata.labels))
            })
    })
}
