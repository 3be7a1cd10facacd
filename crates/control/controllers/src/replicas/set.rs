//! What ReplicaSets and ReplicationControllers have in common.

use meta::{Kind, LabelSelector, OwnerReference};
use types::apps::v1::{ReplicaSet, ReplicaSetCondition};
use types::core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerCondition};

use super::status::{Counts, Failure};
use crate::common::owners::controller_ref;

/// The wish of a set, in common terms.
pub(crate) struct Set {
    pub(crate) owner: OwnerReference,
    pub(crate) replicas: i32,
    pub(crate) min_ready_seconds: i32,
    pub(crate) selector: Option<LabelSelector>,
    pub(crate) template: Box<PodTemplateSpec>,
}

/// A kind that keeps a number of equal pods.
pub(crate) trait Replicated: Kind + Clone {
    /// Its wish.
    fn set(&self) -> Set;
    /// Its recorded state.
    fn counts(&self) -> Counts;
    /// Its recorded trouble.
    fn failure(&self) -> Option<Failure>;
    /// A copy with this state recorded.
    fn with_status(&self, counts: &Counts, failure: Option<Failure>) -> Self;
}

impl Set {
    pub(crate) fn of<K: Replicated>(object: &K) -> Set {
        object.set()
    }
}

impl Replicated for ReplicaSet {
    fn set(&self) -> Set {
        Set {
            owner: controller_ref(self),
            replicas: self.spec.replicas.unwrap_or(1),
            min_ready_seconds: self.spec.min_ready_seconds,
            selector: self.spec.selector.as_deref().cloned(),
            template: self.spec.template.clone(),
        }
    }

    fn counts(&self) -> Counts {
        let status = &self.status;
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            terminating: status.terminating_replicas,
            observed_generation: status.observed_generation,
        }
    }

    fn failure(&self) -> Option<Failure> {
        let known = self.status.conditions.iter().find(|condition| condition.type_ == Failure::TYPE)?;
        Some(Failure {
            reason: known.reason.clone(),
            message: known.message.clone(),
            since: known.last_transition_time,
        })
    }

    fn with_status(&self, counts: &Counts, failure: Option<Failure>) -> Self {
        let mut copy = self.clone();
        let status = &mut copy.status;
        status.replicas = counts.replicas;
        status.fully_labeled_replicas = counts.fully_labeled;
        status.ready_replicas = counts.ready;
        status.available_replicas = counts.available;
        status.terminating_replicas = counts.terminating;
        status.observed_generation = counts.observed_generation;
        status.conditions.retain(|condition| condition.type_ != Failure::TYPE);
        status.conditions.extend(failure.map(|failure| ReplicaSetCondition {
            type_: Failure::TYPE.into(),
            status: "True".into(),
            last_transition_time: failure.since,
            reason: failure.reason,
            message: failure.message,
        }));
        copy
    }
}

impl Replicated for ReplicationController {
    fn set(&self) -> Set {
        Set {
            owner: controller_ref(self),
            replicas: self.spec.replicas.unwrap_or(1),
            min_ready_seconds: self.spec.min_ready_seconds,
            selector: Some(LabelSelector {
                match_labels: self.spec.selector.clone(),
                ..LabelSelector::default()
            }),
            template: self.spec.template.clone().unwrap_or_default(),
        }
    }

    fn counts(&self) -> Counts {
        let status = &self.status;
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            terminating: None,
            observed_generation: status.observed_generation,
        }
    }

    fn failure(&self) -> Option<Failure> {
        let known = self.status.conditions.iter().find(|condition| condition.type_ == Failure::TYPE)?;
        Some(Failure {
            reason: known.reason.clone(),
            message: known.message.clone(),
            since: known.last_transition_time,
        })
    }

    fn with_status(&self, counts: &Counts, failure: Option<Failure>) -> Self {
        let mut copy = self.clone();
        let status = &mut copy.status;
        status.replicas = counts.replicas;
        status.fully_labeled_replicas = counts.fully_labeled;
        status.ready_replicas = counts.ready;
        status.available_replicas = counts.available;
        status.observed_generation = counts.observed_generation;
        status.conditions.retain(|condition| condition.type_ != Failure::TYPE);
        status.conditions.extend(failure.map(|failure| ReplicationControllerCondition {
            type_: Failure::TYPE.into(),
            status: "True".into(),
            last_transition_time: failure.since,
            reason: failure.reason,
            message: failure.message,
        }));
        copy
    }
}
