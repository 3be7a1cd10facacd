//! Arguments of plugins, from a profile's `pluginConfig`.

use hashbrown::HashMap;
use meta::Str;
use serde_json::Value;
use types::core::v1::{NodeAffinity as Affinity, TopologySpreadConstraint};

use crate::plugins::balanced_allocation::NodeResourcesBalancedAllocation;
use crate::plugins::dynamic_resources::DynamicResources;
use crate::plugins::fit::{NodeResourcesFit, Strategy};
use crate::plugins::inter_pod_affinity::InterPodAffinity;
use crate::plugins::node_affinity::NodeAffinity;
use crate::plugins::topology_spread::PodTopologySpread;

/// The checked arguments of a profile's plugins. A plugin that is not mentioned has its defaults.
#[derive(Clone, Debug, Default)]
pub struct PluginArgs {
    by_plugin: HashMap<String, Value>,
    ignored: Vec<Str>,
}

/// How many nodes preemption looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreemptionArgs {
    /// `minCandidateNodesPercentage`
    pub candidates_percent_min: i64,
    /// `minCandidateNodesAbsolute`
    pub candidates_min: i64,
}

impl Default for PreemptionArgs {
    fn default() -> Self {
        PreemptionArgs { candidates_percent_min: 10, candidates_min: 100 }
    }
}

impl PluginArgs {
    /// Takes in the arguments of one plugin.
    pub fn insert(&mut self, plugin: &str, args: Value) {
        self.by_plugin.insert(plugin.to_owned(), args);
    }

    /// Resources that extenders manage and NodeResourcesFit is to leave alone.
    pub fn ignore_resources(&mut self, names: &[Str]) {
        self.ignored.extend(names.iter().cloned());
    }

    fn get(&self, plugin: &str) -> &Value {
        self.by_plugin.get(plugin).unwrap_or(&Value::Null)
    }

    /// NodeAffinityArgs.
    pub fn node_affinity(&self) -> NodeAffinity {
        let added = &self.get("NodeAffinity")["addedAffinity"];
        NodeAffinity { added: (!added.is_null()).then(|| typed::<Affinity>(added)) }
    }

    /// NodeResourcesFitArgs.
    pub fn fit(&self) -> NodeResourcesFit {
        let args = self.get("NodeResourcesFit");
        let mut fit = NodeResourcesFit {
            ignored: [texts(&args["ignoredResources"]), self.ignored.clone()].concat(),
            ignored_groups: texts(&args["ignoredResourceGroups"]),
            ..NodeResourcesFit::default()
        };
        let strategy = &args["scoringStrategy"];
        let resources = resources(&strategy["resources"]);
        if !resources.is_empty() {
            fit.resources = resources;
        }
        fit.strategy = match strategy["type"].as_str() {
            Some("MostAllocated") => Strategy::MostAllocated,
            Some("RequestedToCapacityRatio") => {
                let points = strategy["requestedToCapacityRatio"]["shape"].as_array().into_iter().flatten();
                // Scores of a shape are 0..=10, those of plugins 0..=100.
                let point = |point: &Value| {
                    (point["utilization"].as_i64().unwrap_or(0), point["score"].as_i64().unwrap_or(0) * 10)
                };
                Strategy::RequestedToCapacityRatio(points.map(point).collect())
            }
            _ => Strategy::LeastAllocated,
        };
        fit
    }

    /// NodeResourcesBalancedAllocationArgs.
    pub fn balanced_allocation(&self) -> NodeResourcesBalancedAllocation {
        let given = resources(&self.get("NodeResourcesBalancedAllocation")["resources"]);
        if given.is_empty() {
            return NodeResourcesBalancedAllocation::default();
        }
        NodeResourcesBalancedAllocation { resources: given.into_iter().map(|(name, _)| name).collect() }
    }

    /// InterPodAffinityArgs.
    pub fn inter_pod_affinity(&self) -> InterPodAffinity {
        let args = self.get("InterPodAffinity");
        InterPodAffinity {
            hard_pod_affinity_weight: args["hardPodAffinityWeight"].as_i64().unwrap_or(1),
            ignore_preferred_terms_of_existing_pods: args["ignorePreferredTermsOfExistingPods"]
                .as_bool()
                .unwrap_or(false),
        }
    }

    /// PodTopologySpreadArgs.
    pub fn topology_spread(&self) -> PodTopologySpread {
        let args = self.get("PodTopologySpread");
        if args["defaultingType"].as_str() != Some("List") {
            return PodTopologySpread::default();
        }
        let constraints = args["defaultConstraints"].as_array().into_iter().flatten();
        PodTopologySpread {
            defaults: constraints.map(typed::<TopologySpreadConstraint>).collect(),
            system_defaults: false,
        }
    }

    /// DefaultPreemptionArgs.
    pub fn preemption(&self) -> PreemptionArgs {
        let args = self.get("DefaultPreemption");
        let default = PreemptionArgs::default();
        PreemptionArgs {
            candidates_percent_min: args["minCandidateNodesPercentage"]
                .as_i64()
                .unwrap_or(default.candidates_percent_min),
            candidates_min: args["minCandidateNodesAbsolute"].as_i64().unwrap_or(default.candidates_min),
        }
    }

    /// DynamicResourcesArgs.
    pub fn dynamic_resources(&self) -> DynamicResources {
        let args = self.get("DynamicResources");
        let given = |name: &str| {
            args[name].as_str().and_then(|text| Some(meta::Duration::parse(text).ok()?.to_std()))
        };
        let filter_timeout = given("filterTimeout").unwrap_or(std::time::Duration::from_secs(10));
        DynamicResources {
            filter_timeout: (!filter_timeout.is_zero()).then_some(filter_timeout),
            binding_timeout: given("bindingTimeout").unwrap_or(std::time::Duration::from_secs(600)),
        }
    }

    /// How long a volume binding may take: `bindTimeoutSeconds` of VolumeBindingArgs.
    pub fn bind_timeout(&self) -> std::time::Duration {
        let seconds = self.get("VolumeBinding")["bindTimeoutSeconds"].as_u64().unwrap_or(600);
        std::time::Duration::from_secs(seconds)
    }
}

/// An API type inside of the arguments; validation has decoded it before.
fn typed<T: meta::Codec>(value: &Value) -> T {
    meta::from_value(value.clone()).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<Str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Str::from).collect()
}

fn resources(value: &Value) -> Vec<(Str, i64)> {
    let each = |one: &Value| {
        let weight = one["weight"].as_i64().unwrap_or(1);
        Some((Str::from(one["name"].as_str()?), if weight == 0 { 1 } else { weight }))
    };
    value.as_array().into_iter().flatten().filter_map(each).collect()
}
