//! The scheduling queue: pods that may be tried now, pods that wait out a back-off, and pods that nothing can be done
//! about until the cluster changes.
//!
//! A pod that was refused waits until an event happens that one of the refusing plugins says may help (queueing
//! hints), or five minutes at most; then it enters the back-off queue, or the active one when its back-off is over.
//!
//! Pods that wait for an event are grouped by the plugins that refused them, and among those by class, so that an event
//! asks once for each group, however many pods wait.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meta::Str;
use types::core::v1::Pod;

use crate::cluster::Cluster;
use crate::plugin::{About, ClusterEvent, Happening, Plugin, Rejection};
use crate::pod_info::PodInfo;
use crate::profile::Profile;

/// First pause after a failed attempt.
pub const BACKOFF_INITIAL: Duration = Duration::from_secs(1);
/// Longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longest stay among the unschedulable pods without any event.
pub const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

/// A pod's place in the active queue: as the QueueSort plugins say; then high priority first; then first come, first
/// served, where an attempt sends a pod to the end.
#[derive(Clone)]
struct Turn {
    pod: Arc<PodInfo>,
    arrival: u64,
    sort: Sort,
}

/// QueueSort plugins, in order.
pub type Sort = Arc<[Arc<dyn Plugin>]>;

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        let opinions = self.sort.iter().filter_map(|plugin| plugin.compare(&self.pod, &other.pod));
        let by_plugins = opinions.into_iter().next().unwrap_or(Ordering::Equal);
        by_plugins
            .then_with(|| other.pod.priority.cmp(&self.pod.priority))
            .then_with(|| self.arrival.cmp(&other.arrival))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

/// Who refused: the profile, and its plugins by name.
type Refusers = (usize, Vec<&'static str>);

#[derive(Clone)]
enum Place {
    Active(Turn),
    Backoff(Pause),
    /// Waits for an event; refused by these plugins at this time.
    Unschedulable {
        by: Refusers,
        since: Duration,
    },
    /// Held back by PreEnqueue.
    Gated,
    /// Being decided about, with the events that happened meanwhile.
    InFlight {
        events: Vec<ClusterEvent>,
    },
    /// Decided: a failure from here on is tried again after a back-off, whatever happens meanwhile.
    Binding,
}

/// A back-off: when it is over, and the pod's place among those that it is over for at the same time. Pods that
/// something went wrong with wait it out; those that nothing was wrong with may be tried before when nothing else is to
/// be done.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pause {
    until: Duration,
    turn: Turn,
    error: bool,
}

struct Entry {
    pod: Arc<PodInfo>,
    profile: usize,
    attempts: u32,
    /// How many attempts found no node.
    unschedulable: u32,
    /// How many attempts went wrong, one after the other.
    errors: u32,
    arrival: u64,
    added: Duration,
    /// Whether it is tried again because it waited for an event in vain.
    flushed: bool,
    place: Place,
}

/// A pod whose turn it is.
pub struct Popped {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// Its profile.
    pub profile: usize,
    /// How many attempts there were, with this one.
    pub attempts: u32,
    /// When it was first seen.
    pub added: Duration,
    /// Whether it was tried again because it waited for an event in vain.
    pub flushed: bool,
}

/// What pods of one group have in common besides those who refused them: the class, or the uid of a pod that is like no
/// other.
type Like = Arc<[u8]>;

/// Pods that one answer is for.
struct Group {
    /// Any of them.
    pod: Arc<PodInfo>,
    uids: HashSet<Str>,
}

/// The keys of the resource claims that the pod names.
fn claim_keys(pod: &Pod) -> impl Iterator<Item = Str> + '_ {
    let generated = pod.status.resource_claim_statuses.iter();
    let names = pod.spec.resource_claims.iter().filter_map(|claim| claim.resource_claim_name.as_ref());
    let names = names.chain(generated.filter_map(|status| status.resource_claim_name.as_ref()));
    names.map(|name| crate::cluster::key(&pod.metadata.namespace, name))
}

fn like(pod: &PodInfo) -> Like {
    pod.waiting_class().cloned().unwrap_or_else(|| pod.uid().as_bytes().into())
}

/// Pods without a node, by uid. All times are the monotonic clock of the caller.
pub struct Queue {
    entries: HashMap<Str, Entry>,
    active: BTreeMap<Turn, Str>,
    backoff: BTreeMap<Pause, Str>,
    backoff_errors: BTreeMap<Pause, Str>,
    waiting: HashMap<Refusers, HashMap<Like, Group>>,
    waiting_since: BTreeSet<(Duration, Str)>,
    in_flight: HashSet<Str>,
    /// Pods that others are being told to make room for.
    evicting: HashSet<Str>,
    binding: usize,
    gated: HashSet<Str>,
    /// Of those, the ones with resource claims that have a name: by the claim's key.
    gated_by_claim: HashMap<Str, HashSet<Str>>,
    arrivals: u64,
    sort: Sort,
    backoff_initial: Duration,
    backoff_max: Duration,
    /// How long a pod waits that fitted nowhere, whatever happens: [`UNSCHEDULABLE_MAX`] unless said otherwise.
    pub unschedulable_max: Duration,
    /// How many pods came to which queue, and why.
    pub incoming: Incoming,
    /// Hears how long each queueing hint took; without it no clock is read.
    pub observe_hint: Option<ObserveHint>,
}

/// Takes note of a queueing hint: the plugin, the event, the answer, and how long it took.
pub type ObserveHint = fn(&'static str, &'static str, bool, Duration);

/// Pods that came to a queue, by event and queue.
#[derive(Default)]
pub struct Incoming(BTreeMap<(&'static str, &'static str), u64>);

impl Incoming {
    fn count(&mut self, event: &'static str, queue: &'static str, pods: u64) {
        *self.0.entry((event, queue)).or_default() += pods;
    }

    /// Event, queue and pods.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.0.iter().map(|((event, queue), pods)| (*event, *queue, *pods))
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue::new(BACKOFF_INITIAL, BACKOFF_MAX, Arc::new([]))
    }
}

/// How many pods wait where, as in the metric `scheduler_pending_pods`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Ready to be tried.
    pub active: usize,
    /// Waiting out their back-off.
    pub backoff: usize,
    /// Waiting for an event.
    pub unschedulable: usize,
    /// Held back by PreEnqueue.
    pub gated: usize,
}

/// PreEnqueue: the first refusal.
pub fn gate(profile: &Profile, pod: &Pod, cluster: &Cluster) -> Option<Rejection> {
    profile.pre_enqueue.iter().find_map(|plugin| plugin.pre_enqueue(pod, cluster))
}

impl Queue {
    /// An empty queue with its pauses and its order.
    pub fn new(backoff_initial: Duration, backoff_max: Duration, sort: Sort) -> Self {
        Queue {
            entries: HashMap::new(),
            active: BTreeMap::new(),
            backoff: BTreeMap::new(),
            backoff_errors: BTreeMap::new(),
            waiting: HashMap::new(),
            waiting_since: BTreeSet::new(),
            in_flight: HashSet::new(),
            evicting: HashSet::new(),
            binding: 0,
            gated: HashSet::new(),
            gated_by_claim: HashMap::new(),
            arrivals: 0,
            sort,
            backoff_initial,
            backoff_max,
            unschedulable_max: UNSCHEDULABLE_MAX,
            incoming: Incoming::default(),
            observe_hint: None,
        }
    }

    /// Whether one of the plugins that refused the pod finds that this very event may help.
    fn hints(
        &self,
        profiles: &[Profile],
        (profile, refusing): &Refusers,
        happening: &Happening<'_>,
        pod: &PodInfo,
    ) -> bool {
        let Some(profile) = profiles.get(*profile) else { return true };
        let hint = |plugin: &Arc<dyn Plugin>| {
            let Some(observe) = self.observe_hint else { return plugin.hint(happening, pod) };
            let begun = Instant::now();
            let helps = plugin.hint(happening, pod);
            observe(plugin.name(), happening.name(), helps, begun.elapsed());
            helps
        };
        refusing.is_empty()
            || profile.plugins().any(|plugin| {
                refusing.contains(&plugin.name()) && plugin.may_help(happening.event) && hint(plugin)
            })
    }

    /// How many events are remembered for pods that are being decided about, by name.
    pub fn events_in_flight(&self) -> BTreeMap<&'static str, usize> {
        let mut events = BTreeMap::new();
        for entry in self.in_flight.iter().filter_map(|uid| self.entries.get(uid)) {
            if let Place::InFlight { events: seen } = &entry.place {
                seen.iter().for_each(|event| *events.entry(event.name()).or_default() += 1);
            }
        }
        events
    }

    /// A pod without a node appeared or changed; `gated` says whether PreEnqueue holds it back. A change wakes it up when
    /// it waited for one.
    pub fn add(
        &mut self,
        pod: Arc<Pod>,
        profile: usize,
        gated: bool,
        (profiles, cluster): (&[Profile], &Cluster),
        now: Duration,
    ) {
        let uid = pod.metadata.uid.clone();
        let Some(entry) = self.entries.get_mut(&uid) else {
            self.arrivals += 1;
            let entry = Entry {
                pod: Arc::new(PodInfo::new(pod)),
                profile,
                attempts: 0,
                unschedulable: 0,
                errors: 0,
                arrival: self.arrivals,
                added: now,
                flushed: false,
                place: Place::Gated,
            };
            let held = entry.pod.pod.clone();
            self.entries.insert(uid.clone(), entry);
            self.gate(&uid, &held);
            let queue = if gated { "unschedulable" } else { self.activate(&uid, now) };
            self.incoming.count("UnschedulablePodAdd", queue, 1);
            return;
        };
        let old = std::mem::replace(&mut entry.pod, Arc::new(PodInfo::new(pod)));
        let new = entry.pod.clone();
        let changed = old.pod.spec != new.pod.spec || old.pod.metadata.labels != new.pod.metadata.labels;
        match entry.place.clone() {
            Place::Gated => {
                self.ungate(&uid, &old.pod);
                self.gate(&uid, &new.pod);
                if !gated {
                    let queue = self.activate(&uid, now);
                    self.incoming.count(ClusterEvent::PodChanged.name(), queue, 1);
                }
            }
            Place::InFlight { mut events } if changed => {
                events.push(ClusterEvent::PodChanged);
                entry.place = Place::InFlight { events };
            }
            Place::Unschedulable { by, since } if changed => {
                // It may be of another class now.
                let place = Place::Unschedulable { by: by.clone(), since };
                self.leave(&uid, &old, &place);
                self.put(&uid, place);
                let about = About::Pod(Some(&old.pod), Some(&new.pod));
                let happening = Happening { event: ClusterEvent::PodChanged, about, cluster };
                if helps(profiles, &by, happening.event) && self.hints(profiles, &by, &happening, &new) {
                    let queue = self.activate(&uid, now);
                    self.incoming.count(happening.name(), queue, 1);
                }
            }
            _ => {}
        }
    }

    /// Whether the pod waits here.
    pub fn knows(&self, uid: &str) -> bool {
        self.entries.contains_key(uid)
    }

    /// Pods held back by PreEnqueue that name the resource claim with this key, to be asked about again.
    pub fn gated_by(&self, claim: &str) -> Vec<(Arc<Pod>, usize)> {
        let uids = self.gated_by_claim.get(claim).into_iter().flatten();
        let entries = uids.filter_map(|uid| self.entries.get(uid));
        entries.map(|entry| (entry.pod.pod.clone(), entry.profile)).collect()
    }

    fn gate(&mut self, uid: &Str, pod: &Pod) {
        self.gated.insert(uid.clone());
        for key in claim_keys(pod) {
            self.gated_by_claim.entry(key).or_default().insert(uid.clone());
        }
    }

    fn ungate(&mut self, uid: &str, pod: &Pod) {
        self.gated.remove(uid);
        for key in claim_keys(pod) {
            if let Some(uids) = self.gated_by_claim.get_mut(&key) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.gated_by_claim.remove(&key);
                }
            }
        }
    }

    /// The pod is bound, gone or no business of ours any more.
    pub fn remove(&mut self, uid: &str) {
        self.evicting.remove(uid);
        if let Some(entry) = self.entries.remove(uid) {
            self.leave(uid, &entry.pod, &entry.place);
        }
    }

    fn leave(&mut self, uid: &str, pod: &PodInfo, place: &Place) {
        match place {
            Place::Active(turn) => {
                self.active.remove(turn);
            }
            Place::Backoff(pause) => {
                self.backoff_of(pause.error).remove(pause);
            }
            Place::Unschedulable { by, since } => {
                self.waiting_since.remove(&(*since, uid.into()));
                let Some(groups) = self.waiting.get_mut(by) else { return };
                let like = like(pod);
                if let Some(group) = groups.get_mut(&like) {
                    group.uids.remove(uid);
                    if group.uids.is_empty() {
                        groups.remove(&like);
                    }
                }
                if groups.is_empty() {
                    self.waiting.remove(by);
                }
            }
            Place::Gated => self.ungate(uid, &pod.pod),
            Place::InFlight { .. } => {
                self.in_flight.remove(uid);
            }
            Place::Binding => self.binding -= 1,
        }
    }

    #[expect(clippy::mutable_key_type, reason = "what a pod's info computes later has no part in its turn")]
    fn backoff_of(&mut self, error: bool) -> &mut BTreeMap<Pause, Str> {
        if error { &mut self.backoff_errors } else { &mut self.backoff }
    }

    /// Moves an entry; the indices follow.
    fn put(&mut self, uid: &str, place: Place) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let old = std::mem::replace(&mut entry.place, place.clone());
        let pod = entry.pod.clone();
        self.leave(uid, &pod, &old);
        let uid = Str::from(uid);
        match place {
            Place::Active(turn) => {
                self.active.insert(turn, uid);
            }
            Place::Backoff(pause) => {
                self.backoff_of(pause.error).insert(pause, uid);
            }
            Place::Unschedulable { by, since } => {
                self.waiting_since.insert((since, uid.clone()));
                let groups = self.waiting.entry(by).or_default();
                let new = || Group { pod: pod.clone(), uids: HashSet::new() };
                groups.entry(like(&pod)).or_insert_with(new).uids.insert(uid);
            }
            Place::Gated => self.gate(&uid, &pod.pod),
            Place::InFlight { .. } => {
                self.in_flight.insert(uid);
            }
            Place::Binding => self.binding += 1,
        }
    }

    /// Takes the pod whose turn it is; when nothing is ready, one that waits out its back-off without anything having gone
    /// wrong. It stays known as in flight until [`Queue::remove`] or [`Queue::refused`].
    pub fn pop(&mut self, now: Duration) -> Option<Popped> {
        self.promote(now);
        if self.active.is_empty()
            && let Some(uid) = self.backoff.first_key_value().map(|(_, uid)| uid.clone())
        {
            self.incoming.count("PopFromBackoffQ", "active", 1);
            self.enter_active(&uid);
        }
        let (_, uid) = self.active.first_key_value().map(|(turn, uid)| (turn.clone(), uid.clone()))?;
        self.put(&uid, Place::InFlight { events: Vec::new() });
        let entry = self.entries.get_mut(&uid)?;
        entry.attempts += 1;
        Some(Popped {
            pod: entry.pod.clone(),
            profile: entry.profile,
            attempts: entry.attempts,
            added: entry.added,
            flushed: entry.flushed,
        })
    }

    /// Moves pods whose back-off is over, and those that waited too long for an event, to the active queue.
    fn promote(&mut self, now: Duration) {
        for error in [false, true] {
            while let Some((pause, uid)) = self.backoff_of(error).first_key_value() {
                if pause.until > now {
                    break;
                }
                let uid = uid.clone();
                self.incoming.count("BackoffComplete", "active", 1);
                self.enter_active(&uid);
            }
        }
        while let Some((since, uid)) = self.waiting_since.first().cloned() {
            if now < since + self.unschedulable_max {
                break;
            }
            if let Some(entry) = self.entries.get_mut(&uid) {
                entry.flushed = true;
            }
            self.incoming.count("UnschedulableTimeout", "active", 1);
            self.enter_active(&uid);
        }
    }

    /// When [`Queue::pop`] may have something next, if nothing else happens.
    pub fn next_due(&self) -> Option<Duration> {
        let waiting = self.waiting_since.first().map(|(since, _)| *since + self.unschedulable_max);
        let pauses =
            [&self.backoff, &self.backoff_errors].into_iter().filter_map(|all| all.first_key_value());
        pauses.map(|(pause, _)| pause.until).chain(waiting).min()
    }

    /// The pod got a node and is being bound.
    pub fn decided(&mut self, uid: &str) {
        self.put(uid, Place::Binding);
    }

    /// An attempt failed. With `plugins` empty the failure was an error, which is tried again after a back-off.
    pub fn refused(&mut self, uid: &str, plugins: Vec<&'static str>, profiles: &[Profile], now: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        self.arrivals += 1;
        entry.arrival = self.arrivals;
        entry.flushed = false;
        let events: &[ClusterEvent] = match &entry.place {
            Place::InFlight { events } => events,
            Place::Binding => &[],
            _ => return,
        };
        match plugins.is_empty() {
            true => entry.errors += 1,
            false => (entry.unschedulable, entry.errors) = (entry.unschedulable + 1, 0),
        }
        let by = (entry.profile, plugins);
        let meanwhile = by.1.is_empty() || events.iter().any(|event| helps(profiles, &by, *event));
        let meanwhile = meanwhile && !self.evicting.contains(uid);
        self.put(uid, Place::Unschedulable { by, since: now });
        let queue = if meanwhile { self.activate(uid, now) } else { "unschedulable" };
        self.incoming.count("ScheduleAttemptFailure", queue, 1);
    }

    /// The pod's victims are about to be told to go: until [`Queue::evicted`] nothing wakes it up.
    pub fn evicts(&mut self, uid: &str) {
        self.evicting.insert(uid.into());
    }

    /// They have been told. Where `again`, nothing more is going to happen that would wake the pod up: all are gone
    /// already, or one would not go.
    pub fn evicted(&mut self, uid: &str, again: bool, now: Duration) {
        if self.evicting.remove(uid) && again {
            self.wake(uid, now);
        }
    }

    /// The pod is to be tried again as soon as its back-off allows, whatever refused it.
    fn wake(&mut self, uid: &str, now: Duration) {
        match self.entries.get_mut(uid).map(|entry| &mut entry.place) {
            Some(Place::Unschedulable { .. }) => {
                let queue = self.activate(uid, now);
                self.incoming.count(ClusterEvent::PodFreed.name(), queue, 1);
            }
            Some(Place::InFlight { events }) => events.push(ClusterEvent::PodFreed),
            _ => {}
        }
    }

    /// Something happened in the cluster: pods that it may help move on. Answers how many.
    pub fn happened(&mut self, happening: &Happening<'_>, profiles: &[Profile], now: Duration) -> usize {
        let event = happening.event;
        for uid in &self.in_flight {
            if let Some(Entry { place: Place::InFlight { events }, .. }) = self.entries.get_mut(uid)
                && !events.contains(&event)
            {
                events.push(event);
            }
        }
        let helped: Vec<Str> = self
            .waiting
            .iter()
            .filter(|(by, _)| helps(profiles, by, event))
            .flat_map(|(by, groups)| groups.values().map(move |group| (by, group)))
            .filter(|(by, group)| self.hints(profiles, by, happening, &group.pod))
            .flat_map(|(_, group)| group.uids.iter().filter(|uid| !self.evicting.contains(*uid)).cloned())
            .collect();
        for uid in &helped {
            let queue = self.activate(uid, now);
            self.incoming.count(happening.name(), queue, 1);
        }
        helped.len()
    }

    /// To the active queue, or to the back-off queue while the pod's back-off lasts. Answers which.
    fn activate(&mut self, uid: &str, now: Duration) -> &'static str {
        let Some(entry) = self.entries.get(uid) else { return "active" };
        let since = match &entry.place {
            Place::Unschedulable { since, .. } => *since,
            _ => now,
        };
        let (error, attempts) = match entry.errors {
            0 => (false, entry.unschedulable),
            errors => (true, errors),
        };
        // Whole seconds, so that pods whose pauses end in the same one take their turns.
        let until = Duration::from_secs((since + self.pause(attempts)).as_secs());
        if attempts > 0 && until > Duration::from_secs(now.as_secs()) {
            let turn = Turn { pod: entry.pod.clone(), arrival: entry.arrival, sort: self.sort.clone() };
            self.put(uid, Place::Backoff(Pause { until, turn, error }));
            return "backoff";
        }
        self.enter_active(uid);
        "active"
    }

    fn enter_active(&mut self, uid: &str) {
        let Some(entry) = self.entries.get(uid) else { return };
        let turn = Turn { pod: entry.pod.clone(), arrival: entry.arrival, sort: self.sort.clone() };
        self.put(uid, Place::Active(turn));
    }

    /// 0 before the first attempt, then the initial pause, doubled up to the longest.
    fn pause(&self, attempts: u32) -> Duration {
        match attempts {
            0 => Duration::ZERO,
            attempts => {
                self.backoff_initial.saturating_mul(1 << (attempts - 1).min(20)).min(self.backoff_max)
            }
        }
    }

    /// How many pods each plugin of each profile refused.
    pub fn refused_by(&self) -> BTreeMap<(usize, &'static str), usize> {
        let mut refused = BTreeMap::new();
        for ((profile, plugins), groups) in &self.waiting {
            let pods: usize = groups.values().map(|group| group.uids.len()).sum();
            for plugin in plugins {
                *refused.entry((*profile, *plugin)).or_default() += pods;
            }
        }
        refused
    }

    /// How many pods are being bound.
    pub fn binding(&self) -> usize {
        self.binding
    }

    /// How many pods wait where.
    pub fn pending(&self) -> Pending {
        Pending {
            active: self.active.len(),
            backoff: self.backoff.len() + self.backoff_errors.len(),
            unschedulable: self.waiting_since.len(),
            gated: self.gated.len(),
        }
    }
}

fn helps(profiles: &[Profile], (profile, refusing): &Refusers, event: ClusterEvent) -> bool {
    let Some(profile) = profiles.get(*profile) else { return true };
    refusing.is_empty()
        || profile.plugins().any(|plugin| refusing.contains(&plugin.name()) && plugin.may_help(event))
}

#[cfg(test)]
mod tests;
