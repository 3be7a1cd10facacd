//! RuntimeClass: a pod takes over the overhead and the scheduling constraints of its class.

use meta::{Object, Status};
use types::core::v1::Pod;
use types::node::v1::RuntimeClass as Class;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_mut};
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
        let Some(name) = pod.spec.runtime_class_name.clone() else {
            if pod.spec.overhead.is_empty() {
                return Ok(());
            }
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(forbidden(review, Some(object), why));
        };
        let Some(class) = world.get::<Class>("", &name) else {
            let why = format!("pod rejected: RuntimeClass {:?} not found", name.as_str());
            return Err(forbidden(review, Some(object), &why));
        };
        match apply(pod, &class) {
            Ok(()) => Ok(()),
            Err(why) => Err(forbidden(review, Some(object), &why)),
        }
    }
}

fn apply(pod: &mut Pod, class: &Class) -> Result<(), String> {
    let overhead = class.overhead.as_ref().map(|o| o.pod_fixed.clone()).unwrap_or_default();
    if !pod.spec.overhead.is_empty() && pod.spec.overhead != overhead {
        return Err(if overhead.is_empty() {
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into()
        } else {
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into()
        });
    }
    pod.spec.overhead = overhead;
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
