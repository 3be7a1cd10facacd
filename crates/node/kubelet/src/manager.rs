//! All pods of the node: starts, feeds and ends their workers, admits new pods, and clears away what belongs to no pod.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use informer::Change;
use parking_lot::Mutex;
use reconcile::EventType::Warning;
use rules::references::MIRROR;
use runtime::RuntimeEvent;
use tokio::sync::{broadcast, mpsc};
use types::core::v1::{Node, Pod};

use crate::admission;
use crate::metrics::REJECTIONS;
use crate::node::status::with_extended;
use crate::pod::{config, is_mirror};
use crate::shared::Shared;
use crate::static_pods::{create_mirror, delete_mirror};
use crate::worker::{self, Handle, Msg, Seed};

/// News for the manager.
pub enum News {
    /// A pod of this node in the API changed.
    Api(Change<Pod>),
    /// All pods of one source (the API, the directory of static pods) are known.
    Synced,
    /// A static pod appeared or changed.
    Static(Arc<Pod>),
    /// The file of a static pod is gone: its UID.
    StaticGone(String),
}

/// The pods of the node, by UID.
#[derive(Default)]
pub struct Pods {
    workers: Mutex<HashMap<String, Handle>>,
}

impl Pods {
    /// Pods with their present status.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.workers.lock().values().map(|handle| handle.status.borrow().clone()).collect()
    }

    /// Pods that count when another asks for room. One that the API has forgotten does not: it ends as fast as it can, and
    /// the scheduler has given its place away.
    pub fn active(&self) -> Vec<Arc<Pod>> {
        let workers = self.workers.lock();
        let pods =
            workers.values().filter(|handle| !handle.gone).map(|handle| handle.status.borrow().clone());
        pods.filter(|pod| !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")).collect()
    }

    /// A pod by name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.list().into_iter().find(|p| p.metadata.namespace == namespace && p.metadata.name == name)
    }

    /// Stops all workers; containers go on.
    pub fn abandon(&self) {
        self.workers.lock().clear();
    }

    /// Sends a pod's worker a message.
    pub fn send(&self, uid: &str, msg: Msg) {
        if let Some(handle) = self.workers.lock().get_mut(uid) {
            handle.send(msg);
        }
    }
}

/// Runs until its news end.
pub struct Manager {
    /// The node.
    pub shared: Arc<Shared>,
    /// The pods.
    pub pods: Arc<Pods>,
    /// Most pods that the node takes.
    pub max_pods: i64,
    sandboxes: HashMap<String, String>,
    /// Static pods and their mirrors in the API, by UID of the static pod.
    statics: HashMap<String, Arc<Pod>>,
    mirrors: HashMap<String, Arc<Pod>>,
    /// Sources that have not told all their pods yet.
    unsynced: usize,
    finished_tx: mpsc::UnboundedSender<String>,
    finished: mpsc::UnboundedReceiver<String>,
    /// Pods that are looked at again, with the Node object as the API has it now.
    again_tx: mpsc::UnboundedSender<Arc<Pod>>,
    again: mpsc::UnboundedReceiver<Arc<Pod>>,
}

impl Manager {
    /// For a node whose pods come from that many sources.
    pub fn new(shared: Arc<Shared>, pods: Arc<Pods>, max_pods: i64, sources: usize) -> Manager {
        let (finished_tx, finished) = mpsc::unbounded_channel();
        let (again_tx, again) = mpsc::unbounded_channel();
        Manager {
            shared,
            pods,
            max_pods,
            sandboxes: HashMap::new(),
            statics: HashMap::new(),
            mirrors: HashMap::new(),
            unsynced: sources,
            finished_tx,
            finished,
            again_tx,
            again,
        }
    }

    /// Runs. `objects` brings UIDs of pods whose ConfigMaps or Secrets changed.
    pub async fn run(
        mut self,
        mut news: mpsc::UnboundedReceiver<News>,
        mut objects: mpsc::UnboundedReceiver<String>,
        mut events: broadcast::Receiver<RuntimeEvent>,
    ) {
        let mut network = self.shared.network.changes();
        loop {
            tokio::select! {
                one = news.recv() => match one {
                    Some(one) => self.take(one),
                    None => return,
                },
                Ok(()) = network.changed() => self.tell_all(|| Msg::Network),
                Some(uid) = objects.recv() => self.pods.send(&uid, Msg::Objects),
                Some(uid) = self.finished.recv() => self.finished(&uid),
                Some(pod) = self.again.recv() => self.decide(pod, false, true),
                event = events.recv() => match event {
                    Ok(event) => self.runtime_event(&event),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.tell_all(|| Msg::Runtime),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Api(Change::Added(pod) | Change::Updated { new: pod, .. }) => self.api_pod(pod),
            News::Api(Change::Deleted(pod)) => {
                if is_mirror(&pod) {
                    return self.mirror_gone(&pod);
                }
                self.pods.send(&pod.metadata.uid, Msg::Gone(pod.clone()));
            }
            News::Synced => {
                self.unsynced = self.unsynced.saturating_sub(1);
                if self.unsynced == 0 {
                    self.clear_orphans();
                    self.shared.room.open();
                }
            }
            News::Static(pod) => {
                let uid = pod.metadata.uid.to_string();
                self.statics.insert(uid.clone(), pod.clone());
                self.start(pod, true);
                if let Some(mirror) = self.mirrors.get(&uid) {
                    self.pods.send(&uid, Msg::Pod(mirror.clone()));
                }
            }
            News::StaticGone(uid) => {
                self.statics.remove(&uid);
                let pod = self.pods.workers.lock().get(&uid).map(|h| h.status.borrow().clone());
                if let Some(pod) = pod {
                    self.pods.send(&uid, Msg::Gone(pod));
                }
            }
        }
    }

    fn api_pod(&mut self, pod: Arc<Pod>) {
        if is_mirror(&pod) {
            // The mirror carries the UID of the file's pod as a hash.
            if let Some(uid) = pod.metadata.annotations.get(MIRROR).map(|uid| uid.to_string()) {
                if pod.metadata.deletion_timestamp.is_some() {
                    // Nothing runs for a mirror, so nobody need wait for its end.
                    let (shared, mirror) = (self.shared.clone(), pod.clone());
                    env::spawn_detached("mirror-pod", async move { delete_mirror(&shared, &mirror).await });
                }
                self.mirrors.insert(uid.clone(), pod.clone());
                self.pods.send(&uid, Msg::Pod(pod));
            }
            return;
        }
        let known = self.pods.workers.lock().contains_key(pod.metadata.uid.as_str());
        match known {
            true => self.pods.send(&pod.metadata.uid.clone(), Msg::Pod(pod)),
            false => self.start(pod, false),
        }
    }

    /// Whoever deletes a mirror gets it back as long as the static pod is there.
    fn mirror_gone(&mut self, mirror: &Pod) {
        let Some(uid) = mirror.metadata.annotations.get(MIRROR) else { return };
        self.mirrors.remove(uid.as_str());
        if let Some(pod) = self.statics.get(uid.as_str()).cloned() {
            let shared = self.shared.clone();
            env::spawn_detached("mirror-pod", async move { create_mirror(&shared, &pod).await });
        }
    }

    fn start(&mut self, pod: Arc<Pod>, is_static: bool) {
        self.decide(pod, is_static, false);
    }

    /// Takes or refuses a pod. `fresh` says that the Node object has just been fetched.
    fn decide(&mut self, pod: Arc<Pod>, is_static: bool, fresh: bool) {
        let uid = pod.metadata.uid.to_string();
        if self.pods.workers.lock().contains_key(&uid) {
            return;
        }
        let rejected = self.refuse(&pod);
        if !fresh && !is_static && rejected.as_ref().is_some_and(|v| v.reason == "NodeAffinity") {
            // The label that the pod was placed for may be newer than what is known here.
            let (shared, again) = (self.shared.clone(), self.again_tx.clone());
            env::spawn_detached("admission", async move {
                if let Ok(node) = shared.client.all::<Node>().get(&shared.node_name).await {
                    shared.see_node(node);
                }
                let namespace = pod.metadata.namespace.clone();
                let pods = shared.client.namespaced::<Pod>(&namespace);
                // Changed or deleted meanwhile, it is judged as it is now.
                match pods.get_optional(&pod.metadata.name).await {
                    Ok(Some(now)) if now.metadata.uid == pod.metadata.uid => drop(again.send(now)),
                    Ok(_) => {}
                    Err(_) => drop(again.send(pod)),
                }
            });
            return;
        }
        if let Some(verdict) = &rejected {
            REJECTIONS.with(&[&verdict.reason]).inc();
            self.shared.pod_event(&pod, Warning, &verdict.reason, verdict.message.clone());
        }
        let seed = Seed { pod, rejected, is_static };
        let handle = worker::spawn(self.shared.clone(), seed, self.finished_tx.clone());
        self.pods.workers.lock().insert(uid, handle);
    }

    /// Admission, for pods that have not been taken before.
    fn refuse(&self, pod: &Pod) -> Option<crate::pod::status::Verdict> {
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if ended {
            return None;
        }
        if pod.status.start_time.is_some() || pod.metadata.deletion_timestamp.is_some() {
            self.shared.room.has(&pod.metadata.uid, worker::granted(pod));
            return None;
        }
        let others = self.pods.active();
        let node = self.shared.node.read().clone();
        let allocatable = with_extended(self.shared.allocatable.clone(), &node.status.allocatable);
        admission::admit(pod, &others, &self.shared.room, &node, &allocatable, self.max_pods).err()
    }

    fn finished(&mut self, uid: &str) {
        self.pods.workers.lock().remove(uid);
        self.sandboxes.retain(|_, owner| owner != uid);
        self.shared.room.release(uid);
        self.shared.objects.release(uid);
        self.shared.mounted.release(uid);
    }

    fn runtime_event(&mut self, event: &RuntimeEvent) {
        let sandbox = match event {
            RuntimeEvent::SandboxStarted { sandbox_id }
            | RuntimeEvent::SandboxStopped { sandbox_id }
            | RuntimeEvent::SandboxRemoved { sandbox_id }
            | RuntimeEvent::ContainerCreated { sandbox_id, .. }
            | RuntimeEvent::ContainerStarted { sandbox_id, .. }
            | RuntimeEvent::ContainerExited { sandbox_id, .. }
            | RuntimeEvent::ContainerRemoved { sandbox_id, .. } => sandbox_id,
        };
        if !self.sandboxes.contains_key(sandbox) {
            for s in self.shared.runtime.sandboxes() {
                self.sandboxes.insert(s.id, s.config.uid.clone());
            }
        }
        if let Some(uid) = self.sandboxes.get(sandbox) {
            self.pods.send(uid, Msg::Runtime);
        }
    }

    fn tell_all(&self, msg: impl Fn() -> Msg) {
        for handle in self.pods.workers.lock().values_mut() {
            handle.send(msg());
        }
    }

    /// Ends sandboxes of pods that nobody knows any more (deleted while the kubelet was down), and removes their
    /// directories. Called once the API's pods are known.
    fn clear_orphans(&self) {
        let known: HashSet<String> = self.pods.workers.lock().keys().cloned().collect();
        let mut orphans: HashMap<String, Vec<runtime::Sandbox>> = HashMap::new();
        for sandbox in self.shared.runtime.sandboxes() {
            if !known.contains(&sandbox.config.uid) {
                orphans.entry(sandbox.config.uid.clone()).or_default().push(sandbox);
            }
        }
        let dirs = std::fs::read_dir(self.shared.root_dir.join("pods")).into_iter().flatten().flatten();
        for uid in dirs.filter_map(|e| e.file_name().into_string().ok()).filter(|uid| !known.contains(uid)) {
            orphans.entry(uid).or_default();
        }
        for (uid, sandboxes) in orphans {
            let shared = self.shared.clone();
            env::spawn_detached("orphaned-pod", async move {
                tracing::info!(%uid, "clearing away a pod that is gone from the API");
                clear(&shared, &uid, sandboxes).await;
            });
        }
    }
}

async fn clear(shared: &Shared, uid: &str, sandboxes: Vec<runtime::Sandbox>) {
    for sandbox in &sandboxes {
        let containers = shared.runtime.containers().into_iter().filter(|c| c.sandbox_id == sandbox.id);
        let stops = containers.map(|c| {
            let seconds =
                c.config.annotations.get(config::GRACE_PERIOD).and_then(|s| s.parse().ok()).unwrap_or(30);
            async move { shared.runtime.stop_container(&c.id, Duration::from_secs(seconds)).await }
        });
        futures::future::join_all(stops).await;
        let id = &sandbox.id;
        if let Err(error) = shared.runtime.stop_sandbox(id).await {
            tracing::warn!(sandbox = %id, %error, "cannot stop an orphaned sandbox");
        }
        if let Err(error) = shared.network.remove(id).await {
            tracing::warn!(sandbox = %id, %error, "cannot disconnect an orphaned sandbox");
        }
        if let Err(error) = shared.runtime.remove_sandbox(id).await {
            tracing::warn!(sandbox = %id, %error, "cannot remove an orphaned sandbox");
        }
    }
    let dir = shared.pod_dir(uid);
    let logs = sandboxes.first().map(|s| s.config.log_directory.clone());
    let cleared = tokio::task::spawn_blocking(move || {
        if let Some(logs) = logs {
            let _ = std::fs::remove_dir_all(logs);
        }
        volumes::tear_down(&dir)
    });
    if let Ok(Err(error)) = cleared.await {
        tracing::warn!(%uid, %error, "cannot remove the directory of an orphaned pod");
    }
}
