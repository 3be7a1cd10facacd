//! Removes pods that nobody else will: whose node is gone, that end without ever having had one, or that ended long ago
//! in great numbers.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use call::{DeleteOptions, Target};
use informer::{Change, Key};
use meta::Str;
use parking_lot::Mutex;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::core::v1::{Node, Pod};

use super::{BY_NODE, disruption, metrics, node_of};
use crate::common::pods;

/// How long a node must be missing before its pods go.
const QUARANTINE_SECONDS: i64 = 40;
/// How long a pod without a node may go on terminating. The deletion that marked it removes it a moment later, unless it
/// has finalizers.
const UNBOUND_SECONDS: i64 = 2;
const PERIOD: Duration = Duration::from_secs(20);
/// Ended pods kept in the whole cluster, upstream's default.
const ENDED_MAX: usize = 12_500;
/// The key that stands for all pods; a pod's own key stands for that pod.
const WHOLE: Key = Key { namespace: Str::new(), name: Str::new() };
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("pod_gc", "pod-garbage-collector", context.clone(), PodGc::default())
        .index::<Pod>(BY_NODE, node_of)
        .on_change::<Pod>(|change, world| match change {
            Change::Deleted(_) => Vec::new(),
            Change::Added(pod) | Change::Updated { new: pod, .. } if is_unbound(pod) => vec![Key::of(&**pod)],
            Change::Added(pod) | Change::Updated { new: pod, .. } if is_orphan(pod, world) => vec![WHOLE],
            _ => Vec::new(),
        })
        .on_change::<Node>(|change, _| if change.old().is_none() { vec![WHOLE] } else { Vec::new() })
        .wake(WHOLE)
        .workers(1)
        .start()
}

#[derive(Default)]
pub(crate) struct PodGc {
    /// When each node that pods name was first missed: seconds since 1970.
    missing: Mutex<HashMap<Str, i64>>,
}

impl Reconciler for PodGc {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        if *key != WHOLE {
            let pod = world.get::<Pod>(&key.namespace, &key.name);
            let Some(pod) = pod.filter(|pod| is_unbound(pod)) else { return Next::Done };
            let marked = pod.metadata.deletion_timestamp.map_or(0, |time| time.seconds);
            if world.unix_seconds() < marked + UNBOUND_SECONDS {
                return Next::After(Duration::from_secs(UNBOUND_SECONDS as u64));
            }
            end(&pod, "unscheduled", None, world, plan);
            return Next::Done;
        }
        let all = world.list_all::<Pod>();
        let now = world.unix_seconds();
        for pod in all.iter().filter(|pod| is_unbound(pod)) {
            end(pod, "unscheduled", None, world, plan);
        }
        for pod in all.iter().filter(|pod| on_dead_node(pod, world)) {
            end(pod, "out-of-service", None, world, plan);
        }
        ended(&all, world, plan);

        let mut orphans: HashMap<Str, Vec<Arc<Pod>>> = HashMap::new();
        for pod in all.iter().filter(|pod| is_orphan(pod, world)) {
            orphans.entry(pod.spec.node_name.clone()).or_default().push(pod.clone());
        }
        let mut missing = self.missing.lock();
        missing.retain(|node, _| orphans.contains_key(node));
        let mut wait = PERIOD;
        for (node, pods) in orphans {
            let since = *missing.entry(node.clone()).or_insert(now);
            let left = since + QUARANTINE_SECONDS - now;
            if left > 0 {
                wait = wait.min(Duration::from_secs(left as u64));
                continue;
            }
            // The cache may lag: the node's absence is confirmed before anything is deleted.
            let world = world.clone();
            plan.push(Write::get(Target::of::<Node>("").named(&node)));
            plan.then(move |outcome, plan| {
                if outcome.error().is_some_and(|status| status.code == 404) {
                    for pod in &pods {
                        end(pod, "orphaned", Some("PodGC: node no longer exists"), &world, plan);
                    }
                }
                Next::After(PERIOD)
            });
        }
        Next::After(wait)
    }
}

/// A terminating pod that never got a node.
fn is_unbound(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && pod.spec.node_name.is_empty()
}

/// A pod whose node is not known.
fn is_orphan(pod: &Pod, world: &World) -> bool {
    !pod.spec.node_name.is_empty() && world.get::<Node>("", &pod.spec.node_name).is_none()
}

/// A terminating pod on a node that somebody declared dead.
fn on_dead_node(pod: &Pod, world: &World) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && world.get::<Node>("", &pod.spec.node_name).is_some_and(|node| {
            let dead = node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE);
            dead && super::condition(&node, "Ready") != "True"
        })
}

fn ended(all: &[Arc<Pod>], _world: &World, plan: &mut Plan) {
    let mut finished: Vec<&Arc<Pod>> = all.iter().filter(|pod| pods::is_finished(pod)).collect();
    if finished.len() <= ENDED_MAX {
        return;
    }
    let evicted = |pod: &Pod| pod.status.reason == "Evicted";
    let created = |pod: &Pod| pod.metadata.creation_timestamp.map(|time| time.seconds);
    finished.sort_by_key(|pod| (Reverse(evicted(pod)), created(pod), pod.metadata.name.clone()));
    let surplus = finished.len() - ENDED_MAX;
    plan.all(finished.into_iter().take(surplus).map(|pod| delete(pod, "terminated")).collect());
}

/// Deletes a pod at once, for a reason that is counted.
fn delete(pod: &Pod, reason: &'static str) -> Write {
    let namespace = pod.metadata.namespace.clone();
    Write::delete_with(pod, at_once())
        .measured(move |refusal| metrics::forced(&namespace, reason, refusal.is_none()))
}

fn at_once() -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() }
}

/// Plans the end of a pod that no kubelet will report on: it failed, unless it had ended already.
fn end(pod: &Arc<Pod>, reason: &'static str, disrupted: Option<&str>, world: &World, plan: &mut Plan) {
    if !pods::is_finished(pod) {
        let mut told = (**pod).clone();
        told.status.phase = "Failed".into();
        if let Some(message) = disrupted {
            let why = disruption(pod, "DeletionByPodGC", message, world.now());
            pods::set_condition(&mut told, why, world.now());
        }
        plan.push(Write::change(&**pod, &told, "status").ignore(404));
    }
    plan.push(delete(pod, reason));
}
