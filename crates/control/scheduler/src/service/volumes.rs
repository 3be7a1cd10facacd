//! PreBind of VolumeBinding: tells the volume controllers what was chosen, and waits until the claims are bound.

use std::sync::Arc;

use call::{PatchKind, WriteOptions};
use meta::{Status, Str};
use types::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};

use super::{Reserved, Scheduler};
use crate::plugins::volume_binding::is_bound;

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

impl Scheduler {
    /// Binds and provisions as chosen.
    pub(super) async fn bind_volumes(self: &Arc<Self>, reserved: &Reserved) -> Result<(), Status> {
        for (claim, volume) in &reserved.volumes.bind {
            if volume.spec.claim_ref.is_none() {
                self.promise(volume, claim).await?;
            }
        }
        for claim in &reserved.volumes.provision {
            self.select_node(claim, &reserved.node).await?;
        }
        let claims: Vec<_> = reserved
            .volumes
            .bind
            .iter()
            .map(|(claim, _)| claim)
            .chain(&reserved.volumes.provision)
            .cloned()
            .collect();
        let patience = self.state.lock().core.profiles[reserved.profile].args.bind_timeout();
        tokio::select! {
            result = self.claims_bound(&claims, &reserved.node) => result?,
            () = self.env.sleep(patience) => {
                return Err(Status::internal_error("binding volumes: context deadline exceeded"));
            }
        }
        self.change(|state| {
            for (_, volume) in &reserved.volumes.bind {
                state.core.snapshot.cluster.assumed_volumes.remove(&volume.metadata.name);
            }
        });
        Ok(())
    }

    /// The volume is for this claim: the volume controller does the rest.
    async fn promise(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), Status> {
        let mut promised = volume.clone();
        promised.spec.claim_ref = Some(Box::new(ObjectReference {
            api_version: "v1".into(),
            kind: "PersistentVolumeClaim".into(),
            namespace: claim.metadata.namespace.clone(),
            name: claim.metadata.name.clone(),
            uid: claim.metadata.uid.clone(),
            resource_version: claim.metadata.resource_version.clone(),
            ..ObjectReference::default()
        }));
        promised.metadata.annotations.insert("pv.kubernetes.io/bound-by-controller", Str::from("yes"));
        self.client.all::<PersistentVolume>().update(promised).await.map(|_| ())
    }

    /// A volume is to be provisioned for the claim where this node can reach it.
    async fn select_node(&self, claim: &PersistentVolumeClaim, node: &str) -> Result<(), Status> {
        let document = serde_json::json!({
            "metadata": {"uid": claim.metadata.uid.as_str(), "annotations": {SELECTED_NODE: node}}
        });
        let api = self.client.namespaced::<PersistentVolumeClaim>(&claim.metadata.namespace);
        let document = document.to_string().into_bytes().into();
        api.patch(&claim.metadata.name, PatchKind::Merge, document, &WriteOptions::default())
            .await
            .map(|_| ())
    }

    /// Waits until all claims are bound; an error when one is gone or its provisioner wants another node.
    async fn claims_bound(&self, claims: &[Arc<PersistentVolumeClaim>], node: &str) -> Result<(), Status> {
        loop {
            let changed = self.storage.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mut waiting = false;
            for claim in claims {
                let name = &claim.metadata.name;
                let Some(current) = self.current_claim(claim) else {
                    return Err(Status::internal_error(format!(
                        "binding volumes: pvc {name:?} does not exist any more"
                    )));
                };
                let selected = current.metadata.annotations.get(SELECTED_NODE);
                if !is_bound(&current) && selected.is_some_and(|selected| selected != node) {
                    return Err(Status::internal_error(format!(
                        "binding volumes: selectedNode annotation reset for PVC {name:?}"
                    )));
                }
                waiting |= !is_bound(&current);
            }
            if !waiting {
                return Ok(());
            }
            changed.await;
        }
    }
}
