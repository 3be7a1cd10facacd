//! One task for each pod. It owns everything known of the pod, so it needs no locks: news comes in as [`Msg`], long
//! operations run as tasks that report back, and after every piece of news [`Worker::sync`] asks the pure planner what to
//! do next and the pure status room what to tell the API.

mod counted;
mod end;
mod last_words;
mod probes;
mod resize;
mod setup;
mod start;
mod status;
mod steps;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use meta::Status;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use types::core::v1::{Pod, PodStatus};

use crate::metrics::{WORKER_ROUNDS, forget_probes};
use crate::pod::backoff::Backoff;
use crate::pod::container_status::Waiting;
use crate::pod::plan::{InFlight, ProbeFailure};
use crate::pod::status::Verdict;
use crate::pod::view::PodView;
use crate::probe;
use crate::room::Amounts;
use crate::shared::Shared;
use probes::Watched;

/// News for a worker.
pub enum Msg {
    /// The pod in the API changed.
    Pod(Arc<Pod>),
    /// The pod is gone from the API.
    Gone(Arc<Pod>),
    /// Something happened to its containers or its sandbox.
    Runtime,
    /// A ConfigMap or Secret that it refers to changed.
    Objects,
    /// The pod network has become ready.
    Network,
    /// A probe changed its mind.
    Probe {
        /// The container.
        id: String,
        /// Which probe.
        kind: probe::Kind,
        /// Its mind.
        verdict: probe::Verdict,
    },
    /// A resize that waited for room has got it.
    Room,
    /// The node wants the pod to end (eviction).
    Evict(Verdict),
}

/// What an operation reports when it is over.
enum Done {
    SetUp(Result<setup::Ready, setup::Failed>),
    Volumes(Result<setup::Volumes, setup::Failed>),
    Started(start::Started),
    Stopped { id: String },
    Ended,
    Resized(resize::Resized),
    StatusSent { status: Box<PodStatus>, result: Box<Result<Arc<Pod>, Status>> },
    Deleted(Result<(), Status>),
    CleanedUp,
}

/// Where a pod is between first seen and forgotten.
enum Life {
    /// Containers are kept as the pod wants them.
    Running,
    /// Containers are being stopped. The channel shortens their grace.
    Ending { grace: watch::Sender<Duration>, begun: bool },
    /// Nothing runs any more, volumes are gone.
    Ended,
}

/// A handle to a running worker.
pub struct Handle {
    inbox: mpsc::UnboundedSender<Msg>,
    /// The status as last computed, for the kubelet's own API.
    pub status: watch::Receiver<Arc<Pod>>,
    /// The API has the pod no more; what is left of it is about to end.
    pub gone: bool,
    _task: env::Task,
}

impl Handle {
    /// Hands over news; a worker that has finished needs none.
    pub fn send(&mut self, msg: Msg) {
        self.gone |= matches!(msg, Msg::Gone(_));
        let _ = self.inbox.send(msg);
    }
}

/// What a worker is started with.
pub struct Seed {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The node refuses the pod.
    pub rejected: Option<Verdict>,
    /// The object in the API that carries the status: the mirror of a static pod, else the pod itself.
    pub is_static: bool,
}

/// What a pod that was here before has been granted.
pub fn granted(pod: &Pod) -> Amounts {
    Amounts::of(&resize::State::new(pod).in_effect(pod))
}

/// Starts the worker of one pod. `finished` is told the UID once nothing is left of the pod.
pub fn spawn(shared: Arc<Shared>, seed: Seed, finished: mpsc::UnboundedSender<String>) -> Handle {
    let (inbox, news) = mpsc::unbounded_channel();
    let (status_tx, status) = watch::channel(seed.pod.clone());
    let worker = Worker::new(shared, seed, inbox.downgrade(), status_tx);
    let uid = worker.uid.clone();
    let task = env::spawn("pod-worker", async move {
        worker.run(news).await;
        let _ = finished.send(uid);
    });
    Handle { inbox, status, gone: false, _task: task }
}

/// The state of one pod's worker.
pub struct Worker {
    shared: Arc<Shared>,
    uid: String,
    /// The pod to run. Its status is what the API had last.
    pod: Arc<Pod>,
    /// Where the status goes: the pod itself or the mirror of a static pod.
    target: Option<Arc<Pod>>,
    is_static: bool,
    gone: bool,
    life: Life,
    inbox: mpsc::WeakUnboundedSender<Msg>,
    published: watch::Sender<Arc<Pod>>,

    view: PodView,
    ops: JoinSet<Done>,
    in_flight: InFlight,
    cancel_start: CancellationToken,

    watched: HashMap<String, Watched>,
    restarts: Backoff,
    pulls: Backoff,
    waiting: HashMap<String, Waiting>,
    resting: HashMap<String, SystemTime>,
    told_backoff: HashSet<(String, u32)>,

    volumes: Arc<setup::Volumes>,
    volumes_ready: bool,
    volumes_stale: bool,
    refreshing: bool,
    refresh_rests: Option<SystemTime>,
    set_up_rests: Option<SystemTime>,
    set_up_failures: u32,

    messages: HashMap<String, String>,
    resize: resize::State,

    verdict: Option<Verdict>,
    rejected: bool,
    /// When the pod was first seen, until it runs.
    starting_since: Option<Duration>,
    counted: counted::Counted,
    sent: PodStatus,
    sent_version: u64,
    sending: bool,
    send_rests: Option<SystemTime>,
    deleting: bool,
    cleaning: bool,
    finished: bool,
}

impl Worker {
    fn new(
        shared: Arc<Shared>,
        seed: Seed,
        inbox: mpsc::WeakUnboundedSender<Msg>,
        published: watch::Sender<Arc<Pod>>,
    ) -> Worker {
        let pod = seed.pod;
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        let rejected = seed.rejected.is_some();
        let (maps, secrets) = setup::references(&pod);
        if !ended && !rejected {
            shared.objects.register(&pod.metadata.uid, &pod.metadata.namespace, &maps, &secrets);
        }
        let mut worker = Worker {
            uid: pod.metadata.uid.to_string(),
            sent: (*pod.status).clone(),
            sent_version: informer::revision(&pod.metadata),
            target: (!seed.is_static).then(|| pod.clone()),
            is_static: seed.is_static,
            gone: false,
            life: Life::Running,
            inbox,
            published,
            view: PodView::default(),
            ops: JoinSet::new(),
            in_flight: InFlight::default(),
            cancel_start: CancellationToken::new(),
            watched: HashMap::new(),
            restarts: Backoff::kubelet(),
            pulls: Backoff::kubelet(),
            waiting: HashMap::new(),
            resting: HashMap::new(),
            told_backoff: HashSet::new(),
            volumes: Arc::default(),
            volumes_ready: false,
            volumes_stale: false,
            refreshing: false,
            refresh_rests: None,
            set_up_rests: None,
            set_up_failures: 0,
            messages: HashMap::new(),
            resize: resize::State::new(&pod),
            starting_since: pod.status.start_time.is_none().then(|| shared.env.clock.monotonic()),
            counted: counted::Counted::default(),
            verdict: seed.rejected,
            rejected,
            sending: false,
            send_rests: None,
            deleting: false,
            cleaning: false,
            finished: false,
            pod,
            shared,
        };
        if rejected {
            worker.life = Life::Ended;
        } else if ended || worker.pod.metadata.deletion_timestamp.is_some() {
            worker.end();
        }
        worker
    }

    async fn run(mut self, mut news: mpsc::UnboundedReceiver<Msg>) {
        let mut operation = "create";
        loop {
            let began = Instant::now();
            let wake = self.sync();
            WORKER_ROUNDS.with(&[operation]).observe_duration(began.elapsed());
            operation = if matches!(self.life, Life::Running) { "sync" } else { "kill" };
            if self.finished {
                self.watched.clear();
                forget_probes(&self.pod);
                return;
            }
            let sleep = wake.map(|after| self.shared.env.sleep(after));
            tokio::select! {
                msg = news.recv() => match msg {
                    Some(msg) => self.take(msg),
                    // The kubelet is shutting down; containers stay as they are.
                    None => return,
                },
                Some(done) = self.ops.join_next(), if !self.ops.is_empty() => {
                    if let Ok(done) = done {
                        self.done(done);
                    }
                }
                () = async { match sleep { Some(sleep) => sleep.await, None => std::future::pending().await } } => {}
            }
            // Whatever else has arrived meanwhile is taken in before anything is decided.
            while let Ok(msg) = news.try_recv() {
                self.take(msg);
            }
            while let Some(done) = self.ops.try_join_next() {
                if let Ok(done) = done {
                    self.done(done);
                }
            }
        }
    }

    fn now(&self) -> SystemTime {
        self.shared.env.clock.now()
    }

    fn take(&mut self, msg: Msg) {
        match msg {
            Msg::Pod(pod) => self.take_pod(pod),
            Msg::Gone(pod) => {
                self.gone = true;
                self.shared.room.release(&self.uid);
                if pod.metadata.uid == self.uid.as_str() && !self.is_static {
                    self.pod = pod;
                }
                self.end();
            }
            Msg::Runtime | Msg::Room => {}
            Msg::Network => self.set_up_rests = None,
            Msg::Objects => {
                self.volumes_stale = true;
                self.refresh_rests = None;
                self.set_up_rests = None;
                // Whoever waits for a ConfigMap or Secret need not wait any longer; pulls keep their own back-off.
                let config =
                    |w: Option<&Waiting>| w.is_some_and(|w| w.reason == "CreateContainerConfigError");
                let waiting = &self.waiting;
                self.resting.retain(|name, _| !config(waiting.get(name)));
            }
            Msg::Probe { id, kind, verdict } => self.probe_said(&id, kind, verdict),
            Msg::Evict(verdict) => {
                if matches!(self.life, Life::Running) {
                    self.verdict = Some(verdict);
                    self.end();
                }
            }
        }
    }

    fn take_pod(&mut self, pod: Arc<Pod>) {
        let version = informer::revision(&pod.metadata);
        // Somebody else wrote the status after us: the difference must be worked out from what is there now.
        if !self.sending && version > self.sent_version {
            self.sent = (*pod.status).clone();
            self.sent_version = version;
        }
        self.target = Some(pod.clone());
        if self.is_static {
            return;
        }
        let deleted = pod.metadata.deletion_timestamp.is_some();
        if self.pod.metadata.generation != pod.metadata.generation || self.pod.spec != pod.spec {
            let (maps, secrets) = setup::references(&pod);
            self.shared.objects.register(&self.uid, &pod.metadata.namespace, &maps, &secrets);
            self.resize.forget_failure();
            counted::resizes(&self.pod, &pod);
        }
        if pod.metadata.labels != self.pod.metadata.labels
            || pod.metadata.annotations != self.pod.metadata.annotations
        {
            // The downward API shows them.
            self.volumes_stale = true;
        }
        self.pod = pod;
        if deleted {
            self.end();
        }
    }

    /// Begins the pod's end, or hurries it when the grace has become shorter.
    fn end(&mut self) {
        let grace = self.grace();
        match &self.life {
            Life::Running => {
                self.cancel_start.cancel();
                self.watched.values_mut().for_each(Watched::keep_readiness);
                self.life = Life::Ending { grace: watch::Sender::new(grace), begun: false };
            }
            Life::Ending { grace: current, .. } => {
                current.send_if_modified(|have| {
                    let shorter = grace < *have;
                    if shorter {
                        *have = grace;
                    }
                    shorter
                });
            }
            Life::Ended => {}
        }
    }

    /// How long containers may take to stop.
    fn grace(&self) -> Duration {
        let meta = &self.pod.metadata;
        let wanted = match meta.deletion_timestamp {
            Some(_) => meta.deletion_grace_period_seconds,
            None if self.verdict.as_ref().is_some_and(|v| v.reason == "Evicted") => Some(1),
            None => None,
        };
        let seconds = wanted.or(self.pod.spec.termination_grace_period_seconds).unwrap_or(30);
        // Less than a second would be a kill without warning.
        Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1))
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::SetUp(result) => {
                self.in_flight.set_up = false;
                let result = result.map(|ready| self.volumes = Arc::new(ready.volumes));
                self.set_up_done(result);
            }
            Done::Volumes(result) => {
                self.refreshing = false;
                match result {
                    Ok(volumes) => self.volumes = Arc::new(volumes),
                    Err(failed) => {
                        failed.tell(&self.shared, &self.pod);
                        // What is mounted stays as it is meanwhile.
                        self.volumes_stale = true;
                        self.refresh_rests = Some(self.now() + Duration::from_secs(10));
                    }
                }
            }
            Done::Started(started) => self.started(started),
            Done::Stopped { id } => {
                self.in_flight.stopping.remove(&id);
            }
            Done::Ended => self.life = Life::Ended,
            Done::Resized(resized) => self.resized(resized),
            Done::StatusSent { status, result } => self.status_sent(*status, *result),
            Done::Deleted(result) => {
                self.deleting = false;
                match result {
                    Ok(()) => self.gone = true,
                    Err(_) => self.send_rests = Some(self.now() + Duration::from_secs(1)),
                }
            }
            Done::CleanedUp => self.finished = true,
        }
    }

    fn set_up_done(&mut self, result: Result<(), setup::Failed>) {
        match result {
            Ok(()) => {
                self.volumes_ready = true;
                self.set_up_failures = 0;
                self.set_up_rests = None;
            }
            Err(failed) => {
                failed.tell(&self.shared, &self.pod);
                // 500 ms doubling to about two minutes, as mounts are retried upstream; news of objects cuts it short.
                let pause =
                    Duration::from_millis(500 << self.set_up_failures.min(8)).min(Duration::from_secs(122));
                self.set_up_failures += 1;
                self.set_up_rests = Some(self.now() + pause);
            }
        }
    }

    /// Health of the containers for the planner.
    fn health(&self) -> HashMap<String, crate::pod::plan::Health> {
        self.watched.iter().map(|(id, w)| (id.clone(), w.health())).collect()
    }
}

impl Watched {
    fn health(&self) -> crate::pod::plan::Health {
        crate::pod::plan::Health { started: self.started, failed: self.failed }
    }
}

/// The grace period of a container that a probe wants to be restarted.
fn probe_grace(container: &types::core::v1::Container, probe: Option<ProbeFailure>) -> Option<i64> {
    let probe = match probe? {
        ProbeFailure::Liveness => container.liveness_probe.as_deref(),
        ProbeFailure::Startup => container.startup_probe.as_deref(),
    };
    probe?.termination_grace_period_seconds
}
