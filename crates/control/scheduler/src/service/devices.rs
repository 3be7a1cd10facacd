//! PreBind of DynamicResources: allocations and reservations go into the claims' status.

use std::sync::Arc;

use meta::{Status, Str, Time};
use types::core::v1::Pod;
use types::resource::v1::{DeviceRequestAllocationResult, ResourceClaim, ResourceClaimConsumerReference};

use super::{Reserved, Scheduler};
use crate::plugins::dynamic_resources;

/// Attempts at a claim that others change at the same time.
const ATTEMPTS: usize = 5;
/// Keeps a claim with devices from going away.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// Whether all devices of the claim are as their binding conditions want them.
///
/// # Errors
/// A device whose driver gave up.
fn ready(claim: &ResourceClaim) -> Result<bool, String> {
    let Some(allocation) = &claim.status.allocation else { return Ok(false) };
    let mut all = true;
    for result in allocation.devices.results.iter().filter(|result| !result.binding_conditions.is_empty()) {
        let status = claim.status.devices.iter().find(|status| {
            status.driver == result.driver
                && status.pool == result.pool
                && status.device == result.device
                && status.share_id == result.share_id
        });
        let holds = |kind: &Str| {
            status.is_some_and(|status| {
                status.conditions.iter().any(|one| one.type_ == *kind && one.status == "True")
            })
        };
        if let Some(failed) = result.binding_failure_conditions.iter().find(|kind| holds(kind)) {
            let (claim, device) = (&claim.metadata.name, &result.device);
            return Err(format!("claim {claim} binding failed: device {device} has condition {failed}"));
        }
        all &= result.binding_conditions.iter().all(holds);
    }
    Ok(all)
}

impl Scheduler {
    /// Every claim of the pod gets its devices and is reserved for the pod.
    pub(super) async fn reserve_devices(&self, reserved: &Reserved) -> Result<(), Status> {
        let pod = &reserved.pod.pod;
        let claims = {
            let state = self.state.lock();
            dynamic_resources::claims(pod, &state.core.snapshot.cluster)
        };
        let claims = claims.map_err(Status::internal_error)?;
        for claim in &claims {
            self.reserve_claim(reserved, claim).await?;
        }
        let prepared = |result: &DeviceRequestAllocationResult| !result.binding_conditions.is_empty();
        let conditional =
            reserved.devices.iter().any(|(_, given)| given.devices.results.iter().any(prepared));
        if !conditional {
            return Ok(());
        }
        let patience = self.state.lock().core.profiles[reserved.profile].args.device_binding_timeout();
        tokio::select! {
            ready = self.devices_ready(&claims) => ready,
            () = self.env.sleep(patience) => Err(Status::internal_error("device binding timeout")),
        }
    }

    /// A claim gives its devices back, unless somebody else uses it meanwhile.
    pub(super) async fn deallocate(&self, claim: &ResourceClaim, pod: &Pod) {
        let api = self.client.namespaced::<ResourceClaim>(&claim.metadata.namespace);
        let attempt = async {
            let mut current = (*api.get(&claim.metadata.name).await?).clone();
            let ours = current.metadata.uid == claim.metadata.uid
                && current.status.reserved_for.iter().all(|consumer| consumer.uid == pod.metadata.uid);
            if ours && current.status.allocation.is_some() {
                current.status.allocation = None;
                current.status.reserved_for = Default::default();
                let stored = api.update_status(current).await?;
                self.change(|state| state.core.snapshot.set(stored));
            }
            Ok::<_, Status>(())
        };
        if let Err(status) = attempt.await {
            tracing::info!(claim = %claim.metadata.name, reason = %status.message, "cannot deallocate");
        }
    }

    /// Binding failed: claims that got devices for this pod alone, whose binding conditions did not come true, give them
    /// back, so that other devices are tried.
    pub(super) async fn give_devices_back(&self, reserved: &Reserved) {
        for (claim, allocation) in &reserved.devices {
            if allocation.devices.results.iter().any(|result| !result.binding_conditions.is_empty()) {
                self.deallocate(claim, &reserved.pod.pod).await;
            }
        }
    }

    /// Waits until the drivers have prepared all devices that need it (binding conditions, KEP-5007).
    async fn devices_ready(&self, claims: &[Arc<ResourceClaim>]) -> Result<(), Status> {
        let cache = self.informers.cache::<ResourceClaim>();
        loop {
            let changed = self.storage.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mut waiting = false;
            for claim in claims {
                // The watch may be behind the write that reserved it.
                let Some(current) = cache.get(&claim.metadata.namespace, &claim.metadata.name) else {
                    waiting = true;
                    continue;
                };
                waiting |= !ready(&current).map_err(Status::internal_error)?;
            }
            if !waiting {
                return Ok(());
            }
            changed.await;
        }
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
                for result in allocation.devices.results.iter_mut() {
                    if let Some(share) = &mut result.share_id {
                        *share = self.env.random.uuid().into();
                    }
                }
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
