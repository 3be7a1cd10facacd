//! Managers of a workload as its scale shows them, and back.

use meta::v1::ManagedFieldsEntry;
use meta::{List, Object};
use schema::apply::{Managers, ScaleManagers};

const REPLICAS: &[&str] = &["spec", "replicas"];

/// Where workloads keep their replicas.
fn path(version: &str) -> Option<&'static [&'static str]> {
    matches!(version, "apps/v1" | "v1").then_some(REPLICAS)
}

/// The entries that a scale shows.
pub(crate) fn to_scale(parent: &dyn Object) -> List<ManagedFieldsEntry> {
    let translate = ScaleManagers { api_version: "", path: &|version| path(version) };
    let managers = Managers::decode(&parent.meta().managed_fields).unwrap_or_default();
    translate.of_scale(&managers).encode()
}

/// The entries of a workload after its scale was written.
pub(crate) fn to_parent(parent: &dyn Object, scale: &[ManagedFieldsEntry]) -> List<ManagedFieldsEntry> {
    let version = parent.group_version_kind().api_version();
    let translate = ScaleManagers { api_version: &version, path: &|version| path(version) };
    let before = Managers::decode(&parent.meta().managed_fields).unwrap_or_default();
    let scale = Managers::decode(scale).unwrap_or_default();
    translate.of_parent(before, scale).encode()
}
