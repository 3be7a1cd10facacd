//! PreBind and Bind: volumes and devices first, then the pod.

use std::sync::Arc;
use std::time::Instant;

use meta::{ObjectMeta, Status};
use types::core::v1::{Binding, ObjectReference, PersistentVolumeClaim, Pod};
use types::resource::v1::ResourceClaim;

use super::{Reserved, Scheduler, State, metrics};
use crate::failure::Failure;
use crate::notes;
use crate::plugin::{About, ClusterEvent, Rejection};
use crate::plugins::dynamic_resources::{self, extended};
use crate::plugins::volume_binding;

impl Scheduler {
    /// Carries a decision out.
    pub(super) async fn bind(self: &Arc<Self>, reserved: Reserved) {
        let profile = &self.profiles[reserved.profile];
        let begun = Instant::now();
        let permitted = self.permitted(&reserved, &reserved.binders.permit).await;
        metrics::ran(profile, "Permit", permitted.is_ok(), begun.elapsed());
        if let Err((plugin, reason)) = permitted {
            return self.deny(&reserved, plugin, &reason).await;
        }
        let begun = Instant::now();
        let (prepared, ()) = tokio::join!(self.prepare(&reserved), self.announce(&reserved));
        metrics::ran(profile, "PreBind", prepared.is_ok(), begun.elapsed());
        if let Err((plugin, status)) = prepared {
            self.give_devices_back(&reserved).await;
            let text = format!("running PreBind plugin {plugin:?}: {}", status.message);
            return self.give_up(&reserved, &text, false).await;
        }
        let begun = Instant::now();
        let bound = self.create_binding(&reserved).await;
        metrics::ran(profile, "Bind", bound.is_ok(), begun.elapsed());
        match bound {
            Ok(()) => {
                let pod = &reserved.pod.pod;
                self.change(|state| state.queue.remove(&pod.metadata.uid));
                metrics::scheduled(&reserved, self.now());
                for plugin in &reserved.binders.post_bind {
                    plugin.post_bind(&reserved.pod, &reserved.node);
                }
                self.recorders[reserved.profile].record(notes::scheduled(pod, &reserved.node));
            }
            Err((text, over)) => {
                self.drop_extended(&reserved).await;
                self.give_up(&reserved, &text, over).await;
            }
        }
    }

    /// Where binding has to wait for something, the pod's status says already which node it is going to have (KEP-5278).
    async fn announce(&self, reserved: &Reserved) {
        let pod = &reserved.pod.pod;
        if reserved.has_to_prepare() && pod.status.nominated_node_name != reserved.node {
            let status = serde_json::json!({"nominatedNodeName": reserved.node.as_str()});
            self.patch_pod(pod, serde_json::json!({"status": status})).await;
        }
    }

    /// PreBind. An error comes with the plugin's name.
    async fn prepare(self: &Arc<Self>, reserved: &Reserved) -> Result<(), (&'static str, Status)> {
        if !reserved.volumes.bind.is_empty() || !reserved.volumes.provision.is_empty() {
            self.bind_volumes(reserved).await.map_err(|status| (volume_binding::NAME, status))?;
        }
        if !reserved.pod.pod.spec.resource_claims.is_empty() || !reserved.devices.is_empty() {
            self.reserve_devices(reserved).await.map_err(|status| (dynamic_resources::NAME, status))?;
        }
        for plugin in &reserved.binders.pre_bind {
            let done = plugin.pre_bind(&reserved.pod, &reserved.node).await;
            done.map_err(|error| (plugin.name(), Status::internal_error(error)))?;
        }
        Ok(())
    }

    /// Bind. An error comes with whether the pod is no business of ours any more.
    async fn create_binding(&self, reserved: &Reserved) -> Result<(), (String, bool)> {
        let pod = &reserved.pod.pod;
        let binds = |extender: &&super::extender::Extender| {
            !extender.config.bind_verb.is_empty() && extender.is_interested(&reserved.pod)
        };
        if let Some(extender) = self.extenders.iter().find(binds) {
            return extender.bind(pod, &reserved.node).await.map_err(|error| (error, false));
        }
        let target = ObjectReference {
            kind: "Node".into(),
            name: reserved.node.clone(),
            ..ObjectReference::default()
        };
        let metadata = ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        };
        let binding = Binding { metadata, target };
        let api = self.client.namespaced::<Pod>(&pod.metadata.namespace);
        let bound = api.create_subresource(&pod.metadata.name, "binding", Box::new(binding)).await;
        bound.map(|_| ()).map_err(|status| {
            let text = format!("running Bind plugin \"DefaultBinder\": {}", status.message);
            (text, matches!(status.code, 404 | 409))
        })
    }

    /// Permit said no: the pod waits for something that the plugin says may help.
    async fn deny(&self, reserved: &Reserved, plugin: &'static str, reason: &str) {
        let now = self.now();
        let mut gone = false;
        self.unreserve(reserved, |state| {
            gone = !state.queue.knows(reserved.pod.uid());
            // No event tells when a pod that lost its place to another may find one: it is tried again after a back-off.
            let waits_for = if plugin == crate::preemption::NAME { Vec::new() } else { vec![plugin] };
            state.queue.refused(reserved.pod.uid(), waits_for, &state.core.profiles, now);
        });
        if gone {
            return;
        }
        metrics::denied(reserved, now);
        let refusal = Rejection::unschedulable(plugin, reason);
        let failure = Failure::of_one(refusal);
        self.refuse(&reserved.pod, reserved.profile, &failure, None).await;
    }

    /// What was set aside is free again; `then` says what becomes of the pod.
    fn unreserve(&self, reserved: &Reserved, then: impl FnOnce(&mut State)) {
        let (now, pod) = (self.now(), &reserved.pod.pod);
        for plugin in reserved.binders.reserve.iter().rev() {
            plugin.unreserve(&reserved.pod, &reserved.node);
        }
        // What the watch told meanwhile is newer than what was assumed.
        let cache = self.informers.cache::<ResourceClaim>();
        let claims: Vec<_> = reserved
            .devices
            .iter()
            .filter_map(|given| cache.get(&given.claim.metadata.namespace, &given.claim.metadata.name))
            .collect();
        self.change(|state| {
            state.core.snapshot.remove_pod(&pod.metadata.uid);
            for (_, volume) in &reserved.volumes.bind {
                state.core.snapshot.cluster.assumed_volumes.remove(&volume.metadata.name);
            }
            for given in &reserved.devices {
                state.core.snapshot.cluster.in_flight.remove(&given.claim.metadata.uid);
                if extended::is_unborn(&given.claim) {
                    state.core.snapshot.remove(&*given.claim);
                }
            }
            for claim in claims {
                state.core.snapshot.set(claim);
            }
            // Others may profit; the pod itself, which is not waiting yet, does not.
            state.happened(ClusterEvent::PodFreed, About::Pod(Some(pod), None), now);
            then(state);
        });
    }

    /// Unreserve. A pod that is gone or bound by somebody else (`over`) is no business of ours any more; anything else is
    /// tried again after a back-off.
    async fn give_up(&self, reserved: &Reserved, text: &str, over: bool) {
        let (now, pod) = (self.now(), &reserved.pod.pod);
        tracing::info!(pod = %pod.metadata.name, namespace = %pod.metadata.namespace, reason = text, "binding failed");
        self.unreserve(reserved, |state| {
            if over {
                state.queue.remove(&pod.metadata.uid);
            } else {
                state.queue.refused(&pod.metadata.uid, Vec::new(), &state.core.profiles, now);
            }
        });
        metrics::failed(reserved, self.now());
        if !over {
            self.fail(&reserved.pod, reserved.profile, text, reserved.has_to_prepare()).await;
        }
    }

    /// A claim as it is now.
    pub(super) fn current_claim(&self, claim: &PersistentVolumeClaim) -> Option<Arc<PersistentVolumeClaim>> {
        self.informers
            .cache::<PersistentVolumeClaim>()
            .get(&claim.metadata.namespace, &claim.metadata.name)
            .filter(|known| known.metadata.uid == claim.metadata.uid)
    }
}
