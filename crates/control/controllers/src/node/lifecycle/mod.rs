//! Nodes that fall silent: conditions, taints and the readiness of their pods.
//!
//! A node speaks by its Lease and by its status. What counts is when this process last saw either change, not the times
//! written in them, because nodes' clocks may be wrong. So the controller remembers what it saw ([`health`]); apart from
//! that its decisions follow from the caches.

mod health;
mod zones;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use call::PatchKind;
use informer::{Change, Key};
use meta::Str;
use parking_lot::Mutex;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::coordination::v1::Lease;
use types::core::v1::{Node, Pod};

use super::{BY_NODE, condition, metrics, node_of, taints};
use crate::common::pods;

use health::{GRACE, Health};

const LEASES: &str = "kube-node-lease";
/// Looks at each node at least this often, upstream's monitor period.
const PERIOD: Duration = Duration::from_secs(5);

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("node_lifecycle_controller", "node-controller", context.clone(), Lifecycle::default())
        .index::<Pod>(BY_NODE, node_of)
        .on_change::<Node>(|change, world| {
            let node = change.object();
            // The readiness of one node decides about evictions from others.
            let turned = match change {
                Change::Updated { old, new } => {
                    if zones::name(old) != zones::name(new) {
                        zones::measure(&world.list_all::<Node>(), old);
                    }
                    condition(old, "Ready") != condition(new, "Ready")
                }
                Change::Added(_) | Change::Deleted(_) => true,
            };
            if turned {
                let nodes = world.list_all::<Node>();
                zones::measure(&nodes, node);
                nodes.iter().map(|node| Key::of(&**node)).chain([Key::of(&**node)]).collect()
            } else {
                vec![Key::of(&**node)]
            }
        })
        .on_change::<Lease>(|change, _| {
            let meta = &change.object().metadata;
            // A renewal needs no look, a first lease does.
            let first = matches!(change, Change::Added(_)) && meta.namespace == LEASES;
            if first { vec![Key::new("", &meta.name)] } else { Vec::new() }
        })
        .workers(1)
        .start()
}

/// Seconds that a new node is given to report its conditions.
const FIRST_WORD: i64 = 2;

#[derive(Default)]
pub(crate) struct Lifecycle {
    /// The uid of each node and what was seen of it, by name.
    seen: Mutex<HashMap<Str, (Str, Health)>>,
}

impl Reconciler for Lifecycle {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(node) = world.get_key::<Node>(key) else {
            if let Some((uid, _)) = self.seen.lock().remove(&key.name) {
                let mut gone = Node::default();
                (gone.metadata.name, gone.metadata.uid) = (key.name.clone(), uid);
                let message = format!("Node {0} event: Removing Node {0} from Controller", key.name);
                plan.event(Note::normal(&gone, "RemovingNode", message));
            }
            return Next::Done;
        };
        let _judging = metrics::Judging::begin();
        let lease = world.get::<Lease>(LEASES, &key.name);
        let mut seen = self.seen.lock().get(&key.name).map(|(_, health)| health.clone());
        if seen.is_none() {
            let message = format!("Node {0} event: Registered Node {0} in Controller", key.name);
            plan.event(Note::normal(&*node, "RegisteredNode", message));
        }
        let health = Health::observe(seen.take(), &node, lease.as_deref(), world.unix_seconds());
        let silent = health.silent_seconds(world.unix_seconds());
        self.seen.lock().insert(key.name.clone(), (node.metadata.uid.clone(), health.clone()));

        let mut changed = (*node).clone();
        if health.is_overdue(world.unix_seconds()) && health::lose(&mut changed, world.now()) {
            let was_ready = condition(&node, "Ready") == "True";
            if was_ready {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                plan.event(Note::normal(&*node, "NodeNotReady", message));
                pods_not_ready(&node, world, plan);
            }
            plan.update_status(changed);
            return Next::After(PERIOD);
        }
        if health.fell(&node) {
            let message = format!("Node {} status is now: NodeNotReady", key.name);
            plan.event(Note::normal(&*node, "NodeNotReady", message));
            pods_not_ready(&node, world, plan);
        }
        label(&node, plan);
        if is_unborn(&node, world.unix_seconds()) {
            return Next::After(Duration::from_secs(1));
        }
        taint(&node, world, plan);
        let left = GRACE.as_secs() as i64 - silent;
        Next::After(Duration::from_secs(left.clamp(1, PERIOD.as_secs() as i64) as u64))
    }
}

/// Whether a new node has yet to tell how it is. Its first taint stays for that moment, so that no pod comes too early;
/// who never tells is taken as he is.
fn is_unborn(node: &Node, now: i64) -> bool {
    let created = node.metadata.creation_timestamp.map_or(0, |time| time.seconds);
    node.status.conditions.is_empty() && now - created < FIRST_WORD
}

/// Writes the taints that the node's state calls for.
fn taint(node: &Node, world: &World, plan: &mut Plan) {
    let now = world.now();
    let wanted = taints::no_schedule(node, now);
    let evicting = match condition(node, "Ready") {
        "True" => Some(None),
        "False" if zones::may_evict(node, world) => Some(Some(taints::NOT_READY)),
        "Unknown" if zones::may_evict(node, world) => Some(Some(taints::UNREACHABLE)),
        // With no node left that answers, the fault is more likely on this side: nobody is evicted.
        "False" | "Unknown" if zones::all_down(world) => Some(None),
        _ => None,
    };
    let wanted = match evicting {
        Some(key) => taints::no_execute(&wanted, key, now),
        None => wanted,
    };
    if wanted != node.spec.taints {
        let mut changed = node.clone();
        changed.spec.taints = wanted;
        let evicts = taints::evicts(&changed) && !taints::evicts(node);
        let zone = evicts.then(|| zones::name(node));
        plan.push(Write::update(changed).ignore(404).measured(move |refusal| {
            if let Some(zone) = zone.filter(|_| refusal.is_none()) {
                metrics::evicts(&zone);
            }
        }));
    }
}

/// Pods of a silent node do not serve any more.
fn pods_not_ready(node: &Node, world: &World, plan: &mut Plan) {
    let mut writes = Vec::new();
    for pod in world.cache::<Pod>().find(BY_NODE, &node.metadata.name) {
        if !pods::is_ready(&pod) {
            continue;
        }
        let mut changed = (*pod).clone();
        for condition in changed.status.conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
            condition.status = "False".into();
            condition.last_transition_time = Some(world.now());
        }
        let about = pod.clone();
        writes.push(
            Write::update_status(changed)
                .ignore(404)
                .ignore(409)
                .on_success(move |_| Some(Note::warning(&*about, "NodeNotReady", "Node is not ready"))),
        );
    }
    plan.all(writes);
}

/// Old names of two labels follow the new ones.
fn label(node: &Node, plan: &mut Plan) {
    const PAIRS: [(&str, &str); 2] =
        [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];
    let labels = &node.metadata.labels;
    let mut missing = serde_json::Map::new();
    for (from, to) in PAIRS {
        if let Some(value) = labels.get(from)
            && labels.get(to) != Some(value)
        {
            missing.insert(to.to_owned(), value.as_str().into());
        }
    }
    if !missing.is_empty() {
        let document = serde_json::json!({ "metadata": { "labels": missing } }).to_string();
        plan.push(
            Write::patch::<Node>("", &node.metadata.name, "", PatchKind::Strategic, Bytes::from(document))
                .ignore(404),
        );
    }
}
