//! What makes a pod this one of its set: ordinal, name, host name, volumes.

use meta::Str;
use types::apps::v1::StatefulSet;
use types::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};

use super::storage;
use crate::common::owners::controller_ref;
use crate::common::pods;
use crate::common::revisions::HASH_LABEL;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal that the pod's name ends with, when the rest of the name is the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, ordinal) = pod.metadata.name.rsplit_once('-')?;
    (parent == set.metadata.name).then(|| ordinal.parse().ok())?
}

/// The pod with the labels that tell who it is, if it lost its name's.
pub(super) fn restored(pod: &Pod) -> Option<Pod> {
    if pod.metadata.label(POD_NAME) == pod.metadata.name.as_str() {
        return None;
    }
    let (_, ordinal) = pod.metadata.name.rsplit_once('-')?;
    let mut restored = pod.clone();
    restored.metadata.labels.insert(POD_NAME, pod.metadata.name.clone());
    restored.metadata.labels.insert(POD_INDEX, ordinal.into());
    Some(restored)
}

/// First ordinal of the set.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start)
}

/// The pod with this ordinal, by `template`.
pub(super) fn pod(set: &StatefulSet, ordinal: i32, template: &PodTemplateSpec, revision: &str) -> Pod {
    let mut pod = pods::from_template(template, &set.metadata, controller_ref(set));
    let name = Str::from(format!("{}-{ordinal}", set.metadata.name));
    pod.metadata.name = name.clone();
    pod.metadata.labels.insert(POD_NAME, name.clone());
    pod.metadata.labels.insert(POD_INDEX, Str::from(ordinal.to_string()));
    pod.metadata.labels.insert(HASH_LABEL, revision.into());
    pod.spec.hostname = name.clone();
    pod.spec.subdomain = set.spec.service_name.clone();
    let claims = storage::claims(set, &name);
    let own = claims.iter().map(|(volume, claim)| Volume {
        name: volume.clone(),
        persistent_volume_claim: Some(Box::new(PersistentVolumeClaimVolumeSource {
            claim_name: claim.metadata.name.clone(),
            read_only: false,
        })),
        ..Volume::default()
    });
    let others = pod
        .spec
        .volumes
        .iter()
        .filter(|known| !claims.iter().any(|(volume, _)| *volume == known.name))
        .cloned();
    pod.spec.volumes = own.chain(others).collect();
    pod
}
