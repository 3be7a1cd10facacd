//! PreBind of DynamicResources: allocations and reservations go into the claims' status.

use std::sync::Arc;

use meta::{Status, Time};
use types::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};

use super::{Reserved, Scheduler};
use crate::plugins::dynamic_resources;

/// Attempts at a claim that others change at the same time.
const ATTEMPTS: usize = 5;
/// Keeps a claim with devices from going away.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

impl Scheduler {
    /// Every claim of the pod gets its devices and is reserved for the pod.
    pub(super) async fn reserve_devices(&self, reserved: &Reserved) -> Result<(), Status> {
        let pod = &reserved.pod.pod;
        let claims = {
            let state = self.state.lock();
            dynamic_resources::claims(pod, &state.core.snapshot.cluster)
        };
        for claim in claims.map_err(Status::internal_error)? {
            self.reserve_claim(reserved, &claim).await?;
        }
        Ok(())
    }

    async fn reserve_claim(&self, reserved: &Reserved, claim: &ResourceClaim) -> Result<(), Status> {
        let api = self.client.namespaced::<ResourceClaim>(&claim.metadata.namespace);
        let given = reserved.devices.iter().find(|(other, _)| other.metadata.uid == claim.metadata.uid);
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            let mut current = (*api.get(&claim.metadata.name).await?).clone();
            if current.metadata.uid != claim.metadata.uid {
                return Err(Status::internal_error("the ResourceClaim was replaced by another one"));
            }
            if let Some((_, allocation)) = given.filter(|_| current.status.allocation.is_none()) {
                if !current.metadata.has_finalizer(FINALIZER) {
                    current.metadata.finalizers.push(FINALIZER.into());
                    current = (*api.update(current).await?).clone();
                }
                let mut allocation = allocation.clone();
                allocation.allocation_timestamp = Some(Time::from_unix(self.env.unix_ms() / 1000));
                current.status.allocation = Some(Box::new(allocation));
            }
            if current.status.allocation.is_none() {
                return Err(Status::internal_error("the ResourceClaim lost its allocation"));
            }
            let pod = &reserved.pod.pod.metadata;
            if current.status.reserved_for.iter().any(|consumer| consumer.uid == pod.uid) {
                return Ok(());
            }
            current.status.reserved_for.push(ResourceClaimConsumerReference {
                resource: "pods".into(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                ..ResourceClaimConsumerReference::default()
            });
            match api.update_status(current).await {
                Ok(stored) => {
                    self.change(|state| state.core.snapshot.set(Arc::clone(&stored)));
                    return Ok(());
                }
                Err(status) if status.code == 409 => outcome = Err(status),
                Err(status) => return Err(status),
            }
        }
        outcome
    }
}
