//! LimitPodHardAntiAffinityTopology: a pod keeps others off its node at most, never off a zone.

use meta::{Object, Status};
use types::core::v1::Pod;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::World;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// See the module.
pub struct LimitPodHardAntiAffinityTopology;

impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        _: &dyn World,
    ) -> Result<(), Status> {
        let writes = review.is(Operation::Create, "", "pods") || review.is(Operation::Update, "", "pods");
        let Some(pod) = object.and_then(as_ref::<Pod>).filter(|_| writes) else { return Ok(()) };
        let affinity = pod.spec.affinity.as_ref().and_then(|a| a.pod_anti_affinity.as_ref());
        let mut terms = affinity.iter().flat_map(|a| &a.required_during_scheduling_ignored_during_execution);
        let Some(term) = terms.find(|term| term.topology_key != HOSTNAME) else { return Ok(()) };
        let why = format!(
            "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {} but only key {HOSTNAME} is allowed",
            term.topology_key
        );
        Err(forbidden(review, object, &why))
    }
}
