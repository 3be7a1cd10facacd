//! Permit: pods that have a node but wait for a plugin's word, such as those of a gang for the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meta::Str;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Reserved, Scheduler, metrics};
use crate::plugin::{Permit, Plugin};
use crate::pod_info::PodInfo;

/// Longest wait for a plugin's word.
const PATIENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// A plugin's no, with its name.
pub(super) type Denial = (&'static str, String);

/// The pods that wait. A plugin keeps a clone of what [`super::Config::waiting`] has.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<HashMap<Str, WaitingPod>>>);

struct WaitingPod {
    pod: Arc<PodInfo>,
    node: Str,
    /// Plugins whose word is missing.
    by: Vec<&'static str>,
    verdict: Option<oneshot::Sender<Result<(), Denial>>>,
}

impl Waiting {
    /// Who waits, for which node.
    pub fn pods(&self) -> Vec<(Arc<PodInfo>, Str)> {
        self.0.lock().values().map(|waiting| (waiting.pod.clone(), waiting.node.clone())).collect()
    }

    /// The plugin lets the pod go on. It does as soon as no other plugin's word is missing.
    pub fn allow(&self, uid: &str, plugin: &str) {
        let mut all = self.0.lock();
        let Some(waiting) = all.get_mut(uid) else { return };
        waiting.by.retain(|other| *other != plugin);
        if waiting.by.is_empty() {
            waiting.tell(Ok(()));
        }
    }

    /// The plugin takes the pod's node away again.
    pub fn reject(&self, uid: &str, plugin: &'static str, reason: impl Into<String>) {
        if let Some(waiting) = self.0.lock().get_mut(uid) {
            waiting.tell(Err((plugin, reason.into())));
        }
    }
}

impl Waiting {
    /// Takes the pod's place away for a more important one; `false` when it does not wait, or not any more.
    pub(super) fn preempt(&self, uid: &str) -> bool {
        let mut all = self.0.lock();
        let verdict = all.get_mut(uid).and_then(|waiting| waiting.verdict.take());
        verdict
            .is_some_and(|verdict| verdict.send(Err((crate::preemption::NAME, "preempted".into()))).is_ok())
    }

    /// The pod is gone: it waits no longer.
    pub(super) fn forget(&self, uid: &str) {
        self.reject(uid, "", "the pod is gone");
    }
}

impl WaitingPod {
    fn tell(&mut self, verdict: Result<(), Denial>) {
        if let Some(sender) = self.verdict.take() {
            // Nobody listens any more when the scheduler stops.
            let _ = sender.send(verdict);
        }
    }
}

impl Scheduler {
    /// Asks the profile's plugins for their permission, and waits for it where they say so.
    pub(super) async fn permitted(
        &self,
        reserved: &Reserved,
        plugins: &[Arc<dyn Plugin>],
    ) -> Result<(), Denial> {
        let mut waits: Vec<(&'static str, Duration)> = Vec::new();
        for plugin in plugins {
            match plugin.permit(&reserved.pod, &reserved.node) {
                Permit::Allow => {}
                Permit::Deny(reason) => return Err((plugin.name(), reason)),
                Permit::Wait(patience) => waits.push((plugin.name(), patience.min(PATIENCE_MAX))),
            }
        }
        let Some((impatient, patience)) = waits.iter().min_by_key(|(_, patience)| *patience).copied() else {
            return Ok(());
        };
        let (sender, verdict) = oneshot::channel();
        let waiting = WaitingPod {
            pod: reserved.pod.clone(),
            node: reserved.node.clone(),
            by: waits.iter().map(|(plugin, _)| *plugin).collect(),
            verdict: Some(sender),
        };
        let uid = reserved.pod.uid().clone();
        let since = self.now();
        self.waiting.0.lock().insert(uid.clone(), waiting);
        // Those that the plugins wait for may have come before this one was known to wait.
        plugins.iter().for_each(|plugin| plugin.waits(&reserved.pod));
        let outcome = tokio::select! {
            verdict = verdict => verdict.unwrap_or_else(|_| Err((impatient, "the scheduler stops".into()))),
            () = self.env.sleep(patience) => {
                let seconds = patience.as_secs_f64();
                Err((impatient, format!("rejected due to timeout after waiting {seconds}s at plugin {impatient}")))
            }
        };
        self.waiting.0.lock().remove(&uid);
        let result = if outcome.is_ok() { "Success" } else { "Unschedulable" };
        metrics::permit_awaited(result, self.now().saturating_sub(since));
        outcome
    }
}
