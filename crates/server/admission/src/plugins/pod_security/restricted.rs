//! The rules that the restricted level adds to the baseline, or puts in the place of its rules.

use types::core::v1::Volume;

use super::baseline::{added, seccomp_bad, seccomp_confines};
use super::subject::Subject;
use super::words::{Sorted, Violation, containers, noun, quoted, setters};

/// The version since which rules that Windows cannot follow spare its pods.
const WINDOWS_SPARED_SINCE: u32 = 25;

fn spared(pod: &Subject<'_>, minor: u32) -> bool {
    minor >= WINDOWS_SPARED_SINCE && pod.is_windows()
}

pub fn privilege_escalation(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    let names = pod.named(|part| part.security.is_none_or(|s| s.allow_privilege_escalation != Some(false)));
    if names.is_empty() || spared(pod, minor) {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    Violation::new("allowPrivilegeEscalation != false", detail)
}

pub fn capabilities(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    if spared(pod, minor) {
        return None;
    }
    let keep = pod.named(|part| {
        let capabilities = part.security.and_then(|s| s.capabilities.as_ref());
        !capabilities.is_some_and(|c| c.drop.iter().any(|name| name == "ALL"))
    });
    let kept = (!keep.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keep)));
    let found: Vec<String> = kept.into_iter().chain(added(pod, &["NET_BIND_SERVICE"])).collect();
    if found.is_empty() { None } else { Violation::new("unrestricted capabilities", found.join("; ")) }
}

pub fn volumes(pod: &Subject<'_>, _: u32) -> Option<Violation> {
    let bad: Vec<(&str, &str)> =
        pod.spec.volumes.iter().filter_map(|v| Some((v.name.as_str(), unfit(v)?))).collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: Sorted<'_> = bad.iter().map(|(_, kind)| *kind).collect();
    let detail = format!(
        "{} {} {} {} {}",
        noun("volume", "volumes", bad.len()),
        quoted(bad.iter().map(|(name, _)| name)),
        noun("uses", "use", bad.len()),
        noun("restricted volume type", "restricted volume types", kinds.len()),
        quoted(kinds)
    );
    Violation::new("restricted volume types", detail)
}

/// The type of a volume that is none of those that are always fine.
fn unfit(v: &Volume) -> Option<&'static str> {
    let fine = [
        v.config_map.is_some(),
        v.csi.is_some(),
        v.downward_api.is_some(),
        v.empty_dir.is_some(),
        v.ephemeral.is_some(),
        v.image.is_some(),
        v.persistent_volume_claim.is_some(),
        v.projected.is_some(),
        v.secret.is_some(),
    ];
    if fine.contains(&true) {
        return None;
    }
    let kinds = [
        (v.host_path.is_some(), "hostPath"),
        (v.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (v.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (v.git_repo.is_some(), "gitRepo"),
        (v.nfs.is_some(), "nfs"),
        (v.iscsi.is_some(), "iscsi"),
        (v.glusterfs.is_some(), "glusterfs"),
        (v.rbd.is_some(), "rbd"),
        (v.flex_volume.is_some(), "flexVolume"),
        (v.cinder.is_some(), "cinder"),
        (v.cephfs.is_some(), "cephfs"),
        (v.flocker.is_some(), "flocker"),
        (v.fc.is_some(), "fc"),
        (v.azure_file.is_some(), "azureFile"),
        (v.vsphere_volume.is_some(), "vsphereVolume"),
        (v.quobyte.is_some(), "quobyte"),
        (v.azure_disk.is_some(), "azureDisk"),
        (v.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (v.portworx_volume.is_some(), "portworxVolume"),
        (v.scale_io.is_some(), "scaleIO"),
        (v.storageos.is_some(), "storageos"),
    ];
    Some(kinds.iter().find(|(set, _)| *set).map_or("unknown", |(_, kind)| kind))
}

pub fn non_root(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if minor >= 35 && pod.own_users() {
        return None;
    }
    let own = pod.security().and_then(|s| s.run_as_non_root);
    let root = pod.named(|part| part.security.and_then(|s| s.run_as_non_root) == Some(false));
    if let Some(who) = setters(own == Some(false), &root) {
        return Violation::new(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.named(|part| part.security.and_then(|s| s.run_as_non_root).is_none());
    if own == Some(true) || silent.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
    Violation::new(REASON, detail)
}

pub fn user(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    if minor >= 35 && pod.own_users() {
        return None;
    }
    let own = pod.security().and_then(|s| s.run_as_user) == Some(0);
    let names = pod.named(|part| part.security.and_then(|s| s.run_as_user) == Some(0));
    let who = setters(own, &names)?;
    Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub fn seccomp(pod: &Subject<'_>, minor: u32) -> Option<Violation> {
    if spared(pod, minor) {
        return None;
    }
    if let Some(bad) = seccomp_bad(pod) {
        return Some(bad);
    }
    let own = pod.security().and_then(|s| s.seccomp_profile.as_ref());
    let silent = pod.named(|part| part.security.and_then(|s| s.seccomp_profile.as_ref()).is_none());
    if own.is_some_and(|p| seccomp_confines(&p.type_)) || silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&silent)
    );
    Violation::new("seccompProfile", detail)
}
