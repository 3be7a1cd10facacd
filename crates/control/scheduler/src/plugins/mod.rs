//! The plugins, one file each, and the table that the default profile is made of.

mod balanced_allocation;
mod fit;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_selector;
mod node_unschedulable;
mod scheduling_gates;
mod taint_toleration;

use crate::plugin::Plugin;

/// Every plugin with the default weight of its score, in the order of upstream's default profile.
pub const TABLE: &[(&dyn Plugin, i64)] = &[
    (&scheduling_gates::SchedulingGates, 0),
    (&node_unschedulable::NodeUnschedulable, 0),
    (&node_name::NodeName, 0),
    (&taint_toleration::TaintToleration, 3),
    (&node_affinity::NodeAffinity, 2),
    (&node_ports::NodePorts, 0),
    (&fit::NodeResourcesFit, 1),
    (&balanced_allocation::NodeResourcesBalancedAllocation, 1),
];

#[cfg(test)]
mod tests;
