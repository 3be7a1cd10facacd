//! Checks of volume sources that pods and persistent volumes share.

use super::pod::volume::no_backsteps;
use crate::Path;
use crate::check::{Errs, dns_label, dns_subdomain};
use meta::{BadValue, List, Map, Str};
use types::core::v1::*;

/// Why an iSCSI volume with an initiator name is refused.
pub const ISCSI_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Counts the sources of a volume: exactly one may be set.
pub struct OneOf<'a> {
    at: &'a Path<'a>,
    found: bool,
}

impl<'a> OneOf<'a> {
    /// No source seen yet.
    pub fn new(at: &'a Path<'a>) -> Self {
        OneOf { at, found: false }
    }

    /// Notes a source; answers whether it is the first.
    pub fn take(&mut self, e: &mut Errs, field: &str) -> bool {
        let first = !self.found;
        if !first {
            e.forbidden(&self.at.child(field), "may not specify more than 1 volume type");
        }
        self.found = true;
        first
    }

    /// Notes a source that does not mind others.
    pub fn count(&mut self) {
        self.found = true;
    }

    /// At least one source must have been seen.
    pub fn finish(self, e: &mut Errs) {
        if !self.found {
            e.required(self.at, "must specify a volume type");
        }
    }
}

/// Each of the named fields must be present.
pub fn required(e: &mut Errs, at: &Path<'_>, fields: &[(&str, &Str)]) {
    for (field, value) in fields {
        e.present(&at.child(field), value);
    }
}

pub fn host_path(e: &mut Errs, at: &Path<'_>, s: &HostPathVolumeSource) {
    if !e.present(&at.child("path"), &s.path) {
        return;
    }
    no_backsteps(e, &at.child("path"), &s.path);
    if let Some(kind) = &s.type_ {
        e.one_of(
            &at.child("type"),
            kind,
            &[
                "",
                "BlockDevice",
                "CharDevice",
                "Directory",
                "DirectoryOrCreate",
                "File",
                "FileOrCreate",
                "Socket",
            ],
        );
    }
}

pub fn local(e: &mut Errs, at: &Path<'_>, s: &LocalVolumeSource) {
    if e.present(&at.child("path"), &s.path) {
        no_backsteps(e, &at.child("path"), &s.path);
    }
}

pub fn gce_disk(e: &mut Errs, at: &Path<'_>, s: &GCEPersistentDiskVolumeSource) {
    e.present(&at.child("pdName"), &s.pd_name);
    partition(e, at, s.partition);
}

pub fn aws_disk(e: &mut Errs, at: &Path<'_>, s: &AWSElasticBlockStoreVolumeSource) {
    e.present(&at.child("volumeID"), &s.volume_id);
    partition(e, at, s.partition);
}

fn partition(e: &mut Errs, at: &Path<'_>, partition: i32) {
    // Zero is accepted, whatever the message says.
    if !(0..=255).contains(&partition) {
        e.invalid(&at.child("partition"), partition, "must be between 1 and 255, inclusive");
    }
}

pub fn nfs(e: &mut Errs, at: &Path<'_>, s: &NFSVolumeSource) {
    required(e, at, &[("server", &s.server), ("path", &s.path)]);
    if !s.path.starts_with('/') {
        e.invalid(&at.child("path"), &s.path, "must be an absolute path");
    }
}

/// What pods' and volumes' iSCSI sources have in common.
pub struct Iscsi<'a> {
    pub target_portal: &'a Str,
    pub iqn: &'a Str,
    pub lun: i32,
    pub chap: bool,
    pub has_secret: bool,
    pub initiator: Option<&'a Str>,
    /// What to say of a name that begins with no known scheme.
    pub detail: &'static str,
}

pub fn iscsi(e: &mut Errs, at: &Path<'_>, s: &Iscsi<'_>) {
    e.present(&at.child("targetPortal"), s.target_portal);
    if e.present(&at.child("iqn"), s.iqn) {
        initiator(e, &at.child("iqn"), s.iqn, s.detail);
    }
    e.in_range(&at.child("lun"), s.lun, 0, 255);
    if s.chap && !s.has_secret {
        e.required(&at.child("secretRef"), "");
    }
    if let Some(name) = s.initiator {
        initiator(e, &at.child("initiatorname"), name, s.detail);
    }
}

fn initiator(e: &mut Errs, at: &Path<'_>, name: &str, detail: &str) {
    let alnum = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_alphanumeric());
    let ok = match name.get(..3) {
        Some("iqn") => iqn(name),
        Some("eui") => alnum(name.get(4..).unwrap_or(""), 16),
        Some("naa") => alnum(name.get(4..).unwrap_or(""), 32),
        _ => return e.invalid(at, name, detail),
    };
    if !ok {
        e.invalid(at, name, "must be valid format");
    }
}

/// `iqn.`, year and month, `.`, a naming authority, `:`, and a name without the characters `,;*&$|` or blanks.
fn iqn(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("iqn.") else { return false };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (Some(year), Some(month)) = (rest.get(..4), rest.get(5..7)) else { return false };
    let Some(rest) = rest.get(7..).and_then(|r| r.strip_prefix('.')) else { return false };
    if !digits(year) || !digits(month) || name.as_bytes().get(8) != Some(&b'-') {
        return false;
    }
    let Some((authority, tail)) = rest.split_once(':') else { return false };
    !authority.is_empty()
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        && !tail.is_empty()
        && !tail.chars().any(|c| ",;*&$|".contains(c) || c.is_whitespace())
}

pub fn flocker(e: &mut Errs, at: &Path<'_>, s: &FlockerVolumeSource) {
    if s.dataset_name.is_empty() && s.dataset_uuid.is_empty() {
        e.required(at, "one of datasetName and datasetUUID is required");
    }
    if !s.dataset_name.is_empty() && !s.dataset_uuid.is_empty() {
        e.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if s.dataset_name.contains('/') {
        e.invalid(&at.child("datasetName"), &s.dataset_name, "must not contain '/'");
    }
}

pub fn monitors(e: &mut Errs, at: &Path<'_>, monitors: &List<Str>) {
    if monitors.is_empty() {
        e.required(&at.child("monitors"), "");
    }
}

pub fn rbd(e: &mut Errs, at: &Path<'_>, list: &List<Str>, image: &Str) {
    monitors(e, at, list);
    e.present(&at.child("image"), image);
}

pub fn quobyte(e: &mut Errs, at: &Path<'_>, s: &QuobyteVolumeSource) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    if s.registry.is_empty() {
        e.required(&at.child("registry"), PAIRS);
    } else if s.tenant.len() >= 65 {
        e.required(&at.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for pair in s.registry.split(',') {
            let host = pair.rsplit_once(':').map(|(host, _)| host);
            if host.is_none_or(|h| h.contains(':') && !(h.starts_with('[') && h.ends_with(']'))) {
                e.invalid(&at.child("registry"), &s.registry, PAIRS);
            }
        }
    }
    e.present(&at.child("volume"), &s.volume);
}

pub fn fibre_channel(e: &mut Errs, at: &Path<'_>, s: &FCVolumeSource) {
    let wwns = at.child("targetWWNs");
    match (s.target_wwns.is_empty(), s.wwids.is_empty()) {
        (true, true) => e.required(&wwns, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            e.invalid(
                &wwns,
                BadValue::of(&s.target_wwns),
                "targetWWNs and wwids can not be specified simultaneously",
            );
        }
        _ => {}
    }
    if !s.target_wwns.is_empty() {
        match s.lun {
            None => e.required(&at.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) => e.in_range(&at.child("lun"), lun, 0, 255),
        }
    }
}

pub fn flex(e: &mut Errs, at: &Path<'_>, driver: &Str, options: &Map<Str>) {
    e.present(&at.child("driver"), driver);
    for (key, _) in options.iter() {
        let namespace = format!(".{}", key.split('/').next().unwrap_or_default().to_ascii_lowercase());
        let namespace = if key.contains('/') { namespace } else { format!(".{}", key.to_ascii_lowercase()) };
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            e.invalid(&at.child("options").key(key), key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

pub fn vsphere(e: &mut Errs, at: &Path<'_>, s: &VsphereVirtualDiskVolumeSource) {
    e.present(&at.child("volumePath"), &s.volume_path);
}

pub fn photon(e: &mut Errs, at: &Path<'_>, s: &PhotonPersistentDiskVolumeSource) {
    e.present(&at.child("pdID"), &s.pd_id);
}

pub fn portworx(e: &mut Errs, at: &Path<'_>, s: &PortworxVolumeSource) {
    e.present(&at.child("volumeID"), &s.volume_id);
}

pub fn azure_disk(e: &mut Errs, at: &Path<'_>, s: &AzureDiskVolumeSource) {
    required(e, at, &[("diskName", &s.disk_name), ("diskURI", &s.disk_uri)]);
    if let Some(mode) = &s.caching_mode {
        e.one_of(&at.child("cachingMode"), mode, &["None", "ReadOnly", "ReadWrite"]);
    }
    let Some(kind) = &s.kind else { return };
    e.one_of(&at.child("kind"), kind, &["Dedicated", "Managed", "Shared"]);
    let (start, form) = if kind == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !s.disk_uri.starts_with(start) {
        e.unsupported(&at.child("diskURI"), &s.disk_uri, &[form]);
    }
}

pub fn storage_os(e: &mut Errs, at: &Path<'_>, name: &Str, namespace: &Str) {
    if e.present(&at.child("volumeName"), name) {
        e.each(&at.child("volumeName"), name, dns_label(name));
    }
    if !namespace.is_empty() {
        e.each(&at.child("volumeNamespace"), namespace, dns_label(namespace));
    }
}

/// The name of a CSI driver: a DNS subdomain of up to 63 bytes; uppercase passes.
pub fn csi_driver_name(e: &mut Errs, at: &Path<'_>, name: &str) {
    if !e.present(at, name) {
        return;
    }
    if name.len() > 63 {
        e.too_long(at, 63);
    }
    e.each(at, name, dns_subdomain(&name.to_ascii_lowercase()));
}

/// A reference to a secret of a persistent volume: both names present and well formed.
pub fn secret_reference(e: &mut Errs, at: &Path<'_>, secret: &SecretReference) {
    if e.present(&at.child("name"), &secret.name) {
        e.each(&at.child("name"), &secret.name, dns_subdomain(&secret.name));
    }
    if e.present(&at.child("namespace"), &secret.namespace) {
        e.each(&at.child("namespace"), &secret.namespace, dns_label(&secret.namespace));
    }
}
