//! The plugins, one file each, and the table that profiles are made of.

pub mod balanced_allocation;
pub mod dynamic_resources;
pub mod fit;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_declared_features;
pub mod node_name;
pub mod node_ports;
pub mod node_selector;
pub mod node_unschedulable;
pub mod node_volume_limits;
pub mod scheduling_gates;
pub mod taint_toleration;
pub mod topology_spread;
pub mod volume_binding;
pub mod volume_restrictions;
pub mod volume_zone;

use std::sync::Arc;

use crate::config::args::PluginArgs;
use crate::plugin::Plugin;

/// An extension point of the framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // They are upstream's.
pub enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    /// The name in metrics and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Point::PreEnqueue => "PreEnqueue",
            Point::QueueSort => "QueueSort",
            Point::PreFilter => "PreFilter",
            Point::Filter => "Filter",
            Point::PostFilter => "PostFilter",
            Point::PreScore => "PreScore",
            Point::Score => "Score",
            Point::Reserve => "Reserve",
            Point::Permit => "Permit",
            Point::PreBind => "PreBind",
            Point::Bind => "Bind",
            Point::PostBind => "PostBind",
        }
    }
}

/// Makes the plugin from a profile's arguments.
pub type Make = fn(&PluginArgs) -> Arc<dyn Plugin>;

/// A plugin of the table.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Default weight of its score.
    pub weight: i64,
    /// Extension points it takes part in.
    pub points: &'static [Point],
    /// Makes it; `None` for plugins that are part of the machinery itself.
    pub make: Option<Make>,
}

use Point::{Bind, Filter, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score};

const fn entry(name: &'static str, weight: i64, points: &'static [Point], make: Option<Make>) -> Entry {
    Entry { name, weight, points, make }
}

/// Every plugin in the order of upstream's default profile.
pub const TABLE: &[Entry] = &[
    entry("SchedulingGates", 0, &[PreEnqueue], Some(|_| Arc::new(scheduling_gates::SchedulingGates))),
    entry("PrioritySort", 0, &[QueueSort], None),
    entry(node_unschedulable::NAME, 0, &[Filter], Some(|_| Arc::new(node_unschedulable::NodeUnschedulable))),
    entry(node_name::NAME, 0, &[Filter], Some(|_| Arc::new(node_name::NodeName))),
    entry(
        taint_toleration::NAME,
        3,
        &[Filter, PreScore, Score],
        Some(|_| Arc::new(taint_toleration::TaintToleration)),
    ),
    entry(
        node_affinity::NAME,
        2,
        &[PreFilter, Filter, PreScore, Score],
        Some(|args| Arc::new(args.node_affinity())),
    ),
    entry(node_ports::NAME, 0, &[PreFilter, Filter], Some(|_| Arc::new(node_ports::NodePorts))),
    entry(fit::NAME, 1, &[PreFilter, Filter, PreScore, Score], Some(|args| Arc::new(args.fit()))),
    entry(
        volume_restrictions::NAME,
        0,
        &[PreFilter, Filter],
        Some(|_| Arc::new(volume_restrictions::VolumeRestrictions)),
    ),
    entry(
        node_volume_limits::NAME,
        0,
        &[PreFilter, Filter],
        Some(|_| Arc::new(node_volume_limits::NodeVolumeLimits)),
    ),
    entry(
        volume_binding::NAME,
        0,
        &[PreFilter, Filter, PreScore, Score, Reserve, PreBind],
        Some(|_| Arc::new(volume_binding::VolumeBinding)),
    ),
    entry(volume_zone::NAME, 0, &[PreFilter, Filter], Some(|_| Arc::new(volume_zone::VolumeZone))),
    entry(
        topology_spread::NAME,
        2,
        &[PreFilter, Filter, PreScore, Score],
        Some(|args| Arc::new(args.topology_spread())),
    ),
    entry(
        inter_pod_affinity::NAME,
        2,
        &[PreFilter, Filter, PreScore, Score],
        Some(|args| Arc::new(args.inter_pod_affinity())),
    ),
    entry(
        dynamic_resources::NAME,
        2,
        &[PreEnqueue, PreFilter, Filter, PostFilter, PreScore, Score, Reserve, PreBind],
        Some(|args| Arc::new(args.dynamic_resources())),
    ),
    entry(crate::preemption::NAME, 0, &[PreEnqueue, PostFilter], None),
    entry(
        "NodeResourcesBalancedAllocation",
        1,
        &[PreScore, Score],
        Some(|args| Arc::new(args.balanced_allocation())),
    ),
    entry("ImageLocality", 1, &[Score], Some(|_| Arc::new(image_locality::ImageLocality))),
    entry("DefaultBinder", 0, &[Bind], None),
    entry(
        node_declared_features::NAME,
        0,
        &[PreFilter, Filter],
        Some(|_| Arc::new(node_declared_features::NodeDeclaredFeatures)),
    ),
];

/// A plugin of the table by name.
pub fn find(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name == name)
}
