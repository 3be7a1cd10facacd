//! Applies plans to the kernel: the table, the setting that lets node ports answer on 127.0.0.1, and stale UDP flows.
//! [`run`] follows snapshots, [`follow`] the API's objects.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use informer::Cache;
use netlink::nft::{self, Ruleset};
use netlink::{Socket, nft::apply};
use tokio::sync::watch;
use types::core::v1::Service;
use types::discovery::v1::EndpointSlice;

use crate::flows::UdpView;
use crate::from_objects::SharedObjects;
use crate::guard::Guard;
use crate::health::{HealthServer, wanted};
use crate::plan::plan;
use crate::spec::{NodeSpec, Snapshot};

const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";
/// Wait before trying again after the kernel refused, doubled each time up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Why the kernel does not have the rules it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules were refused or could not be sent; trying again helps if another program holds the table.
    #[error("service rules: {0}")]
    Rules(#[source] netlink::Error),
    /// Flows could not be listed or deleted.
    #[error("service flows: {0}")]
    Flows(#[source] netlink::Error),
    /// Node ports cannot be made to answer on 127.0.0.1.
    #[error("node ports on localhost (net.ipv4.conf.all.route_localnet): {0}")]
    Localhost(#[source] std::io::Error),
}

/// The service proxy of one node. Calls block; they act in the network namespace of the calling thread.
#[derive(Debug)]
pub struct Proxy {
    node: NodeSpec,
    applied: Option<Ruleset>,
    udp: UdpView,
    localhost_open: bool,
}

impl Proxy {
    /// A proxy that has not applied anything; its first [`Proxy::apply`] replaces what an earlier process left, in one
    /// transaction, so that no connection meets a gap.
    pub fn new(node: NodeSpec) -> Proxy {
        Proxy { node, applied: None, udp: UdpView::default(), localhost_open: false }
    }

    /// The table as last applied, for display.
    pub fn applied(&self) -> Option<&Ruleset> {
        self.applied.as_ref()
    }

    /// Makes the kernel's rules those of `snapshot`. After an error the old rules are still whole.
    pub fn apply(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let table = plan(&snapshot.services, &snapshot.slices, &self.node);
        let mut socket = Socket::netfilter().map_err(Error::Rules)?;
        apply(&mut socket, self.applied.as_ref(), &table).map_err(Error::Rules)?;
        self.applied = Some(table);
        // After the rules, so that loopback is guarded before it is opened.
        if self.node.localhost_node_ports && !self.localhost_open {
            std::fs::write(ROUTE_LOCALNET, "1").map_err(Error::Localhost)?;
            self.localhost_open = true;
        }
        let view = UdpView::new(snapshot, &self.node);
        if view != self.udp {
            view.forget_stale().map_err(Error::Flows)?;
            self.udp = view;
        }
        Ok(())
    }

    /// Removes the rules of this node's proxy, whether or not this process made them, and closes loopback again.
    pub fn remove(node: &NodeSpec) -> Result<(), Error> {
        let mut socket = Socket::netfilter().map_err(Error::Rules)?;
        if !nft::table_exists(&mut socket, &node.table).map_err(Error::Rules)? {
            return Ok(());
        }
        if node.localhost_node_ports {
            std::fs::write(ROUTE_LOCALNET, "0").map_err(Error::Localhost)?;
        }
        nft::delete_table(&mut socket, &node.table).map_err(Error::Rules)
    }
}

/// Keeps the rules and the health check ports like the newest snapshot, until the sender is gone or the future is dropped; the rules
/// stay. Snapshots that come while another is being applied are skipped but for the newest. Errors are logged and tried
/// again. The first snapshot must be whole: without services it takes the rules of an earlier process away.
pub async fn run(node: NodeSpec, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let mut proxy = Proxy::new(node.clone());
    let mut health = HealthServer::new(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let mut retry = RETRY_MIN;
    let guard = Guard::new(&node.table)
        .inspect_err(|error| tracing::warn!(%error, "service rules that others remove come back only with the next change"))
        .ok();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        health.sync(wanted(&snapshot, &node)).await;
        let applied = tokio::task::spawn_blocking(move || {
            let result = proxy.apply(&snapshot);
            (proxy, result)
        });
        let result = match applied.await {
            Ok((back, result)) => {
                proxy = back;
                result
            }
            // The process is shutting down.
            Err(_) => return,
        };
        let changed = match result {
            Ok(()) => {
                retry = RETRY_MIN;
                tokio::select! {
                    changed = snapshots.changed() => changed,
                    () = gone(guard.as_ref()) => {
                        tracing::warn!(table = %node.table, "somebody removed the service rules; putting them back");
                        proxy.applied = None;
                        Ok(())
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "service rules not applied; trying again");
                let wait = retry;
                retry = (retry * 2).min(RETRY_MAX);
                tokio::time::timeout(wait, snapshots.changed()).await.unwrap_or(Ok(()))
            }
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn gone(guard: Option<&Guard>) {
    match guard {
        Some(guard) => guard.gone().await,
        None => std::future::pending().await,
    }
}

/// Keeps the rules and the health check ports like the caches of Services and EndpointSlices, from when both are in sync until the
/// future is dropped.
pub async fn follow(node: NodeSpec, services: &Cache<Service>, slices: &Cache<EndpointSlice>) {
    let objects = SharedObjects::follow(services, slices);
    let mut changes = objects.changes();
    services.synced().await;
    slices.synced().await;
    changes.borrow_and_update();
    let (snapshots, received) = watch::channel(Arc::new(objects.snapshot()));
    let feed = async {
        while changes.changed().await.is_ok() {
            changes.borrow_and_update();
            snapshots.send_replace(Arc::new(objects.snapshot()));
        }
    };
    tokio::select! {
        () = run(node, received) => {}
        () = feed => {}
    }
}
