//! PersistentVolumes.

use super::claim::access_modes;
use super::pod::{scheduling, warnings as pod_warnings};
use super::{names, volume_source as source};
use crate::check::{Errs, IMMUTABLE, metadata, name_label, name_subdomain};
use crate::fill::{round_up, set, text, text_opt};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules, diff};
use meta::{BadValue, Str};
use types::core::v1::*;

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const INLINE: &str = "may not be specified in the context of inline volumes";

impl Rules for PersistentVolume {
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    const RECHECKS_STATUS_METADATA: bool = true;
    spec_and_status!();

    fn default(&mut self) {
        text(&mut self.status.phase, "Pending");
        default_spec(&mut self.spec);
    }

    fn prepare_create(&mut self, cx: &Context) {
        self.status = PersistentVolumeStatus {
            phase: "Pending".into(),
            last_phase_transition_time: cx.now,
            ..Default::default()
        };
    }

    fn prepare_status(&mut self, old: &Self, cx: &Context) {
        self.keep_spec(old);
        let (sent, then) = (self.status.last_phase_transition_time, old.status.last_phase_transition_time);
        if self.status.phase == old.status.phase {
            self.status.last_phase_transition_time = sent.or(then);
        } else if sent.is_none() || sent == then {
            self.status.last_phase_transition_time = cx.now;
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        spec(e, &Path::root("spec"), &self.spec, &self.metadata.name, false);
        mount_options(e, self);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        // The whole volume is judged, and then once more by the rules of changes.
        self.check(e, cx);
        metadata::create(e, &self.metadata, false, Self::NAME);
        metadata::known_finalizers(e, &self.metadata);
        spec(e, &Path::root("spec"), &self.spec, &self.metadata.name, false);
        update(&self.spec, &old.spec, e);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        warnings(self)
    }

    fn field(&self, label: &str) -> Option<Str> {
        (label == "name").then(|| self.metadata.name.clone())
    }
}

/// The annotation that was there before the field is for volumes that are mounted by the node itself.
fn mount_options(e: &mut Errs, volume: &PersistentVolume) {
    let s = &volume.spec;
    let mounted = s.gce_persistent_disk.is_some()
        || s.aws_elastic_block_store.is_some()
        || s.glusterfs.is_some()
        || s.nfs.is_some()
        || s.rbd.is_some()
        || s.quobyte.is_some()
        || s.iscsi.is_some()
        || s.cinder.is_some()
        || s.cephfs.is_some()
        || s.azure_file.is_some()
        || s.vsphere_volume.is_some()
        || s.azure_disk.is_some()
        || s.photon_persistent_disk.is_some();
    if !mounted && volume.metadata.annotations.contains_key(MOUNT_OPTIONS) {
        let metadata = Path::root("metadata");
        let annotations = metadata.child("annotations");
        e.forbidden(&annotations.child(MOUNT_OPTIONS), "may not specify mount options for this volume type");
    }
}

/// Defaults of the spec of a volume.
fn default_spec(spec: &mut PersistentVolumeSpec) {
    text(&mut spec.persistent_volume_reclaim_policy, "Retain");
    text_opt(&mut spec.volume_mode, "Filesystem");
    default_source(spec);
}

/// Defaults of where the volume comes from, also where a VolumeAttachment holds it inline.
pub(crate) fn default_source(spec: &mut PersistentVolumeSpec) {
    round_up(&mut spec.capacity);
    if let Some(s) = &mut spec.host_path {
        text_opt(&mut s.type_, "");
    }
    if let Some(s) = &mut spec.iscsi {
        text(&mut s.iscsi_interface, "default");
    }
    if let Some(s) = &mut spec.rbd {
        text(&mut s.pool, "rbd");
        text(&mut s.user, "admin");
        text(&mut s.keyring, "/etc/ceph/keyring");
    }
    if let Some(s) = &mut spec.azure_disk {
        text_opt(&mut s.caching_mode, "ReadWrite");
        text_opt(&mut s.kind, "Shared");
        text_opt(&mut s.fs_type, "ext4");
        set(&mut s.read_only, false);
    }
    if let Some(s) = &mut spec.scale_io {
        text(&mut s.storage_mode, "ThinProvisioned");
        text(&mut s.fs_type, "xfs");
    }
}

/// The spec of a volume; `inline` when it is part of a VolumeAttachment.
pub(crate) fn spec(e: &mut Errs, at: &Path<'_>, spec: &PersistentVolumeSpec, name: &str, inline: bool) {
    if inline {
        if spec.claim_ref.is_some() {
            e.forbidden(&at.child("claimRef"), INLINE);
        }
        if !spec.capacity.is_empty() {
            e.forbidden(&at.child("capacity"), INLINE);
        }
        if spec.csi.is_none() {
            e.required(&at.child("csi"), "has to be specified in the context of inline volumes");
        }
    }
    let modes = at.child("accessModes");
    if spec.access_modes.is_empty() {
        e.required(&modes, "");
    }
    access_modes(e, &modes, &spec.access_modes);
    if !inline {
        capacity(e, &at.child("capacity"), spec);
    }
    let reclaim = at.child("persistentVolumeReclaimPolicy");
    match spec.persistent_volume_reclaim_policy.as_str() {
        "" => {}
        policy if inline && policy != "Retain" => {
            e.forbidden(&reclaim, "may only be Retain in the context of inline volumes");
        }
        policy => e.one_of(&reclaim, policy, &["Delete", "Recycle", "Retain"]),
    }
    if let Some(affinity) = &spec.node_affinity {
        let at = at.child("nodeAffinity");
        match &affinity.required {
            _ if inline => e.forbidden(&at, INLINE),
            Some(selector) => scheduling::node_selector(e, &at.child("required"), selector),
            None => e.required(&at.child("required"), "must specify required node constraints"),
        }
    }
    sources(e, at, spec, name);
    let at_root = spec.host_path.as_ref().is_some_and(|h| is_root(&h.path));
    if at_root && spec.persistent_volume_reclaim_policy == "Recycle" {
        e.forbidden(&reclaim, "may not be 'recycle' for a hostPath mount of '/'");
    }
    if !spec.storage_class_name.is_empty() {
        let at = at.child("storageClassName");
        if inline {
            e.forbidden(&at, INLINE);
        } else {
            e.each(&at, &spec.storage_class_name, name_subdomain(&spec.storage_class_name, false));
        }
    }
    if let Some(mode) = &spec.volume_mode {
        let at = at.child("volumeMode");
        if !inline {
            e.one_of(&at, mode, &["Block", "Filesystem"]);
        } else if mode != "Filesystem" {
            e.forbidden(
                &at,
                "may not specify volumeMode other than Filesystem in the context of inline volumes",
            );
        }
    }
    if let Some(class) = spec.volume_attributes_class_name.as_ref().filter(|_| !inline) {
        let class_at = at.child("volumeAttributesClassName");
        if class.is_empty() {
            e.required(&class_at, "an empty string is disallowed");
        } else {
            e.each(&class_at, class, name_subdomain(class, false));
        }
        if spec.csi.is_none() {
            e.required(&at.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// Whether a path, cleaned of dots and doubled slashes, is the root.
fn is_root(path: &str) -> bool {
    let mut depth = 0i32;
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        depth = if part == ".." { (depth - 1).max(0) } else { depth + 1 };
    }
    path.starts_with('/') && depth == 0
}

fn capacity(e: &mut Errs, at: &Path<'_>, spec: &PersistentVolumeSpec) {
    if spec.capacity.is_empty() {
        e.required(at, "");
    }
    if !spec.capacity.contains_key("storage") || spec.capacity.len() > 1 {
        e.unsupported(at, BadValue::of(&spec.capacity), &["storage"]);
    }
    for (name, value) in spec.capacity.iter() {
        names::basic(e, &at.key(name), value);
        names::positive(e, &at.key(name), value);
    }
}

fn sources(e: &mut Errs, at: &Path<'_>, spec: &PersistentVolumeSpec, name: &str) {
    let mut first = source::OneOf::new(at);
    // Each source: its field, the name under which upstream reports it, its check.
    macro_rules! source {
        ($field:ident, $name:literal, $inner:literal, $check:expr) => {
            if let Some(s) = &spec.$field {
                if first.take(e, $name) {
                    #[allow(clippy::redundant_closure_call)]
                    ($check)(e, &at.child($inner), s.as_ref());
                }
            }
        };
    }
    source!(host_path, "hostPath", "hostPath", source::host_path);
    source!(gce_persistent_disk, "gcePersistentDisk", "persistentDisk", source::gce_disk);
    source!(aws_elastic_block_store, "awsElasticBlockStore", "awsElasticBlockStore", source::aws_disk);
    source!(
        glusterfs,
        "glusterfs",
        "glusterfs",
        |e: &mut Errs, at: &Path<'_>, s: &GlusterfsPersistentVolumeSource| {
            source::required(e, at, &[("endpoints", &s.endpoints), ("path", &s.path)]);
            let at = at.child("endpointsNamespace");
            match s.endpoints_namespace.as_deref() {
                None => {}
                Some("") => {
                    e.invalid(&at, "", "if the endpointnamespace is set, it must be a valid namespace name")
                }
                Some(namespace) => e.each(&at, namespace, name_label(namespace, false)),
            }
        }
    );
    source!(flocker, "flocker", "flocker", source::flocker);
    source!(nfs, "nfs", "nfs", source::nfs);
    source!(rbd, "rbd", "rbd", |e: &mut Errs, at: &Path<'_>, s: &RBDPersistentVolumeSource| {
        source::rbd(e, at, &s.monitors, &s.image);
    });
    source!(quobyte, "quobyte", "quobyte", source::quobyte);
    source!(cephfs, "cephFS", "cephfs", |e: &mut Errs, at: &Path<'_>, s: &CephFSPersistentVolumeSource| {
        source::monitors(e, at, &s.monitors);
    });
    source!(iscsi, "iscsi", "iscsi", |e: &mut Errs, at: &Path<'_>, s: &ISCSIPersistentVolumeSource| {
        if s.initiator_name.is_some() && name.len() + 1 + s.target_portal.len() > 64 {
            e.invalid(&at.child("targetportal"), &s.target_portal, source::ISCSI_TOO_LONG);
        }
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
                detail: "must be valid format",
            },
        );
        if let Some(secret) = &s.secret_ref {
            e.present(&at.child("secretRef").child("name"), &secret.name);
        }
    });
    source!(cinder, "cinder", "cinder", |e: &mut Errs, at: &Path<'_>, s: &CinderPersistentVolumeSource| {
        e.present(&at.child("volumeID"), &s.volume_id);
        if let Some(secret) = &s.secret_ref {
            let at = at.child("secretRef");
            source::required(e, &at, &[("name", &secret.name), ("namespace", &secret.namespace)]);
        }
    });
    source!(fc, "fc", "fc", source::fibre_channel);
    if let Some(s) = &spec.flex_volume {
        first.count();
        source::flex(e, &at.child("flexVolume"), &s.driver, &s.options);
    }
    source!(
        azure_file,
        "azureFile",
        "azureFile",
        |e: &mut Errs, at: &Path<'_>, s: &AzureFilePersistentVolumeSource| {
            source::required(e, at, &[("secretName", &s.secret_name), ("shareName", &s.share_name)]);
            if s.secret_namespace.as_ref().is_some_and(|n| n.is_empty()) {
                e.required(&at.child("secretNamespace"), "");
            }
        }
    );
    source!(vsphere_volume, "vsphereVolume", "vsphereVolume", source::vsphere);
    source!(photon_persistent_disk, "photonPersistentDisk", "photonPersistentDisk", source::photon);
    source!(portworx_volume, "portworxVolume", "portworxVolume", source::portworx);
    source!(azure_disk, "azureDisk", "azureDisk", source::azure_disk);
    source!(
        scale_io,
        "scaleIO",
        "scaleIO",
        |e: &mut Errs, at: &Path<'_>, s: &ScaleIOPersistentVolumeSource| {
            source::required(
                e,
                at,
                &[("gateway", &s.gateway), ("system", &s.system), ("volumeName", &s.volume_name)],
            );
        }
    );
    source!(local, "local", "local", |e: &mut Errs, at_local: &Path<'_>, s: &LocalVolumeSource| {
        source::local(e, at_local, s);
        if spec.node_affinity.is_none() {
            e.required(&at.child("nodeAffinity"), "Local volume requires node affinity");
        }
    });
    source!(
        storageos,
        "storageos",
        "storageos",
        |e: &mut Errs, at: &Path<'_>, s: &StorageOSPersistentVolumeSource| {
            source::storage_os(e, at, &s.volume_name, &s.volume_namespace);
            if let Some(secret) = &s.secret_ref {
                let at = at.child("secretRef");
                source::required(e, &at, &[("name", &secret.name), ("namespace", &secret.namespace)]);
            }
        }
    );
    source!(csi, "csi", "csi", |e: &mut Errs, at: &Path<'_>, s: &CSIPersistentVolumeSource| {
        source::csi_driver_name(e, &at.child("driver"), &s.driver);
        e.present(&at.child("volumeHandle"), &s.volume_handle);
        for (field, secret) in [
            ("controllerPublishSecretRef", &s.controller_publish_secret_ref),
            ("controllerExpandSecretRef", &s.controller_expand_secret_ref),
            ("nodePublishSecretRef", &s.node_publish_secret_ref),
            ("nodeExpandSecretRef", &s.node_expand_secret_ref),
        ] {
            if let Some(secret) = secret {
                source::secret_reference(e, &at.child(field), secret);
            }
        }
    });
    first.finish(e);
}

/// The spec with everything but its source set back.
/// Fields that stand beside the source, not in it.
const BESIDE_SOURCE: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

fn source_only(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    let mut s = spec.clone();
    s.capacity = Default::default();
    s.access_modes = Default::default();
    s.claim_ref = None;
    s.persistent_volume_reclaim_policy = Str::default();
    s.storage_class_name = Str::default();
    s.mount_options = Default::default();
    s.volume_mode = None;
    s.node_affinity = None;
    s.volume_attributes_class_name = None;
    s
}

fn update(new: &PersistentVolumeSpec, old: &PersistentVolumeSpec, e: &mut Errs) {
    let (mut source, before) = (source_only(new), source_only(old));
    // The secret for expanding may be given later.
    if let (Some(now), Some(then)) = (&mut source.csi, &before.csi)
        && then.controller_expand_secret_ref.is_none()
    {
        now.controller_expand_secret_ref = None;
    }
    let at = Path::root("spec");
    if source != before {
        let difference = diff::internal_without(&before, &source, &BESIDE_SOURCE);
        e.forbidden(
            &at.child("persistentvolumesource"),
            format!("spec.persistentvolumesource is immutable after creation\n{difference}"),
        );
    }
    e.immutable(&Path::root("volumeMode"), &new.volume_mode, &old.volume_mode, || {
        BadValue::of(&new.volume_mode)
    });
    if let Some(before) = &old.node_affinity {
        let renamed = new.node_affinity.as_ref().is_some_and(|now| only_labels_renamed(now, before));
        if !renamed {
            let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
            e.invalid(&Path::root("nodeAffinity"), diff::shown_option(new.node_affinity.as_deref()), detail);
        }
    }
    if old.volume_attributes_class_name.is_some() && new.volume_attributes_class_name.is_none() {
        e.forbidden(&at.child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden");
    }
}

/// Whether two affinities are equal once the old names of node labels are read as the new ones.
fn only_labels_renamed(new: &VolumeNodeAffinity, old: &VolumeNodeAffinity) -> bool {
    let current = |key: &Str| -> Str {
        match key.as_str() {
            "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone".into(),
            "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region".into(),
            "beta.kubernetes.io/os" => "kubernetes.io/os".into(),
            "beta.kubernetes.io/arch" => "kubernetes.io/arch".into(),
            "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type".into(),
            _ => key.clone(),
        }
    };
    let mut renamed = old.clone();
    for (i, term) in renamed.required.iter_mut().flat_map(|s| s.node_selector_terms.iter_mut()).enumerate() {
        let now = new.required.as_ref().and_then(|s| s.node_selector_terms.get(i));
        for (j, r) in term.match_expressions.iter_mut().enumerate() {
            let key = current(&r.key);
            if now.and_then(|t| t.match_expressions.get(j)).is_some_and(|n| n.key == key) {
                r.key = key;
            }
        }
    }
    renamed == *new
}

fn warnings(pv: &PersistentVolume) -> Vec<String> {
    let mut out = Vec::new();
    if pv.metadata.annotations.contains_key(BETA_CLASS) {
        out.push(format!("metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    if pv.metadata.annotations.contains_key(MOUNT_OPTIONS) {
        out.push(format!("metadata.annotations[{MOUNT_OPTIONS}]: deprecated since v1.31; use \"mountOptions\" attribute instead"));
    }
    let spec = &pv.spec;
    if spec.persistent_volume_reclaim_policy == "Recycle" {
        out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into());
    }
    let at = Path::root("spec");
    if let Some(selector) = spec.node_affinity.as_ref().and_then(|a| a.required.as_ref()) {
        let affinity = at.child("nodeAffinity");
        let required = affinity.child("required");
        let terms = required.child("nodeSelectorTerms");
        for (i, term) in selector.node_selector_terms.iter().enumerate() {
            pod_warnings::node_term(&mut out, &terms.index(i), term);
        }
    }
    for (field, set, text) in [
        (
            "photonPersistentDisk",
            spec.photon_persistent_disk.is_some(),
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        ("scaleIO", spec.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
        ("storageOS", spec.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", spec.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", spec.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", spec.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if set {
            out.push(format!("{}: {text}", at.child(field)));
        }
    }
    out
}
