//! Pods of a kubelet's node: mirrors of what runs there without the API server, their status, their eviction.

use authz::references;
use meta::v1::OwnerReference;
use types::core::v1::{Node, Pod, Volume, VolumeProjection};

use super::{Case, Refusal};
use crate::review::{Operation, as_ref};
use crate::world::WorldExt;

const MIRROR: &str = "kubernetes.io/config.mirror";

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
    match reference(pod) {
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

/// What of the API a pod needs, the first such thing; the error says what nobody knows.
fn reference(pod: &Pod) -> Result<Option<&'static str>, String> {
    if !pod.spec.service_account_name.is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    let (mut secrets, mut maps) = (false, false);
    references::secrets(pod, |_| secrets = true);
    references::config_maps(pod, |_| maps = true);
    if secrets {
        return Ok(Some("secrets"));
    }
    if maps {
        return Ok(Some("configmaps"));
    }
    if !pod.spec.resource_claims.is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in &pod.spec.volumes {
        if let Some(what) = of_volume(volume)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn of_volume(v: &Volume) -> Result<Option<&'static str>, String> {
    let local = v.aws_elastic_block_store.is_some()
        || v.azure_disk.is_some()
        || v.cephfs.is_some()
        || v.cinder.is_some()
        || v.downward_api.is_some()
        || v.empty_dir.is_some()
        || v.fc.is_some()
        || v.flex_volume.is_some()
        || v.flocker.is_some()
        || v.gce_persistent_disk.is_some()
        || v.git_repo.is_some()
        || v.host_path.is_some()
        || v.image.is_some()
        || v.iscsi.is_some()
        || v.nfs.is_some()
        || v.photon_persistent_disk.is_some()
        || v.portworx_volume.is_some()
        || v.quobyte.is_some()
        || v.rbd.is_some()
        || v.scale_io.is_some()
        || v.storageos.is_some()
        || v.vsphere_volume.is_some();
    if local {
        return Ok(None);
    }
    let kinds = [
        (v.config_map.is_some(), "configmaps (via configmap volumes)"),
        (v.secret.is_some(), "secrets (via secret volumes)"),
        (v.csi.is_some(), "csidrivers (via CSI volumes)"),
        (v.glusterfs.is_some(), "endpoints (via glusterFS volumes)"),
        (v.persistent_volume_claim.is_some(), "persistentvolumeclaims"),
        (v.ephemeral.is_some(), "persistentvolumeclaims (via ephemeral volumes)"),
        (v.azure_file.is_some(), "secrets (via azureFile volumes)"),
    ];
    if let Some((_, what)) = kinds.into_iter().find(|(there, _)| *there) {
        return Ok(Some(what));
    }
    let Some(projected) = &v.projected else {
        return Err(format!("unknown volume type for volume  \"{}\"", v.name));
    };
    for source in &projected.sources {
        match of_source(source) {
            Some("") => {}
            Some(what) => return Ok(Some(what)),
            None => return Err(format!("unknown source for projected volume \"{}\"", v.name)),
        }
    }
    Ok(None)
}

/// What of the API a source needs, empty for nothing.
fn of_source(source: &VolumeProjection) -> Option<&'static str> {
    let kinds = [
        (source.config_map.is_some(), "configmaps (via projected volumes)"),
        (source.secret.is_some(), "secrets (via projected volumes)"),
        (source.service_account_token.is_some(), "serviceaccounts (via projected volumes)"),
        (source.cluster_trust_bundle.is_some(), "clustertrustbundles"),
        (source.pod_certificate.is_some(), "podcertificates"),
        (source.downward_api.is_some(), ""),
    ];
    kinds.into_iter().find(|(there, _)| *there).map(|(_, what)| what)
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
