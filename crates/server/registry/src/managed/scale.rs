//! Managers of a workload as its scale shows them, and back.

use meta::v1::ManagedFieldsEntry;
use meta::{List, Object};
use schema::apply::{Managers, ScaleManagers};

use crate::served::Served;

const REPLICAS: &[&str] = &["spec", "replicas"];

/// Where objects of a version keep their replicas.
fn path<'s>(served: &'s Served, custom: &'s [&'s str], version: &str) -> Option<&'s [&'s str]> {
    match served.custom() {
        Some(_) => (version == served.api_version()).then_some(custom),
        None => matches!(version, "apps/v1" | "v1").then_some(REPLICAS),
    }
}

/// The path to the replicas of a custom resource.
fn custom_path(served: &Served) -> Vec<&str> {
    let scale = served.custom().and_then(|custom| custom.kind.scale());
    scale.map_or_else(Vec::new, |scale| {
        let path = scale.spec_replicas_path.as_str();
        path.strip_prefix('.').unwrap_or(path).split('.').collect()
    })
}

/// The entries that a scale shows.
pub(crate) fn to_scale(served: &Served, parent: &dyn Object) -> List<ManagedFieldsEntry> {
    let custom = custom_path(served);
    let translate = ScaleManagers { api_version: "", path: &|version| path(served, &custom, version) };
    let managers = Managers::decode(&parent.meta().managed_fields).unwrap_or_default();
    translate.of_scale(&managers).encode()
}

/// The entries of a workload after its scale was written.
pub(crate) fn to_parent(
    served: &Served,
    parent: &dyn Object,
    scale: &[ManagedFieldsEntry],
) -> List<ManagedFieldsEntry> {
    let version = parent.group_version_kind().api_version();
    let custom = custom_path(served);
    let translate = ScaleManagers { api_version: &version, path: &|version| path(served, &custom, version) };
    let before = Managers::decode(&parent.meta().managed_fields).unwrap_or_default();
    let scale = Managers::decode(scale).unwrap_or_default();
    translate.of_parent(before, scale).encode()
}
