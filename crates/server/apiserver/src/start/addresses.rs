//! IPAddress objects, one for each cluster IP of a Service, and the condition of ServiceCIDRs (KEP-1880).
//!
//! Addresses are handed out by the registry, which knows all Services; the objects tell the world who has which. They
//! follow the Services, so they are there soon after a Service is, and go soon after it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use feed::{EventKind, Item, ReadAt, Scope, Start, WatchOptions};
use ipnet::IpNet;
use meta::{Status, Str, Time};
use registry::Served;
use tokio::task::JoinHandle;
use types::core::v1::Service;
use types::networking::v1::{IPAddress, ParentReference, ServiceCIDR};

use super::first::Writer;
use super::hooks;
use super::until_stopped;
use crate::server::Server;

const GROUP: &str = "networking.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// Starts to follow, and keeps at it until the server stops.
pub(crate) fn follow_addresses(server: &Arc<Server>) -> Vec<JoinHandle<()>> {
    let tasks = [true, false].map(|of_services| {
        let following = server.clone();
        until_stopped(server, async move { follow(&following, of_services).await })
    });
    server.hooks.lives(hooks::ADDRESSES, &tasks[0]);
    server.hooks.lives(hooks::RANGES, &tasks[1]);
    tasks.into()
}

async fn follow(server: &Arc<Server>, of_services: bool) {
    let served = if of_services {
        Served::stored_version("", "services")
    } else {
        Served::stored_version(GROUP, "servicecidrs")
    };
    let Some(served) = served else { return };
    let writer = Writer::new(server, "kube-apiserver");
    loop {
        if of_services && let Err(error) = collect_garbage(server, &writer, &served).await {
            tracing::warn!(%error, "addresses of Services that are gone could not be removed");
        }
        let Ok(feed) = server.registry.feed(&served) else { return };
        let start = Start::State { at: ReadAt::Any, end_bookmark: false };
        let options = WatchOptions { capacity: 16 << 10, ..WatchOptions::new(Scope::All, start) };
        let Ok(mut watcher) = feed.watch(options).await else { return };
        while let Ok(items) = watcher.next().await {
            for item in items {
                let (object, gone) = match &item {
                    Item::Initial(entry) => (entry.object(), false),
                    Item::Event(event) => (event.entry.object(), event.kind == EventKind::Deleted),
                    Item::Bookmark { .. } => continue,
                };
                let result = match (meta::downcast_ref::<Service>(&**object), meta::downcast_ref(&**object)) {
                    (Some(service), _) => keep_addresses(server, &writer, service, gone).await,
                    (_, Some(range)) if !gone => keep_range(server, &writer, range).await,
                    (_, Some(range)) => server.registry.forget_service_range(&range.metadata.name).await,
                    _ => Ok(()),
                };
                if let Err(error) = result {
                    tracing::warn!(%error, name = %object.meta().name, "an IPAddress or ServiceCIDR was not written");
                }
            }
        }
    }
}

/// The cluster IPs of a Service in the spelling that names their objects.
fn addresses(service: &Service) -> BTreeSet<String> {
    let parsed = service.spec.cluster_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
    parsed.map(|ip| ip.to_string()).collect()
}

/// The object of an address.
fn object_of(ip: &str, service: &Service) -> IPAddress {
    let mut object = IPAddress::default();
    object.metadata.name = ip.into();
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    object.metadata.labels.insert(FAMILY, family.into());
    object.metadata.labels.insert(MANAGED_BY.0, MANAGED_BY.1.into());
    object.spec.parent_ref = Some(Box::new(ParentReference {
        resource: "services".into(),
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        ..Default::default()
    }));
    object
}

/// Whether the object is one of ours for this Service.
fn belongs(object: &IPAddress, namespace: &str, name: &str) -> bool {
    object.metadata.label(MANAGED_BY.0) == MANAGED_BY.1
        && object.spec.parent_ref.as_ref().is_some_and(|parent| {
            parent.resource == "services" && parent.namespace == namespace && parent.name == name
        })
}

async fn keep_addresses(
    server: &Server,
    writer: &Writer<'_>,
    service: &Service,
    gone: bool,
) -> Result<(), Status> {
    for ip in addresses(service) {
        if !gone {
            writer.ensure(object_of(&ip, service)).await?;
        } else if still_used(server, service, &ip).await? {
            // Another Service of the same name has it by now.
        } else {
            remove(writer, &ip, &service.metadata.namespace, &service.metadata.name).await?;
        }
    }
    if gone { free_ranges(server, writer).await } else { Ok(()) }
}

async fn still_used(server: &Server, service: &Service, ip: &str) -> Result<bool, Status> {
    let Some(served) = Served::stored_version("", "services") else { return Ok(false) };
    let found =
        server.registry.find_object(&served, &service.metadata.namespace, &service.metadata.name).await?;
    Ok(found.is_some_and(|stored| {
        meta::downcast_ref::<Service>(&**stored.object())
            .is_some_and(|service| addresses(service).contains(ip))
    }))
}

async fn remove(writer: &Writer<'_>, ip: &str, namespace: &str, name: &str) -> Result<(), Status> {
    let wanted = IPAddress {
        metadata: meta::ObjectMeta { name: ip.into(), ..Default::default() },
        ..Default::default()
    };
    match writer.current(&wanted).await? {
        Some(object) if belongs(&object, namespace, name) => writer.delete(&*object).await,
        _ => Ok(()),
    }
}

/// Removes the objects of Services that went while nobody looked.
async fn collect_garbage(server: &Server, writer: &Writer<'_>, services: &Served) -> Result<(), Status> {
    let Some(served) = Served::stored_version(GROUP, "ipaddresses") else { return Ok(()) };
    for stored in server.registry.all(&served, "").await? {
        let Some(object) = meta::downcast_ref::<IPAddress>(&**stored.object()) else { continue };
        let Some(parent) = object.spec.parent_ref.as_ref().filter(|parent| parent.resource == "services")
        else {
            continue;
        };
        let found = server.registry.find_object(services, &parent.namespace, &parent.name).await?;
        if found.is_none() && belongs(object, &parent.namespace, &parent.name) {
            writer.delete(object).await?;
        }
    }
    Ok(())
}

/// Who writes the conditions of ranges.
const KEEPER: &str = "service-cidr-controller";

/// Lets ranges go that waited for addresses to be free.
async fn free_ranges(server: &Server, writer: &Writer<'_>) -> Result<(), Status> {
    for range in ranges(server).await? {
        if range.metadata.deletion_timestamp.is_some() {
            keep_range(server, writer, &range).await?;
        }
    }
    Ok(())
}

async fn ranges(server: &Server) -> Result<Vec<ServiceCIDR>, Status> {
    let Some(served) = Served::stored_version(GROUP, "servicecidrs") else { return Ok(Vec::new()) };
    let stored = server.registry.all(&served, "").await?;
    Ok(stored.iter().filter_map(|one| meta::downcast_ref::<ServiceCIDR>(&**one.object()).cloned()).collect())
}

fn networks(range: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    range.spec.cidrs.iter().filter_map(|cidr| cidr.parse().ok())
}

/// Whether no address of a Service would be left without a range.
async fn is_free(server: &Server, range: &ServiceCIDR) -> Result<bool, Status> {
    let mut others = ranges(server).await?;
    others.retain(|other| other.metadata.name != range.metadata.name);
    let others: Vec<IpNet> = others.iter().flat_map(networks).collect();
    if networks(range).all(|own| others.iter().any(|other| other.contains(&own))) {
        return Ok(true);
    }
    let Some(served) = Served::stored_version(GROUP, "ipaddresses") else { return Ok(true) };
    let addresses = server.registry.all(&served, "").await?;
    Ok(!addresses.iter().filter_map(|one| meta::downcast_ref::<IPAddress>(&**one.object())).any(|object| {
        let Ok(ip) = object.metadata.name.parse::<IpAddr>() else { return false };
        object.metadata.label(MANAGED_BY.0) == MANAGED_BY.1
            && networks(range).any(|own| own.contains(&ip))
            && !others.iter().any(|other| other.contains(&ip))
    }))
}

/// A range is ready as soon as the server knows it, and stays until its addresses are free.
async fn keep_range(server: &Server, writer: &Writer<'_>, range: &ServiceCIDR) -> Result<(), Status> {
    let name = range.metadata.name.as_str();
    let tell = |status: &str, reason: &str, message: &str| {
        let now = Time::from_unix(server.now_s()).to_string();
        serde_json::json!({
            "type": "Ready", "status": status, "lastTransitionTime": now, "reason": reason, "message": message,
        })
    };
    let is_told = |reason: &str| {
        let mut ready = range.status.conditions.iter().filter(|condition| condition.type_ == "Ready");
        ready.any(|condition| condition.reason == reason)
    };
    let mut changed = range.clone();
    let finalizers = &mut changed.metadata.finalizers;
    if range.metadata.deletion_timestamp.is_some() {
        server.registry.close_service_range(name);
        // The first range is the cluster's own and never goes.
        if name != "kubernetes" && is_free(server, range).await? {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
            let held = finalizers.len() < range.metadata.finalizers.len();
            return if held { writer.update(changed).await } else { Ok(()) };
        }
        if is_told("Terminating") {
            return Ok(());
        }
        const USED: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new \
                            ServiceCIDR";
        let condition = tell("False", "Terminating", USED);
        return writer.of(KEEPER).apply_condition::<ServiceCIDR>(name, condition).await;
    }
    if name != "kubernetes" {
        server.registry.open_service_range(range).await?;
    }
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(Str::from(FINALIZER));
        return writer.update(changed).await;
    }
    if is_told("") {
        return Ok(());
    }
    // The range that the cluster began with has a keeper of its own, who gives no reason.
    let (manager, condition) = if name == "kubernetes" {
        let mut condition = tell("True", "", "Kubernetes default Service CIDR is ready");
        if let Some(members) = condition.as_object_mut() {
            members.remove("reason");
        }
        ("kubernetes-service-cidr-controller", condition)
    } else {
        (KEEPER, tell("True", "", "Kubernetes Service CIDR is ready"))
    };
    writer.of(manager).apply_condition::<ServiceCIDR>(name, condition).await
}
