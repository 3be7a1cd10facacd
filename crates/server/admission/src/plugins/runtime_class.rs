//! RuntimeClass: a pod takes over the overhead and the scheduling constraints of its class.

use meta::{Object, Status};
use types::core::v1::Pod;
use types::node::v1::RuntimeClass as Class;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::{World, WorldExt};

/// See the module.
pub struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let Some(pod) = as_mut::<Pod>(object) else { return Ok(()) };
        let Some(name) = pod.spec.runtime_class_name.clone() else { return Ok(()) };
        if name.is_empty() {
            return Err(Status {
                status: "Failure".into(),
                message: "resource name may not be empty".into(),
                code: 500,
                ..Status::default()
            });
        }
        let Some(class) = world.get::<Class>("", &name) else {
            let why = format!("pod rejected: RuntimeClass {:?} not found", name.as_str());
            return Err(forbidden(review, Some(object), &why));
        };
        match apply(pod, &class) {
            Ok(()) => Ok(()),
            Err(why) => Err(forbidden(review, Some(object), &why)),
        }
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let Some(pod) = object.and_then(as_ref::<Pod>).filter(|pod| !pod.spec.overhead.is_empty()) else {
            return Ok(());
        };
        let name = pod.spec.runtime_class_name.as_ref();
        let class = name.and_then(|name| world.get::<Class>("", name));
        if class.is_some_and(|class| class.overhead.as_ref().is_some_and(|o| !o.pod_fixed.is_empty())) {
            return Ok(());
        }
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        Err(forbidden(review, object, why))
    }
}

fn apply(pod: &mut Pod, class: &Class) -> Result<(), String> {
    let overhead = class.overhead.as_ref().map(|o| o.pod_fixed.clone()).unwrap_or_default();
    if overhead.is_empty() {
        return schedule(pod, class);
    }
    if !pod.spec.overhead.is_empty() && pod.spec.overhead != overhead {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
    }
    pod.spec.overhead = overhead;
    schedule(pod, class)
}

fn schedule(pod: &mut Pod, class: &Class) -> Result<(), String> {
    let Some(scheduling) = &class.scheduling else { return Ok(()) };
    for (key, value) in scheduling.node_selector.iter() {
        match pod.spec.node_selector.get(key) {
            Some(own) if own != value => {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
                ));
            }
            Some(_) => {}
            None => {
                pod.spec.node_selector.insert(key.clone(), value.clone());
            }
        }
    }
    for toleration in &scheduling.tolerations {
        if !pod.spec.tolerations.contains(toleration) {
            pod.spec.tolerations.push(toleration.clone());
        }
    }
    Ok(())
}
