//! The scheduling queue: pods that may be tried now, pods that wait out a back-off, and pods that nothing can be done
//! about until the cluster changes.
//!
//! A pod that was refused waits until an event happens that one of the refusing plugins says may help (queueing
//! hints), or five minutes at most; then it enters the back-off queue, or the active one when its back-off is over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meta::Str;
use types::core::v1::Pod;

use crate::plugin::ClusterEvent;
use crate::profile::Profile;

/// First pause after a failed attempt.
pub const BACKOFF_INITIAL: Duration = Duration::from_secs(1);
/// Longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longest stay among the unschedulable pods without any event.
pub const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

/// Order of the active queue: high priority first, then first come, first served.
type Turn = (Reverse<i32>, u64);

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Active(Turn),
    Backoff(Duration),
    /// Waits for an event; refused by these plugins at this time.
    Unschedulable {
        plugins: Vec<&'static str>,
        since: Duration,
    },
    /// Held back by PreEnqueue.
    Gated,
    /// Being scheduled, with the events that happened meanwhile.
    InFlight {
        events: Vec<ClusterEvent>,
    },
}

struct Entry {
    pod: Arc<Pod>,
    attempts: u32,
    arrival: u64,
    place: Place,
}

/// Pods without a node, by uid. All times are the monotonic clock of the caller.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<Str, Entry>,
    active: BTreeMap<Turn, Str>,
    backoff: BTreeSet<(Duration, Str)>,
    arrivals: u64,
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

impl Queue {
    /// A pod without a node appeared or changed. A change wakes it up when it waited for one.
    pub fn add(&mut self, pod: Arc<Pod>, profile: &Profile, now: Duration) {
        let uid = pod.metadata.uid.clone();
        let gated = profile.plugins.iter().any(|(plugin, _)| plugin.pre_enqueue(&pod).is_some());
        let Some(entry) = self.entries.get_mut(&uid) else {
            self.arrivals += 1;
            let entry = Entry { pod, attempts: 0, arrival: self.arrivals, place: Place::Gated };
            self.entries.insert(uid.clone(), entry);
            if !gated {
                self.activate(&uid, now);
            }
            return;
        };
        let spec_changed = entry.pod.spec != pod.spec || entry.pod.metadata.labels != pod.metadata.labels;
        entry.pod = pod;
        match &mut entry.place {
            Place::Gated if !gated => self.activate(&uid, now),
            Place::InFlight { events } if spec_changed => events.push(ClusterEvent::PodChanged),
            Place::Unschedulable { plugins, .. } if spec_changed => {
                if helps(profile, plugins, ClusterEvent::PodChanged) {
                    self.activate(&uid, now);
                }
            }
            _ => {}
        }
    }

    /// The pod is bound, gone or no business of ours any more.
    pub fn remove(&mut self, uid: &str) {
        if let Some(entry) = self.entries.remove(uid) {
            self.leave(uid, &entry.place);
        }
    }

    fn leave(&mut self, uid: &str, place: &Place) {
        match place {
            Place::Active(turn) => {
                self.active.remove(turn);
            }
            Place::Backoff(until) => {
                self.backoff.remove(&(*until, uid.into()));
            }
            _ => {}
        }
    }

    /// Takes the pod whose turn it is. It stays known as in flight until [`Queue::remove`] or [`Queue::refused`].
    pub fn pop(&mut self, now: Duration) -> Option<Arc<Pod>> {
        self.promote(now);
        let (_, uid) = self.active.pop_first()?;
        let entry = self.entries.get_mut(&uid)?;
        entry.attempts += 1;
        entry.place = Place::InFlight { events: Vec::new() };
        Some(entry.pod.clone())
    }

    /// Moves pods whose back-off is over, and those that waited too long for an event, to the active queue.
    fn promote(&mut self, now: Duration) {
        while let Some((until, uid)) = self.backoff.first().cloned() {
            if until > now {
                break;
            }
            self.backoff.remove(&(until, uid.clone()));
            self.enter_active(&uid);
        }
        let forgotten: Vec<Str> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(&entry.place, Place::Unschedulable { since, .. } if now >= *since + UNSCHEDULABLE_MAX))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in forgotten {
            self.enter_active(&uid);
        }
    }

    /// When [`Queue::pop`] may have something next, if nothing else happens.
    pub fn next_due(&self) -> Option<Duration> {
        let unschedulable = self.entries.values().filter_map(|entry| match &entry.place {
            Place::Unschedulable { since, .. } => Some(*since + UNSCHEDULABLE_MAX),
            _ => None,
        });
        self.backoff.first().map(|(until, _)| *until).into_iter().chain(unschedulable).min()
    }

    /// An attempt failed. With `plugins` empty the failure was an error, which is tried again after a back-off.
    pub fn refused(&mut self, uid: &str, plugins: Vec<&'static str>, profile: &Profile, now: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let Place::InFlight { events } = &entry.place else { return };
        let meanwhile = plugins.is_empty() || events.iter().any(|event| helps(profile, &plugins, *event));
        entry.place = Place::Unschedulable { plugins, since: now };
        if meanwhile {
            self.activate(uid, now);
        }
    }

    /// Something happened in the cluster: pods that it may help move on.
    pub fn happened(&mut self, event: ClusterEvent, profile: &Profile, now: Duration) {
        let mut helped = Vec::new();
        for (uid, entry) in &mut self.entries {
            match &mut entry.place {
                Place::Unschedulable { plugins, .. } if helps(profile, plugins, event) => {
                    helped.push(uid.clone())
                }
                Place::InFlight { events } if !events.contains(&event) => events.push(event),
                _ => {}
            }
        }
        for uid in helped {
            self.activate(&uid, now);
        }
    }

    /// To the active queue, or to the back-off queue while the pod's back-off lasts.
    fn activate(&mut self, uid: &str, now: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let since = match &entry.place {
            Place::Unschedulable { since, .. } => *since,
            _ => now,
        };
        let until = since + backoff(entry.attempts);
        if until > now {
            entry.place = Place::Backoff(until);
            self.backoff.insert((until, uid.into()));
        } else {
            self.enter_active(uid);
        }
    }

    fn enter_active(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let turn = (Reverse(entry.pod.spec.priority.unwrap_or(0)), entry.arrival);
        entry.place = Place::Active(turn);
        self.active.insert(turn, uid.into());
    }

    /// How many pods wait where.
    pub fn pending(&self) -> Pending {
        let mut pending = Pending::default();
        for entry in self.entries.values() {
            match entry.place {
                Place::Active(_) | Place::InFlight { .. } => pending.active += 1,
                Place::Backoff(_) => pending.backoff += 1,
                Place::Unschedulable { .. } => pending.unschedulable += 1,
                Place::Gated => pending.gated += 1,
            }
        }
        pending
    }
}

fn helps(profile: &Profile, refusing: &[&'static str], event: ClusterEvent) -> bool {
    refusing.is_empty()
        || profile
            .plugins
            .iter()
            .any(|(plugin, _)| refusing.contains(&plugin.name()) && plugin.may_help(event))
}

/// 0 before the first attempt, then 1 s, doubled up to 10 s.
fn backoff(attempts: u32) -> Duration {
    match attempts {
        0 => Duration::ZERO,
        attempts => BACKOFF_INITIAL.saturating_mul(1 << (attempts - 1).min(8)).min(BACKOFF_MAX),
    }
}

#[cfg(test)]
mod tests {
    use meta::Codec;

    use super::*;

    fn pod(uid: &str, priority: i32, gates: &str) -> Arc<Pod> {
        let text = format!(
            r#"{{"metadata":{{"uid":"{uid}","name":"{uid}"}},"spec":{{"priority":{priority},"schedulingGates":[{gates}]}}}}"#
        );
        Arc::new(Pod::from_json(text.as_bytes()).unwrap())
    }

    fn name(pod: Option<Arc<Pod>>) -> Option<String> {
        pod.map(|pod| pod.metadata.uid.to_string())
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn priority_goes_before_age() {
        let (mut queue, profile) = (Queue::default(), Profile::default());
        for (uid, priority) in [("old", 0), ("young", 0), ("important", 9)] {
            queue.add(pod(uid, priority, ""), &profile, at(0));
        }
        let order: Vec<_> = (0..4).map(|_| name(queue.pop(at(0)))).collect();
        assert_eq!(order, [Some("important".into()), Some("old".into()), Some("young".into()), None]);
    }

    #[test]
    fn a_refused_pod_waits_for_an_event_that_may_help_and_then_for_its_back_off() {
        let (mut queue, profile) = (Queue::default(), Profile::default());
        queue.add(pod("a", 0, ""), &profile, at(0));
        queue.pop(at(0)).unwrap();
        queue.refused("a", vec!["NodeResourcesFit"], &profile, at(0));
        queue.happened(ClusterEvent::NodeLabels, &profile, at(0));
        assert_eq!(queue.pending(), Pending { unschedulable: 1, ..Pending::default() });
        queue.happened(ClusterEvent::PodFreed, &profile, at(0));
        assert_eq!((name(queue.pop(at(0))), queue.next_due()), (None, Some(at(1))));
        assert_eq!(name(queue.pop(at(1))), Some("a".into()));
        queue.refused("a", vec!["NodeResourcesFit"], &profile, at(1));
        assert_eq!(queue.next_due(), Some(at(301)), "without an event it is tried again after five minutes");
        assert_eq!(name(queue.pop(at(301))), Some("a".into()));
    }

    #[test]
    fn events_during_an_attempt_are_not_lost() {
        let (mut queue, profile) = (Queue::default(), Profile::default());
        queue.add(pod("a", 0, ""), &profile, at(0));
        queue.pop(at(0)).unwrap();
        queue.happened(ClusterEvent::NodeAdded, &profile, at(0));
        queue.refused("a", vec!["NodeResourcesFit"], &profile, at(0));
        assert_eq!(queue.pending().backoff, 1);
    }

    #[test]
    fn gates_hold_a_pod_back_until_they_are_gone() {
        let (mut queue, profile) = (Queue::default(), Profile::default());
        queue.add(pod("a", 0, r#"{"name":"x.io/g"}"#), &profile, at(0));
        assert_eq!((name(queue.pop(at(0))), queue.pending().gated), (None, 1));
        queue.add(pod("a", 0, ""), &profile, at(0));
        assert_eq!(name(queue.pop(at(0))), Some("a".into()));
        queue.remove("a");
        assert_eq!(queue.pending(), Pending::default());
    }
}
