//! The EndpointSlices of each Service with a selector.

use std::collections::BTreeMap;

use informer::{Change, Key};
use meta::{Map, ObjectMeta, Str};
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World};
use types::core::v1::{Node, Pod, Service};
use types::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};

use super::metrics::{self, Measures};
use super::slicing::{self, Changes, HEADLESS, MANAGED_BY, SERVICE_NAME, Wanted, port_key};
use super::trigger::{self, Triggers};
use super::{address, has_ip, services_of};
use crate::common::owners::controller_ref;
use crate::common::pods;
use crate::common::selector::selects_map;
use crate::replicas::namespace_ends;

const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";
const BY_NODE: &str = "node";
/// Most endpoints of one slice, upstream's default.
const ENDPOINTS_MAX: usize = 100;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("endpoint_slice", "endpoint-slice-controller", context.clone(), Slices::default())
        .index::<Pod>(BY_NODE, |pod| vec![pod.spec.node_name.clone()])
        .of::<Service>()
        .on::<Pod>(services_of)
        .on::<EndpointSlice>(|slice, _| service_of(slice).into_iter().collect())
        .on_change::<Node>(|change, world| {
            let zone = |node: &Node| node.metadata.labels.get(ZONE).cloned();
            if let Change::Updated { old, new } = change
                && zone(old) == zone(new)
            {
                return Vec::new();
            }
            let pods = world.cache::<Pod>().find(BY_NODE, &change.object().metadata.name);
            pods.iter().flat_map(|pod| services_of(pod, world)).collect()
        })
        .start()
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = &slice.metadata.labels;
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let name = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(Key::new(&slice.metadata.namespace, name))
}

pub(crate) struct Slices {
    triggers: Triggers,
    measures: Measures,
}

impl Default for Slices {
    fn default() -> Self {
        Slices { triggers: Triggers::default(), measures: Measures::of_services() }
    }
}

impl Reconciler for Slices {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        // Without its Service the garbage collector ends the slices.
        let Some(service) = world.get_key::<Service>(key) else {
            self.triggers.forget(key);
            self.measures.forget(key);
            return Next::Done;
        };
        if service.spec.type_ == "ExternalName" || service.spec.selector.is_empty() {
            self.measures.forget(key);
            return Next::Done;
        }
        let mut existing = world.list::<EndpointSlice>(&key.namespace);
        existing.retain(|slice| {
            service_of(slice).as_ref() == Some(key) && slice.metadata.deletion_timestamp.is_none()
        });
        let mut pods = world.list::<Pod>(&key.namespace);
        pods.retain(|pod| {
            selects_map(&service.spec.selector, &pod.metadata.labels) && address::takes_part(pod, true)
        });

        let changed = self.triggers.look(key, &service, pods.iter().map(|pod| &**pod));
        let families = families(&service);
        let mut changes = Changes::default();
        let mut homeless = false;
        for slice in existing.iter().filter(|slice| !families.contains(&slice.address_type.as_str())) {
            changes.delete.push((**slice).clone());
        }
        for family in families {
            let of_family: Vec<EndpointSlice> = existing
                .iter()
                .filter(|slice| slice.address_type == family)
                .map(|slice| (**slice).clone())
                .collect();
            let mut wanted = BTreeMap::new();
            for pod in &pods {
                let ports = ports(&service, pod);
                let group: &mut Wanted = wanted.entry(port_key(&ports)).or_default();
                group.ports = ports;
                let node = world.get::<Node>("", &pod.spec.node_name);
                if node.is_none() && !service.spec.publish_not_ready_addresses {
                    homeless = true;
                    continue;
                }
                group.endpoints.extend(endpoint(&service, pod, node.as_deref(), family == "IPv6"));
            }
            changes.extend(one_family(&service, family, of_family, wanted));
        }
        if service.metadata.deletion_timestamp.is_some() {
            changes.create.clear();
        }
        for slice in changes.create.iter_mut().chain(&mut changes.update) {
            trigger::annotate(&mut slice.metadata.annotations, changed);
        }
        self.measures.look(key, existing.len(), &changes);
        metrics::changed(service.spec.traffic_distribution.as_deref(), &changes);
        changes.plan(plan, &self.measures);
        let about = service.clone();
        plan.then(move |outcome, plan| {
            metrics::synced(outcome.error().is_none());
            match outcome.error() {
                Some(status) if namespace_ends(status) => Next::Done,
                Some(status) => {
                    let name = format!("{}/{}", about.metadata.namespace, about.metadata.name);
                    let message =
                        format!("Error updating Endpoint Slices for Service {name}: {}", status.message);
                    plan.event(Note::warning(&*about, "FailedToUpdateEndpointSlices", message));
                    Next::Retry
                }
                // The node's arrival wakes the Service as well; this is for one that appears while this look is under way.
                None if homeless => Next::Retry,
                None => Next::Done,
            }
        });
        Next::Done
    }
}

fn one_family(
    service: &Service,
    family: &str,
    mut existing: Vec<EndpointSlice>,
    wanted: BTreeMap<slicing::PortKey, Wanted>,
) -> Changes {
    let blank = || blank(service, family);
    let mut foreign = Vec::new();
    existing.retain(|slice| {
        let ours = slice.metadata.owner_references.iter().any(|owner| owner.uid == service.metadata.uid);
        if !ours {
            foreign.push(slice.clone());
        }
        ours
    });
    let nothing = wanted.values().all(|group| group.endpoints.is_empty());
    if nothing {
        // A Service without endpoints keeps one empty slice, so that readers can tell "none" from "not yet".
        let placeholder = |slice: &EndpointSlice| slice.endpoints.is_empty() && slice.ports.is_empty();
        let removed = existing.iter().map(|slice| slice.endpoints.len()).sum();
        let mut changes = Changes { delete: foreign, removed, ..Changes::default() };
        let kept =
            existing.iter().position(|slice| placeholder(slice) && slice.metadata.labels == labels(service));
        if let Some(kept) = kept {
            existing.remove(kept);
            changes.delete.extend(existing);
            return changes;
        }
        match existing.pop() {
            Some(mut slice) => {
                slice.endpoints.clear();
                slice.ports.clear();
                slice.metadata.labels = labels(service);
                changes.update.push(slice);
            }
            None => changes.create.push(blank()),
        }
        changes.delete.extend(existing);
        return changes;
    }
    let mut changes =
        slicing::arrange(existing, wanted, ENDPOINTS_MAX, blank, |meta| bring_up(meta, service));
    changes.delete.extend(foreign);
    changes
}

fn blank(service: &Service, family: &str) -> EndpointSlice {
    let mut slice = EndpointSlice { address_type: family.into(), ..EndpointSlice::default() };
    slice.metadata.namespace = service.metadata.namespace.clone();
    slice.metadata.generate_name = Str::from(format!("{}-", service.metadata.name));
    slice.metadata.labels = labels(service);
    slice.metadata.owner_references.push(controller_ref(service));
    slice
}

fn labels(service: &Service) -> Map<Str> {
    let mut labels = service.metadata.labels.clone();
    if has_ip(service) {
        labels.remove(HEADLESS);
    } else {
        labels.insert(HEADLESS, Str::new());
    }
    labels.insert(SERVICE_NAME, service.metadata.name.clone());
    labels.insert(MANAGED_BY, MANAGER.into());
    labels
}

fn bring_up(meta: &mut ObjectMeta, service: &Service) -> bool {
    let labels = labels(service);
    let changed = meta.labels != labels;
    meta.labels = labels;
    changed
}

/// The address types that the Service has.
fn families(service: &Service) -> Vec<&'static str> {
    let known: Vec<_> = service
        .spec
        .ip_families
        .iter()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some("IPv4"),
            "IPv6" => Some("IPv6"),
            _ => None,
        })
        .collect();
    match (known.is_empty(), has_ip(service)) {
        (false, _) => known,
        (true, true) if service.spec.cluster_ip.contains(':') => vec!["IPv6"],
        (true, true) => vec!["IPv4"],
        (true, false) => vec!["IPv4", "IPv6"],
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let port = |port: &types::core::v1::ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone()),
            port: Some(address::find_port(pod, port)?),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service.spec.ports.iter().filter_map(port).collect()
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, ipv6: bool) -> Option<Endpoint> {
    let addresses: meta::List<Str> = address::addresses(pod, ipv6).collect();
    if addresses.is_empty() {
        return None;
    }
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let node_name = Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty());
    let zone = node.and_then(|node| node.metadata.labels.get(ZONE)).filter(|zone| !zone.is_empty()).cloned();
    Some(Endpoint {
        addresses,
        conditions: EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: address::has_hostname(pod, service).then(|| pod.spec.hostname.clone()),
        target_ref: Some(Box::new(address::reference(pod))),
        hints: if ready { hints(service, zone.as_ref(), node_name.as_ref()) } else { None },
        node_name,
        zone,
        ..Endpoint::default()
    })
}

/// Where traffic should come from, when the Service prefers nearness.
fn hints(service: &Service, zone: Option<&Str>, node: Option<&Str>) -> Option<Box<EndpointHints>> {
    let for_zones = || zone.map(|zone| ForZone { name: zone.clone() }).into_iter().collect();
    let hints = match service.spec.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => {
            EndpointHints { for_zones: for_zones(), ..EndpointHints::default() }
        }
        "PreferSameNode" => EndpointHints {
            for_zones: for_zones(),
            for_nodes: node.map(|node| ForNode { name: node.clone() }).into_iter().collect(),
        },
        _ => return None,
    };
    (!hints.for_zones.is_empty() || !hints.for_nodes.is_empty()).then(|| Box::new(hints))
}
