//! What a pod refers to in the API: the Secrets and ConfigMaps that it names, wherever it may, and whether it can do without.

use meta::Str;
use types::core::v1::{EnvFromSource, EnvVar, Pod, PodSpec, Volume, VolumeProjection};

/// Annotation of a mirror pod, which shows a pod that runs without the API: the UID of that one.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

type Variables<'a> = (&'a [EnvVar], &'a [EnvFromSource]);

fn variables(spec: &PodSpec) -> impl Iterator<Item = Variables<'_>> {
    let usual = spec.init_containers.iter().chain(spec.containers.iter());
    let usual = usual.map(|c| (c.env.as_slice(), c.env_from.as_slice()));
    usual.chain(spec.ephemeral_containers.iter().map(|c| (c.env.as_slice(), c.env_from.as_slice())))
}

/// Every Secret that a pod names.
pub fn secrets<'a>(pod: &'a Pod, mut see: impl FnMut(&'a Str)) {
    let mut see = |name: &'a Str| {
        if !name.is_empty() {
            see(name);
        }
    };
    pod.spec.image_pull_secrets.iter().for_each(|s| see(&s.name));
    for (env, env_from) in variables(&pod.spec) {
        let sources = env.iter().filter_map(|e| e.value_from.as_deref());
        sources.filter_map(|source| source.secret_key_ref.as_deref()).for_each(|s| see(&s.name));
        env_from.iter().filter_map(|source| source.secret_ref.as_deref()).for_each(|s| see(&s.name));
    }
    pod.spec.volumes.iter().for_each(|volume| of_volume(volume, &mut see));
}

fn of_volume<'a>(v: &'a Volume, see: &mut impl FnMut(&'a Str)) {
    v.secret.iter().for_each(|s| see(&s.secret_name));
    v.azure_file.iter().for_each(|s| see(&s.secret_name));
    let projected = v.projected.iter().flat_map(|p| &p.sources);
    projected.filter_map(|source| source.secret.as_deref()).for_each(|s| see(&s.name));
    let refs = [
        v.cephfs.as_ref().and_then(|s| s.secret_ref.as_deref()),
        v.cinder.as_ref().and_then(|s| s.secret_ref.as_deref()),
        v.flex_volume.as_ref().and_then(|s| s.secret_ref.as_deref()),
        v.rbd.as_ref().and_then(|s| s.secret_ref.as_deref()),
        v.scale_io.as_ref().and_then(|s| s.secret_ref.as_deref()),
        v.iscsi.as_ref().and_then(|s| s.secret_ref.as_deref()),
        v.storageos.as_ref().and_then(|s| s.secret_ref.as_deref()),
        v.csi.as_ref().and_then(|s| s.node_publish_secret_ref.as_deref()),
    ];
    refs.into_iter().flatten().for_each(|s| see(&s.name));
}

/// Every ConfigMap that a pod names.
pub fn config_maps<'a>(pod: &'a Pod, mut see: impl FnMut(&'a Str)) {
    let mut see = |name: &'a Str| {
        if !name.is_empty() {
            see(name);
        }
    };
    for (env, env_from) in variables(&pod.spec) {
        let sources = env.iter().filter_map(|e| e.value_from.as_deref());
        sources.filter_map(|source| source.config_map_key_ref.as_deref()).for_each(|s| see(&s.name));
        env_from.iter().filter_map(|source| source.config_map_ref.as_deref()).for_each(|s| see(&s.name));
    }
    for volume in &pod.spec.volumes {
        volume.config_map.iter().for_each(|s| see(&s.name));
        let projected = volume.projected.iter().flat_map(|p| &p.sources);
        projected.filter_map(|source| source.config_map.as_deref()).for_each(|s| see(&s.name));
    }
}

/// What of the API a pod needs, the first such thing, as upstream names it: pods that run without the API may need none.
///
/// # Errors
/// There is a volume of no known type.
pub fn api_object(pod: &Pod) -> Result<Option<&'static str>, String> {
    if !pod.spec.service_account_name.is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    let (mut any_secret, mut any_map) = (false, false);
    secrets(pod, |_| any_secret = true);
    config_maps(pod, |_| any_map = true);
    if any_secret {
        return Ok(Some("secrets"));
    }
    if any_map {
        return Ok(Some("configmaps"));
    }
    if !pod.spec.resource_claims.is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in &pod.spec.volumes {
        if let Some(what) = api_object_of_volume(volume)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn api_object_of_volume(v: &Volume) -> Result<Option<&'static str>, String> {
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

#[cfg(test)]
mod tests {
    use meta::Codec as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn wherever_they_are_named() {
        let volumes = json!([
            { "name": "a", "secret": { "secretName": "secret" } },
            { "name": "b", "azureFile": { "secretName": "azure", "shareName": "x" } },
            { "name": "c", "projected": { "sources": [{ "secret": { "name": "projected" } }, { "configMap": { "name": "m1" } }] } },
            { "name": "d", "cephfs": { "secretRef": { "name": "cephfs" } } },
            { "name": "e", "cinder": { "secretRef": { "name": "cinder" } } },
            { "name": "f", "flexVolume": { "driver": "x", "secretRef": { "name": "flex" } } },
            { "name": "g", "rbd": { "secretRef": { "name": "rbd" } } },
            { "name": "h", "scaleIO": { "secretRef": { "name": "scale" } } },
            { "name": "i", "iscsi": { "secretRef": { "name": "iscsi" } } },
            { "name": "j", "storageos": { "secretRef": { "name": "storageos" } } },
            { "name": "k", "csi": { "driver": "x", "nodePublishSecretRef": { "name": "csi" } } },
            { "name": "l", "configMap": { "name": "m2" } },
            { "name": "m", "secret": { "secretName": "" } },
        ]);
        let env = json!([
            { "name": "a", "valueFrom": { "secretKeyRef": { "name": "env", "key": "k" } } },
            { "name": "b", "valueFrom": { "configMapKeyRef": { "name": "m3", "key": "k" } } },
        ]);
        let from = json!([{ "secretRef": { "name": "from" } }, { "configMapRef": { "name": "m4" } }]);
        let pod = json!({ "spec": { "volumes": volumes, "imagePullSecrets": [{ "name": "pull" }],
            "initContainers": [{ "name": "i", "env": env }],
            "ephemeralContainers": [{ "name": "e", "envFrom": from }] } });
        let pod = Pod::from_json(pod.to_string().as_bytes()).unwrap();
        let (mut found, mut maps) = (Vec::new(), Vec::new());
        secrets(&pod, |name| found.push(name.as_str()));
        config_maps(&pod, |name| maps.push(name.as_str()));
        assert_eq!(
            found,
            [
                "pull",
                "env",
                "from",
                "secret",
                "azure",
                "projected",
                "cephfs",
                "cinder",
                "flex",
                "rbd",
                "scale",
                "iscsi",
                "storageos",
                "csi"
            ]
        );
        assert_eq!(maps, ["m3", "m4", "m1", "m2"]);
    }

    #[test]
    fn whatever_needs_the_api_is_named() {
        let named = |spec: &serde_json::Value| {
            let pod = Pod::from_json(json!({ "spec": spec }).to_string().as_bytes()).unwrap();
            api_object(&pod)
        };
        for (spec, wanted) in [
            (
                json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]}),
                None,
            ),
            (json!({"volumes": [{"name": "a", "projected": {"sources": [{"downwardAPI": {}}]}}]}), None),
            (json!({"imagePullSecrets": [{"name": "a"}]}), Some("secrets")),
            (json!({"volumes": [{"name": "a", "secret": {"secretName": "a"}}]}), Some("secrets")),
            (
                json!({"containers": [{"name": "a", "envFrom": [{"configMapRef": {"name": "a"}}]}]}),
                Some("configmaps"),
            ),
            (json!({"resourceClaims": [{"name": "a"}]}), Some("resourceclaims")),
            (
                json!({"volumes": [{"name": "a", "csi": {"driver": "a"}}]}),
                Some("csidrivers (via CSI volumes)"),
            ),
            (
                json!({"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "a"}}]}),
                Some("persistentvolumeclaims"),
            ),
            (
                json!({"volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "a"}}]}}]}),
                Some("serviceaccounts (via projected volumes)"),
            ),
        ] {
            assert_eq!(named(&spec), Ok(wanted), "{spec}");
        }
        let unknown = json!({"volumes": [{"name": "a"}]});
        assert_eq!(named(&unknown), Err("unknown volume type for volume  \"a\"".into()));
    }
}
