//! PostFilter: what can be done for a pod that found no node.

use std::sync::Arc;

use crate::core::Core;
use crate::failure::Failure;
use crate::plugin::Cx;
use crate::plugins::dynamic_resources;
use crate::pod_info::PodInfo;
use crate::preemption::{self, Candidate, Preemption};

/// Asks the profile's PostFilter plugins in turn. Candidates when preemption makes room; otherwise their reasons become
/// part of the failure's message. `random` says where the search for candidates starts.
pub fn run(
    core: &mut Core,
    pod: &Arc<PodInfo>,
    profile: usize,
    failure: &mut Failure,
    random: u64,
) -> Option<Vec<Arc<Candidate>>> {
    if failure.total == 0 {
        return None;
    }
    let mut reasons: Vec<String> = Vec::new();
    for plugin in core.profiles[profile].post_filters.clone() {
        if plugin == dynamic_resources::NAME {
            // Upstream's DynamicResources finds no state of its own when a plugin before it refused the pod for all
            // nodes, and that ends PostFilter with this error.
            let early =
                failure.pre_filter.as_ref().is_some_and(|refusal| refusal.plugin != dynamic_resources::NAME);
            if early {
                failure.post_filter = "not found".into();
                return None;
            }
            let plugin = core.profiles[profile].args.dynamic_resources();
            let (reason, remedy) = plugin.post_filter(&Cx::new(pod, &core.snapshot), failure);
            reasons.push(reason.into());
            failure.remedy = remedy;
        } else if plugin == preemption::NAME {
            let outcome = preemption::preempt(core, pod, profile, failure, random);
            failure.waits_for_victims = outcome.waits_for_victims();
            match outcome {
                Preemption::Candidates(candidates) => return Some(candidates),
                Preemption::No(reason) => reasons.push(format!("preemption: {reason}")),
            }
        }
    }
    failure.post_filter = reasons.join(", ");
    None
}
