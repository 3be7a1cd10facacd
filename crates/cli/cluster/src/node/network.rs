//! The networks of a node: pods, Services and cluster DNS, followed from the API's objects.
//!
//! The node learns its range of pod addresses from its own Node object; then the pod network opens, DNS answers on the
//! node's own address in that range, and the node says so in an annotation ([`super::dns_service`] reads it).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use call::{PatchKind, Target, WriteOptions};
use client::Client;
use cni::from_objects::follow_nodes;
use cni::{HostGateway, Network};
use env::Env;
use informer::{Cache, Informers, Reflection, reflect};
use ipnet::IpNet;
use kubelet::network::BuiltIn;
use parking_lot::RwLock;
use proxy::NodeSpec;
use types::core::v1::{Namespace, Node as NodeObject, Service};
use types::discovery::v1::EndpointSlice;

use super::dns_service::ANSWERS_AT;
use super::{Reach, Site};

/// How long an answer from the cluster's zone may be kept by whoever asked, seconds.
const DNS_TTL: u32 = 5;
/// Pause between tries to tell the API where DNS answers.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// Keeps the service rules like the API's Services and EndpointSlices.
pub(super) async fn follow_services(informers: Arc<Informers>, node: NodeSpec) {
    proxy::follow(node, &informers.cache::<Service>(), &informers.cache::<EndpointSlice>()).await;
}

/// Opens the pod network when the node has its range, serves cluster DNS there, and keeps routes to the other nodes.
pub(super) fn follow(
    site: Site,
    reach: &Reach,
    network: Arc<BuiltIn>,
    resolv_conf: PathBuf,
) -> impl Future<Output = ()> + Send + 'static {
    let (client, informers, env) = (reach.node.clone(), reach.informers.clone(), reach.env.clone());
    async move {
        let opened = open(&site, client.clone(), env.clone()).await;
        network.set(opened.clone());
        let serving = serve_dns(&site, &informers, &client, &env, opened.gateways(), resolv_conf);
        let following = follow_nodes(opened, informers.cache::<NodeObject>(), &site.name);
        tokio::join!(serving, following);
    }
}

/// Waits for the node's range and opens the pod network. Follows its own Node alone, which is all that a node may see
/// by right.
async fn open(site: &Site, client: Client, env: Env) -> Arc<Network> {
    let own: Arc<Cache<NodeObject>> = Arc::new(Cache::new());
    let changed = own.changes();
    let mut what = Reflection::of(Target::of::<NodeObject>(""));
    what.field_selector = format!("metadata.name={}", site.name).into();
    let _following = env::spawn("own-node", reflect(client, what, env, own.clone()));
    loop {
        let ranges = own.get("", &site.name).map(|node| pod_ranges(&node));
        if let Some(ranges) = ranges.filter(|ranges| !ranges.is_empty()) {
            match open_network(site, ranges).await {
                Ok(opened) => return Arc::new(opened),
                Err(error) => tracing::error!("the pod network cannot be set up: {error:#}"),
            }
        }
        changed.notified().await;
    }
}

fn pod_ranges(node: &NodeObject) -> Vec<IpNet> {
    node.spec.pod_cidrs.iter().filter_map(|range| range.parse().ok()).collect()
}

async fn open_network(site: &Site, ranges: Vec<IpNet>) -> Result<Network> {
    let config = site.network_config(ranges)?;
    let opened = tokio::task::spawn_blocking(move || Network::open(config, Box::new(HostGateway))).await?;
    Ok(opened?)
}

/// Answers DNS on the node's own pod address, and says so.
async fn serve_dns(
    site: &Site,
    informers: &Arc<Informers>,
    client: &Client,
    env: &Env,
    addresses: Vec<IpAddr>,
    resolv_conf: PathBuf,
) {
    let Some(zone) = dns::Zone::new(&site.cluster_domain, DNS_TTL) else {
        tracing::error!("cluster DNS does not answer: {} is no domain", site.cluster_domain);
        return;
    };
    let zone = Arc::new(RwLock::new(zone));
    let (services, slices, namespaces) =
        (informers.cache::<Service>(), informers.cache::<EndpointSlice>(), informers.cache::<Namespace>());
    dns::from_objects::follow(&zone, &services, &slices, &namespaces);
    let server = loop {
        let config = dns::Config {
            listen: addresses.iter().map(|address| SocketAddr::new(*address, 53)).collect(),
            upstream: dns::Upstream::File(resolv_conf.clone()),
            never_ask: site.cluster_dns.clone(),
        };
        match dns::Server::bind(config, zone.clone()).await {
            Ok(server) => break server,
            Err(error) => tracing::error!("cluster DNS does not answer: {error}"),
        }
        env.sleep(PAUSE).await;
    };
    let announcing = async {
        // Who does not know the cluster yet, or may not, would answer that names do not exist.
        tokio::join!(services.synced(), slices.synced(), namespaces.synced());
        announce(&site.name, client, &informers.cache(), env, &addresses).await;
    };
    tokio::join!(server.run(), announcing);
}

/// Names the node's addresses of DNS in its Node object, and again in the next one after that was deleted.
async fn announce(
    node: &str,
    client: &Client,
    nodes: &Arc<Cache<NodeObject>>,
    env: &Env,
    addresses: &[IpAddr],
) {
    let text = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let patch = serde_json::json!({"metadata": {"annotations": {ANSWERS_AT: text}}}).to_string();
    let changed = nodes.changes();
    nodes.synced().await;
    loop {
        let shown =
            |node: &Arc<NodeObject>| node.metadata.annotations.get(ANSWERS_AT) == Some(&text.as_str().into());
        if nodes.get("", node).is_some_and(|node| !shown(&node)) {
            let options = WriteOptions::default();
            let api = client.all::<NodeObject>();
            if let Err(status) = api.patch(node, PatchKind::Merge, patch.clone().into(), &options).await {
                tracing::warn!("where cluster DNS answers is not shown: {}", status.message);
                env.sleep(PAUSE).await;
                continue;
            }
        }
        changed.notified().await;
    }
}
