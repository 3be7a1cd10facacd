//! PodDisruptionBudgets: how many pods may be evicted right now.

use std::sync::Arc;
use std::time::Duration;

use client::Resource;
use informer::Key;
use meta::{Condition, Time};
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use types::core::v1::{Pod, ReplicationController};
use types::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};

use crate::common::numbers::scaled;
use crate::common::owners::controller_of;
use crate::common::pods;
use crate::common::selector::selects;

/// How long an eviction that was granted counts before the pod has to be on its way out.
const EVICTION_SECONDS: i64 = 120;
const ALLOWED: &str = "DisruptionAllowed";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("disruption", "controllermanager", context.clone(), Disruption)
        .reads::<ReplicaSet>()
        .reads::<Deployment>()
        .reads::<StatefulSet>()
        .reads::<ReplicationController>()
        .of::<PodDisruptionBudget>()
        .on::<Pod>(|pod, world| {
            let mut budgets = world.list::<PodDisruptionBudget>(&pod.metadata.namespace);
            budgets.retain(|budget| selects(budget.spec.selector.as_deref(), &pod.metadata.labels));
            budgets.iter().map(|budget| Key::of(&**budget)).collect()
        })
        .start()
}

pub(crate) struct Disruption;

impl Reconciler for Disruption {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(budget) = world.get_key::<PodDisruptionBudget>(key) else { return Next::Done };
        let mut pods = world.list::<Pod>(&key.namespace);
        pods.retain(|pod| {
            selects(budget.spec.selector.as_deref(), &pod.metadata.labels) && !pods::is_finished(pod)
        });
        if pods.is_empty() {
            plan.event(Note::normal(&*budget, "NoPods", "No matching pods found"));
        }
        let now = world.now();
        let (expected, desired) = match expectation(&budget, &pods, world) {
            Ok(numbers) => numbers,
            Err(why) => {
                plan.event(Note::warning(
                    &*budget,
                    "CalculateExpectedPodCountFailed",
                    format!("Failed to calculate the number of expected pods: {why}"),
                ));
                let mut told = (*budget).clone();
                told.status.observed_generation = budget.metadata.generation;
                told.status.disruptions_allowed = 0;
                put(&mut told.status, "False", "SyncFailed", &why, budget.metadata.generation, now);
                if told.status != budget.status {
                    plan.push(Write::update_status(told).ignore(404));
                }
                return Next::Done;
            }
        };
        let (disrupted, wait) = still_disrupted(&budget, &pods, now);
        let healthy = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter(|pod| disrupted.get(&pod.metadata.name).is_none())
            .filter(|pod| pods::is_ready(pod))
            .count() as i32;
        let mut status = PodDisruptionBudgetStatus {
            observed_generation: budget.metadata.generation,
            disrupted_pods: disrupted,
            disruptions_allowed: if expected <= 0 { 0 } else { (healthy - desired).max(0) },
            current_healthy: healthy,
            desired_healthy: desired,
            expected_pods: expected,
            conditions: budget.status.conditions.clone(),
        };
        let (value, reason) = if status.disruptions_allowed > 0 {
            ("True", "SufficientPods")
        } else {
            ("False", "InsufficientPods")
        };
        put(&mut status, value, reason, "", budget.metadata.generation, now);
        if status != budget.status {
            let mut told = (*budget).clone();
            told.status = status;
            plan.push(Write::update_status(told).ignore(404));
        }
        wait.map_or(Next::Done, |seconds| Next::After(Duration::from_secs(seconds.max(1) as u64)))
    }
}

fn put(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: &str,
    generation: i64,
    now: Time,
) {
    let condition = Condition {
        type_: ALLOWED.into(),
        status: value.into(),
        observed_generation: generation,
        reason: reason.into(),
        message: message.into(),
        ..Condition::default()
    };
    Condition::set(&mut status.conditions, condition, now);
}

/// How many pods there should be, and how many of them must stay healthy.
fn expectation(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], world: &World) -> Result<(i32, i32), String> {
    let spec = &budget.spec;
    let count = pods.len() as i32;
    if let Some(value) = &spec.max_unavailable {
        let expected = scale_of_all(pods, world)?;
        let unavailable = scaled(value, expected, true).ok_or("invalid maxUnavailable")?;
        return Ok((expected, (expected - unavailable).max(0)));
    }
    match &spec.min_available {
        Some(meta::IntOrString::Int(number)) => Ok((count, *number)),
        Some(value) => {
            let expected = scale_of_all(pods, world)?;
            Ok((expected, scaled(value, expected, true).ok_or("invalid minAvailable")?))
        }
        None => Ok((count, 0)),
    }
}

/// The sum of the wanted replicas of all controllers of the pods.
fn scale_of_all(pods: &[Arc<Pod>], world: &World) -> Result<i32, String> {
    let mut scales: std::collections::BTreeMap<meta::Str, i32> = std::collections::BTreeMap::new();
    for pod in pods {
        let name = &pod.metadata.name;
        let owner =
            controller_of(&pod.metadata).ok_or_else(|| format!("found no controllers for pod \"{name}\""))?;
        let namespace = &pod.metadata.namespace;
        let scale = match owner.kind.as_str() {
            "ReplicaSet" => world.get::<ReplicaSet>(namespace, &owner.name).map(|set| {
                // The Deployment above knows the number through a rollout.
                let above = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
                let above = above.and_then(|owner| world.get::<Deployment>(namespace, &owner.name));
                match above {
                    Some(above) => (above.metadata.uid.clone(), above.spec.replicas.unwrap_or(1)),
                    None => (set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1)),
                }
            }),
            "StatefulSet" => world
                .get::<StatefulSet>(namespace, &owner.name)
                .map(|set| (set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1))),
            "ReplicationController" => world
                .get::<ReplicationController>(namespace, &owner.name)
                .map(|set| (set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1))),
            kind => {
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                let resource = Resource::new(group, "", &kind.to_lowercase());
                return Err(format!(
                    "{}.{} does not implement the scale subresource",
                    resource.plural, resource.group
                ));
            }
        };
        // A controller that is gone already wants none.
        scales.extend(scale);
    }
    Ok(scales.values().sum())
}

/// Pods whose eviction was granted and that have not begun to end, and seconds until the next of them is given up.
fn still_disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Time,
) -> (meta::Map<Option<Time>>, Option<i64>) {
    let mut wait: Option<i64> = None;
    let mut left = meta::Map::new();
    for (name, since) in budget.status.disrupted_pods.iter() {
        let going = pods.iter().find(|pod| pod.metadata.name == *name);
        let Some(since_time) = *since else { continue };
        let over = since_time.seconds + EVICTION_SECONDS - now.seconds;
        if going.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()) && over > 0 {
            wait = Some(wait.map_or(over, |known| known.min(over)));
            left.insert(name.clone(), *since);
        }
    }
    (left, wait)
}
