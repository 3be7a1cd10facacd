//! AlwaysPullImages: every image is pulled anew, so that who may run a pod is who may pull its images.

use meta::{Object, Status, Str};
use types::core::v1::Pod;

use super::Plugin;
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::World;

const ALWAYS: &str = "Always";

/// See the module.
pub struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        _: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        let writes = review.is(Operation::Create, "", "pods") || review.is(Operation::Update, "", "pods");
        let Some(pod) = as_mut::<Pod>(object).filter(|_| writes) else { return Ok(()) };
        if review.old.and_then(as_ref::<Pod>).is_some_and(|old| images(old) == images(pod)) {
            return Ok(());
        }
        let spec = &mut pod.spec;
        for container in spec.init_containers.iter_mut().chain(spec.containers.iter_mut()) {
            container.image_pull_policy = ALWAYS.into();
        }
        for container in spec.ephemeral_containers.iter_mut() {
            container.image_pull_policy = ALWAYS.into();
        }
        for image in spec.volumes.iter_mut().filter_map(|volume| volume.image.as_mut()) {
            image.pull_policy = ALWAYS.into();
        }
        Ok(())
    }
}

fn images(pod: &Pod) -> Vec<Str> {
    let spec = &pod.spec;
    let containers = spec.init_containers.iter().chain(spec.containers.iter()).map(|c| c.image.clone());
    let ephemeral = spec.ephemeral_containers.iter().map(|c| c.image.clone());
    let volumes = spec.volumes.iter().filter_map(|v| v.image.as_ref()).map(|i| i.reference.clone());
    containers.chain(ephemeral).chain(volumes).collect()
}
