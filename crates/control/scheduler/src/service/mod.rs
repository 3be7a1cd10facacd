//! The scheduler at work: watches the cluster, keeps snapshot and queue, decides one pod after the other and carries the
//! decisions out in tasks of their own.
//!
//! All state sits in one lock that is held for computing only; calls to the API server happen outside of it. What a
//! decision changes counts in the snapshot at once and is taken back when carrying it out fails.

mod bind;
mod devices;
mod evict;
mod extended;
mod extender;
mod metrics;
mod permit;
mod report;
mod volumes;
mod watch;

pub use permit::Waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Client;
use env::Env;
use informer::Informers;
use meta::Str;
use parking_lot::Mutex;
use reconcile::Recorder;
use tokio::sync::{Notify, Semaphore};

use crate::config::SchedulerConfig;
use crate::core::{Core, Decision};
use crate::failure::Failure;
use crate::plugin::{Cx, Plugin};
use crate::plugins::dynamic_resources::{DynamicResources, Given};
use crate::plugins::{dynamic_resources, volume_binding};
use crate::pod_info::PodInfo;
use crate::post_filter;
use crate::preemption::{Candidate, least_harm};
use crate::profile::{Binders, Profile};
use crate::queue::{Popped, Queue};

/// Decisions that may be carried out at once; more only pile up in the API server.
const UNDER_WAY_MAX: usize = 256;

/// What a scheduler runs with.
pub struct Config {
    /// Acts as `system:kube-scheduler`.
    pub client: Client,
    /// The process's caches.
    pub informers: Arc<Informers>,
    /// Clock and randomness.
    pub env: Env,
    /// Profiles, pauses, extenders.
    pub config: SchedulerConfig,
    /// Plugins besides those of the table, with the weights of their scores.
    pub plugins: Vec<(Arc<dyn Plugin>, i64)>,
    /// Pods that wait for a word of those plugins.
    pub waiting: Waiting,
    /// Name of the host, for events.
    pub host: Str,
}

struct State {
    queue: Queue,
    core: Core,
}

/// What the loop, its handlers and its tasks share.
struct Scheduler {
    client: Client,
    informers: Arc<Informers>,
    recorders: Vec<Recorder>,
    env: Env,
    state: Mutex<State>,
    wake: Notify,
    /// Claims, volumes or devices changed.
    storage: Notify,
    under_way: Arc<Semaphore>,
    waiting: Waiting,
    /// Names of the profiles.
    profiles: Vec<Str>,
    extenders: Vec<extender::Extender>,
}

/// Whether the configuration's extenders can be used.
///
/// # Errors
/// What is wrong with the first one that cannot, such as a file that is not there.
pub fn check_extenders(config: &SchedulerConfig) -> Result<(), String> {
    let each = config.extenders.iter().map(|one| extender::Extender::new(one.clone()).map(drop));
    each.collect::<Result<_, _>>().map_err(|error| format!("couldn't build extenders: {error}"))
}

/// Schedules until the future is dropped.
pub async fn run(config: Config) {
    let profiles: Vec<Profile> =
        config.config.profiles.iter().map(|profile| Profile::new(profile, &config.plugins)).collect();
    let recorder = |profile: &Profile| {
        let (client, env) = (config.client.clone(), config.env.clone());
        Recorder::start_series(client, &profile.scheduler_name, &config.host, env)
    };
    let recorders = profiles.iter().map(recorder).collect();
    let mut extenders = Vec::new();
    for one in config.config.extenders {
        match extender::Extender::new(one) {
            Ok(extender) => extenders.push(extender),
            Err(error) => return tracing::error!(%error, "the scheduler does not start"),
        }
    }
    let sort = profiles.first().map(|profile| profile.queue_sort.clone()).unwrap_or_default();
    let (initial, max) = (config.config.pod_initial_backoff, config.config.pod_max_backoff);
    let mut queue = Queue::new(initial, max, sort.into());
    queue.unschedulable_max = config.config.pod_max_unschedulable;
    queue.observe_hint = Some(metrics::hinted);
    let names = profiles.iter().map(|profile| profile.scheduler_name.clone()).collect();
    let mut core = Core::new(profiles);
    core.observe = Some(metrics::observe);
    core.observe_plugin = Some(metrics::plugin_ran);
    let scheduler = Arc::new(Scheduler {
        client: config.client,
        informers: config.informers.clone(),
        recorders,
        env: config.env,
        profiles: names,
        state: Mutex::new(State { queue, core }),
        wake: Notify::new(),
        storage: Notify::new(),
        under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        waiting: config.waiting,
        extenders,
    });
    metrics::watch_queue(&scheduler);
    watch::subscribe(&scheduler, &config.informers).await;
    loop {
        while let Some(popped) = scheduler.pop() {
            let extended = scheduler.extenders.iter().any(|extender| extender.is_interested(&popped.pod));
            let next = match extended {
                true => scheduler.decide_extended(popped).await,
                false => scheduler.decide(popped),
            };
            // What may take long (a volume to be made, another pod to come) must not keep the others from going on.
            let slot = match next.may_take_long() {
                true => None,
                false => match scheduler.under_way.clone().acquire_owned().await {
                    Ok(slot) => Some(slot),
                    Err(_) => return,
                },
            };
            let scheduler = scheduler.clone();
            env::spawn_detached("schedule", async move {
                scheduler.carry_out(next).await;
                drop(slot);
            });
        }
        scheduler.wait().await;
    }
}

/// What is to be done about a pod that was decided.
enum Next {
    Bind(Box<Reserved>),
    Refuse { pod: Arc<PodInfo>, profile: usize, failure: Box<Failure> },
    Preempt { pod: Arc<PodInfo>, profile: usize, failure: Box<Failure>, candidate: Arc<Candidate>, node: Str },
    Fail { pod: Arc<PodInfo>, profile: usize, error: String },
}

impl Next {
    fn may_take_long(&self) -> bool {
        let Next::Bind(reserved) = self else { return false };
        !reserved.pod.pod.spec.resource_claims.is_empty()
            || !reserved.devices.is_empty()
            || reserved.pod.claims > 0
            || !reserved.binders.permit.is_empty()
            || reserved.binders.pre_bind.len() > OWN_PRE_BIND
    }
}

/// PreBind plugins of the table: VolumeBinding and DynamicResources, which only pods with claims have to wait for.
const OWN_PRE_BIND: usize = 2;

/// A pod with the node, the volumes and the devices that are set aside for it.
struct Reserved {
    pod: Arc<PodInfo>,
    profile: usize,
    node: Str,
    volumes: volume_binding::Choice,
    devices: Vec<Given>,
    binders: Binders,
    attempts: u32,
    /// Whether it had waited for an event in vain.
    flushed: bool,
    /// When the pod was first seen, and when this attempt began.
    added: Duration,
    started: Duration,
}

impl Reserved {
    /// Whether something has to be done before the pod can be bound.
    fn has_to_prepare(&self) -> bool {
        !self.volumes.bind.is_empty()
            || !self.volumes.provision.is_empty()
            || !self.devices.is_empty()
            || !self.pod.pod.spec.resource_claims.is_empty()
            || self.binders.pre_bind.len() > OWN_PRE_BIND
    }
}

impl Scheduler {
    fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.wake.notify_one();
    }

    /// Takes the next pod from the queue.
    fn pop(&self) -> Option<Popped> {
        let now = self.now();
        self.state.lock().queue.pop(now)
    }

    /// Decides about a pod that nobody else has a say in.
    fn decide(&self, popped: Popped) -> Next {
        let (now, tie) = (self.now(), self.env.random.u64());
        let mut state = self.state.lock();
        let state = &mut *state;
        state.core.snapshot.cluster.unix_seconds = self.env.unix_ms() / 1000;
        let started = Instant::now();
        let next = match state.core.decide(&popped.pod, popped.profile, tie, None) {
            Decision::Node { index, .. } => state.set_aside(popped, index, now),
            Decision::Failed(mut failure) => {
                let Popped { pod, profile, .. } = &popped;
                let asked = Instant::now();
                let candidates = post_filter::run(&mut state.core, pod, *profile, &mut failure, tie);
                let name = &self.profiles[*profile];
                metrics::ran(name, "PostFilter", candidates.is_some(), asked.elapsed());
                state.fail(popped, failure, candidates.unwrap_or_default(), tie, now)
            }
            Decision::Error(error) => state.error(popped, error, now),
        };
        metrics::attempted(&next, &state.core, started.elapsed());
        next
    }

    async fn carry_out(self: &Arc<Self>, next: Next) {
        match next {
            Next::Bind(reserved) => self.bind(*reserved).await,
            Next::Refuse { pod, profile, failure } => self.refuse(&pod, profile, &failure, None).await,
            Next::Preempt { pod, profile, failure, candidate, node } => {
                self.refuse(&pod, profile, &failure, Some(&node)).await;
                self.evict(&pod, profile, &candidate, &node).await;
            }
            Next::Fail { pod, profile, error } => self.fail(&pod, profile, &error, false).await,
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
}

impl State {
    /// The pod goes to the node: what it is going to use counts from now on.
    fn set_aside(&mut self, popped: Popped, index: usize, now: Duration) -> Next {
        let Popped { pod, profile, attempts, added, flushed } = popped;
        match reserve(&mut self.core, &pod, profile, index) {
            Ok((node, volumes, devices)) => {
                self.queue.decided(pod.uid());
                let started = now;
                let binders = self.core.profiles[profile].binders.clone();
                Next::Bind(Box::new(Reserved {
                    pod,
                    profile,
                    node,
                    volumes,
                    devices,
                    binders,
                    attempts,
                    flushed,
                    added,
                    started,
                }))
            }
            Err(error) => self.error(Popped { pod, profile, attempts, added, flushed }, error, now),
        }
    }

    /// Something went wrong that has nothing to do with nodes: the pod is tried again after a back-off.
    fn error(&mut self, popped: Popped, error: String, now: Duration) -> Next {
        self.queue.refused(popped.pod.uid(), Vec::new(), &self.core.profiles, now);
        Next::Fail { pod: popped.pod, profile: popped.profile, error }
    }

    /// No node will do. One of the candidates that hurt least becomes the pod's nominated node.
    fn fail(
        &mut self,
        popped: Popped,
        failure: Failure,
        candidates: Vec<Arc<Candidate>>,
        tie: u64,
        now: Duration,
    ) -> Next {
        let Popped { pod, profile, .. } = popped;
        let mut plugins = failure.plugins();
        if plugins.is_empty() {
            // Without any node, only a new one helps.
            plugins.push("NodeName");
        }
        let best = least_harm(&candidates);
        if !best.is_empty() {
            self.queue.evicts(pod.uid());
        }
        self.queue.refused(pod.uid(), plugins, &self.core.profiles, now);
        let failure = Box::new(failure);
        let Some(candidate) = best.get((tie % best.len().max(1) as u64) as usize) else {
            if !failure.waits_for_victims {
                self.core.release(pod.uid());
            }
            return Next::Refuse { pod, profile, failure };
        };
        let node = self.core.snapshot.name(candidate.node);
        self.core.nominate(pod.clone(), node.clone());
        let candidate = Arc::clone(candidate);
        Next::Preempt { pod, profile, failure, candidate, node }
    }
}

type Aside = (Str, volume_binding::Choice, Vec<Given>);

/// Reserve: what the pod is going to use counts as used at once.
fn reserve(core: &mut Core, pod: &Arc<PodInfo>, profile: usize, index: usize) -> Result<Aside, String> {
    let cx = Cx::new(pod, &core.snapshot);
    let volumes = match pod.claim_names().next() {
        None => volume_binding::Choice::default(),
        Some(_) => {
            let claims = volume_binding::claims(pod, cx.cluster())?;
            let (choice, reasons) = volume_binding::choose(&cx, &claims, index);
            if let Some(reason) = reasons.first() {
                return Err((*reason).to_owned());
            }
            choice
        }
    };
    let devices = match DynamicResources::concerns(&cx) {
        true => dynamic_resources::choose(&cx, index)?,
        false => Vec::new(),
    };
    let plugins = &core.profiles[profile].binders.reserve;
    if let Some(error) = plugins.iter().find_map(|plugin| plugin.reserve(&cx, index).err()) {
        let node = core.snapshot.name(index);
        plugins.iter().rev().for_each(|plugin| plugin.unreserve(pod, &node));
        return Err(error);
    }
    for (claim, volume) in &volumes.bind {
        let key = crate::cluster::key(&claim.metadata.namespace, &claim.metadata.name);
        core.snapshot.cluster.assumed_volumes.insert(volume.metadata.name.clone(), key);
    }
    for given in &devices {
        let mut assumed = (*given.claim).clone();
        assumed.status.allocation = Some(Box::new(given.result.clone()));
        core.snapshot.cluster.in_flight.insert(assumed.metadata.uid.clone(), pod.uid().clone());
        core.snapshot.set(Arc::new(assumed));
    }
    Ok((core.place(pod, index), volumes, devices))
}
