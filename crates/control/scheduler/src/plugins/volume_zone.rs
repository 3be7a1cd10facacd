//! VolumeZone: a bound volume whose labels name a zone or region is used on nodes of that zone or region only.

use meta::Str;
use types::core::v1::{PersistentVolume, PersistentVolumeClaim};
use types::storage::v1::StorageClass;

use super::volume_binding::{class_of, uses};
use crate::plugin::{ClusterEvent, Cx, Filter, Happening, Plugin, PreFilter, Rejection, What};
use crate::pod_info::PodInfo;

/// The plugin.
pub struct VolumeZone;

/// Its name.
pub const NAME: &str = "VolumeZone";

/// The labels that say where a volume is, each with the name that it has now.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// A label of some volume, the name that it has now, and its values.
type Zone = (&'static str, &'static str, Vec<Str>);

struct Zones(Vec<Zone>);

/// Where the volume is. A label whose value names nothing says nothing.
fn zones_of(volume: &PersistentVolume) -> Vec<Zone> {
    let each = LABELS.iter().filter_map(|(label, now)| {
        let value = volume.metadata.labels.get(label)?;
        let values: Vec<Str> = value.split("__").map(|one| Str::from(one.trim())).collect();
        values.iter().all(|one| !one.is_empty()).then_some((*label, *now, values))
    });
    each.collect()
}

impl Filter for Zones {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        let row = cx.row(node);
        if LABELS.iter().all(|(label, _)| row.label(label).is_none()) {
            return None;
        }
        let elsewhere = self.0.iter().any(|(label, now, values)| {
            let value = row.label(label).or_else(|| row.label(now));
            value.is_none_or(|value| !values.contains(value))
        });
        elsewhere.then(|| Rejection::unresolvable(NAME, "node(s) had no available volume zone"))
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_own(&self, cx: &Cx<'_>) -> bool {
        cx.pod.has_volumes()
    }

    fn pre_filter(&self, cx: &Cx<'_>) -> PreFilter {
        let cluster = cx.cluster();
        let reject = |reason: String| PreFilter::Reject(Rejection::unresolvable(NAME, reason));
        let mut zones = Vec::new();
        let sources =
            cx.object().spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        for source in sources {
            let Some(claim) = cluster.claim(&cx.object().metadata.namespace, &source.claim_name) else {
                return reject(format!("persistentvolumeclaim \"{}\" not found", source.claim_name));
            };
            if claim.spec.volume_name.is_empty() {
                let class = class_of(claim);
                if class.is_empty() {
                    return reject("PersistentVolumeClaim had no pv name and storageClass name".into());
                }
                let Some(found) = cluster.storage_classes.get(class) else {
                    return reject(format!("storageclass.storage.k8s.io \"{class}\" not found"));
                };
                if found.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") {
                    continue;
                }
                return reject("PersistentVolume had no name".into());
            }
            let Some(volume) = cluster.volumes.get(&claim.spec.volume_name) else {
                return reject(format!("persistentvolume \"{}\" not found", claim.spec.volume_name));
            };
            zones.extend(zones_of(volume));
        }
        if zones.is_empty() { PreFilter::Skip } else { PreFilter::Run(Box::new(Zones(zones))) }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels)
            || event == ClusterEvent::Added(What::StorageClass)
            || event.brings(What::PersistentVolumeClaim)
            || event.brings(What::PersistentVolume)
    }

    fn hint(&self, happening: &Happening<'_>, pod: &PodInfo) -> bool {
        if let Some((_, Some(claim))) = happening.object::<PersistentVolumeClaim>() {
            return uses(pod, claim);
        }
        if let Some((None, Some(class))) = happening.object::<StorageClass>() {
            return class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        }
        if let Some((Some(old), Some(new))) = happening.object::<PersistentVolume>() {
            return zones_of(old) != zones_of(new);
        }
        true
    }
}
