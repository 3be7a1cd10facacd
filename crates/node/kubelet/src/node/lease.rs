//! The node's heartbeat: a Lease in `kube-node-lease`, renewed every ten seconds.

use std::sync::Arc;
use std::time::Duration;

use meta::v1::OwnerReference;
use meta::{MicroTime, Status};
use types::coordination::v1::Lease;

use crate::shared::Shared;

/// Namespace of the leases of nodes.
const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;
const INTERVAL: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// Renews until dropped.
pub async fn run(shared: Arc<Shared>) {
    let mut lease: Option<Arc<Lease>> = None;
    loop {
        match renew(&shared, lease.take()).await {
            Ok(renewed) => {
                lease = Some(renewed);
                let pause = shared.env.random.jitter(INTERVAL, 0.04);
                shared.env.sleep(pause).await;
            }
            Err(status) => {
                tracing::debug!(status = %status.message, "cannot renew the node's lease");
                shared.env.sleep(RETRY).await;
            }
        }
    }
}

async fn renew(shared: &Shared, known: Option<Arc<Lease>>) -> Result<Arc<Lease>, Status> {
    let api = shared.client.namespaced::<Lease>(NAMESPACE);
    let known = match known {
        Some(lease) => Some(lease),
        None => api.get_optional(&shared.node_name).await?,
    };
    let mut lease = known.as_deref().cloned().unwrap_or_default();
    lease.metadata.name = shared.node_name.as_str().into();
    lease.metadata.namespace = NAMESPACE.into();
    lease.spec.holder_identity = Some(shared.node_name.as_str().into());
    lease.spec.lease_duration_seconds = Some(DURATION_SECONDS);
    lease.spec.renew_time = Some(MicroTime::from_unix_micros(shared.env.unix_ms() * 1000));
    let node = shared.node.read().clone();
    if lease.metadata.owner_references.is_empty() && !node.metadata.uid.is_empty() {
        lease.metadata.owner_references.push(OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node.metadata.name.clone(),
            uid: node.metadata.uid.clone(),
            ..Default::default()
        });
    }
    match known {
        Some(_) => api.update(lease).await,
        None => api.create(lease).await,
    }
}
