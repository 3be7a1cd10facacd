//! ClusterRoles that are the sum of others, chosen by label.

use informer::Key;
use meta::List;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::rbac::v1::{ClusterRole, PolicyRule};

use crate::common::selector::selects;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new(
        "ClusterRoleAggregator",
        "clusterrole-aggregation-controller",
        context.clone(),
        Aggregation,
    )
    // Any role may be part of any sum.
    .on::<ClusterRole>(|_, world| {
        let mut sums = world.list_all::<ClusterRole>();
        sums.retain(|role| role.aggregation_rule.is_some());
        sums.iter().map(|role| Key::of(&**role)).collect()
    })
    .start()
}

pub(crate) struct Aggregation;

impl Reconciler for Aggregation {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(role) = world.get_key::<ClusterRole>(key) else { return Next::Done };
        let Some(rule) = role.aggregation_rule.as_ref() else { return Next::Done };
        let mut rules: List<PolicyRule> = List::new();
        for selector in &rule.cluster_role_selectors {
            for part in world.list_all::<ClusterRole>() {
                if part.metadata.name == role.metadata.name || !selects(Some(selector), &part.metadata.labels)
                {
                    continue;
                }
                for rule in &part.rules {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        if rules != role.rules {
            let mut sum = (*role).clone();
            sum.rules = rules;
            plan.push(Write::update(sum).ignore(404));
        }
        Next::Done
    }
}
