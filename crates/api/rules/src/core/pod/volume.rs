//! Checks of the volumes of a pod.

use super::{container, env};
use crate::Path;
use crate::check::{Errs, Raw, dns_label, dns_subdomain, labels, metadata, name_subdomain};
use crate::core::{claim, volume_source as source};
use meta::v1::ObjectMeta;
use meta::{List, Str};
use std::collections::{BTreeMap, BTreeSet};
use types::core::v1::*;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const CONFLICTING: &str = "conflicting duplicate paths";

/// Checks all volumes and answers with those that are usable, by name.
pub(super) fn volumes<'a>(
    e: &mut Errs,
    at: &Path<'_>,
    volumes: &'a List<Volume>,
    meta: Option<&ObjectMeta>,
) -> BTreeMap<&'a str, &'a Volume> {
    let pod_name = meta.map(|m| m.name.as_str()).filter(|n| !n.is_empty());
    let mut usable = BTreeMap::new();
    for (i, v) in volumes.iter().enumerate() {
        let at = at.index(i);
        let before = e.len();
        volume(e, &at, v, pod_name, meta.is_some());
        if e.present(&at.child("name"), &v.name) {
            e.each(&at.child("name"), &v.name, dns_label(&v.name));
        }
        if usable.contains_key(v.name.as_str()) {
            e.duplicate(&at.child("name"), &v.name);
        }
        if e.len() == before {
            usable.insert(v.name.as_str(), v);
        }
        if let (Some(claim), Some(pod)) = (&v.persistent_volume_claim, pod_name) {
            let made_here = |other: &Volume| {
                other.ephemeral.is_some() && claim.claim_name == format!("{pod}-{}", other.name)
            };
            if volumes.iter().any(made_here) {
                e.invalid(
                    &at.child("persistentVolumeClaim").child("claimName"),
                    &claim.claim_name,
                    "must not reference a PVC that gets created for an ephemeral volume",
                );
            }
        }
    }
    usable
}

fn volume(e: &mut Errs, at: &Path<'_>, v: &Volume, pod_name: Option<&str>, is_pod: bool) {
    let mut first = source::OneOf::new(at);
    if let Some(s) = &v.empty_dir {
        first.take(e, "emptyDir");
        if s.size_limit.as_ref().is_some_and(|q| *q < meta::Quantity::default()) {
            e.forbidden(
                &at.child("emptyDir").child("sizeLimit"),
                "SizeLimit field must be a valid resource quantity",
            );
        }
    }
    // Each source: its field, the name under which upstream reports it, its check.
    macro_rules! source {
        ($field:ident, $name:literal, $inner:literal, $check:expr) => {
            if let Some(s) = &v.$field {
                if first.take(e, $name) {
                    #[allow(clippy::redundant_closure_call)]
                    ($check)(e, &at.child($inner), s.as_ref());
                }
            }
        };
    }
    source!(host_path, "hostPath", "hostPath", source::host_path);
    source!(git_repo, "gitRepo", "gitRepo", |e: &mut Errs, at: &Path<'_>, s: &GitRepoVolumeSource| {
        e.present(&at.child("repository"), &s.repository);
        descending_path(e, &at.child("directory"), &s.directory);
    });
    source!(gce_persistent_disk, "gcePersistentDisk", "persistentDisk", source::gce_disk);
    source!(aws_elastic_block_store, "awsElasticBlockStore", "awsElasticBlockStore", source::aws_disk);
    source!(secret, "secret", "secret", |e: &mut Errs, at: &Path<'_>, s: &SecretVolumeSource| {
        e.present(&at.child("secretName"), &s.secret_name);
        mode(e, &at.child("defaultMode"), s.default_mode);
        items(e, &at.child("items"), &s.items);
    });
    source!(nfs, "nfs", "nfs", source::nfs);
    source!(iscsi, "iscsi", "iscsi", |e: &mut Errs, at: &Path<'_>, s: &ISCSIVolumeSource| {
        source::iscsi(
            e,
            at,
            &source::Iscsi {
                target_portal: &s.target_portal,
                iqn: &s.iqn,
                lun: s.lun,
                chap: s.chap_auth_discovery || s.chap_auth_session,
                has_secret: s.secret_ref.is_some(),
                initiator: s.initiator_name.as_ref(),
                detail: "must be valid format starting with iqn, eui, or naa",
            },
        );
    });
    if let Some(s) = &v.iscsi
        && s.initiator_name.is_some()
        && v.name.len() + 1 + s.target_portal.len() > 64
    {
        e.invalid(&at.child("name"), &v.name, source::ISCSI_TOO_LONG);
    }
    source!(glusterfs, "glusterfs", "glusterfs", |e: &mut Errs, at: &Path<'_>, s: &GlusterfsVolumeSource| {
        source::required(e, at, &[("endpoints", &s.endpoints), ("path", &s.path)]);
    });
    source!(flocker, "flocker", "flocker", source::flocker);
    source!(
        persistent_volume_claim,
        "persistentVolumeClaim",
        "persistentVolumeClaim",
        |e: &mut Errs, at: &Path<'_>, s: &PersistentVolumeClaimVolumeSource| {
            e.present(&at.child("claimName"), &s.claim_name);
        }
    );
    source!(rbd, "rbd", "rbd", |e: &mut Errs, at: &Path<'_>, s: &RBDVolumeSource| {
        source::rbd(e, at, &s.monitors, &s.image);
    });
    source!(cinder, "cinder", "cinder", |e: &mut Errs, at: &Path<'_>, s: &CinderVolumeSource| {
        e.present(&at.child("volumeID"), &s.volume_id);
        if let Some(secret) = &s.secret_ref {
            e.present(&at.child("secretRef").child("name"), &secret.name);
        }
    });
    source!(cephfs, "cephFS", "cephfs", |e: &mut Errs, at: &Path<'_>, s: &CephFSVolumeSource| {
        source::monitors(e, at, &s.monitors);
    });
    source!(quobyte, "quobyte", "quobyte", source::quobyte);
    source!(
        downward_api,
        "downwarAPI",
        "downwardAPI",
        |e: &mut Errs, at: &Path<'_>, s: &DownwardAPIVolumeSource| {
            mode(e, &at.child("defaultMode"), s.default_mode);
            for file in s.items.iter() {
                downward_file(e, at, file);
            }
        }
    );
    source!(fc, "fc", "fc", source::fibre_channel);
    source!(flex_volume, "flexVolume", "flexVolume", |e: &mut Errs, at: &Path<'_>, s: &FlexVolumeSource| {
        source::flex(e, at, &s.driver, &s.options);
    });
    source!(
        config_map,
        "configMap",
        "configMap",
        |e: &mut Errs, at: &Path<'_>, s: &ConfigMapVolumeSource| {
            e.present(&at.child("name"), &s.name);
            mode(e, &at.child("defaultMode"), s.default_mode);
            items(e, &at.child("items"), &s.items);
        }
    );
    source!(
        azure_file,
        "azureFile",
        "azureFile",
        |e: &mut Errs, at: &Path<'_>, s: &AzureFileVolumeSource| {
            source::required(e, at, &[("secretName", &s.secret_name), ("shareName", &s.share_name)]);
        }
    );
    source!(vsphere_volume, "vsphereVolume", "vsphereVolume", source::vsphere);
    source!(photon_persistent_disk, "photonPersistentDisk", "photonPersistentDisk", source::photon);
    source!(portworx_volume, "portworxVolume", "portworxVolume", source::portworx);
    source!(azure_disk, "azureDisk", "azureDisk", source::azure_disk);
    source!(storageos, "storageos", "storageos", |e: &mut Errs, at: &Path<'_>, s: &StorageOSVolumeSource| {
        source::storage_os(e, at, &s.volume_name, &s.volume_namespace);
        if let Some(secret) = &s.secret_ref {
            e.present(&at.child("secretRef").child("name"), &secret.name);
        }
    });
    source!(projected, "projected", "projected", |e: &mut Errs, at: &Path<'_>, s: &ProjectedVolumeSource| {
        mode(e, &at.child("defaultMode"), s.default_mode);
        projected(e, at, s);
    });
    source!(scale_io, "scaleIO", "scaleIO", |e: &mut Errs, at: &Path<'_>, s: &ScaleIOVolumeSource| {
        source::required(
            e,
            at,
            &[("gateway", &s.gateway), ("system", &s.system), ("volumeName", &s.volume_name)],
        );
    });
    source!(csi, "csi", "csi", |e: &mut Errs, at: &Path<'_>, s: &CSIVolumeSource| {
        source::csi_driver_name(e, &at.child("driver"), &s.driver);
        if let Some(secret) = &s.node_publish_secret_ref
            && e.present(&at.child("nodePublishSecretRef").child("name"), &secret.name)
        {
            e.each(&at.child("name"), &secret.name, name_subdomain(&secret.name, false));
        }
    });
    source!(ephemeral, "ephemeral", "ephemeral", |e: &mut Errs, at: &Path<'_>, s: &EphemeralVolumeSource| {
        ephemeral(e, at, s);
    });
    if let (Some(_), Some(pod), false) = (&v.ephemeral, pod_name, v.name.is_empty()) {
        let claim = format!("{pod}-{}", v.name);
        for message in dns_subdomain(&claim) {
            e.invalid(&at.child("name"), &v.name, format!("PVC name \"{claim}\": {message}"));
        }
    }
    source!(image, "image", "image", |e: &mut Errs, at: &Path<'_>, s: &ImageVolumeSource| {
        if is_pod {
            e.present(&at.child("reference"), &s.reference);
        }
        e.required_one_of(&at.child("pullPolicy"), &s.pull_policy, &container::PULL_POLICIES);
    });
    first.finish(e);
}

fn ephemeral(e: &mut Errs, at: &Path<'_>, s: &EphemeralVolumeSource) {
    let at = at.child("volumeClaimTemplate");
    let Some(template) = &s.volume_claim_template else { return e.required(&at, "") };
    metadata::of_template(e, &at.child("metadata"), &template.metadata);
    claim::spec(e, &at.child("spec"), &template.spec);
}

fn mode(e: &mut Errs, at: &Path<'_>, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
        e.invalid(at, mode, MODE);
    }
}

fn items(e: &mut Errs, at: &Path<'_>, items: &List<KeyToPath>) {
    for (i, item) in items.iter().enumerate() {
        key_to_path(e, &at.index(i), item);
    }
}

fn key_to_path(e: &mut Errs, at: &Path<'_>, item: &KeyToPath) {
    e.present(&at.child("key"), &item.key);
    e.present(&at.child("path"), &item.path);
    local_path(e, &at.child("path"), &item.path);
    mode(e, &at.child("mode"), item.mode);
}

fn downward_file(e: &mut Errs, at: &Path<'_>, file: &DownwardAPIVolumeFile) {
    e.present(&at.child("path"), &file.path);
    local_path(e, &at.child("path"), &file.path);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            env::field_selector(e, &at.child("fieldRef"), field, &env::VOLUME_FIELDS);
            if resource.is_some() {
                e.invalid(
                    at,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                );
            }
        }
        (None, Some(resource)) => env::resource_selector(e, &at.child("resourceFieldRef"), resource, true),
        (None, None) => e.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(e, &at.child("mode"), file.mode);
}

fn projected(e: &mut Errs, at: &Path<'_>, s: &ProjectedVolumeSource) {
    let mut paths: BTreeSet<&Str> = BTreeSet::new();
    let list = at.child("sources");
    for (i, source) in s.sources.iter().enumerate() {
        let item = list.index(i);
        let keyed = [
            ("secret", source.secret.as_ref().map(|s| (&s.name, &s.items))),
            ("configMap", source.config_map.as_ref().map(|m| (&m.name, &m.items))),
        ];
        for (field, found) in keyed {
            let Some((name, keys)) = found else { continue };
            let at_source = item.child(field);
            e.present(&at_source.child("name"), name);
            let list = at_source.child("items");
            for (i, key) in keys.iter().enumerate() {
                key_to_path(e, &list.index(i), key);
                if !key.path.is_empty() && !paths.insert(&key.path) {
                    e.invalid(at, name, CONFLICTING);
                }
            }
        }
        for file in source.downward_api.iter().flat_map(|a| a.items.iter()) {
            downward_file(e, &item.child("downwardAPI"), file);
            if !file.path.is_empty() && !paths.insert(&file.path) {
                e.invalid(at, &file.path, CONFLICTING);
            }
        }
        if let Some(token) = &source.service_account_token {
            service_account_token(e, at, &item.child("serviceAccountToken"), token);
        }
        if let Some(bundle) = &source.cluster_trust_bundle {
            trust_bundle(e, &item.child("clusterTrustBundle"), bundle);
            if !paths.insert(&bundle.path) {
                e.invalid(at, &bundle.path, CONFLICTING);
            }
        }
        let kinds = [
            source.secret.is_some(),
            source.config_map.is_some(),
            source.downward_api.is_some(),
            source.service_account_token.is_some(),
            source.cluster_trust_bundle.is_some(),
            source.pod_certificate.is_some(),
        ];
        if kinds.iter().filter(|set| **set).count() > 1 {
            e.forbidden(&item, "may not specify more than 1 volume type per source");
        }
    }
}

fn service_account_token(
    e: &mut Errs,
    volume: &Path<'_>,
    at: &Path<'_>,
    token: &ServiceAccountTokenProjection,
) {
    let seconds = token.expiration_seconds.unwrap_or(0);
    let at = at.child("expirationSeconds");
    if seconds < 600 {
        e.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        e.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    // Upstream reports the path at the volume, not at the source.
    if e.present(&volume.child("path"), &token.path) {
        local_path(e, &volume.child("path"), &token.path);
    }
}

fn trust_bundle(e: &mut Errs, at: &Path<'_>, bundle: &ClusterTrustBundleProjection) {
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => e.invalid(at, Raw("{}".into()), "only one of name and signerName may be used"),
        (Some(name), None) => {
            if name.is_empty() {
                e.required(&at.child("name"), "must be a valid object name");
            }
            for message in name_subdomain(name.rsplit(':').next().unwrap_or_default(), false) {
                e.invalid(&at.child("name"), name, format!("not a valid clustertrustbundlename: {message}"));
            }
            if let Some(selector) = &bundle.label_selector {
                e.invalid(
                    &at.child("labelSelector"),
                    Raw(labels::json(selector)),
                    "labelSelector must be unset if name is specified",
                );
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                e.required(&at.child("signerName"), "must be a valid signer name");
            }
            labels::selector_opt(e, &at.child("labelSelector"), bundle.label_selector.as_deref());
        }
        (None, None) => e.required(at, "either name or signerName must be specified"),
    }
    e.present(&at.child("path"), &bundle.path);
    local_path(e, &at.child("path"), &bundle.path);
}

/// Whether a path climbs out of where it begins.
pub(crate) fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// A relative path that does not climb.
pub(crate) fn descending_path(e: &mut Errs, at: &Path<'_>, path: &str) {
    if path.starts_with('/') {
        e.invalid(at, path, "must be a relative path");
    }
    no_backsteps(e, at, path);
}

/// A path that does not climb.
pub(crate) fn no_backsteps(e: &mut Errs, at: &Path<'_>, path: &str) {
    if has_backsteps(path) {
        e.invalid(at, path, "must not contain '..'");
    }
}

/// A relative path that does not climb and does not look as if.
pub(crate) fn local_path(e: &mut Errs, at: &Path<'_>, path: &str) {
    descending_path(e, at, path);
    if path.starts_with("..") && !path.starts_with("../") {
        e.invalid(at, path, "must not start with '..'");
    }
}

/// What pods require beyond templates: tokens only with a service account.
pub(super) fn tokens_need_account(e: &mut Errs, at: &Path<'_>, spec: &PodSpec) {
    if !spec.service_account_name.is_empty() {
        return;
    }
    let list = at.child("volumes");
    for (vi, v) in spec.volumes.iter().enumerate() {
        for (si, source) in v.projected.iter().flat_map(|p| p.sources.iter()).enumerate() {
            if source.service_account_token.is_some() {
                e.forbidden(
                    &list
                        .index(vi)
                        .child("projected")
                        .child("sources")
                        .index(si)
                        .child("serviceAccountToken"),
                    "must not be specified when serviceAccountName is not set",
                );
            }
        }
    }
}
