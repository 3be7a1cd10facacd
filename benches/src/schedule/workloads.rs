//! The workloads of upstream's `scheduler_perf`, by their public description.

use super::templates::{NO_ZONES, ONE_ZONE, THREE_ZONES, Template, Zones};

/// What goes on beside the measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Churn {
    /// Nothing.
    Nothing,
    /// A pod of a template five times a second.
    Pods(Template),
    /// A node, a pod that fits nowhere and a Service that come and go, once a second.
    Mixed,
}

/// One workload.
pub struct Workload {
    /// Upstream's name.
    pub name: &'static str,
    /// Nodes.
    pub nodes: usize,
    /// Zones of the nodes.
    pub zones: Zones,
    /// Pods that are there before.
    pub before: &'static [(Template, usize)],
    /// What goes on beside.
    pub churn: Churn,
    /// Pods that are measured.
    pub measured: (Template, usize),
    /// Upstream's published threshold, pods a second.
    pub threshold: u32,
}

use Template as T;

const fn workload(
    name: &'static str,
    zones: Zones,
    before: &'static [(Template, usize)],
    measured: (Template, usize),
    threshold: u32,
) -> Workload {
    Workload { name, nodes: 5_000, zones, before, churn: Churn::Nothing, measured, threshold }
}

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    workload("SchedulingBasic", NO_ZONES, &[(T::Default, 1_000)], (T::Default, 10_000), 680),
    workload("SchedulingNodeAffinity", ONE_ZONE, &[(T::NodeAffinity, 5_000)], (T::NodeAffinity, 10_000), 220),
    workload("TopologySpreading", THREE_ZONES, &[(T::Default, 5_000)], (T::Spread, 5_000), 460),
    workload(
        "PreferredTopologySpreading",
        THREE_ZONES,
        &[(T::Default, 5_000)],
        (T::PreferredSpread, 5_000),
        340,
    ),
    workload("SchedulingPodAffinity", ONE_ZONE, &[(T::Affinity, 5_000)], (T::Affinity, 5_000), 35),
    workload(
        "SchedulingPodAntiAffinity",
        NO_ZONES,
        &[(T::AntiAffinity, 1_000)],
        (T::AntiAffinity, 2_000),
        60,
    ),
    workload(
        "SchedulingPreferredPodAffinity",
        NO_ZONES,
        &[(T::PreferredAffinity, 5_000)],
        (T::PreferredAffinity, 5_000),
        90,
    ),
    workload(
        "SchedulingPreferredPodAntiAffinity",
        NO_ZONES,
        &[(T::PreferredAntiAffinity, 5_000)],
        (T::PreferredAntiAffinity, 5_000),
        90,
    ),
    workload(
        "MixedSchedulingBasePod",
        ONE_ZONE,
        &[
            (T::Default, 2_000),
            (T::Affinity, 2_000),
            (T::AntiAffinity, 2_000),
            (T::PreferredAffinity, 2_000),
            (T::PreferredAntiAffinity, 2_000),
        ],
        (T::Default, 5_000),
        140,
    ),
    Workload {
        churn: Churn::Pods(T::High),
        ..workload("PreemptionAsync", NO_ZONES, &[(T::Low, 20_000)], (T::Default, 5_000), 570)
    },
    Workload {
        churn: Churn::Pods(T::Huge),
        ..workload("Unschedulable", NO_ZONES, &[(T::Default, 100)], (T::Default, 10_000), 590)
    },
    Workload {
        churn: Churn::Mixed,
        ..workload("SchedulingWithMixedChurn", NO_ZONES, &[], (T::Default, 10_000), 710)
    },
    workload("SchedulingCSIPVs", NO_ZONES, &[(T::Volume, 1_000)], (T::Volume, 5_000), 48),
    workload("SchedulingWithResourceClaims", NO_ZONES, &[(T::Device, 500)], (T::Device, 2_500), 28),
    Workload {
        nodes: 15_000,
        ..workload("SchedulingDaemonset", NO_ZONES, &[], (T::Daemonset, 30_000), 1_100)
    },
];
