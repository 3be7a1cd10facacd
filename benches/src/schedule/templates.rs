//! Nodes and pods as upstream's `scheduler_perf` describes them.

use anyhow::Result;
use serde_json::{Value, json};
use types::core::v1::{Node, Pod};

/// A label that nodes and pods are told apart by, and its values in turn.
#[derive(Clone, Copy)]
pub struct Zones(pub &'static [&'static str]);

/// No zones.
pub const NO_ZONES: Zones = Zones(&[]);
/// One zone.
pub const ONE_ZONE: Zones = Zones(&["zone1"]);
/// Three of them.
pub const THREE_ZONES: Zones = Zones(&["moon-1", "moon-2", "moon-3"]);

/// Namespace of the pods that are there before the measurement, and of those that are measured.
pub const BEFORE: &str = "sched-0";
pub const MEASURED: &str = "sched-1";

const ZONE: &str = "topology.kubernetes.io/zone";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A node of 4 cores and 32 GiB with room for 110 pods.
pub fn node(name: &str, number: usize, zones: Zones) -> Result<Node> {
    let mut labels = json!({HOSTNAME: name});
    if let Some(zone) = zones.0.get(number % zones.0.len().max(1)) {
        labels[ZONE] = json!(zone);
    }
    let amounts = json!({"pods": "110", "cpu": "4", "memory": "32Gi"});
    Ok(meta::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "status": {
            "capacity": amounts, "allocatable": amounts, "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))?)
}

/// What the pods of a workload look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Template {
    /// 100m of CPU, 500Mi of memory.
    Default,
    /// Required pod affinity by zone.
    Affinity,
    /// Required pod anti-affinity by host.
    AntiAffinity,
    /// Preferred pod affinity by host.
    PreferredAffinity,
    /// Preferred pod anti-affinity by host.
    PreferredAntiAffinity,
    /// Required node affinity to zones.
    NodeAffinity,
    /// Node affinity to one node by name.
    Daemonset,
    /// At most 5 pods more in one zone than in another.
    Spread,
    /// The same as a preference.
    PreferredSpread,
    /// 900m of CPU and little priority.
    Low,
    /// 3 cores and priority.
    High,
    /// 9 cores: fits nowhere.
    Huge,
    /// A volume of its own, bound before.
    Volume,
    /// A device of its own.
    Device,
}

/// A pod of a template.
pub fn pod(template: Template, name: &str, namespace: &str) -> Result<Pod> {
    let (cpu, priority) = match template {
        Template::Low => ("900m", None),
        Template::High => ("3", Some("high")),
        Template::Huge => ("9", Some("high")),
        _ => ("100m", None),
    };
    let amounts = json!({"cpu": cpu, "memory": "500Mi"});
    let mut labels = json!({});
    let mut spec = json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "pause", "image": "registry.k8s.io/pause:3.10", "ports": [{"containerPort": 80}],
            "resources": {"requests": amounts, "limits": amounts},
        }],
    });
    if let Some(class) = priority {
        spec["priorityClassName"] = json!(class);
    }
    special(template, name, &mut labels, &mut spec);
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
    Ok(meta::from_value(json!({"metadata": metadata, "spec": spec}))?)
}

fn special(template: Template, name: &str, labels: &mut Value, spec: &mut Value) {
    let term = |color: &str, key: &str| {
        json!({
            "labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key,
            "namespaces": [BEFORE, MEASURED],
        })
    };
    let required = |term: Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    let preferred = |term: Value| {
        let term = json!({"weight": 1, "podAffinityTerm": term});
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [term]})
    };
    let node = |requirement: Value, field: &str| {
        let terms = json!({"nodeSelectorTerms": [{field: [requirement]}]});
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
    };
    let mut colored = |color: &str, affinity: Value| {
        labels["color"] = json!(color);
        spec["affinity"] = affinity;
    };
    match template {
        Template::Default | Template::Low | Template::High | Template::Huge => {}
        Template::Affinity => colored("blue", json!({"podAffinity": required(term("blue", ZONE))})),
        Template::AntiAffinity => {
            colored("green", json!({"podAntiAffinity": required(term("green", HOSTNAME))}))
        }
        Template::PreferredAffinity => {
            colored("red", json!({"podAffinity": preferred(term("red", HOSTNAME))}))
        }
        Template::PreferredAntiAffinity => {
            colored("yellow", json!({"podAntiAffinity": preferred(term("yellow", HOSTNAME))}))
        }
        Template::NodeAffinity => {
            let requirement = json!({"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]});
            spec["affinity"] = node(requirement, "matchExpressions");
        }
        Template::Daemonset => {
            let requirement = json!({"key": "metadata.name", "operator": "In", "values": [SPECIAL_NODE]});
            spec["affinity"] = node(requirement, "matchFields");
            // They all go to one node.
            spec["containers"][0]["resources"] = json!({});
        }
        Template::Spread | Template::PreferredSpread => {
            labels["color"] = json!("blue");
            let hard = template == Template::Spread;
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 5, "topologyKey": ZONE,
                "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
                "labelSelector": {"matchLabels": {"color": "blue"}},
            }]);
        }
        Template::Volume => {
            spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": name}}]);
        }
        Template::Device => {
            spec["resourceClaims"] = json!([{"name": "device", "resourceClaimName": name}]);
            spec["containers"][0]["resources"]["claims"] = json!([{"name": "device"}]);
        }
    }
}

/// The node that all pods of SchedulingDaemonset go to.
pub const SPECIAL_NODE: &str = "scheduler-perf-node";
