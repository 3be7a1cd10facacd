//! When a node was last heard of.

use std::time::Duration;

use meta::{Str, Time};
use types::coordination::v1::Lease;
use types::core::v1::{Node, NodeCondition};

/// How long a node may be silent.
pub(super) const GRACE: Duration = Duration::from_secs(50);
/// How long a new node may take to tell its first status.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// The conditions that become unknown together, in upstream's order.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What was seen of a node, and when.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// Seconds since 1970 at which the node was last heard of.
    heard: i64,
    ready: Option<NodeCondition>,
    renewed: Option<Str>,
    /// Status of the Ready condition that was seen before this look.
    before: Str,
}

impl Health {
    /// Takes in what the caches show.
    pub(super) fn observe(seen: Option<Health>, node: &Node, lease: Option<&Lease>, now: i64) -> Health {
        let ready = node.status.conditions.iter().find(|condition| condition.type_ == "Ready").cloned();
        let renewed =
            lease.and_then(|lease| lease.spec.renew_time.as_ref()).map(|time| Str::from(time.to_string()));
        let created = node.metadata.creation_timestamp.map_or(now, |time| time.seconds);
        let Some(seen) = seen else {
            let heard = if ready.is_some() { now } else { created };
            let before = ready.as_ref().map(|ready| ready.status.clone()).unwrap_or_default();
            return Health { heard, ready, renewed, before };
        };
        let before = seen.ready.as_ref().map(|ready| ready.status.clone()).unwrap_or_default();
        let spoke = match (&seen.ready, &ready) {
            (None, Some(_)) => true,
            (Some(old), Some(new)) => old.last_heartbeat_time != new.last_heartbeat_time,
            _ => false,
        };
        let renewal = renewed.is_some() && renewed != seen.renewed;
        let heard = if spoke || renewal { now } else { seen.heard };
        Health { heard, ready, renewed, before }
    }

    pub(super) fn silent_seconds(&self, now: i64) -> i64 {
        now - self.heard
    }

    /// Whether the node was silent for too long.
    pub(super) fn is_overdue(&self, now: i64) -> bool {
        let grace = if self.ready.is_some() { GRACE } else { STARTUP_GRACE };
        self.silent_seconds(now) > grace.as_secs() as i64
    }

    /// Whether the node itself told, since the last look, that it is no longer ready.
    pub(super) fn fell(&self, node: &Node) -> bool {
        self.before == "True" && super::condition(node, "Ready") != "True"
    }
}

/// Marks what a silent node told as unknown. Returns whether anything changed.
pub(super) fn lose(node: &mut Node, now: Time) -> bool {
    let created = node.metadata.creation_timestamp;
    let mut changed = false;
    for type_ in CONDITIONS {
        match node.status.conditions.iter_mut().find(|condition| condition.type_ == type_) {
            None => {
                node.status.conditions.push(NodeCondition {
                    type_: type_.into(),
                    status: "Unknown".into(),
                    last_heartbeat_time: created,
                    last_transition_time: Some(now),
                    reason: "NodeStatusNeverUpdated".into(),
                    message: "Kubelet never posted node status.".into(),
                });
                changed = true;
            }
            Some(known) if known.status != "Unknown" => {
                known.status = "Unknown".into();
                known.reason = "NodeStatusUnknown".into();
                known.message = "Kubelet stopped posting node status.".into();
                known.last_transition_time = Some(now);
                changed = true;
            }
            Some(_) => {}
        }
    }
    changed
}
