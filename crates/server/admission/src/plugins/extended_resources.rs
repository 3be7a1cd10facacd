//! ExtendedResourceToleration: a pod that asks for a device tolerates the taint that keeps others off its nodes.

use std::collections::BTreeSet;

use meta::{Object, Status, Str};
use types::core::v1::{Pod, Toleration};

use super::Plugin;
use crate::review::{Operation, Review, as_mut};
use crate::world::World;

/// See the module.
pub struct ExtendedResourceToleration;

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
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
        let containers = pod.spec.containers.iter().chain(pod.spec.init_containers.iter());
        let names: BTreeSet<Str> = containers
            .flat_map(|c| c.resources.requests.keys())
            .filter(|name| is_extended(name))
            .cloned()
            .collect();
        for name in names {
            let toleration = Toleration {
                key: name,
                operator: "Exists".into(),
                effect: "NoSchedule".into(),
                ..Toleration::default()
            };
            if !pod.spec.tolerations.contains(&toleration) {
                pod.spec.tolerations.push(toleration);
            }
        }
        Ok(())
    }
}

/// Whether a resource is none of Kubernetes' own.
fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native && !name.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use super::is_extended;

    #[test]
    fn devices_have_a_domain_of_their_own() {
        for (name, extended) in [
            ("example.com/gpu", true),
            ("cpu", false),
            ("kubernetes.io/batch", false),
            ("requests.example.com/gpu", false),
            ("hugepages-2Mi", false),
        ] {
            assert_eq!(is_extended(name), extended, "{name}");
        }
    }
}
