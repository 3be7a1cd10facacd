//! The two strategies.

use reconcile::{Next, Plan};
use types::core::v1::Pod;

use super::scale::resize;
use super::{View, revision, sizes, status};
use crate::common::pods;

/// RollingUpdate: never more than the surge beyond the wanted replicas, never fewer available ones than the floor.
pub(crate) fn rolling(view: &View<'_>, plan: &mut Plan) -> Next {
    if revision::sync(view, true, plan) {
        return Next::Done;
    }
    if !grow_new(view, plan)
        && !shrink_old(view, plan)
        && status::is_complete(view.deployment, &view.deployment.status)
    {
        revision::clean_up(view, plan);
    }
    status::sync_rollout(view, plan)
}

fn grow_new(view: &View<'_>, plan: &mut Plan) -> bool {
    let Some(new) = &view.new else { return false };
    let (size, wanted) = (sizes::of(new), sizes::wanted(view.deployment));
    if size == wanted {
        return false;
    }
    let target =
        if size > wanted { wanted } else { sizes::of_new(view.deployment, size, sizes::sum(&view.old)) };
    target != size && resize(view.deployment, new, target, plan)
}

fn shrink_old(view: &View<'_>, plan: &mut Plan) -> bool {
    if sizes::sum(&view.old) == 0 {
        return false;
    }
    let floor = sizes::wanted(view.deployment) - sizes::max_unavailable(view.deployment);
    let new_unavailable = view.new.as_ref().map_or(0, |new| sizes::of(new) - new.status.available_replicas);
    let room = sizes::sum(view.all()) - floor - new_unavailable;
    if room <= 0 {
        return false;
    }
    // Pods that do not serve go first: they cost nothing. Then as many more as the floor allows.
    let mut targets: Vec<i32> = view.old.iter().map(|set| sizes::of(set)).collect();
    let mut left = room;
    for (set, target) in view.old.iter().zip(&mut targets) {
        let idle = (*target - set.status.available_replicas).clamp(0, left);
        *target -= idle;
        left -= idle;
    }
    let available: i32 = view.all().map(|set| set.status.available_replicas).sum();
    let mut spare = (available - floor).max(0);
    for target in &mut targets {
        let taken = spare.min(*target);
        *target -= taken;
        spare -= taken;
    }
    let mut any = false;
    for (set, target) in view.old.iter().zip(targets) {
        any |= target != sizes::of(set) && resize(view.deployment, set, target, plan);
    }
    any
}

/// Recreate: every old pod has ended before the first new one is made.
pub(crate) fn recreate(view: &View<'_>, plan: &mut Plan) -> Next {
    if revision::sync(view, false, plan) {
        return Next::Done;
    }
    let mut shrunk = false;
    for set in view.old.iter().filter(|set| sizes::of(set) > 0) {
        shrunk |= resize(view.deployment, set, 0, plan);
    }
    if shrunk || old_pods_run(view) {
        return status::sync_rollout(view, plan);
    }
    if revision::sync(view, true, plan) {
        return Next::Done;
    }
    if let Some(new) = &view.new
        && sizes::of(new) != sizes::wanted(view.deployment)
    {
        resize(view.deployment, new, sizes::wanted(view.deployment), plan);
    }
    if status::is_complete(view.deployment, &view.deployment.status) {
        revision::clean_up(view, plan);
    }
    status::sync_rollout(view, plan)
}

fn old_pods_run(view: &View<'_>) -> bool {
    let runs = |pod: &Pod| !pods::is_finished(pod);
    view.old.iter().any(|set| {
        sizes::of(set) > 0
            || set.status.replicas > 0
            || view.world.owned::<Pod>(&set.metadata.uid).iter().any(|pod| runs(pod))
    })
}
