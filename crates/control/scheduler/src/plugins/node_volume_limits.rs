//! NodeVolumeLimits: a node attaches only so many volumes of each CSI driver, as its CSINode says.

use hashbrown::HashMap;
use meta::Str;
use types::core::v1::PersistentVolumeClaim;

use crate::cluster::Cluster;
use crate::plugin::{ClusterEvent, Cx, Filter, Plugin, PreFilter, Rejection};
use crate::pod_info::PodInfo;

/// The plugin.
pub struct NodeVolumeLimits;

/// Its name.
pub const NAME: &str = "NodeVolumeLimits";

/// The driver and handle of the volume that a claim has or will get.
fn volume_of(cluster: &Cluster, claim: &PersistentVolumeClaim) -> Option<(Str, Str)> {
    if claim.spec.volume_name.is_empty() {
        let class = cluster.storage_classes.get(claim.spec.storage_class_name.as_deref()?)?;
        let handle = format!("{}/{}", claim.metadata.namespace, claim.metadata.name);
        return Some((class.provisioner.clone(), handle.into()));
    }
    let csi = cluster.volumes.get(&claim.spec.volume_name)?.spec.csi.as_ref()?;
    Some((csi.driver.clone(), csi.volume_handle.clone()))
}

/// The CSI volumes of a pod, each once.
fn volumes_of(cluster: &Cluster, pod: &PodInfo) -> HashMap<(Str, Str), ()> {
    let namespace = &pod.pod.metadata.namespace;
    let claims = pod.claim_names().filter_map(|(name, _)| cluster.claim(namespace, &name));
    claims.filter_map(|claim| volume_of(cluster, claim)).map(|volume| (volume, ())).collect()
}

struct Limits;

impl Filter for Limits {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        let cluster = cx.cluster();
        let name = &cx.row(node).node()?.metadata.name;
        let limits: HashMap<&Str, i64> = cluster
            .csi_nodes
            .get(name)?
            .spec
            .drivers
            .iter()
            .filter_map(|driver| Some((&driver.name, driver.allocatable.as_ref()?.count?.into())))
            .collect();
        if limits.is_empty() {
            return None;
        }
        let mut new = volumes_of(cluster, cx.pod);
        let mut attached = HashMap::new();
        for pod in &cx.row(node).pods {
            attached.extend(volumes_of(cluster, pod));
        }
        for attachment in cluster.attachments.values().filter(|one| one.spec.node_name == *name) {
            let volume = attachment.spec.source.persistent_volume_name.as_ref();
            let csi = volume.and_then(|name| cluster.volumes.get(name)?.spec.csi.as_ref());
            if let Some(csi) = csi {
                attached.insert((csi.driver.clone(), csi.volume_handle.clone()), ());
            }
        }
        new.retain(|volume, ()| !attached.contains_key(volume));
        let over = limits.iter().any(|(driver, limit)| {
            let count = |volumes: &HashMap<(Str, Str), ()>| {
                volumes.keys().filter(|(other, _)| other == *driver).count() as i64
            };
            let more = count(&new);
            more > 0 && count(&attached) + more > *limit
        });
        over.then(|| Rejection::unschedulable(NAME, "node(s) exceed max volume count"))
    }
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        match cx.pod.claim_names().next() {
            None => PreFilter::Skip,
            Some(_) => PreFilter::Run(Box::new(Limits)),
        }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodFreed | ClusterEvent::Storage)
    }
}
