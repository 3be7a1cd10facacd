//! The table of kinds.

use crate::rule::{KindRules, row};
use types::apps::v1 as apps;
use types::autoscaling;
use types::batch::v1 as batch;
use types::core::v1 as core;
use types::events::v1 as events;
use types::networking::v1 as networking;

static TABLE: &[KindRules] = &[
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
    row::<events::Event>(),
    row::<networking::IPAddress>(),
    row::<networking::Ingress>(),
    row::<networking::IngressClass>(),
    row::<networking::NetworkPolicy>(),
    row::<networking::ServiceCIDR>(),
];

/// Every kind that has rules.
pub fn table() -> &'static [KindRules] {
    TABLE
}

/// The rules of one kind.
pub fn of(group: &str, version: &str, kind: &str) -> Option<&'static KindRules> {
    TABLE.iter().find(|r| r.kind == kind && r.group == group && r.version == version)
}
