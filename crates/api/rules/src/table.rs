//! The table of kinds.

use crate::rule::{KindRules, row};
use types::admissionregistration::v1 as admission;
use types::apiextensions::v1 as apiextensions;
use types::apiregistration::v1 as apiregistration;
use types::apps::v1 as apps;
use types::autoscaling;
use types::batch::v1 as batch;
use types::certificates::v1 as certificates;
use types::coordination::v1 as coordination;
use types::core::v1 as core;
use types::discovery::v1 as discovery;
use types::events::v1 as events;
use types::flowcontrol::v1 as flow;
use types::networking::v1 as networking;
use types::node::v1 as node;
use types::policy::v1 as policy;
use types::rbac::v1 as rbac;
use types::resource::v1 as resource;
use types::scheduling::v1 as scheduling;
use types::storage::v1 as storage;

static TABLE: &[&dyn KindRules] = &[
    row::<admission::MutatingAdmissionPolicy>(),
    row::<admission::MutatingAdmissionPolicyBinding>(),
    row::<admission::MutatingWebhookConfiguration>(),
    row::<admission::ValidatingAdmissionPolicy>(),
    row::<admission::ValidatingAdmissionPolicyBinding>(),
    row::<admission::ValidatingWebhookConfiguration>(),
    row::<apiextensions::CustomResourceDefinition>(),
    row::<apiregistration::APIService>(),
    row::<apps::ControllerRevision>(),
    row::<apps::DaemonSet>(),
    row::<apps::Deployment>(),
    row::<apps::ReplicaSet>(),
    row::<apps::StatefulSet>(),
    row::<autoscaling::v1::HorizontalPodAutoscaler>(),
    row::<autoscaling::v1::Scale>(),
    row::<autoscaling::v2::HorizontalPodAutoscaler>(),
    row::<batch::CronJob>(),
    row::<batch::Job>(),
    row::<certificates::CertificateSigningRequest>(),
    row::<coordination::Lease>(),
    row::<core::ConfigMap>(),
    row::<core::Endpoints>(),
    row::<core::Event>(),
    row::<core::LimitRange>(),
    row::<core::Namespace>(),
    row::<core::Node>(),
    row::<core::PersistentVolume>(),
    row::<core::PersistentVolumeClaim>(),
    row::<core::Pod>(),
    row::<core::PodTemplate>(),
    row::<core::ReplicationController>(),
    row::<core::ResourceQuota>(),
    row::<core::Secret>(),
    row::<core::Service>(),
    row::<core::ServiceAccount>(),
    row::<discovery::EndpointSlice>(),
    row::<events::Event>(),
    row::<flow::FlowSchema>(),
    row::<flow::PriorityLevelConfiguration>(),
    row::<networking::IPAddress>(),
    row::<networking::Ingress>(),
    row::<networking::IngressClass>(),
    row::<networking::NetworkPolicy>(),
    row::<networking::ServiceCIDR>(),
    row::<node::RuntimeClass>(),
    row::<policy::PodDisruptionBudget>(),
    row::<rbac::ClusterRole>(),
    row::<rbac::ClusterRoleBinding>(),
    row::<rbac::Role>(),
    row::<rbac::RoleBinding>(),
    row::<resource::DeviceClass>(),
    row::<resource::ResourceClaim>(),
    row::<resource::ResourceClaimTemplate>(),
    row::<resource::ResourceSlice>(),
    row::<scheduling::PriorityClass>(),
    row::<storage::CSIDriver>(),
    row::<storage::CSINode>(),
    row::<storage::CSIStorageCapacity>(),
    row::<storage::StorageClass>(),
    row::<storage::VolumeAttachment>(),
    row::<storage::VolumeAttributesClass>(),
];

/// Every kind that has rules.
pub fn table() -> &'static [&'static dyn KindRules] {
    TABLE
}

/// The rules of one kind.
pub fn of(group: &str, version: &str, kind: &str) -> Option<&'static dyn KindRules> {
    TABLE.iter().copied().find(|r| r.kind() == kind && r.group() == group && r.version() == version)
}
