//! CSIDrivers, CSINodes and CSIStorageCapacities.

use crate::check::{Errs, labels, name_subdomain, qualified_name};
use crate::core::names;
use crate::core::volume_source::csi_driver_name;
use crate::fill::{set, text_opt};
use crate::{Context, Path, Rules};
use meta::{BadValue, thin_vec};
use std::collections::BTreeSet;
use types::storage::v1::{CSIDriver, CSIDriverSpec, CSINode, CSINodeDriver, CSIStorageCapacity};

const NODE_ID_BYTES_MAX: usize = 256;

impl Rules for CSIDriver {
    const UNCONDITIONAL_UPDATE: bool = false;
    fn default(&mut self) {
        let spec = &mut self.spec;
        set(&mut spec.attach_required, true);
        set(&mut spec.pod_info_on_mount, false);
        set(&mut spec.storage_capacity, false);
        text_opt(&mut spec.fs_group_policy, "ReadWriteOnceWithFSType");
        if spec.volume_lifecycle_modes.is_empty() {
            spec.volume_lifecycle_modes = thin_vec!["Persistent".into()];
        }
        set(&mut spec.requires_republish, false);
        set(&mut spec.se_linux_mount, false);
    }

    fn drop_disabled(&mut self) {
        // VolumeLimitScaling is off.
        self.spec.prevent_pod_scheduling_if_missing = None;
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let spec = &self.spec;
        let asks_anew = old.is_none_or(|old| old.spec.token_requests != spec.token_requests);
        if !asks_anew || spec.token_requests.is_empty() || spec.service_account_token_in_secrets.is_some() {
            return Vec::new();
        }
        vec!["spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".into()]
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        // A new driver begins at no generation, not at the first.
        if self.spec != old.spec {
            self.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        driver_spec(e, &self.spec);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        driver_spec(e, &self.spec);
        let at = Path::root("spec");
        e.immutable(
            &at.child("attachedRequired"),
            &self.spec.attach_required,
            &old.spec.attach_required,
            || BadValue::of(&self.spec.attach_required),
        );
        e.immutable(
            &at.child("volumeLifecycleModes"),
            &self.spec.volume_lifecycle_modes,
            &old.spec.volume_lifecycle_modes,
            || BadValue::of(&self.spec.volume_lifecycle_modes),
        );
    }
}

fn driver_spec(e: &mut Errs, spec: &CSIDriverSpec) {
    let at = Path::root("spec");
    for (field, value) in [
        ("attachedRequired", spec.attach_required),
        ("podInfoOnMount", spec.pod_info_on_mount),
        ("storageCapacity", spec.storage_capacity),
    ] {
        if value.is_none() {
            e.required(&at.child(field), "");
        }
    }
    match &spec.fs_group_policy {
        None => e.required(&at.child("fsGroupPolicy"), ""),
        Some(policy) => {
            e.one_of(&at.child("fsGroupPolicy"), policy, &["File", "None", "ReadWriteOnceWithFSType"]);
        }
    }
    let requests = at.child("tokenRequests");
    let mut audiences = BTreeSet::new();
    for (i, request) in spec.token_requests.iter().enumerate() {
        let at = requests.index(i);
        if !audiences.insert(&request.audience) {
            e.duplicate(&at.child("audience"), &request.audience);
            continue;
        }
        if let Some(seconds) = request.expiration_seconds {
            let at = at.child("expirationSeconds");
            if seconds < 600 {
                e.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
            }
            if seconds > 1 << 32 {
                e.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
            }
        }
    }
    if let Some(kept) = spec.service_account_token_in_secrets.filter(|_| spec.token_requests.is_empty()) {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        e.invalid(&at.child("serviceAccountTokenInSecrets"), kept, why);
    }
    for mode in spec.volume_lifecycle_modes.iter() {
        e.one_of(&at.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
    }
    if let Some(seconds) = spec.node_allocatable_update_period_seconds.filter(|s| *s < 10) {
        e.invalid(
            &at.child("nodeAllocatableUpdatePeriodSeconds"),
            seconds,
            "must be greater than or equal to 10 seconds",
        );
    }
}

impl Rules for CSINode {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    fn check(&self, e: &mut Errs, _cx: &Context) {
        let spec = Path::root("spec");
        let list = spec.child("drivers");
        let mut names = BTreeSet::new();
        for (i, d) in self.spec.drivers.iter().enumerate() {
            let at = list.index(i);
            driver(e, &at, d);
            if !names.insert(&d.name) {
                e.duplicate(&at.child("name"), &d.name);
            }
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        let spec = Path::root("spec");
        let list = spec.child("drivers");
        for new in &self.spec.drivers {
            let Some(old) = old.spec.drivers.iter().find(|d| d.name == new.name) else { continue };
            let same = (&new.node_id, &new.topology_keys) == (&old.node_id, &old.topology_keys);
            if !same {
                // What may change is left out of what is shown.
                let shown = CSINodeDriver { allocatable: None, ..new.clone() };
                e.invalid(&list, crate::diff::shown(&shown), crate::check::IMMUTABLE);
            }
        }
    }
}

fn driver(e: &mut Errs, at: &Path<'_>, d: &CSINodeDriver) {
    csi_driver_name(e, &at.child("name"), &d.name);
    if e.present(&at.child("nodeID"), &d.node_id) && d.node_id.len() > NODE_ID_BYTES_MAX {
        e.invalid(&at.child("nodeID"), &d.node_id, format!("must be {NODE_ID_BYTES_MAX} characters or less"));
    }
    if let Some(allocatable) = &d.allocatable {
        let at = at.child("allocatable");
        e.non_negative_opt(&at.child("count"), allocatable.count);
    }
    let mut seen = BTreeSet::new();
    // Upstream reports faults of keys at the driver.
    for key in d.topology_keys.iter() {
        if key.is_empty() {
            e.required(at, "");
        }
        if !seen.insert(key) {
            e.duplicate(at, key);
        }
        e.each(at, key, qualified_name(key));
    }
}

impl Rules for CSIStorageCapacity {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    fn check(&self, e: &mut Errs, _cx: &Context) {
        labels::selector_opt(e, &Path::root("nodeTopology"), self.node_topology.as_deref());
        e.each(
            &Path::root("storageClassName"),
            &self.storage_class_name,
            name_subdomain(&self.storage_class_name, false),
        );
        // What a volume may have at most is not looked at.
        if let Some(value) = &self.capacity {
            names::amount(e, &Path::root("capacity"), "storage", value);
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        e.immutable(&Path::root("nodeTopology"), &self.node_topology, &old.node_topology, || {
            BadValue::of(&self.node_topology)
        });
        e.immutable(
            &Path::root("storageClassName"),
            &self.storage_class_name,
            &old.storage_class_name,
            || (&self.storage_class_name).into(),
        );
    }
}
