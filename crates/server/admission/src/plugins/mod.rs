//! The plugins, one file each, and their order.

mod always_pull_images;
mod certificates;
mod default_ingress_class;
mod default_storage_class;
mod default_tolerations;
mod extended_resources;
mod external_ips;
mod hard_anti_affinity;
mod limit_ranger;
mod namespace_exists;
mod namespace_lifecycle;
mod node_restriction;
mod node_selector;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint_nodes;
mod volume_resize;

pub use pod_topology_labels::topology_labels;

use meta::{Object, Status};

use crate::review::Review;
use crate::world::World;

/// One admission plugin. Both steps do nothing unless the plugin says otherwise.
pub trait Plugin: Send + Sync {
    /// The name of `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// Changes the object, or refuses it. `warnings` reach the client as Warning headers.
    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let _ = (review, object, world, warnings);
        Ok(())
    }

    /// Refuses the final object, or the deletion of the old one (then `object` is `None`).
    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let _ = (review, object, world);
        Ok(())
    }
}

/// Every plugin, in upstream's order. Quota comes last, after this table, because it takes something.
pub static PLUGINS: &[&dyn Plugin] = &[
    &namespace_lifecycle::NamespaceLifecycle,
    &namespace_exists::NamespaceExists,
    &hard_anti_affinity::LimitPodHardAntiAffinityTopology,
    &limit_ranger::LimitRanger,
    &service_account::ServiceAccount,
    &node_restriction::NodeRestriction,
    &taint_nodes::TaintNodesByCondition,
    &always_pull_images::AlwaysPullImages,
    &pod_security::PodSecurity,
    &node_selector::PodNodeSelector,
    &priority::Priority,
    &default_tolerations::DefaultTolerationSeconds,
    &extended_resources::ExtendedResourceToleration,
    &default_storage_class::DefaultStorageClass,
    &storage_in_use::StorageObjectInUseProtection,
    &volume_resize::PersistentVolumeClaimResize,
    &runtime_class::RuntimeClass,
    &certificates::CertificateApproval,
    &certificates::CertificateSigning,
    &certificates::CertificateSubjectRestriction,
    &default_ingress_class::DefaultIngressClass,
    &external_ips::DenyServiceExternalIPs,
    &pod_topology_labels::PodTopologyLabels,
];

/// Plugins that run only when `--enable-admission-plugins` names them.
pub static OFF_BY_DEFAULT: &[&str] = &[
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "AlwaysPullImages",
    "PodNodeSelector",
    "ExtendedResourceToleration",
    "DenyServiceExternalIPs",
];
