//! Checks of where containers mount volumes and see block devices.

use super::Scope;
use super::container::View;
use super::volume::{descending_path, has_backsteps};
use crate::Path;
use crate::check::Errs;
use std::collections::BTreeSet;
use types::core::v1::*;

/// `volumeMounts`.
pub(super) fn mounts(e: &mut Errs, list: &Path<'_>, c: &View<'_>, scope: &Scope<'_>) {
    let mut paths = BTreeSet::new();
    for (i, mount) in c.mounts.iter().enumerate() {
        let at = list.index(i);
        e.present(&at.child("name"), &mount.name);
        let volume = scope.volumes.get(mount.name.as_str());
        if volume.is_none() {
            e.not_found(&at.child("name"), &mount.name);
        }
        e.present(&at.child("mountPath"), &mount.mount_path);
        if !paths.insert(&mount.mount_path) {
            e.invalid(&at.child("mountPath"), &mount.mount_path, "must be unique");
        }
        if c.devices.iter().any(|d| d.name == mount.name) {
            e.invalid(&at.child("name"), &mount.name, "must not already exist in volumeDevices");
        }
        if c.devices.iter().any(|d| d.device_path == mount.mount_path) {
            e.invalid(
                &at.child("mountPath"),
                &mount.mount_path,
                "must not already exist as a path in volumeDevices",
            );
        }
        if !mount.sub_path.is_empty() {
            descending_path(e, &list.child("subPath"), &mount.sub_path);
        }
        if !mount.sub_path_expr.is_empty() {
            if !mount.sub_path.is_empty() {
                e.invalid(
                    &at.child("subPathExpr"),
                    &mount.sub_path_expr,
                    "subPathExpr and subPath are mutually exclusive",
                );
            }
            descending_path(e, &list.child("subPathExpr"), &mount.sub_path_expr);
        }
        propagation(e, list, mount, c);
    }
}

fn propagation(e: &mut Errs, list: &Path<'_>, mount: &VolumeMount, c: &View<'_>) {
    if let Some(mode) = mount.mount_propagation.as_deref() {
        let at = list.child("mountPropagation");
        e.one_of(&at, mode, &["Bidirectional", "HostToContainer", "None"]);
        let privileged = c.security.is_some_and(|s| s.privileged == Some(true));
        if mode == "Bidirectional" && !privileged {
            e.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let at = list.child("recursiveReadOnly");
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.read_only {
                e.forbidden(&at, "may only be specified when readOnly is true");
            }
            if mount.mount_propagation.as_deref().is_some_and(|p| p != "None") {
                e.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => e.unsupported(&at, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// `volumeDevices`.
pub(super) fn devices(e: &mut Errs, list: &Path<'_>, c: &View<'_>, scope: &Scope<'_>) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in c.devices.iter().enumerate() {
        let at = list.index(i);
        let (name, path) = (&device.name, &device.device_path);
        e.present(&at.child("name"), name);
        if names.contains(name) {
            e.invalid(&at.child("name"), name, "must be unique");
        }
        match scope.volumes.get(name.as_str()) {
            None => e.not_found(&at.child("name"), name),
            Some(v) if v.persistent_volume_claim.is_none() && v.ephemeral.is_none() => e.invalid(
                &at.child("name"),
                name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            Some(_) => {}
        }
        e.present(&at.child("devicePath"), path);
        if paths.contains(path) {
            e.invalid(&at.child("devicePath"), path, "must be unique");
        }
        if has_backsteps(path) {
            e.invalid(&at.child("devicePath"), path, "can not contain backsteps ('..')");
        } else {
            paths.insert(path);
        }
        if c.mounts.iter().any(|m| m.name == *name) {
            e.invalid(&at.child("name"), name, "must not already exist in volumeMounts");
        }
        if c.mounts.iter().any(|m| m.mount_path == *path) {
            e.invalid(&at.child("devicePath"), path, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}
