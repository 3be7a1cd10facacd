//! Priority: a pod's priority comes from its PriorityClass, never from the pod itself.

use meta::{Object, Status};
use types::core::v1::Pod;
use types::scheduling::v1::PriorityClass;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::{World, WorldExt};

/// See the module.
pub struct Priority;

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        let creates = review.is(Operation::Create, "", "pods");
        if !creates && !review.is(Operation::Update, "", "pods") {
            return Ok(());
        }
        let Some(pod) = as_mut::<Pod>(object) else { return Ok(()) };
        if !creates {
            // A client that knows nothing of priorities sends them back empty.
            if let Some(old) = review.old.and_then(as_ref::<Pod>) {
                if pod.spec.priority.is_none() {
                    pod.spec.priority = old.spec.priority;
                }
                if pod.spec.preemption_policy.is_none() {
                    pod.spec.preemption_policy = old.spec.preemption_policy.clone();
                }
            }
            return Ok(());
        }
        let class = match pod.spec.priority_class_name.as_str() {
            "" => default_class(world),
            name => match world.get::<PriorityClass>("", name) {
                Some(class) => Some(class),
                None => {
                    let why = format!("no PriorityClass with name {name} was found");
                    return Err(forbidden(review, Some(object), &why));
                }
            },
        };
        let value = class.as_ref().map_or(0, |c| c.value);
        let policy = class.as_ref().and_then(|c| c.preemption_policy.clone());
        let policy = policy.unwrap_or_else(|| "PreemptLowerPriority".into());
        let refusal = if let Some(given) = pod.spec.priority.filter(|given| *given != value) {
            Some(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            ))
        } else {
            pod.spec.preemption_policy.as_ref().filter(|given| **given != policy).map(|given| {
                format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
                )
            })
        };
        if let Some(why) = refusal {
            return Err(forbidden(review, Some(object), &why));
        }
        if let Some(class) = class
            && pod.spec.priority_class_name.is_empty()
        {
            pod.spec.priority_class_name = class.metadata.name.clone();
        }
        pod.spec.priority = Some(value);
        pod.spec.preemption_policy = Some(policy);
        Ok(())
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || !review.on("scheduling.k8s.io", "priorityclasses") {
            return Ok(());
        }
        let Some(class) = object.and_then(as_ref::<PriorityClass>) else { return Ok(()) };
        if !class.global_default {
            return Ok(());
        }
        let other = world.list::<PriorityClass>("").into_iter().find(|c| c.global_default);
        match other {
            Some(other) if other.metadata.name != class.metadata.name => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.metadata.name
                );
                Err(forbidden(review, object, &why))
            }
            _ => Ok(()),
        }
    }
}

/// The class of pods that name none: the global default, the lowest one should there be several.
fn default_class(world: &dyn World) -> Option<std::sync::Arc<PriorityClass>> {
    world.list::<PriorityClass>("").into_iter().filter(|c| c.global_default).min_by_key(|c| c.value)
}
