//! PodDisruptionBudgets: how many pods may be evicted right now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use informer::Key;
use meta::{Condition, ObjectMeta, OwnerReference, Str, Time};
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use types::core::v1::{Pod, ReplicationController};
use types::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};

use crate::common::numbers::scaled;
use crate::common::owners::controller_of;
use crate::common::pods;
use crate::common::selector::{self, selects};

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
            Ok(Expectation { pods, healthy, unmanaged }) => {
                if unmanaged {
                    plan.event(Note::warning(&*budget, "UnmanagedPods", lacks_controller(&budget)));
                }
                (pods, healthy)
            }
            Err(why) => {
                plan.event(Note::warning(
                    &*budget,
                    "CalculateExpectedPodCountFailed",
                    format!("Failed to calculate the number of expected pods: {why}"),
                ));
                let mut told = (*budget).clone();
                told.status.disruptions_allowed = 0;
                // The spec was not acted upon, so its generation was not observed.
                put(&mut told.status, "False", "SyncFailed", &why, budget.status.observed_generation, now);
                if told.status != budget.status {
                    plan.push(Write::update_status(told).ignore(404));
                }
                return Next::Done;
            }
        };
        let (disrupted, wait) = still_disrupted(&budget, &pods, now, plan);
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

/// What a budget is reckoned from.
struct Expectation {
    /// How many pods there should be.
    pods: i32,
    /// How many of them must stay healthy.
    healthy: i32,
    /// Whether a pod without a controller is left out of the reckoning.
    unmanaged: bool,
}

fn expectation(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    world: &World,
) -> Result<Expectation, String> {
    let count = pods.len() as i32;
    let (value, unavailable) = match (&budget.spec.max_unavailable, &budget.spec.min_available) {
        (Some(value), _) => (value, true),
        (None, Some(meta::IntOrString::Int(number))) => {
            return Ok(Expectation { pods: count, healthy: *number, unmanaged: false });
        }
        (None, Some(value)) => (value, false),
        (None, None) => return Ok(Expectation { pods: count, healthy: 0, unmanaged: false }),
    };
    let (expected, unmanaged) = scale_of_all(pods, world)?;
    let share = scaled(value, expected, true).ok_or_else(|| {
        let which = if unavailable { "maxUnavailable" } else { "minAvailable" };
        format!("invalid {which}")
    })?;
    let healthy = if unavailable { (expected - share).max(0) } else { share };
    Ok(Expectation { pods: expected, healthy, unmanaged })
}

/// What is told of a budget whose pods have no controllers.
fn lacks_controller(budget: &PodDisruptionBudget) -> String {
    let selector = selector::go_string(budget.spec.selector.as_deref());
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for \
         these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// The sum of the wanted replicas of all controllers of the pods, and whether a pod has none.
fn scale_of_all(pods: &[Arc<Pod>], world: &World) -> Result<(i32, bool), String> {
    let mut scales: BTreeMap<Str, i32> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in pods {
        let Some(owner) = controller_of(&pod.metadata) else {
            unmanaged = true;
            continue;
        };
        if !scales.contains_key(&owner.uid) {
            let (uid, scale) = scale_of(owner, &pod.metadata, world)?;
            scales.insert(uid, scale);
        }
    }
    Ok((scales.values().sum(), unmanaged))
}

/// The controller that says how many pods of `pod`'s sort there should be, and the number.
fn scale_of(owner: &OwnerReference, pod: &ObjectMeta, world: &World) -> Result<(Str, i32), String> {
    let namespace = &pod.namespace;
    let own = |meta: &ObjectMeta, replicas: Option<i32>| {
        (meta.uid == owner.uid).then(|| (meta.uid.clone(), replicas.unwrap_or(1)))
    };
    let found = match owner.kind.as_str() {
        "ReplicaSet" => world.get::<ReplicaSet>(namespace, &owner.name).and_then(|set| {
            // The Deployment above knows the number through a rollout.
            let above = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
            let above = above.and_then(|owner| world.get::<Deployment>(namespace, &owner.name));
            match above {
                Some(above) => Some((above.metadata.uid.clone(), above.spec.replicas.unwrap_or(1))),
                None => own(&set.metadata, set.spec.replicas),
            }
        }),
        "StatefulSet" => world
            .get::<StatefulSet>(namespace, &owner.name)
            .and_then(|set| own(&set.metadata, set.spec.replicas)),
        "ReplicationController" => world
            .get::<ReplicationController>(namespace, &owner.name)
            .and_then(|set| own(&set.metadata, set.spec.replicas)),
        kind => {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            let plural = format!("{}s", kind.to_lowercase());
            return Err(format!("{plural}.{group} does not implement the scale subresource"));
        }
    };
    found.ok_or_else(|| format!("found no controllers for pod {}", meta::go_quote(&pod.name)))
}

/// Pods whose eviction was granted and that have not begun to end, and seconds until the next of them is given up.
fn still_disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Time,
    plan: &mut Plan,
) -> (meta::Map<Option<Time>>, Option<i64>) {
    let mut wait: Option<i64> = None;
    let mut left = meta::Map::new();
    for (name, since) in budget.status.disrupted_pods.iter() {
        let going = pods.iter().find(|pod| pod.metadata.name == *name);
        let (Some(since_time), Some(pod)) = (*since, going) else { continue };
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let over = since_time.seconds + EVICTION_SECONDS - now.seconds;
        if over > 0 {
            wait = Some(wait.map_or(over, |known| known.min(over)));
            left.insert(name.clone(), *since);
        } else {
            // The namespace twice, as upstream tells it.
            let namespace = &budget.metadata.namespace;
            let message =
                format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
            plan.event(Note::warning(&**pod, "NotDeleted", message));
        }
    }
    (left, wait)
}
