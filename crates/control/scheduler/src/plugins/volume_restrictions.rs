//! VolumeRestrictions: disks that only one pod may have, and claims with access mode ReadWriteOncePod.

use hashbrown::HashSet;
use meta::Str;
use types::core::v1::{PersistentVolumeClaim, Volume};

use super::volume_binding::uses;
use crate::plugin::{About, ClusterEvent, Cx, Filter, Happening, Plugin, PreFilter, Rejection, What};
use crate::pod_info::PodInfo;

/// The plugin.
pub struct VolumeRestrictions;

/// Its name.
pub const NAME: &str = "VolumeRestrictions";
const REASON_DISK: &str = "node(s) had no available disk";
const REASON_POD: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

fn is_restricted(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// Whether two pods on one node cannot have both.
fn conflict(one: &Volume, other: &Volume) -> bool {
    if let (Some(one), Some(other)) = (&one.gce_persistent_disk, &other.gce_persistent_disk)
        && one.pd_name == other.pd_name
        && !(one.read_only && other.read_only)
    {
        return true;
    }
    if let (Some(one), Some(other)) = (&one.aws_elastic_block_store, &other.aws_elastic_block_store)
        && one.volume_id == other.volume_id
    {
        return true;
    }
    if let (Some(one), Some(other)) = (&one.iscsi, &other.iscsi)
        && one.iqn == other.iqn
        && !(one.read_only && other.read_only)
    {
        return true;
    }
    if let (Some(one), Some(other)) = (&one.rbd, &other.rbd)
        && one.monitors.iter().any(|monitor| other.monitors.contains(monitor))
        && one.pool == other.pool
        && one.image == other.image
        && !(one.read_only && other.read_only)
    {
        return true;
    }
    false
}

struct Restrictions {
    exclusive: HashSet<Str>,
    in_use: i64,
}

impl Restrictions {
    fn uses(&self, cx: &Cx<'_>, pod: &PodInfo) -> i64 {
        if pod.pod.metadata.namespace != cx.object().metadata.namespace {
            return 0;
        }
        let claims = pod.pod.spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        claims.filter(|claim| self.exclusive.contains(&claim.claim_name)).count() as i64
    }
}

impl Filter for Restrictions {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        for volume in cx.object().spec.volumes.iter().filter(|volume| is_restricted(volume)) {
            let theirs = cx.row(node).pods.iter().flat_map(|pod| pod.pod.spec.volumes.iter());
            if theirs.into_iter().any(|other| conflict(volume, other)) {
                return Some(Rejection::unschedulable(NAME, REASON_DISK));
            }
        }
        (self.in_use > 0).then(|| Rejection::unschedulable(NAME, REASON_POD))
    }

    fn pod_moved(&mut self, cx: &Cx<'_>, pod: &PodInfo, _: usize, by: i64) {
        self.in_use += by * self.uses(cx, pod);
    }
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_own(&self, cx: &Cx<'_>) -> bool {
        cx.pod.has_volumes()
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let volumes = &cx.object().spec.volumes;
        let mut exclusive = HashSet::new();
        for source in volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
            let Some(claim) = cx.cluster().claim(&cx.object().metadata.namespace, &source.claim_name) else {
                let reason = format!("persistentvolumeclaim \"{}\" not found", source.claim_name);
                return PreFilter::Reject(Rejection::unresolvable(NAME, reason));
            };
            if claim.spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod") {
                exclusive.insert(source.claim_name.clone());
            }
        }
        let restricted = volumes.iter().any(is_restricted);
        let mut restrictions = Restrictions { exclusive, in_use: 0 };
        if !restrictions.exclusive.is_empty() {
            let users = cx.snapshot.pods().map(|(pod, _)| restrictions.uses(cx, pod));
            restrictions.in_use = users.sum();
        }
        if !restricted && restrictions.in_use == 0 {
            return PreFilter::Skip;
        }
        PreFilter::Run(Box::new(restrictions))
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::PodFreed)
            || event.brings(What::PersistentVolumeClaim)
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        if let Some((_, Some(claim))) = happening.object::<PersistentVolumeClaim>() {
            return uses(pod, claim);
        }
        let About::Pod(Some(gone), None) = happening.about else {
            return !matches!(happening.about, About::Pod(..));
        };
        let volumes = || gone.spec.volumes.iter();
        let disks = pod.pod.spec.volumes.iter().any(|own| volumes().any(|other| conflict(own, other)));
        let claim = |volume: &Volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone());
        disks
            || gone.metadata.namespace == pod.pod.metadata.namespace
                && volumes().filter_map(claim).any(|name| pod.claim_names().any(|(own, _)| own == name))
    }
}
