//! What a StatefulSet tells about itself.

use std::sync::Arc;

use types::apps::v1::{StatefulSet, StatefulSetStatus};
use types::core::v1::Pod;

use super::order::{Changes, Templates};
use crate::common::pods;
use crate::common::revisions::HASH_LABEL;

/// The state as it is once `changes` are made.
pub(super) fn of(
    set: &StatefulSet,
    owned: &[Arc<Pod>],
    changes: &Changes,
    templates: &Templates,
    now: i64,
) -> StatefulSetStatus {
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        current_revision: templates.current_name.clone(),
        update_revision: templates.update_name.clone(),
        collision_count: Some(set.status.collision_count.unwrap_or(0)),
        conditions: set.status.conditions.clone(),
        ..StatefulSetStatus::default()
    };
    let leaving = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_some()
            || changes.delete.iter().any(|leaving| leaving.metadata.uid == pod.metadata.uid)
    };
    let staying = owned.iter().map(|pod| (&**pod, leaving(pod)));
    for (pod, leaving) in staying.chain(changes.create.iter().map(|pod| (pod, false))) {
        status.replicas += 1;
        if pod.status.phase == "Running" && pods::is_ready(pod) {
            status.ready_replicas += 1;
            status.available_replicas += i32::from(pods::is_available(pod, set.spec.min_ready_seconds, now));
        }
        if leaving {
            continue;
        }
        let revision = pod.metadata.label(HASH_LABEL);
        status.current_replicas += i32::from(revision == templates.current_name.as_str());
        status.updated_replicas += i32::from(revision == templates.update_name.as_str());
    }
    let rolled = set.spec.update_strategy.type_ != "OnDelete"
        && status.updated_replicas == status.replicas
        && status.ready_replicas == status.replicas;
    if rolled {
        status.current_replicas = status.updated_replicas;
        status.current_revision = templates.update_name.clone();
    }
    status
}
