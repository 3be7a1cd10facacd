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
            match objects.trust_bundle(name).await? {
                Some(pem) => {
                    out.insert(s.path.to_string(), File::new(pem.into_bytes(), mode_or(None, mode)));
                }
                None if s.optional.unwrap_or(false) => {
                    out.insert(s.path.to_string(), File::new(vec![], mode_or(None, mode)));
                }
                None => return Err(Error::Object(format!("clustertrustbundle \"{name}\" not found"))),
            }
        }
    }
    Ok((out, refresh_at))
}

/// A token is for the container's user alone: with `fsGroup` the group may read it; if all containers run as one user
/// it belongs to that user; else it stays readable for all, as the volume's mode says.
fn restrict(pod: &Pod, file: &mut File) {
    if pod.spec.security_context.as_deref().and_then(|s| s.fs_group).is_some() {
        file.mode = 0o600;
        return;
    }
    let of_pod = pod.spec.security_context.as_deref().and_then(|s| s.run_as_user);
    let all = pod.spec.init_containers.iter().chain(pod.spec.containers.iter());
    let mut users = all.map(|c| c.security_context.as_deref().and_then(|s| s.run_as_user).or(of_pod));
    let Some(Some(first)) = users.next() else { return };
    if users.all(|user| user == Some(first))
        && let Ok(uid) = u32::try_from(first)
    {
        file.mode = 0o600;
        file.uid = Some(uid);
    }
}
