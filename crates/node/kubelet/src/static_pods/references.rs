//! What a static pod refers to in the API, which it must do without (upstream's gate `PreventStaticPodAPIReferences`).

use types::core::v1::{Container, Pod, ProjectedVolumeSource, Volume};

/// The resource of the first such object, in words for the error.
pub(super) fn api_object(pod: &Pod) -> Option<&'static str> {
    let spec = &pod.spec;
    if !spec.service_account_name.is_empty() {
        return Some("serviceaccounts");
    }
    let containers = || spec.init_containers.iter().chain(spec.containers.iter());
    let volumes = || spec.volumes.iter();
    if !spec.image_pull_secrets.is_empty() || containers().any(reads_secret) || volumes().any(holds_secret) {
        return Some("secrets");
    }
    if containers().any(reads_config_map) || volumes().any(holds_config_map) {
        return Some("configmaps");
    }
    if !spec.resource_claims.is_empty() {
        return Some("resourceclaims");
    }
    volumes().find_map(of_volume)
}

fn reads_secret(container: &Container) -> bool {
    container.env_from.iter().any(|from| from.secret_ref.is_some())
        || container
            .env
            .iter()
            .any(|one| one.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some()))
}

fn reads_config_map(container: &Container) -> bool {
    container.env_from.iter().any(|from| from.config_map_ref.is_some())
        || container
            .env
            .iter()
            .any(|one| one.value_from.as_ref().is_some_and(|from| from.config_map_key_ref.is_some()))
}

fn holds_secret(volume: &Volume) -> bool {
    volume.secret.is_some()
        || volume.azure_file.is_some()
        || volume.projected.as_ref().is_some_and(|all| all.sources.iter().any(|one| one.secret.is_some()))
        || volume.csi.as_ref().is_some_and(|csi| csi.node_publish_secret_ref.is_some())
}

fn holds_config_map(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.projected.as_ref().is_some_and(|all| all.sources.iter().any(|one| one.config_map.is_some()))
}

fn of_volume(volume: &Volume) -> Option<&'static str> {
    if volume.csi.is_some() {
        return Some("csidrivers (via CSI volumes)");
    }
    if volume.glusterfs.is_some() {
        return Some("endpoints (via glusterFS volumes)");
    }
    if volume.persistent_volume_claim.is_some() {
        return Some("persistentvolumeclaims");
    }
    if volume.ephemeral.is_some() {
        return Some("persistentvolumeclaims (via ephemeral volumes)");
    }
    volume.projected.as_deref().and_then(of_projection)
}

fn of_projection(projected: &ProjectedVolumeSource) -> Option<&'static str> {
    projected.sources.iter().find_map(|source| {
        if source.service_account_token.is_some() {
            return Some("serviceaccounts (via projected volumes)");
        }
        if source.cluster_trust_bundle.is_some() {
            return Some("clustertrustbundles");
        }
        source.pod_certificate.is_some().then_some("podcertificates")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_needs_the_api_is_named() {
        let named = |spec: &str| {
            let yaml = format!("spec: {{{spec}}}");
            let pod: Pod = meta::from_value(serde_norway::from_str(&yaml).unwrap()).unwrap();
            api_object(&pod)
        };
        for (spec, wanted) in [
            ("volumes: [{name: a, hostPath: {path: /}}, {name: b, emptyDir: {}}]", None),
            ("volumes: [{name: a, projected: {sources: [{downwardAPI: {}}]}}]", None),
            ("imagePullSecrets: [{name: a}]", Some("secrets")),
            ("volumes: [{name: a, secret: {secretName: a}}]", Some("secrets")),
            ("containers: [{name: a, envFrom: [{configMapRef: {name: a}}]}]", Some("configmaps")),
            ("resourceClaims: [{name: a}]", Some("resourceclaims")),
            ("volumes: [{name: a, csi: {driver: a}}]", Some("csidrivers (via CSI volumes)")),
            ("volumes: [{name: a, persistentVolumeClaim: {claimName: a}}]", Some("persistentvolumeclaims")),
            (
                "volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: a}}]}}]",
                Some("serviceaccounts (via projected volumes)"),
            ),
        ] {
            assert_eq!(named(spec), wanted, "{spec}");
        }
    }
}
