//! The plugins, one file each, and their order.

mod always_pull_images;
mod auto_provision;
mod certificates;
mod default_ingress_class;
mod default_storage_class;
mod default_tolerations;
mod event_rate_limit;
mod extended_resources;
mod external_ips;
mod hard_anti_affinity;
mod image_policy;
mod limit_ranger;
mod namespace_exists;
mod namespace_lifecycle;
mod node_restriction;
mod node_selector;
mod owner_references;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint_nodes;
#[cfg(test)]
mod tests;
mod toleration_restriction;
mod volume_resize;

use std::path::PathBuf;
use std::sync::Arc;

use env::Env;
use futures::future::BoxFuture;
use meta::{Object, Status};
use serde_json::Value as Json;

use crate::configuration::Configuration;
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

    /// Like [`Plugin::mutate`], for what takes more than looking: `None` when there is nothing to wait for.
    fn provide<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a dyn Object,
        world: &'a dyn World,
    ) -> Option<BoxFuture<'a, Result<(), Status>>> {
        let _ = (review, object, world);
        None
    }

    /// Like [`Plugin::validate`], for what somebody else must be asked: `None` when nobody needs to be.
    fn consult<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a dyn Object,
        world: &'a dyn World,
    ) -> Option<BoxFuture<'a, Result<(), Status>>> {
        let _ = (review, object, world);
        None
    }
}

/// What a plugin is made from.
pub(crate) struct Setup<'s> {
    pub configuration: &'s Configuration,
    pub env: &'s Env,
}

impl Setup<'_> {
    /// The document of a plugin, if it has one.
    pub(crate) fn document(&self, plugin: &str) -> Option<&Json> {
        self.configuration.of(plugin)
    }

    /// A file that a document names.
    pub(crate) fn path(&self, named: &str) -> PathBuf {
        self.configuration.path(named)
    }
}

/// How a plugin comes to be.
pub(crate) enum Make {
    /// It is the same for everybody.
    Plain(&'static dyn Plugin),
    /// Its document decides.
    Configured(fn(&Setup<'_>) -> Result<Arc<dyn Plugin>, String>),
    /// The chain itself does it: what users program, quota, and the plugin that denies everything.
    Chain,
    /// Upstream's plugin does nothing, or guards features that are not served here: it never acts.
    Inactive,
}

/// A name of `--enable-admission-plugins`.
pub(crate) struct Entry {
    pub name: &'static str,
    /// It runs unless it is disabled.
    pub on: bool,
    pub make: Make,
}

fn made<P: Plugin + 'static>(plugin: Result<P, String>) -> Result<Arc<dyn Plugin>, String> {
    plugin.map(|plugin| Arc::new(plugin) as Arc<dyn Plugin>)
}

const fn on(name: &'static str, make: Make) -> Entry {
    Entry { name, on: true, make }
}

const fn off(name: &'static str, make: Make) -> Entry {
    Entry { name, on: false, make }
}

/// Every plugin, in upstream's order. NodeRestriction is on besides upstream's own, as in every cluster whose nodes are
/// authorized as nodes.
pub(crate) static PLUGINS: &[Entry] = &[
    off("AlwaysAdmit", Make::Inactive),
    off("NamespaceAutoProvision", Make::Plain(&auto_provision::NamespaceAutoProvision)),
    on("NamespaceLifecycle", Make::Plain(&namespace_lifecycle::NamespaceLifecycle)),
    off("NamespaceExists", Make::Plain(&namespace_exists::NamespaceExists)),
    off(
        "LimitPodHardAntiAffinityTopology",
        Make::Plain(&hard_anti_affinity::LimitPodHardAntiAffinityTopology),
    ),
    on("LimitRanger", Make::Plain(&limit_ranger::LimitRanger)),
    on("ServiceAccount", Make::Plain(&service_account::ServiceAccount)),
    on("NodeRestriction", Make::Plain(&node_restriction::NodeRestriction)),
    on("TaintNodesByCondition", Make::Plain(&taint_nodes::TaintNodesByCondition)),
    off("AlwaysPullImages", Make::Plain(&always_pull_images::AlwaysPullImages)),
    off("ImagePolicyWebhook", Make::Configured(|s| made(image_policy::ImagePolicyWebhook::configured(s)))),
    on("PodSecurity", Make::Configured(|s| made(pod_security::PodSecurity::configured(s)))),
    off("PodNodeSelector", Make::Configured(|s| made(node_selector::PodNodeSelector::configured(s)))),
    on("Priority", Make::Plain(&priority::Priority)),
    on("DefaultTolerationSeconds", Make::Plain(&default_tolerations::DefaultTolerationSeconds)),
    off(
        "PodTolerationRestriction",
        Make::Configured(|s| made(toleration_restriction::PodTolerationRestriction::configured(s))),
    ),
    off("EventRateLimit", Make::Configured(|s| made(event_rate_limit::EventRateLimit::configured(s)))),
    off("ExtendedResourceToleration", Make::Plain(&extended_resources::ExtendedResourceToleration)),
    on("DefaultStorageClass", Make::Plain(&default_storage_class::DefaultStorageClass)),
    on("StorageObjectInUseProtection", Make::Plain(&storage_in_use::StorageObjectInUseProtection)),
    on("PodGroupProtection", Make::Inactive),
    off(
        "OwnerReferencesPermissionEnforcement",
        Make::Plain(&owner_references::OwnerReferencesPermissionEnforcement),
    ),
    on("PersistentVolumeClaimResize", Make::Plain(&volume_resize::PersistentVolumeClaimResize)),
    on("RuntimeClass", Make::Plain(&runtime_class::RuntimeClass)),
    on("CertificateApproval", Make::Plain(&certificates::CertificateApproval)),
    on("CertificateSigning", Make::Plain(&certificates::CertificateSigning)),
    on("ClusterTrustBundleAttest", Make::Inactive),
    on("CertificateSubjectRestriction", Make::Plain(&certificates::CertificateSubjectRestriction)),
    on("DefaultIngressClass", Make::Plain(&default_ingress_class::DefaultIngressClass)),
    off("DenyServiceExternalIPs", Make::Plain(&external_ips::DenyServiceExternalIPs)),
    on("PodTopologyLabels", Make::Plain(&pod_topology_labels::PodTopologyLabels)),
    on("PodGroupWorkloadExists", Make::Inactive),
    on("NodeDeclaredFeatureValidator", Make::Inactive),
    on("JobValidation", Make::Inactive),
    on("PodResizeValidator", Make::Plain(&pod_resize::PodResizeValidator)),
    on("MutatingAdmissionPolicy", Make::Chain),
    on("MutatingAdmissionWebhook", Make::Chain),
    on("ValidatingAdmissionPolicy", Make::Chain),
    on("ValidatingAdmissionWebhook", Make::Chain),
    on("ResourceQuota", Make::Chain),
    off("AlwaysDeny", Make::Chain),
];
