//! NodeVolumeLimits: a node attaches only so many volumes of each CSI driver, as its CSINode says.

use hashbrown::HashMap;
use meta::Str;
use types::core::v1::PersistentVolumeClaim;
use types::storage::v1::{CSINode, VolumeAttachment};

use super::volume_binding::{class_of, uses};
use crate::cluster::Cluster;
use crate::plugin::{About, ClusterEvent, Cx, Filter, Happening, Plugin, PreFilter, Rejection, What};
use crate::pod_info::PodInfo;
use crate::snapshot::NodeRow;

/// The plugin.
pub struct NodeVolumeLimits;

/// Its name.
pub const NAME: &str = "NodeVolumeLimits";

/// The driver and handle of the volume that a claim has or will get. While the volume is not known, the claim's class says
/// whose it will be.
fn volume_of(cluster: &Cluster, claim: &PersistentVolumeClaim) -> Option<(Str, Str)> {
    let Some(volume) = cluster.volumes.get(&claim.spec.volume_name) else {
        let class = cluster.storage_classes.get(class_of(claim))?;
        let handle = format!("{}/{}", claim.metadata.namespace, claim.metadata.name);
        return Some((class.provisioner.clone(), handle.into()));
    };
    let csi = volume.spec.csi.as_ref()?;
    Some((csi.driver.clone(), csi.volume_handle.clone()))
}

/// The CSI volumes of a pod, each once.
fn volumes_of(cluster: &Cluster, pod: &PodInfo) -> HashMap<(Str, Str), ()> {
    let namespace = &pod.pod.metadata.namespace;
    let claims = pod.claim_names().filter_map(|(name, _)| cluster.claim(namespace, &name));
    claims.filter_map(|claim| volume_of(cluster, claim)).map(|volume| (volume, ())).collect()
}

/// The pod's own volumes.
struct Limits(HashMap<(Str, Str), ()>);

/// How many of the volumes are the driver's.
fn count(volumes: &HashMap<(Str, Str), ()>, driver: &str) -> i64 {
    volumes.keys().filter(|(other, _)| *other == driver).count() as i64
}

impl Limits {
    /// The volumes that are attached to the node, or about to be.
    fn attached(&self, cx: &Cx<'_>, row: &NodeRow, name: &str) -> HashMap<(Str, Str), ()> {
        let cluster = cx.cluster();
        let mut attached = HashMap::new();
        for pod in row.pods.iter().filter(|pod| pod.claims > 0) {
            attached.extend(volumes_of(cluster, pod));
        }
        for attachment in cluster.attached_to(name) {
            let volume = attachment.spec.source.persistent_volume_name.as_ref();
            let csi = volume.and_then(|name| cluster.volumes.get(name)?.spec.csi.as_ref());
            if let Some(csi) = csi {
                attached.insert((csi.driver.clone(), csi.volume_handle.clone()), ());
            }
        }
        attached
    }
}

impl Filter for Limits {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        let (cluster, row) = (cx.cluster(), cx.row(node));
        let name = &row.node()?.metadata.name;
        let drivers = &cluster.csi_nodes.get(name)?.spec.drivers;
        let limits = drivers
            .iter()
            .filter_map(|driver| Some((&driver.name, i64::from(driver.allocatable.as_ref()?.count?))));
        // Most nodes are far from their limits: then what is attached need not be told apart.
        let claims: usize = row.pods.iter().map(|pod| pod.claims).sum();
        let most = (claims + cluster.attached_to(name).len()) as i64;
        let close: Vec<(&Str, i64)> = limits
            .filter(|(driver, limit)| {
                let more = count(&self.0, driver);
                more > 0 && most + more > *limit
            })
            .collect();
        if close.is_empty() {
            return None;
        }
        let attached = self.attached(cx, row, name);
        let over = close.iter().any(|(driver, limit)| {
            let new = self.0.keys().filter(|volume| volume.0 == **driver && !attached.contains_key(*volume));
            let more = new.count() as i64;
            more > 0 && count(&attached, driver) + more > *limit
        });
        over.then(|| Rejection::unschedulable(NAME, "node(s) exceed max volume count"))
    }
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_own(&self, cx: &Cx<'_>) -> bool {
        cx.pod.has_volumes()
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        match cx.pod.claim_names().next() {
            None => PreFilter::Skip,
            Some(_) => PreFilter::Run(Box::new(Limits(volumes_of(cx.cluster(), cx.pod)))),
        }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodFreed)
            || event.brings(What::CSINode)
            || event == ClusterEvent::Added(What::PersistentVolumeClaim)
            || event == ClusterEvent::Deleted(What::VolumeAttachment)
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        if let Some((None, Some(claim))) = happening.object::<PersistentVolumeClaim>() {
            return uses(pod, claim);
        }
        if let Some((Some(gone), None)) = happening.object::<VolumeAttachment>() {
            return volumes_of(happening.cluster, pod)
                .keys()
                .any(|(driver, _)| *driver == gone.spec.attacher);
        }
        if let Some((Some(old), Some(new))) = happening.object::<CSINode>() {
            let limit = |node: &CSINode, name: &str| -> Option<i32> {
                let driver = node.spec.drivers.iter().find(|driver| driver.name == name)?;
                Some(driver.allocatable.as_ref().and_then(|one| one.count).unwrap_or(i32::MAX))
            };
            let drivers = new.spec.drivers.iter();
            return drivers.into_iter().any(|one| limit(new, &one.name) > limit(old, &one.name));
        }
        match happening.about {
            About::Pod(Some(gone), None) => {
                let mut volumes = gone.spec.volumes.iter();
                volumes.any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some())
            }
            About::Pod(..) => false,
            _ => true,
        }
    }
}
