//! What a worker counts for the metrics.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use meta::{Map, Quantity};
use types::core::v1::{Container, Pod, PodStatus};

use super::Worker;
use crate::metrics::{
    POD_START, POD_START_SLI, POD_START_TOTAL, RESIZES_REQUESTED, STATUS_SYNC, TERMINATED_CONTAINERS,
};
use crate::pod::view::{PodView, exit};
use crate::pod::{Role, container};

/// What is counted of one pod.
#[derive(Default)]
pub(super) struct Counted {
    /// Containers whose end is counted, or was there before this worker.
    ends: Option<HashSet<String>>,
    /// Time that pulls took.
    pub(super) pulls: Duration,
    /// Since when the API has an old status.
    status_old_since: Option<Duration>,
}

impl Counted {
    /// Counts the ends of containers that are new in the view.
    pub(super) fn ends(&mut self, pod: &Pod, view: &PodView) {
        let ended = || view.containers.iter().filter_map(|one| Some((one, exit(one)?)));
        let all: HashSet<String> = ended().map(|(one, _)| one.id.clone()).collect();
        if let Some(known) = &self.ends {
            for (one, exit) in ended().filter(|(one, _)| !known.contains(&one.id)) {
                let role = container(pod, &one.config.name).map_or(Role::Regular, |(role, _)| role);
                let code = exit.exit_code.to_string();
                TERMINATED_CONTAINERS.with(&[role.counted(), &code, &exit.reason]).inc();
            }
        }
        self.ends = Some(all);
    }
}

/// Time that init containers ran which had to end before others began.
fn initializing(pod: &Pod, view: &PodView) -> Duration {
    let init = |name: &str| matches!(container(pod, name), Some((Role::Init, _)));
    let ran = view.containers.iter().filter(|one| init(&one.config.name)).filter_map(exit);
    let nanos = ran.map(|exit| exit.finished_at_ns.saturating_sub(exit.started_at_ns).max(0));
    Duration::from_nanos(nanos.sum::<i64>().unsigned_abs())
}

/// Counts what a change of a pod's spec asks for.
pub(super) fn resizes(before: &Pod, after: &Pod) {
    let all = |pod: &Pod| -> Vec<Container> {
        pod.spec.init_containers.iter().chain(pod.spec.containers.iter()).cloned().collect()
    };
    for (had, wants) in all(before).iter().zip(&all(after)).filter(|(had, wants)| had.name == wants.name) {
        for resource in ["cpu", "memory"] {
            let sides = [
                ("requests", &had.resources.requests, &wants.resources.requests),
                ("limits", &had.resources.limits, &wants.resources.limits),
            ];
            for (requirement, had, wants) in sides {
                if let Some(operation) = change(resource, had, wants) {
                    RESIZES_REQUESTED.with(&[resource, requirement, operation]).inc();
                }
            }
        }
    }
}

/// How an amount changes, if it does.
fn change(resource: &str, had: &Map<Quantity>, wants: &Map<Quantity>) -> Option<&'static str> {
    match (had.get(resource), wants.get(resource)) {
        (None, Some(_)) => Some("add"),
        (Some(_), None) => Some("remove"),
        (Some(had), Some(wants)) if wants > had => Some("increase"),
        (Some(had), Some(wants)) if wants < had => Some("decrease"),
        _ => None,
    }
}

impl Worker {
    /// The status is computed anew.
    pub(super) fn count_status(&mut self, status: &PodStatus) {
        let now = self.shared.env.clock.monotonic();
        if *status != self.sent {
            self.counted.status_old_since.get_or_insert(now);
        }
        if status.phase != "Running" {
            return;
        }
        let Some(since) = self.starting_since.take() else { return };
        POD_START.with(&[]).observe_duration(now.saturating_sub(since));
        let Some(created) = self.pod.metadata.creation_timestamp else { return };
        let today = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created = Duration::from_secs(u64::try_from(created.seconds).unwrap_or_default());
        let total = today.saturating_sub(created);
        POD_START_TOTAL.with(&[]).observe_duration(total);
        let others = self.counted.pulls + initializing(&self.pod, &self.view);
        POD_START_SLI.with(&[]).observe_duration(total.saturating_sub(others));
    }

    /// The API has the status.
    pub(super) fn count_status_sent(&mut self) {
        if let Some(since) = self.counted.status_old_since.take() {
            let took = self.shared.env.clock.monotonic().saturating_sub(since);
            STATUS_SYNC.with(&[]).observe_duration(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_come_go_and_change() {
        let list = |amount: &str| -> Map<Quantity> {
            let amount = (!amount.is_empty()).then(|| ("cpu", amount.parse().unwrap()));
            amount.into_iter().map(|(name, amount): (&str, Quantity)| (name, amount)).collect()
        };
        for (had, wants, operation) in [
            ("", "1", Some("add")),
            ("1", "", Some("remove")),
            ("1", "1500m", Some("increase")),
            ("1", "500m", Some("decrease")),
            ("1", "1000m", None),
            ("", "", None),
        ] {
            assert_eq!(change("cpu", &list(had), &list(wants)), operation, "{had} {wants}");
        }
    }
}
