//! The lease by which this server shows that it is there (KEP-1965), and the end of leases of servers that are no more.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use meta::{MicroTime, Status};
use registry::Served;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use types::coordination::v1::Lease;

use super::first::Writer;
use super::hooks;
use super::until_stopped;
use crate::server::Server;

const NAMESPACE: &str = "kube-system";
const IDENTITY: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
const HOSTNAME: &str = "kubernetes.io/hostname";
/// How long a lease holds, how often it is renewed, and how often others are looked at (upstream's).
const HOLDS: Duration = Duration::from_secs(3600);
const RENEWAL: Duration = Duration::from_secs(10);
const COLLECTION: Duration = Duration::from_secs(3600);

/// Keeps this server's lease, and removes those that have expired, until the server stops.
pub(crate) fn keep_leases(server: &Arc<Server>) -> [JoinHandle<()>; 2] {
    let host = env::hostname().unwrap_or_else(|error| {
        tracing::warn!(%error, "the host has no name to be known by");
        server.address.ip().to_string()
    });
    let holder = format!("{}_{}", name(&host), server.env.random.uuid());
    let renewing = server.clone();
    let renew = until_stopped(server, async move {
        let writer = Writer::new(&renewing, "kube-apiserver");
        loop {
            if let Err(error) = renew(&renewing, &writer, &host, &holder).await {
                tracing::warn!(%error, "the lease of this server was not renewed");
            }
            renewing.env.sleep(RENEWAL).await;
        }
    });
    let collecting = server.clone();
    let collect = until_stopped(server, async move {
        let writer = Writer::new(&collecting, "kube-apiserver");
        loop {
            if let Err(error) = collect(&collecting, &writer).await {
                tracing::warn!(%error, "leases of other servers could not be removed");
            }
            collecting.env.sleep(COLLECTION).await;
        }
    });
    server.hooks.lives(hooks::LEASE, &renew);
    server.hooks.lives(hooks::LEASES, &collect);
    [renew, collect]
}

/// The name of a host's lease: `apiserver-` and half of the hash of its name, in base 32.
fn name(host: &str) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut bits, mut held, mut text) = (0_u32, 0, "apiserver-".to_owned());
    for byte in &Sha256::digest(host)[..16] {
        (bits, held) = (bits << 8 | u32::from(*byte), held + 8);
        while held >= 5 {
            held -= 5;
            text.push(char::from(DIGITS[(bits >> held & 31) as usize]));
        }
        bits &= (1 << held) - 1;
    }
    text.push(char::from(DIGITS[(bits << (5 - held) & 31) as usize]));
    text
}

async fn renew(server: &Server, writer: &Writer<'_>, host: &str, holder: &str) -> Result<(), Status> {
    let mut lease = Lease::default();
    lease.metadata.name = name(host).into();
    lease.metadata.namespace = NAMESPACE.into();
    let current = writer.current(&lease).await?;
    let there = current.is_some();
    if let Some(current) = current {
        lease = (*current).clone();
    }
    lease.metadata.labels.insert(IDENTITY.0, IDENTITY.1.into());
    lease.metadata.labels.insert(HOSTNAME, host.into());
    let now = MicroTime::from_unix_micros(server.env.unix_ms() * 1000);
    let spec = &mut lease.spec;
    if spec.holder_identity.as_deref() != Some(holder) {
        spec.holder_identity = Some(holder.into());
        spec.acquire_time = Some(now);
    }
    spec.lease_duration_seconds = i32::try_from(HOLDS.as_secs()).ok();
    spec.renew_time = Some(now);
    if there { writer.update(lease).await } else { writer.ensure(lease).await }
}

/// Whether nobody renews the lease any more.
fn is_expired(lease: &Lease, now_ms: i64) -> bool {
    let spec = &lease.spec;
    match (spec.renew_time, spec.lease_duration_seconds) {
        (Some(renewed), Some(holds_s)) => renewed.micros / 1000 + i64::from(holds_s) * 1000 < now_ms,
        _ => true,
    }
}

async fn collect(server: &Server, writer: &Writer<'_>) -> Result<(), Status> {
    let Some(served) = Served::stored_version("coordination.k8s.io", "leases") else { return Ok(()) };
    let all = server.registry.all(&served, NAMESPACE).await?;
    let leases = all.iter().filter_map(|stored| meta::downcast_ref::<Lease>(&**stored.object()));
    let now_ms = server.env.unix_ms();
    let dead =
        leases.filter(|lease| lease.metadata.label(IDENTITY.0) == IDENTITY.1 && is_expired(lease, now_ms));
    let removed = futures::stream::iter(dead).then(|lease| writer.delete(lease)).collect::<Vec<_>>().await;
    removed.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_by_its_hash() {
        // `printf h | sha256sum | head -c 32 | xxd -r -p | base32 | tr -d = | tr A-Z a-z`
        assert_eq!(name("h"), "apiserver-vkuuajte6gsb6qhlxrjmtgj6wy");
        assert_eq!(name("node-1").len(), "apiserver-".len() + 26);
    }

    #[test]
    fn leases_end_when_nobody_renews_them() {
        let lease = |renewed: Option<i64>, holds: Option<i32>| {
            let mut lease = Lease::default();
            lease.spec.renew_time = renewed.map(|ms| MicroTime::from_unix_micros(ms * 1000));
            lease.spec.lease_duration_seconds = holds;
            lease
        };
        for (renewed, holds, want) in [
            (Some(1_000_000), Some(60), false),
            (Some(1_000_000 - 60_001), Some(60), true),
            (None, Some(60), true),
            (Some(1_000_000), None, true),
        ] {
            assert_eq!(is_expired(&lease(renewed, holds), 1_000_000), want, "{renewed:?} {holds:?}");
        }
    }
}
