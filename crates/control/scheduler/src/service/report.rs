//! Tells the pod's owner why it has no node: an event, and the condition PodScheduled=False.

use std::sync::Arc;

use meta::Time;
use types::core::v1::Pod;

use super::Scheduler;
use super::evict::with_condition;
use crate::failure::Failure;
use crate::notes;
use crate::plugins::dynamic_resources::Remedy;
use crate::pod_info::PodInfo;

impl Scheduler {
    /// No node will do; `nominated` is the node that preemption frees.
    pub(super) async fn refuse(
        &self,
        pod: &Arc<PodInfo>,
        profile: usize,
        failure: &Failure,
        nominated: Option<&str>,
    ) {
        match &failure.remedy {
            Some(Remedy::Deallocate(claim)) => self.deallocate(claim, &pod.pod).await,
            Some(Remedy::Delete(claim)) => self.delete_claim(claim).await,
            None => {}
        }
        let message = failure.message();
        self.recorders[profile].record(notes::failed(&pod.pod, &message));
        // A nomination that came to nothing is taken back.
        let stale = !failure.waits_for_victims && !pod.pod.status.nominated_node_name.is_empty();
        let nominated = nominated.or(stale.then_some(""));
        self.condition(&pod.pod, "Unschedulable", &message, nominated).await;
    }

    /// Something went wrong that has nothing to do with nodes. Where a node was `announced`, that is taken back.
    pub(super) async fn fail(&self, pod: &Arc<PodInfo>, profile: usize, error: &str, announced: bool) {
        self.recorders[profile].record(notes::failed(&pod.pod, error));
        self.condition(&pod.pod, "SchedulerError", error, announced.then_some("")).await;
    }

    async fn condition(&self, pod: &Pod, reason: &str, message: &str, nominated: Option<&str>) {
        let known = pod
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        let same = known.is_some_and(|condition| condition.message == message && condition.reason == reason);
        // An empty name takes back what may have been written since the pod was last seen.
        let nominated = nominated.filter(|node| node.is_empty() || pod.status.nominated_node_name != **node);
        if same && nominated.is_none() {
            return;
        }
        let since = known.and_then(|condition| condition.last_transition_time);
        let since = since.unwrap_or_else(|| Time::from_unix(self.env.unix_ms() / 1000));
        let condition = serde_json::json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": since.to_string(),
            "observedGeneration": pod.metadata.generation,
        });
        let mut status = with_condition(pod, condition);
        if let Some(node) = nominated {
            status["nominatedNodeName"] = if node.is_empty() { serde_json::Value::Null } else { node.into() };
        }
        self.patch_pod(pod, serde_json::json!({"status": status})).await;
    }
}
