//! `pods/binding`: the scheduler's answer. Binding is final, and happens once.

use call::{DryRun, Target, WriteOptions};
use meta::{Object, Status, Time};
use types::core::v1::{Binding, Pod, PodCondition};

use crate::errors;
use crate::outcome::Outcome;
use crate::registry::{Registry, Request};

impl Registry {
    /// Binds the request's pod. Admission is asked for `reviewed`, which differs at `POST .../bindings`.
    pub(super) async fn bind(
        &self,
        request: &mut Request<'_>,
        reviewed: &Target,
        binding: Box<Binding>,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let target = request.target;
        let check = |binding: &Binding| {
            if binding.metadata.name != target.name {
                return Err(errors::bad_request("name in URL does not match name in Binding object"));
            }
            validate(binding)
        };
        let binding = self.admit_body(request, reviewed, binding, options, check).await?;
        let now = Time::from_unix(self.now_s());
        let dry_run = options.dry_run == DryRun::All;
        let meant = &binding.metadata;
        let assign = |object: &mut dyn Object| {
            let Some(pod) = object.as_any_mut().downcast_mut::<Pod>() else { return Ok(()) };
            let other = errors::other_uid(&meant.uid, &pod.metadata.uid)
                .or_else(|| errors::other_version(&meant.resource_version, &pod.metadata.resource_version));
            match other {
                Some(why) => Err(self.storage_conflict(request, dry_run, &why)),
                None => assign(pod, &binding, now),
            }
        };
        if dry_run {
            let current = self.find_object(request.served, &target.namespace, &target.name).await?;
            let current = current.ok_or_else(|| request.not_found())?;
            assign(&mut *current.object().clone_object())?;
        } else {
            self.change(request.served, &target.namespace, &target.name, assign).await?;
        }
        Ok(Outcome::Done(created(), 201))
    }
}

/// The Status that upstream answers an action with that made something.
pub(super) fn created() -> Status {
    Status { code: 201, ..Status::success() }
}

/// Upstream answers a binding that makes no sense with a bare 500.
fn validate(binding: &Binding) -> Result<(), Status> {
    let kind = binding.target.kind.as_str();
    if !kind.is_empty() && kind != "Node" {
        return Err(errors::bare(format!(
            "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
        )));
    }
    if binding.target.name.is_empty() {
        return Err(errors::bare("target.name: Required value"));
    }
    Ok(())
}

fn assign(pod: &mut Pod, binding: &Binding, now: Time) -> Result<(), Status> {
    let name = pod.metadata.name.clone();
    let refuse = |why: String| Err(errors::conflict("", "pods/binding", &name, &why));
    if pod.metadata.deletion_timestamp.is_some() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !pod.spec.node_name.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {:?}", pod.spec.node_name.as_str()));
    }
    if !pod.spec.scheduling_gates.is_empty() {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod.spec.node_name = binding.target.name.clone();
    // What was expected has come true.
    pod.status.nominated_node_name = Default::default();
    for (key, value) in binding.metadata.annotations.iter() {
        pod.metadata.annotations.insert(key.clone(), value.clone());
    }
    for (key, value) in binding.metadata.labels.iter() {
        pod.metadata.labels.insert(key.clone(), value.clone());
    }
    let conditions = &mut pod.status.conditions;
    match conditions.iter_mut().find(|c| c.type_ == "PodScheduled") {
        Some(condition) => {
            if condition.status != "True" {
                condition.last_transition_time = Some(now);
            }
            condition.status = "True".into();
            condition.reason = "".into();
            condition.message = "".into();
        }
        None => conditions.push(PodCondition {
            type_: "PodScheduled".into(),
            status: "True".into(),
            last_transition_time: Some(now),
            ..Default::default()
        }),
    }
    Ok(())
}
