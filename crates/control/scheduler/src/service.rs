//! The scheduler at work: watches pods and nodes, keeps snapshot and queue, decides one pod after the other and binds in
//! tasks of their own.
//!
//! All state sits in one lock that is held for computing only; calls to the API server happen outside of it.

use std::sync::Arc;
use std::time::Duration;

use call::{PatchKind, WriteOptions};
use client::Client;
use env::Env;
use informer::{Change, Informers};
use meta::{ObjectMeta, Status, Str};
use parking_lot::Mutex;
use reconcile::{Note, Recorder};
use tokio::sync::{Notify, Semaphore};
use types::core::v1::{Binding, Node, ObjectReference, Pod};

use crate::cycle::{Decision, decide};
use crate::plugin::{ClusterEvent, Wanted};
use crate::profile::Profile;
use crate::queue::Queue;
use crate::snapshot::Snapshot;

/// Bindings that may be under way at once; more only pile up in the API server.
const BINDINGS_MAX: usize = 64;

/// What a scheduler runs with.
pub struct Config {
    /// Acts as `system:kube-scheduler`.
    pub client: Client,
    /// The process's caches.
    pub informers: Arc<Informers>,
    /// Clock and randomness.
    pub env: Env,
    /// Plugins and the scheduler name that pods select.
    pub profile: Profile,
}

struct State {
    queue: Queue,
    snapshot: Snapshot,
}

/// What the loop and its handlers share.
struct Scheduler {
    client: Client,
    recorder: Recorder,
    env: Env,
    profile: Profile,
    state: Mutex<State>,
    wake: Notify,
    bindings: Arc<Semaphore>,
}

/// Schedules until the future is dropped.
pub async fn run(config: Config) {
    let recorder = Recorder::start(config.client.clone(), config.profile.scheduler_name, config.env.clone());
    let scheduler = Arc::new(Scheduler {
        client: config.client,
        recorder,
        env: config.env,
        profile: config.profile,
        state: Mutex::new(State { queue: Queue::default(), snapshot: Snapshot::default() }),
        wake: Notify::new(),
        bindings: Arc::new(Semaphore::new(BINDINGS_MAX)),
    });
    let nodes = config.informers.cache::<Node>();
    let pods = config.informers.cache::<Pod>();
    let handler = scheduler.clone();
    nodes.subscribe(move |change| handler.node_changed(change));
    let handler = scheduler.clone();
    pods.subscribe(move |change| handler.pod_changed(change));
    nodes.synced().await;
    pods.synced().await;
    loop {
        while let Some(next) = scheduler.next() {
            let permit = scheduler.bindings.clone().acquire_owned().await;
            let scheduler = scheduler.clone();
            env::spawn_detached("bind", async move {
                match next {
                    Next::Bind { pod, node } => scheduler.bind(&pod, node).await,
                    Next::Refuse { pod, message } => scheduler.refuse(&pod, message).await,
                }
                drop(permit);
            });
        }
        scheduler.wait().await;
    }
}

/// What is to be done about a pod that was decided.
enum Next {
    Bind { pod: Arc<Pod>, node: Str },
    Refuse { pod: Arc<Pod>, message: Str },
}

fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

impl Scheduler {
    fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.wake.notify_one();
    }

    fn node_changed(&self, change: &Change<Node>) {
        let now = self.now();
        self.change(|state| match change {
            Change::Added(node) => {
                state.snapshot.set_node(node.clone());
                state.queue.happened(ClusterEvent::NodeAdded, &self.profile, now);
            }
            Change::Updated { old, new } => {
                state.snapshot.set_node(new.clone());
                for event in node_events(old, new) {
                    state.queue.happened(event, &self.profile, now);
                }
            }
            Change::Deleted(node) => state.snapshot.remove_node(&node.metadata.name),
        });
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let now = self.now();
        let pod = change.object();
        let uid = pod.metadata.uid.as_str();
        let gone = matches!(change, Change::Deleted(_));
        self.change(|state| {
            if gone || is_over(pod) {
                state.queue.remove(uid);
                if state.snapshot.remove_pod(uid) {
                    state.queue.happened(ClusterEvent::PodFreed, &self.profile, now);
                }
            } else if !pod.spec.node_name.is_empty() {
                state.queue.remove(uid);
                state.snapshot.set_pod(pod);
                if change.old().is_some_and(|old| gave_back(old, pod)) {
                    state.queue.happened(ClusterEvent::PodFreed, &self.profile, now);
                }
            } else if pod.metadata.deletion_timestamp.is_some() {
                state.queue.remove(uid);
            } else if pod.spec.scheduler_name == self.profile.scheduler_name && !state.snapshot.has_pod(uid) {
                state.queue.add(pod.clone(), &self.profile, now);
            }
        });
    }

    /// Decides about the next pod in the queue.
    fn next(&self) -> Option<Next> {
        let now = self.now();
        let mut state = self.state.lock();
        let pod = state.queue.pop(now)?;
        let wanted = Wanted::new(&pod);
        match decide(&wanted, &state.snapshot, &self.profile, self.env.random.u64()) {
            Decision::Node { index, .. } => {
                let node = state.snapshot.name(index);
                state.snapshot.place(&pod, node.clone());
                Some(Next::Bind { pod: pod.clone(), node })
            }
            Decision::Unschedulable { message, plugins } => {
                let plugins = if plugins.is_empty() { vec!["NodeName"] } else { plugins };
                state.queue.refused(&pod.metadata.uid, plugins, &self.profile, now);
                Some(Next::Refuse { pod: pod.clone(), message })
            }
        }
    }

    /// Waits until something changed or a back-off is over.
    async fn wait(&self) {
        let due = self.state.lock().queue.next_due();
        match due {
            None => self.wake.notified().await,
            Some(due) => {
                let pause = due.saturating_sub(self.now());
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = self.env.sleep(pause) => {}
                }
            }
        }
    }

    async fn bind(&self, pod: &Pod, node: Str) {
        let target =
            ObjectReference { kind: "Node".into(), name: node.clone(), ..ObjectReference::default() };
        let metadata = ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        };
        let binding = Binding { metadata, target, ..Binding::default() };
        let api = self.client.namespaced::<Pod>(&pod.metadata.namespace);
        match api.create_subresource(&pod.metadata.name, "binding", Box::new(binding)).await {
            Ok(_) => {
                self.change(|state| state.queue.remove(&pod.metadata.uid));
                let path = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
                let text = format!("Successfully assigned {path} to {node}");
                self.recorder.record(Note::normal(pod, "Scheduled", text));
            }
            Err(status) => self.binding_failed(pod, &status),
        }
    }

    /// The pod is gone or bound by somebody else: that is the end. Anything else is tried again after a back-off.
    fn binding_failed(&self, pod: &Pod, status: &Status) {
        let now = self.now();
        let over = matches!(status.code, 404 | 409);
        tracing::info!(pod = %pod.metadata.name, namespace = %pod.metadata.namespace, reason = %status.message, "binding failed");
        self.change(|state| {
            // What the watch told of the pod meanwhile is newer than the assumption.
            state.snapshot.remove_pod(&pod.metadata.uid);
            if over {
                state.queue.remove(&pod.metadata.uid);
            } else {
                state.queue.refused(&pod.metadata.uid, Vec::new(), &self.profile, now);
            }
        });
        if !over {
            let text = format!("binding rejected: {}", status.message);
            self.recorder.record(Note::warning(pod, "FailedScheduling", text));
        }
    }

    /// Tells the pod's owner why it has no node: an event, and the condition PodScheduled=False.
    async fn refuse(&self, pod: &Pod, message: Str) {
        self.recorder.record(Note::warning(pod, "FailedScheduling", message.clone()));
        let known = pod.status.conditions.iter().any(|condition| {
            condition.type_ == "PodScheduled" && condition.status == "False" && condition.message == message
        });
        if known {
            return;
        }
        let document = condition_patch(pod, &message, meta::Time::from_unix(self.env.unix_ms() / 1000));
        let api = self.client.namespaced::<Pod>(&pod.metadata.namespace);
        let patched = api
            .patch_status(&pod.metadata.name, PatchKind::Strategic, document.into(), &WriteOptions::default())
            .await;
        if let Err(status) = patched
            && status.code != 404
        {
            tracing::warn!(pod = %pod.metadata.name, reason = %status.message, "cannot record why the pod is pending");
        }
    }
}

fn condition_patch(pod: &Pod, message: &str, now: meta::Time) -> Vec<u8> {
    let unchanged = pod
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .and_then(|condition| condition.last_transition_time.clone());
    let condition = serde_json::json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": unchanged.unwrap_or(now).to_string(),
        "observedGeneration": pod.metadata.generation,
    });
    serde_json::json!({"status": {"conditions": [condition]}}).to_string().into_bytes()
}

/// The changes of a node that plugins have hints for.
fn node_events(old: &Node, new: &Node) -> Vec<ClusterEvent> {
    let mut events = Vec::new();
    if old.status.allocatable != new.status.allocatable {
        events.push(ClusterEvent::NodeAllocatable);
    }
    if old.metadata.labels != new.metadata.labels {
        events.push(ClusterEvent::NodeLabels);
    }
    if old.spec.taints != new.spec.taints || old.spec.unschedulable != new.spec.unschedulable {
        events.push(ClusterEvent::NodeTaints);
    }
    events
}

/// Whether a pod on a node asks for less than before (in-place resize).
fn gave_back(old: &Pod, new: &Pod) -> bool {
    let (before, after) = (crate::resources::pod_requests(old), crate::resources::pod_requests(new));
    after.cpu_milli < before.cpu_milli || after.memory_bytes < before.memory_bytes
}
