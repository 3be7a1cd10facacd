//! PreBind of DynamicResources: allocations and reservations go into the claims' status.

use std::sync::Arc;

use call::{DeleteOptions, Precondition};
use meta::{ObjectMeta, Status, Str, Time};
use reconcile::Note;
use types::core::v1::Pod;
use types::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};

use super::{Reserved, Scheduler, metrics};
use crate::plugin::{About, ClusterEvent, What};
use crate::plugins::dynamic_resources::{self, Given, extended, is_ready};

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
        let mut all = Vec::new();
        for claim in claims.map_err(Status::internal_error)? {
            let given = reserved.devices.iter().find(|given| given.claim.metadata.uid == claim.metadata.uid);
            all.push(self.reserve_claim(reserved, &claim, given.map(|given| &given.result)).await?);
            self.landed(&claim);
        }
        for given in reserved.devices.iter().filter(|given| extended::is_unborn(&given.claim)) {
            all.push(self.create_claim(reserved, given).await?);
        }
        let conditional = |claim: &Arc<ResourceClaim>| {
            let given = claim.status.allocation.iter().flat_map(|given| given.devices.results.iter());
            given.into_iter().any(|result| !result.binding_conditions.is_empty())
        };
        if !all.iter().any(conditional) {
            return Ok(());
        }
        let text = format!("waiting for binding conditions for device on node {}", reserved.node);
        self.recorders[reserved.profile]
            .record(Note::normal(&**pod, "BindingConditionsPending", text).doing("Scheduling"));
        let patience =
            self.state.lock().core.profiles[reserved.profile].args.dynamic_resources().binding_timeout;
        tokio::select! {
            ready = self.devices_ready(&all) => ready,
            () = self.env.sleep(patience) => Err(Status::internal_error("device binding timeout")),
        }
    }

    /// The claim's devices are written down: others may look at it again.
    fn landed(&self, claim: &ResourceClaim) {
        let now = self.now();
        self.change(|state| {
            if state.core.snapshot.cluster.in_flight.remove(&claim.metadata.uid).is_some() {
                let about = About::Object(Some(claim), Some(claim));
                state.happened(ClusterEvent::Updated(What::ResourceClaim), about, now);
            }
        });
    }

    /// The claim for the pod's extended resources comes into being, with its devices, and the pod's status tells of it.
    async fn create_claim(&self, reserved: &Reserved, given: &Given) -> Result<Arc<ResourceClaim>, Status> {
        let pod = &reserved.pod.pod;
        let mut claim = (*given.claim).clone();
        claim.metadata.name = Str::default();
        claim.metadata.uid = Str::default();
        let api = self.client.namespaced::<ResourceClaim>(&pod.metadata.namespace);
        let created = api.create(claim).await;
        metrics::claim_created(created.is_ok());
        let created = created.map_err(|status| {
            Status::internal_error(format!("create claim for extended resources: {}", status.message))
        })?;
        let stored = match self.reserve_claim(reserved, &created, Some(&given.result)).await {
            Ok(stored) => stored,
            Err(status) => {
                self.delete_claim(&created).await;
                return Err(status);
            }
        };
        // The devices are the stored claim's now.
        self.change(|state| {
            state.core.snapshot.remove(&*given.claim);
            state.core.snapshot.cluster.in_flight.remove(&given.claim.metadata.uid);
        });
        let mappings: Vec<serde_json::Value> = given
            .mappings
            .iter()
            .map(|one| {
                serde_json::json!({
                    "containerName": one.container_name.as_str(),
                    "resourceName": one.resource_name.as_str(),
                    "requestName": one.request_name.as_str(),
                })
            })
            .collect();
        let status = serde_json::json!({"extendedResourceClaimStatus": {
            "resourceClaimName": stored.metadata.name.as_str(), "requestMappings": mappings,
        }});
        self.patch_pod(pod, serde_json::json!({"status": status})).await;
        Ok(stored)
    }

    /// Removes a claim that was made for extended resources.
    pub(super) async fn delete_claim(&self, claim: &ResourceClaim) {
        let api = self.client.namespaced::<ResourceClaim>(&claim.metadata.namespace);
        let attempt = async {
            let mut current = (*api.get(&claim.metadata.name).await?).clone();
            if current.metadata.uid != claim.metadata.uid {
                return Ok(());
            }
            if current.metadata.has_finalizer(FINALIZER) {
                current.metadata.finalizers.retain(|one| one != FINALIZER);
                api.update(current).await?;
            }
            let precondition =
                Precondition { uid: Some(claim.metadata.uid.clone()), ..Precondition::default() };
            let options = DeleteOptions { precondition, ..DeleteOptions::default() };
            api.delete(&claim.metadata.name, &options).await.map(|_| ())
        };
        let outcome: Result<(), Status> = attempt.await;
        if let Err(status) = outcome
            && status.code != 404
        {
            tracing::info!(claim = %claim.metadata.name, reason = %status.message, "cannot delete");
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
                current.status.devices = Default::default();
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
        self.drop_extended(reserved).await;
        for given in reserved.devices.iter().filter(|given| !extended::is_unborn(&given.claim)) {
            if given.result.devices.results.iter().any(|result| !result.binding_conditions.is_empty()) {
                self.deallocate(&given.claim, &reserved.pod.pod).await;
            }
        }
    }

    /// The claim that was made for the pod's extended resources goes: the next attempt may need another one.
    pub(super) async fn drop_extended(&self, reserved: &Reserved) {
        if reserved.devices.iter().any(|given| extended::is_unborn(&given.claim)) {
            let made = self.state.lock().core.snapshot.cluster.extended_claim(reserved.pod.uid()).cloned();
            if let Some(claim) = made {
                self.delete_claim(&claim).await;
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
                waiting |= !is_ready(&current).map_err(Status::internal_error)?;
            }
            if !waiting {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Writes devices and the reservation for the pod into the claim. What is known of the claim is tried first; only when
    /// somebody else changed it is it read again.
    async fn reserve_claim(
        &self,
        reserved: &Reserved,
        claim: &ResourceClaim,
        given: Option<&AllocationResult>,
    ) -> Result<Arc<ResourceClaim>, Status> {
        let api = self.client.namespaced::<ResourceClaim>(&claim.metadata.namespace);
        let name = format!("{}/{}", claim.metadata.namespace, claim.metadata.name);
        let pod = &reserved.pod.pod.metadata;
        // What was assumed of the claim is not what the server has.
        let cache = self.informers.cache::<ResourceClaim>();
        let known = cache.get(&claim.metadata.namespace, &claim.metadata.name);
        let known = known.filter(|known| known.metadata.uid == claim.metadata.uid);
        let mut next = Some(known.unwrap_or_else(|| Arc::new(claim.clone())));
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            let current = match next.take() {
                Some(known) => known,
                None => api.get(&claim.metadata.name).await?,
            };
            if current.metadata.uid != claim.metadata.uid {
                return Err(Status::internal_error("the ResourceClaim was replaced by another one"));
            }
            if current.metadata.deletion_timestamp.is_some() {
                return Err(Status::internal_error(format!("claim {name} got deleted in the meantime")));
            }
            if current.status.reserved_for.iter().any(|consumer| consumer.uid == pod.uid)
                && current.status.allocation.is_some()
            {
                return Ok(current);
            }
            match self.write_claim(&api, current, pod, given, &name).await {
                Ok(stored) => {
                    self.change(|state| state.core.snapshot.set(Arc::clone(&stored)));
                    return Ok(stored);
                }
                Err(status) if status.code == 409 => outcome = Err(status),
                Err(status) => return Err(status),
            }
        }
        let status = outcome.err().unwrap_or_else(|| Status::internal_error("no attempt was made"));
        Err(status)
    }

    async fn write_claim(
        &self,
        api: &client::Api<ResourceClaim>,
        current: Arc<ResourceClaim>,
        pod: &ObjectMeta,
        given: Option<&AllocationResult>,
        name: &str,
    ) -> Result<Arc<ResourceClaim>, Status> {
        let mut current = (*current).clone();
        if let Some(given) = given {
            if current.status.allocation.is_some() {
                return Err(Status::internal_error(format!(
                    "claim {name} got allocated elsewhere in the meantime"
                )));
            }
            if !current.metadata.has_finalizer(FINALIZER) {
                current.metadata.finalizers.push(FINALIZER.into());
                current = (*api.update(current).await?).clone();
            }
            let mut given = given.clone();
            for result in given.devices.results.iter_mut() {
                if let Some(share) = &mut result.share_id {
                    *share = self.env.random.uuid().into();
                }
            }
            current.status.allocation = Some(Box::new(given));
        }
        let Some(allocation) = &mut current.status.allocation else {
            return Err(Status::internal_error(format!("claim {name} lost its allocation in the meantime")));
        };
        if allocation.allocation_timestamp.is_none() {
            allocation.allocation_timestamp = Some(Time::from_unix(self.env.unix_ms() / 1000));
        }
        current.status.reserved_for.push(ResourceClaimConsumerReference {
            resource: "pods".into(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            ..ResourceClaimConsumerReference::default()
        });
        api.update_status(current).await
    }
}
