//! VolumeZone: a bound volume whose labels name a zone or region is used on nodes of that zone or region only.

use crate::plugin::{ClusterEvent, Cx, Filter, Plugin, PreFilter, Rejection};
use meta::Str;

/// The plugin.
pub struct VolumeZone;

/// Its name.
pub const NAME: &str = "VolumeZone";

/// Each label with the name it had before.
const LABELS: [(&str, &str); 2] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
];

struct Zones(Vec<(&'static str, &'static str, Vec<Str>)>);

impl Filter for Zones {
    fn check(&self, cx: &Cx<'_>, node: usize) -> Option<Rejection> {
        let row = cx.row(node);
        let label = |new: &str, old: &str| row.label(new).or_else(|| row.label(old));
        if LABELS.iter().all(|(new, old)| label(new, old).is_none()) {
            return None;
        }
        let elsewhere = self
            .0
            .iter()
            .any(|(new, old, values)| label(new, old).is_none_or(|value| !values.contains(value)));
        elsewhere.then(|| Rejection::unresolvable(NAME, "node(s) had no available volume zone"))
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        NAME
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
                let class = claim.spec.storage_class_name.as_deref().unwrap_or_default();
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
            for (new, old) in LABELS {
                for label in [new, old] {
                    if let Some(value) = volume.metadata.labels.get(label) {
                        zones.push((new, old, value.split("__").map(Str::from).collect()));
                    }
                }
            }
        }
        if zones.is_empty() { PreFilter::Skip } else { PreFilter::Run(Box::new(Zones(zones))) }
    }

    fn may_help(&self, event: ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabels | ClusterEvent::Storage)
    }
}
