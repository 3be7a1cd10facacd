//! Devices of the host that a container gets.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::config::ContainerConfig;
use crate::error::{Error, Result};
use crate::spec::HostDevice;

/// Looks at the devices that the container wants; a privileged one gets all of the host's.
pub(super) fn devices(config: &ContainerConfig) -> Result<Vec<HostDevice>> {
    let mut found = Vec::new();
    if config.security.privileged {
        host_devices(Path::new("/dev"), &mut found);
    }
    for wanted in &config.devices {
        let device = look(&wanted.host_path, &wanted.container_path, &wanted.permissions).map_err(
            Error::io(format!("error gathering device information for {}", wanted.host_path.display())),
        )?;
        let device = device
            .ok_or_else(|| Error::InvalidConfig(format!("{} is not a device", wanted.host_path.display())))?;
        found.retain(|d: &HostDevice| d.path != device.path);
        found.push(device);
    }
    Ok(found)
}

fn host_devices(dir: &Path, found: &mut Vec<HostDevice>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        match entry.file_type() {
            // These are file systems of their own in every container.
            Ok(t) if t.is_dir() && !["pts", "shm", "mqueue", "fd"].iter().any(|n| name == *n) => {
                host_devices(&path, found)
            }
            Ok(t) if (t.is_char_device() || t.is_block_device()) && name != "console" && name != "ptmx" => {
                found.extend(look(&path, &path, "rwm").ok().flatten());
            }
            _ => {}
        }
    }
}

fn look(host: &Path, inside: &Path, permissions: &str) -> std::io::Result<Option<HostDevice>> {
    let meta = fs::metadata(host)?;
    let kind = match meta.file_type() {
        t if t.is_char_device() => 'c',
        t if t.is_block_device() => 'b',
        _ => return Ok(None),
    };
    Ok(Some(HostDevice {
        path: if inside.as_os_str().is_empty() { host.into() } else { inside.into() },
        kind,
        major: nix::sys::stat::major(meta.rdev()),
        minor: nix::sys::stat::minor(meta.rdev()),
        mode: meta.permissions().mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        permissions: if permissions.is_empty() { "rwm".into() } else { permissions.into() },
    }))
}
