//! `projected`: several sources in one directory, service account tokens among them.

use std::time::SystemTime;

use types::core::v1::{Pod, ProjectedVolumeSource};

use crate::downward;
use crate::error::{Error, Result};
use crate::payload::{self, File, Payload, mode_or};
use crate::setup::{Host, Objects, TokenRequest, found};

/// Files of the volume, and when a token in it wants to be replaced.
pub async fn payload(
    pod: &Pod,
    source: &ProjectedVolumeSource,
    host: &Host,
    objects: &dyn Objects,
) -> Result<(Payload, Option<SystemTime>)> {
    let namespace = pod.metadata.namespace.as_str();
    let mode = source.default_mode;
    let mut out = Payload::new();
    let mut refresh_at: Option<SystemTime> = None;
    for part in &source.sources {
        if let Some(s) = &part.secret {
            let optional = s.optional.unwrap_or(false);
            let object = found(objects.secret(namespace, &s.name).await?, optional, "secret", &s.name)?;
            out.extend(payload::secret(object.as_deref(), &s.items, mode, optional)?);
        }
        if let Some(s) = &part.config_map {
            let optional = s.optional.unwrap_or(false);
            let object =
                found(objects.config_map(namespace, &s.name).await?, optional, "configmap", &s.name)?;
            out.extend(payload::config_map(object.as_deref(), &s.items, mode, optional)?);
        }
        if let Some(s) = &part.downward_api {
            out.extend(downward::payload(pod, host, s.items.iter(), mode)?);
        }
        if let Some(s) = &part.service_account_token {
            let request = TokenRequest {
                namespace: namespace.to_owned(),
                service_account: pod.spec.service_account_name.to_string(),
                audience: s.audience.to_string(),
                expiration_seconds: s.expiration_seconds.unwrap_or(3600),
                pod_name: pod.metadata.name.to_string(),
                pod_uid: pod.metadata.uid.to_string(),
            };
            let token = objects.token(&request).await?;
            let mut file = File::new(token.token.into_bytes(), mode_or(None, mode));
            restrict(pod, &mut file);
            out.insert(s.path.to_string(), file);
            refresh_at = Some(refresh_at.map_or(token.refresh_at, |at| at.min(token.refresh_at)));
        }
        if let Some(s) = &part.cluster_trust_bundle {
            let name = s.name.as_deref().unwrap_or_default();
            if name.is_empty() {
                return Err(Error::Invalid(
                    "ClusterTrustBundle projection by signer name is not supported".into(),
                ));
            }
            let pem = match objects.trust_bundle(name).await? {
                Some(pem) => pem.into_bytes(),
                None if s.optional.unwrap_or(false) => Vec::new(),
                None => return Err(Error::Object(format!("clustertrustbundle \"{name}\" not found"))),
            };
            let mut file = File::new(pem, mode_or(None, mode));
            restrict(pod, &mut file);
            out.insert(s.path.to_string(), file);
        }
    }
    Ok((out, refresh_at))
}

/// What proves who a pod is, is for its user alone: where all containers run as one, the file belongs to that one, and
/// with `fsGroup` the group may read it too; else it stays as the volume's mode says.
fn restrict(pod: &Pod, file: &mut File) {
    let of_pod = pod.spec.security_context.as_deref();
    file.uid = only_user(pod);
    if file.uid.is_some() || of_pod.and_then(|security| security.fs_group).is_some() {
        file.mode = 0o600;
    }
}

/// The user that all of the pod's containers run as, if the pod says so.
fn only_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod.spec.security_context.as_deref().and_then(|security| security.run_as_user);
    let spec = &pod.spec;
    let contexts = spec.init_containers.iter().chain(spec.containers.iter()).map(|c| &c.security_context);
    let contexts = contexts.chain(spec.ephemeral_containers.iter().map(|c| &c.security_context));
    let mut users = contexts.map(|own| own.as_deref().and_then(|own| own.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

#[cfg(test)]
mod tests {
    use types::core::v1::{Container, PodSecurityContext, SecurityContext};

    use super::*;

    #[test]
    fn tokens_belong_to_the_pods_user_and_group() {
        let pod = |of_pod: Option<i64>, group: Option<i64>, own: &[Option<i64>]| {
            let mut pod = Pod::default();
            let security = PodSecurityContext { run_as_user: of_pod, fs_group: group, ..Default::default() };
            pod.spec.security_context = Some(Box::new(security));
            let container = |user: &Option<i64>| Container {
                security_context: user
                    .map(|user| Box::new(SecurityContext { run_as_user: Some(user), ..Default::default() })),
                ..Default::default()
            };
            pod.spec.containers = own.iter().map(container).collect();
            pod
        };
        for (pod, uid, mode) in [
            (pod(Some(1000), None, &[None, None]), Some(1000), 0o600),
            (pod(None, Some(10_000), &[None]), None, 0o600),
            (pod(Some(1000), Some(10_000), &[None]), Some(1000), 0o600),
            (pod(Some(1000), None, &[None, Some(1)]), None, 0o644),
            (pod(None, None, &[Some(1), Some(1)]), Some(1), 0o600),
            (pod(None, None, &[None]), None, 0o644),
            (pod(Some(-1), None, &[None]), None, 0o644),
        ] {
            let mut file = File::new(Vec::new(), 0o644);
            restrict(&pod, &mut file);
            assert_eq!((file.uid, file.mode), (uid, mode));
        }
    }
}
