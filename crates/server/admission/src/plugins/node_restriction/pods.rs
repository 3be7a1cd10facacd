//! Pods of a kubelet's node: mirrors of what runs there without the API server, their status, their eviction.

use meta::v1::OwnerReference;
use rules::references::{self, MIRROR};
use types::core::v1::{Node, Pod};

use super::{Case, Refusal};
use crate::review::{Operation, as_ref};
use crate::world::WorldExt;

pub(super) fn pod(case: &Case<'_>) -> Result<(), Refusal> {
    let node = case.quoted();
    match case.review.operation {
        Operation::Create => match case.object.and_then(as_ref::<Pod>) {
            Some(pod) => create(case, pod),
            None => Ok(()),
        },
        Operation::Delete => match case.review.old.and_then(as_ref::<Pod>) {
            Some(pod) if pod.spec.node_name.as_str() != case.node => {
                Err(format!("node {node} can only delete pods with spec.nodeName set to itself").into())
            }
            _ => Ok(()),
        },
        other => Err(format!(
            "unexpected operation \"{}\", node {node} can only create and delete mirror pods",
            other.name()
        )
        .into()),
    }
}

fn create(case: &Case<'_>, pod: &Pod) -> Result<(), Refusal> {
    let node = case.quoted();
    if !pod.metadata.annotations.contains_key(MIRROR) {
        return Err(format!(
            "pod does not have \"{MIRROR}\" annotation, node {node} can only create mirror pods"
        )
        .into());
    }
    if pod.spec.node_name.as_str() != case.node {
        return Err(format!("node {node} can only create pods with spec.nodeName set to itself").into());
    }
    match pod.metadata.owner_references.as_slice() {
        [owner] => owned(case, owner)?,
        [] => {
            return Err(
                format!("node {node} can only create pods with an owner reference set to itself").into()
            );
        }
        _ => {
            let why = format!("node {node} can only create pods with a single owner reference set to itself");
            return Err(why.into());
        }
    }
    match references::api_object(pod) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(format!("node {node} can not create pods that reference {what}").into()),
        Err(why) => Err(format!("error checking mirror pod for API references: {why}").into()),
    }
}

/// The owner of a mirror pod is the node.
fn owned(case: &Case<'_>, owner: &OwnerReference) -> Result<(), Refusal> {
    let node = case.quoted();
    if owner.api_version != "v1" || owner.kind != "Node" || owner.name.as_str() != case.node {
        return Err(format!("node {node} can only create pods with an owner reference set to itself").into());
    }
    if owner.controller != Some(true) {
        let why = format!("node {node} can only create pods with a controller owner reference set to itself");
        return Err(why.into());
    }
    if owner.block_owner_deletion == Some(true) {
        return Err(format!("node {node} must not set blockOwnerDeletion on an owner reference").into());
    }
    let Some(found) = case.world.get::<Node>("", case.node) else {
        return Err(Refusal::Missing { kind: "node", name: case.node.to_owned() });
    };
    if owner.uid != found.metadata.uid {
        let why =
            format!("node {} UID mismatch: expected {} got {}", case.node, owner.uid, found.metadata.uid);
        return Err(why.into());
    }
    Ok(())
}

pub(super) fn status(case: &Case<'_>) -> Result<(), Refusal> {
    if case.review.operation != Operation::Update {
        return Err(case.unexpected());
    }
    let node = case.quoted();
    let (Some(old), Some(new)) =
        (case.review.old.and_then(as_ref::<Pod>), case.object.and_then(as_ref::<Pod>))
    else {
        return Ok(());
    };
    if old.spec.node_name.as_str() != case.node {
        let why = format!("node {node} can only update pod status for pods with spec.nodeName set to itself");
        return Err(why.into());
    }
    if old.metadata.labels != new.metadata.labels {
        return Err(format!("node {node} cannot update labels through pod status").into());
    }
    if old.status.resource_claim_statuses != new.status.resource_claim_statuses {
        return Err(format!("node {node} cannot update resource claim statues").into());
    }
    if old.status.extended_resource_claim_status != new.status.extended_resource_claim_status {
        return Err(format!("node {node} cannot update extended resource claim status").into());
    }
    Ok(())
}

pub(super) fn eviction(case: &Case<'_>) -> Result<(), Refusal> {
    if case.review.operation != Operation::Create {
        return Err(format!("unexpected operation {}", case.review.operation.name()).into());
    }
    let name = case.name();
    if name.is_empty() {
        return Err("could not determine pod from request data".into());
    }
    let Some(pod) = case.world.get::<Pod>(case.review.namespace(), name) else {
        return Err(Refusal::Missing { kind: "pod", name: name.to_owned() });
    };
    if pod.spec.node_name.as_str() != case.node {
        let why = format!("node {} can only evict pods with spec.nodeName set to itself", case.node);
        return Err(why.into());
    }
    Ok(())
}
