//! The Secrets and ConfigMaps that a pod names, wherever it may name them.

use meta::Str;
use types::core::v1::{EnvFromSource, EnvVar, Pod, PodSpec, Volume};

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
}
