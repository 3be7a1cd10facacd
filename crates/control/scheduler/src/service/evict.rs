//! Preemption carried out: victims learn why they go, and go.

use std::sync::Arc;

use call::{DeleteOptions, PatchKind, Precondition, WriteOptions};
use meta::Time;
use types::core::v1::Pod;

use super::{Scheduler, metrics};
use crate::notes;
use crate::pod_info::PodInfo;
use crate::preemption::Candidate;

impl Scheduler {
    /// Removes the victims. Less important pods that waited for the node lose it.
    pub(super) async fn evict(&self, pod: &Arc<PodInfo>, profile: usize, candidate: &Candidate, node: &str) {
        metrics::victims(candidate.victims.len());
        let begun = self.now();
        let lesser = self.state.lock().core.nominated.lesser(candidate.node, pod);
        for other in lesser {
            self.state.lock().core.release(other.uid());
            self.patch_pod(&other.pod, serde_json::json!({"status": {"nominatedNodeName": null}})).await;
        }
        let mut failed = false;
        for victim in &candidate.victims {
            failed |= !self.evict_one(pod, profile, victim, node).await;
        }
        let now = self.now();
        metrics::evicted(failed, now.saturating_sub(begun));
        self.change(|state| {
            let left = candidate.victims.iter().any(|victim| state.core.snapshot.has_pod(victim.uid()));
            state.queue.evicted(pod.uid(), failed || !left, now);
        });
    }

    /// Whether the victim goes, or is gone.
    async fn evict_one(&self, pod: &Arc<PodInfo>, profile: usize, victim: &PodInfo, node: &str) -> bool {
        let victim = &victim.pod;
        if victim.metadata.deletion_timestamp.is_some() {
            return true;
        }
        // A pod that only waits for a word of Permit plugins runs nowhere: it gives the node back and stays.
        if self.waiting.preempt(&victim.metadata.uid) {
            self.recorders[profile].record(notes::preempted(victim, &pod.pod, node));
            return true;
        }
        let scheduler = &pod.pod.spec.scheduler_name;
        let condition = serde_json::json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
            "observedGeneration": victim.metadata.generation,
            "lastProbeTime": null,
            "lastTransitionTime": Time::from_unix(self.env.unix_ms() / 1000).to_string(),
        });
        self.patch_pod(victim, serde_json::json!({"status": with_condition(victim, condition)})).await;
        let options = DeleteOptions {
            precondition: Precondition { uid: Some(victim.metadata.uid.clone()), ..Precondition::default() },
            ..DeleteOptions::default()
        };
        let api = self.client.namespaced::<Pod>(&victim.metadata.namespace);
        match api.delete(&victim.metadata.name, &options).await {
            Ok(_) => {
                self.recorders[profile].record(notes::preempted(victim, &pod.pod, node));
                true
            }
            Err(status) if matches!(status.code, 404 | 409) => true,
            Err(status) => {
                tracing::warn!(pod = %victim.metadata.name, reason = %status.message, "cannot preempt");
                false
            }
        }
    }

    /// Patches a pod's status; a pod that is gone needs nothing any more.
    pub(super) async fn patch_pod(&self, pod: &Pod, document: serde_json::Value) {
        let api = self.client.namespaced::<Pod>(&pod.metadata.namespace);
        let document = document.to_string().into_bytes().into();
        let patched = api
            .patch_status(&pod.metadata.name, PatchKind::Strategic, document, &WriteOptions::default())
            .await;
        if let Err(status) = patched
            && status.code != 404
        {
            tracing::warn!(pod = %pod.metadata.name, reason = %status.message, "cannot change the pod's status");
        }
    }
}

/// A patch of the pod's status that brings a condition in: in its place, or as the last one.
pub(super) fn with_condition(pod: &Pod, condition: serde_json::Value) -> serde_json::Value {
    let known = pod.status.conditions.iter().map(|one| one.type_.as_str());
    let mut order: Vec<&str> = known.collect();
    let own = condition["type"].as_str().unwrap_or_default();
    if !order.contains(&own) {
        order.push(own);
    }
    let order: Vec<_> = order.into_iter().map(|kind| serde_json::json!({"type": kind})).collect();
    serde_json::json!({"$setElementOrder/conditions": order, "conditions": [condition]})
}
