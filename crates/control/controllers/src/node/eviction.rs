//! Evicts pods that do not tolerate a NoExecute taint of their node, or not for longer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use call::DeleteOptions;
use informer::Key;
use meta::Str;
use parking_lot::Mutex;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::core::v1::{Node, Pod, Taint};

use super::{BY_NODE, disruption, metrics, node_of, taints};
use crate::common::pods;
use crate::common::scheduling::tolerates;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("noexec_taint", "taint-eviction-controller", context.clone(), Eviction::default())
        .index::<Pod>(BY_NODE, node_of)
        .on::<Pod>(|pod, _| if pod.spec.node_name.is_empty() { Vec::new() } else { vec![Key::of(pod)] })
        .on_change::<Node>(|change, world| {
            let node = change.object();
            if change.old().is_some_and(|old| old.spec.taints == node.spec.taints) {
                return Vec::new();
            }
            let pods = world.cache::<Pod>().find(BY_NODE, &node.metadata.name);
            pods.iter().map(|pod| Key::of(&**pod)).collect()
        })
        .start()
}

#[derive(Default)]
pub(crate) struct Eviction {
    /// When each pod was first seen to tolerate a taint for a while only: seconds since 1970, by uid.
    since: Mutex<HashMap<Str, i64>>,
}

/// How long a pod may stay.
#[derive(Debug, PartialEq)]
enum Stay {
    Forever,
    Seconds(i64),
}

impl Reconciler for Eviction {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let pod = world.get_key::<Pod>(key).filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let Some(pod) = pod else { return Next::Done };
        let uid = &pod.metadata.uid;
        let node = world.get::<Node>("", &pod.spec.node_name);
        let evicting: Vec<&Taint> = node
            .iter()
            .flat_map(|node| node.spec.taints.iter())
            .filter(|taint| taint.effect == taints::NO_EXECUTE)
            .collect();
        let begun = Instant::now();
        let left = match stay(&pod, &evicting) {
            Stay::Forever => {
                if self.since.lock().remove(uid).is_some() {
                    let message = format!("Cancelling deletion of Pod {key}");
                    plan.event(Note::normal(&*pod, "TaintManagerEviction", message));
                }
                return Next::Done;
            }
            Stay::Seconds(seconds) if seconds <= 0 => 0,
            Stay::Seconds(seconds) => {
                let now = world.unix_seconds();
                let since = *self.since.lock().entry(uid.clone()).or_insert(now);
                since + seconds - now
            }
        };
        if left > 0 {
            return Next::After(Duration::from_secs(left as u64));
        }
        self.since.lock().remove(uid);
        plan.event(Note::normal(&*pod, "TaintManagerEviction", format!("Marking for deletion Pod {key}")));
        let mut told = (*pod).clone();
        let why = disruption(
            &pod,
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
            world.now(),
        );
        if pods::set_condition(&mut told, why, world.now()) {
            plan.push(Write::update_status(told).ignore(404));
        }
        plan.push(Write::delete_with(&*pod, DeleteOptions::default()).measured(move |refusal| {
            if refusal.is_none() {
                metrics::evicted((-left) as f64 + begun.elapsed().as_secs_f64());
            }
        }));
        Next::Done
    }
}

fn stay(pod: &Pod, evicting: &[&Taint]) -> Stay {
    let mut least: Option<i64> = None;
    for taint in evicting {
        let mut tolerated =
            pod.spec.tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if tolerated.peek().is_none() {
            return Stay::Seconds(0);
        }
        for seconds in tolerated.filter_map(|toleration| toleration.toleration_seconds) {
            least = Some(least.map_or(seconds, |known| known.min(seconds)));
        }
    }
    least.map_or(Stay::Forever, Stay::Seconds)
}
