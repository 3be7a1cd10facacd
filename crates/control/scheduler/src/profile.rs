//! A scheduler profile: the plugins of each extension point in their order, and how much each one's score counts.

use std::sync::Arc;

use meta::Str;

use crate::config::args::{PluginArgs, PreemptionArgs};
use crate::config::{Plugins, ProfileConfig};
use crate::plugin::Plugin;
use crate::plugins::{self, Point};
use crate::preemption;

/// The plugins of the points after a decision, in their order.
#[derive(Clone, Default)]
pub struct Binders {
    /// Reserve.
    pub reserve: Vec<Arc<dyn Plugin>>,
    /// Permit.
    pub permit: Vec<Arc<dyn Plugin>>,
    /// PreBind.
    pub pre_bind: Vec<Arc<dyn Plugin>>,
    /// PostBind.
    pub post_bind: Vec<Arc<dyn Plugin>>,
}

/// The plugins that pods of one `schedulerName` are scheduled with.
pub struct Profile {
    /// The `schedulerName` that selects it.
    pub scheduler_name: Str,
    /// PreEnqueue.
    pub pre_enqueue: Vec<Arc<dyn Plugin>>,
    /// QueueSort, besides priority and age.
    pub queue_sort: Vec<Arc<dyn Plugin>>,
    /// PreFilter and Filter.
    pub filters: Vec<Arc<dyn Plugin>>,
    /// PreScore, Score and NormalizeScore, with weights.
    pub scorers: Vec<(Arc<dyn Plugin>, i64)>,
    /// Reserve, Permit, PreBind and PostBind.
    pub binders: Binders,
    /// PostFilter.
    pub post_filters: Vec<&'static str>,
    /// Share of the nodes to score, 0 for the adaptive default.
    pub percentage_of_nodes_to_score: Option<i64>,
    /// Arguments of the plugins that are part of the machinery.
    pub args: PluginArgs,
    /// DefaultPreemptionArgs.
    pub preemption: PreemptionArgs,
}

impl Default for Profile {
    /// `default-scheduler` with upstream's default plugins and weights.
    fn default() -> Self {
        Profile::new(&ProfileConfig::default(), &[])
    }
}

impl Profile {
    /// Makes the plugins of a checked configuration; `extra` are plugins that the table does not have, enabled at every
    /// point with the weight given.
    pub fn new(config: &ProfileConfig, extra: &[(Arc<dyn Plugin>, i64)]) -> Self {
        let enabled = Plugins::expand(&config.plugins);
        let mut made: Vec<(&'static str, Arc<dyn Plugin>)> = Vec::new();
        let mut make = |name: &str| -> Option<Arc<dyn Plugin>> {
            if let Some((_, plugin)) = made.iter().find(|(made, _)| *made == name) {
                return Some(plugin.clone());
            }
            let entry = plugins::find(name)?;
            let plugin = entry.make?(&config.args);
            made.push((entry.name, plugin.clone()));
            Some(plugin)
        };
        let mut at = |point: Point| -> Vec<Arc<dyn Plugin>> {
            enabled.at(point).iter().filter_map(|(name, _)| make(name)).collect()
        };
        let (mut pre_enqueue, mut filters) = (at(Point::PreEnqueue), at(Point::Filter));
        let mut queue_sort = at(Point::QueueSort);
        let mut binders = Binders {
            reserve: at(Point::Reserve),
            permit: at(Point::Permit),
            pre_bind: at(Point::PreBind),
            post_bind: at(Point::PostBind),
        };
        let mut scorers: Vec<(Arc<dyn Plugin>, i64)> = enabled
            .at(Point::Score)
            .iter()
            .filter_map(|(name, weight)| Some((make(name)?, *weight)))
            .collect();
        for (plugin, weight) in extra {
            pre_enqueue.push(plugin.clone());
            queue_sort.push(plugin.clone());
            filters.push(plugin.clone());
            let Binders { reserve, permit, pre_bind, post_bind } = &mut binders;
            for point in [reserve, permit, pre_bind, post_bind] {
                point.push(plugin.clone());
            }
            scorers.push((plugin.clone(), *weight));
        }
        let post_filters = enabled.at(Point::PostFilter).iter();
        Profile {
            scheduler_name: config.scheduler_name.clone(),
            pre_enqueue,
            filters,
            scorers,
            binders,
            queue_sort,
            post_filters: post_filters.filter_map(|(name, _)| Some(plugins::find(name)?.name)).collect(),
            percentage_of_nodes_to_score: config.percentage_of_nodes_to_score,
            preemption: config.args.preemption(),
            args: config.args.clone(),
        }
    }

    /// Whether it preempts.
    pub fn preempts(&self) -> bool {
        self.post_filters.contains(&preemption::NAME)
    }

    /// Every plugin that could have refused a pod, once.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<dyn Plugin>> {
        let gates = self.pre_enqueue.iter();
        gates
            .filter(|gate| !self.filters.iter().any(|other| other.name() == gate.name()))
            .chain(&self.filters)
    }
}
