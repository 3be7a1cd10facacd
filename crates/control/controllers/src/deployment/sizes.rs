//! How many replicas a rollout may add or miss.

use types::apps::v1::{Deployment, ReplicaSet};

use crate::common::numbers::scaled;

/// Wanted replicas.
pub(crate) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

pub(crate) fn is_rolling(deployment: &Deployment) -> bool {
    deployment.spec.strategy.type_ != "Recreate"
}

/// Replicas that a rollout may have beyond the wanted ones, and may miss. At least one of both is above zero, or nothing
/// could ever move.
fn bounds(deployment: &Deployment) -> (i32, i32) {
    let wanted = wanted(deployment);
    let rolling = deployment.spec.strategy.rolling_update.as_deref();
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let surge = surge.and_then(|value| scaled(value, wanted, true)).unwrap_or(0);
    let unavailable = unavailable.and_then(|value| scaled(value, wanted, false)).unwrap_or(0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Replicas beyond the wanted ones.
pub(crate) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { bounds(deployment).0 } else { 0 }
}

/// Replicas that may be missing.
pub(crate) fn max_unavailable(deployment: &Deployment) -> i32 {
    let wanted = wanted(deployment);
    if !is_rolling(deployment) || wanted == 0 { 0 } else { bounds(deployment).1.min(wanted) }
}

/// Wanted replicas of a ReplicaSet.
pub(crate) fn of(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Wanted replicas of several.
pub(crate) fn sum<'a>(sets: impl IntoIterator<Item = &'a std::sync::Arc<ReplicaSet>>) -> i32 {
    sets.into_iter().map(|set| of(set)).sum()
}

/// The size that the new ReplicaSet may have now, beside others that add up to `others`.
pub(crate) fn of_new(deployment: &Deployment, new: i32, others: i32) -> i32 {
    let wanted = wanted(deployment);
    if !is_rolling(deployment) {
        return wanted;
    }
    let room = wanted + max_surge(deployment) - (new + others);
    if room <= 0 { new } else { new + room.min(wanted - new) }
}
