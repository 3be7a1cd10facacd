//! The table of kinds.

use crate::rule::{KindRules, row};
use types::core::v1 as core;
use types::events::v1 as events;

static TABLE: &[KindRules] = &[
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
];

/// Every kind that has rules.
pub fn table() -> &'static [KindRules] {
    TABLE
}

/// The rules of one kind.
pub fn of(group: &str, version: &str, kind: &str) -> Option<&'static KindRules> {
    TABLE.iter().find(|r| r.kind == kind && r.group == group && r.version == version)
}
