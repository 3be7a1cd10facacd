//! The Endpoints object of each Service with a selector.

use std::collections::BTreeMap;
use std::sync::Arc;

use informer::{Change, Key};
use meta::{List, Map, Str};
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use types::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};

use super::trigger::{self, Triggers};
use super::{address, has_ip, services_of};
use crate::common::pods;
use crate::common::selector::selects_map;
use crate::replicas::namespace_ends;

const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Most addresses of one object, as upstream.
const ADDRESSES_MAX: usize = 1000;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("endpoint", "endpoint-controller", context.clone(), Legacy::default())
        .of::<Service>()
        .on_change::<Endpoints>(|change, _| woken_by(change))
        .on::<Pod>(services_of)
        .start()
}

/// What people write by hand is theirs, with or without a Service of that name; what is ours, or goes, is looked at.
fn woken_by(change: &Change<Endpoints>) -> Vec<Key> {
    let object = change.object();
    let ours = object.metadata.labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let gone = matches!(change, Change::Deleted(_));
    if ours || gone { vec![Key::of(&**object)] } else { vec![] }
}

#[derive(Default)]
pub(crate) struct Legacy {
    triggers: Triggers,
}

impl Reconciler for Legacy {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let known = world.get_key::<Endpoints>(key);
        let Some(service) = world.get_key::<Service>(key) else {
            self.triggers.forget(key);
            // Only what has the name of a Service that is gone, and not an old leader lock.
            if let Some(left) = known.filter(|left| !left.metadata.annotations.contains_key(LEADER)) {
                plan.delete(&*left);
            }
            return Next::Done;
        };
        if service.spec.type_ == "ExternalName" || service.spec.selector.is_empty() {
            return Next::Done;
        }
        let mut pods = world.list::<Pod>(&key.namespace);
        pods.retain(|pod| selects_map(&service.spec.selector, &pod.metadata.labels));
        let changed = self.triggers.look(key, &service, pods.iter().map(|pod| &**pod));
        let mut subsets = repack(collect(&service, &pods));
        let truncated = truncate(&mut subsets);
        let mut wanted = known.as_deref().cloned().unwrap_or_default();
        wanted.metadata.name = service.metadata.name.clone();
        wanted.metadata.namespace = service.metadata.namespace.clone();
        wanted.metadata.labels = labels(&service);
        wanted.subsets = subsets;
        if truncated {
            wanted.metadata.annotations.insert(OVER_CAPACITY, "truncated".into());
        } else {
            wanted.metadata.annotations.remove(OVER_CAPACITY);
        }
        if known.as_deref().is_some_and(|known| *known == wanted) {
            return Next::Done;
        }
        trigger::annotate(&mut wanted.metadata.annotations, changed);
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        let about = wanted.clone();
        if known.is_none() {
            plan.push(Write::create(wanted).on_failure(move |status| {
                (!namespace_ends(status)).then(|| {
                    let message = format!(
                        "Failed to create endpoint for service {namespace}/{name}: {}",
                        status.message
                    );
                    Note::warning(&about, "FailedToCreateEndpoint", message)
                })
            }));
            plan.then(|outcome, _| match outcome.error() {
                Some(status) if namespace_ends(status) => Next::Done,
                _ => outcome.verdict(),
            });
        } else {
            plan.push(Write::update(wanted).on_failure(move |status| {
                let message = format!("Failed to update endpoint {namespace}/{name}: {}", status.message);
                Some(Note::warning(&about, "FailedToUpdateEndpoint", message))
            }));
        }
        Next::Done
    }
}

fn labels(service: &Service) -> Map<Str> {
    let mut labels = service.metadata.labels.clone();
    if has_ip(service) {
        labels.remove(HEADLESS);
    } else {
        labels.insert(HEADLESS, Str::new());
    }
    labels.insert(MANAGED_BY, MANAGER.into());
    labels
}

/// An address with where it belongs: its port, if any, and whether it serves.
struct Place {
    address: EndpointAddress,
    port: Option<EndpointPort>,
    ready: bool,
}

fn collect(service: &Service, pods: &[Arc<Pod>]) -> Vec<Place> {
    let publish = service.spec.publish_not_ready_addresses;
    let ipv6 = service
        .spec
        .ip_families
        .first()
        .map_or(service.spec.cluster_ip.contains(':'), |family| family == "IPv6");
    let mut places = Vec::new();
    for pod in pods.iter().filter(|pod| address::takes_part(pod, publish)) {
        let Some(ip) = address::addresses(pod, ipv6).next() else { continue };
        let address = EndpointAddress {
            ip,
            hostname: if address::has_hostname(pod, service) {
                pod.spec.hostname.clone()
            } else {
                Str::new()
            },
            node_name: Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty()),
            target_ref: Some(Box::new(address::reference(pod))),
        };
        let ready = publish || pods::is_ready(pod);
        if service.spec.ports.is_empty() && !has_ip(service) {
            places.push(Place { address: address.clone(), port: None, ready });
        }
        for port in &service.spec.ports {
            let Some(number) = address::find_port(pod, port) else { continue };
            let port = EndpointPort {
                name: port.name.clone(),
                port: number,
                protocol: port.protocol.clone(),
                app_protocol: port.app_protocol.clone(),
            };
            places.push(Place { address: address.clone(), port: Some(port), ready });
        }
    }
    places
}

type PortKey = (Str, Str, i32, Option<Str>);
/// An address by its IP and pod.
type AddressKey = (Str, Str);
/// Addresses that offer a port, and whether each serves.
type Offered = BTreeMap<AddressKey, bool>;

fn port_key(port: &EndpointPort) -> PortKey {
    (port.name.clone(), port.protocol.clone(), port.port, port.app_protocol.clone())
}

/// Groups ports that the same addresses offer into one subset each, everything in a stable order.
fn repack(places: Vec<Place>) -> List<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, EndpointAddress> = BTreeMap::new();
    let mut offers: BTreeMap<Option<PortKey>, (Option<EndpointPort>, Offered)> = BTreeMap::new();
    for place in places {
        let uid = place.address.target_ref.as_ref().map(|target| target.uid.clone()).unwrap_or_default();
        let key = (place.address.ip.clone(), uid);
        addresses.entry(key.clone()).or_insert(place.address);
        let offer =
            offers.entry(place.port.as_ref().map(port_key)).or_insert_with(|| (place.port, BTreeMap::new()));
        offer.1.insert(key, place.ready);
    }
    let mut groups: BTreeMap<Offered, EndpointSubset> = BTreeMap::new();
    for (port, offered) in offers.into_values() {
        let subset = groups.entry(offered).or_insert_with_key(|offered| {
            let those = |wanted: bool| {
                let keys = offered.iter().filter(move |(_, ready)| **ready == wanted).map(|(key, _)| key);
                keys.filter_map(|key| addresses.get(key).cloned()).collect()
            };
            EndpointSubset {
                addresses: those(true),
                not_ready_addresses: those(false),
                ..EndpointSubset::default()
            }
        });
        subset.ports.extend(port);
    }
    groups.into_values().collect()
}

/// Cuts down to the most addresses, those that do not serve first, each subset by its share. Returns whether anything
/// was cut.
fn truncate(subsets: &mut List<EndpointSubset>) -> bool {
    let ready: usize = subsets.iter().map(|subset| subset.addresses.len()).sum();
    let idle: usize = subsets.iter().map(|subset| subset.not_ready_addresses.len()).sum();
    if ready + idle <= ADDRESSES_MAX {
        return false;
    }
    let cut_ready = ready > ADDRESSES_MAX;
    let (room, total) = if cut_ready { (ADDRESSES_MAX, ready) } else { (ADDRESSES_MAX - ready, idle) };
    let mut left = room;
    for subset in subsets.iter_mut() {
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (list.len() * room).div_ceil(total).min(left).min(list.len());
        list.truncate(share);
        left -= share;
        if cut_ready {
            subset.not_ready_addresses.clear();
        }
    }
    true
}
