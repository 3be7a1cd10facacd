//! ServiceAccount: every pod runs as one, and gets a token, the CA and its namespace as a projected volume.

use meta::{Object, Status};
use rules::references::MIRROR;
use types::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    ObjectFieldSelector, Pod, ProjectedVolumeSource, ServiceAccount as Account,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::{World, WorldExt};

/// Where the volume is mounted.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Beginning of the volume's name.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Lifetime of tokens, in seconds: an hour and a bit, the value by which upstream recognizes tokens to extend.
const TOKEN_LIFETIME_S: i64 = 3607;

/// See the module.
pub struct ServiceAccount;

/// What is wrong with a name as a part of a path.
fn path_problems(name: &str) -> Vec<String> {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        name => ["/", "%"]
            .into_iter()
            .filter(|part| name.contains(part))
            .map(|part| format!("may not contain '{part}'"))
            .collect(),
    }
}

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
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
        if pod.metadata.annotations.contains_key(MIRROR) {
            return mirror(review, &*pod);
        }
        if pod.spec.service_account_name.is_empty() {
            // The deprecated field is an alias of the other; both are always answered.
            let alias = pod.spec.service_account.clone();
            pod.spec.service_account_name = if alias.is_empty() { "default".into() } else { alias };
        }
        // The old name of the field holds the same value, or the first update would look like a change of it.
        pod.spec.service_account = pod.spec.service_account_name.clone();
        let namespace = review.namespace();
        let name = pod.spec.service_account_name.clone();
        // Upstream's client refuses to ask for a name that no path can hold.
        let unusable = path_problems(&name);
        if !unusable.is_empty() {
            let why = format!(
                "error looking up service account {namespace}/{name}: invalid resource name {:?}: [{}]",
                name.as_str(),
                unusable.join(" ")
            );
            return Err(forbidden(review, Some(object), &why));
        }
        let Some(account) = world.get::<Account>(namespace, &name) else {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {:?} not found",
                name.as_str()
            );
            return Err(forbidden(review, Some(object), &why));
        };
        let pod_says = pod.spec.automount_service_account_token;
        if pod_says.or(account.automount_service_account_token).unwrap_or(true) {
            mount(pod, world);
        }
        if pod.spec.image_pull_secrets.is_empty() {
            pod.spec.image_pull_secrets = account.image_pull_secrets.clone();
        }
        Ok(())
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        _: &dyn World,
    ) -> Result<(), Status> {
        let Some(pod) = object.and_then(as_ref::<Pod>) else { return Ok(()) };
        let mirrored = pod.metadata.annotations.contains_key(MIRROR);
        if mirrored && review.is(Operation::Create, "", "pods") { mirror(review, pod) } else { Ok(()) }
    }
}

/// A pod that comes from a file on a node has no account, and nothing that it could read with one.
fn mirror(review: &Review<'_>, pod: &Pod) -> Result<(), Status> {
    let refuse = |why: &str| Err(forbidden(review, Some(pod), why));
    if !pod.spec.service_account_name.is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    let mut secrets = false;
    rules::references::secrets(pod, |_| secrets = true);
    if secrets {
        return refuse("a mirror pod may not reference secrets");
    }
    let mut sources = pod.spec.volumes.iter().flat_map(|v| &v.projected).flat_map(|p| &p.sources);
    if sources.any(|source| source.service_account_token.is_some()) {
        return refuse("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Adds the volume, and a mount to every container that has nothing there.
fn mount(pod: &mut Pod, world: &dyn World) {
    let existing =
        pod.spec.volumes.iter().find(|v| v.name.starts_with(VOLUME_PREFIX)).map(|v| v.name.clone());
    let name = existing
        .clone()
        .unwrap_or_else(|| meta::Str::from(format!("{VOLUME_PREFIX}{}", world.random().name_suffix(5))));
    let mut mounted = false;
    let add = |container: &mut Container, mounted: &mut bool| {
        if container.volume_mounts.iter().any(|m| m.mount_path == MOUNT_PATH) {
            return;
        }
        container.volume_mounts.push(VolumeMount {
            name: name.clone(),
            read_only: true,
            mount_path: MOUNT_PATH.into(),
            ..Default::default()
        });
        *mounted = true;
    };
    pod.spec.init_containers.iter_mut().for_each(|c| add(c, &mut mounted));
    pod.spec.containers.iter_mut().for_each(|c| add(c, &mut mounted));
    if mounted && existing.is_none() {
        pod.spec.volumes.push(volume(name));
    }
}

fn volume(name: meta::Str) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(Box::new(ServiceAccountTokenProjection {
            expiration_seconds: Some(TOKEN_LIFETIME_S),
            path: "token".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let item = KeyToPath { key: "ca.crt".into(), path: "ca.crt".into(), ..Default::default() };
    let mut ca = ConfigMapProjection { name: "kube-root-ca.crt".into(), ..Default::default() };
    ca.items.push(item);
    let mut files = DownwardAPIProjection::default();
    files.items.push(DownwardAPIVolumeFile {
        path: "namespace".into(),
        field_ref: Some(Box::new(ObjectFieldSelector {
            api_version: "v1".into(),
            field_path: "metadata.namespace".into(),
        })),
        ..Default::default()
    });
    let ca = VolumeProjection { config_map: Some(Box::new(ca)), ..Default::default() };
    let files = VolumeProjection { downward_api: Some(Box::new(files)), ..Default::default() };
    let projected = ProjectedVolumeSource {
        default_mode: Some(0o644),
        sources: [token, ca, files].into_iter().collect(),
    };
    Volume { name, projected: Some(Box::new(projected)), ..Default::default() }
}
