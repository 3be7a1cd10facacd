//! EndpointSlices for Endpoints that people write by hand, for Services without a selector.

use std::collections::BTreeMap;
use std::time::Instant;

use informer::Key;
use meta::{Map, ObjectMeta, Str};
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World};
use types::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use types::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use super::has_ip;
use super::metrics::{self, Measures};
use super::slicing::{self, Changes, HEADLESS, MANAGED_BY, SLICES_OF, Wanted, port_key};
use super::trigger::TRIGGER_TIME;
use crate::common::owners::controller_ref;
use crate::replicas::namespace_ends;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most endpoints taken from one subset, upstream's default.
const SUBSET_MAX: usize = 1000;

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new(
        "endpoint_slice_mirroring",
        "endpoint-slice-mirroring-controller",
        context.clone(),
        Mirror::default(),
    )
    .of::<Endpoints>()
    .of::<Service>()
    .on::<EndpointSlice>(|slice, _| endpoints_of(slice).into_iter().collect())
    .start()
}

fn endpoints_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = &slice.metadata.labels;
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let name = labels.get(SLICES_OF).filter(|_| ours)?;
    Some(Key::new(&slice.metadata.namespace, name))
}

pub(crate) struct Mirror {
    measures: Measures,
}

impl Default for Mirror {
    fn default() -> Self {
        Mirror { measures: Measures::of_mirrors() }
    }
}

impl Reconciler for Mirror {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let begun = Instant::now();
        let mut existing = world.list::<EndpointSlice>(&key.namespace);
        existing.retain(|slice| {
            endpoints_of(slice).as_ref() == Some(key) && slice.metadata.deletion_timestamp.is_none()
        });
        let existing: Vec<EndpointSlice> = existing.iter().map(|slice| (**slice).clone()).collect();
        let service = world.get_key::<Service>(key).filter(|service| service.spec.selector.is_empty());
        let endpoints = world.get_key::<Endpoints>(key).filter(|endpoints| is_mirrored(&endpoints.metadata));
        let (Some(service), Some(endpoints)) = (service, endpoints) else {
            self.measures.forget(key);
            Changes { delete: existing, ..Changes::default() }.plan(plan, &self.measures);
            return Next::Done;
        };
        let mut changes = Changes::default();
        for family in ["IPv4", "IPv6"] {
            let of_family = existing.iter().filter(|slice| slice.address_type == family).cloned().collect();
            let more = slicing::arrange(
                of_family,
                wanted(&endpoints, family == "IPv6"),
                SUBSET_MAX,
                || blank(&endpoints, &service, family),
                |meta| bring_up(meta, &endpoints, &service),
            );
            changes.extend(more);
        }
        self.measures.look(key, existing.len(), &changes);
        let all =
            endpoints.subsets.iter().map(|subset| subset.addresses.len() + subset.not_ready_addresses.len());
        metrics::mirrors(&changes, all.sum::<usize>().saturating_sub(changes.endpoints));
        changes.plan(plan, &self.measures);
        plan.then(move |outcome, _| {
            metrics::mirrored(begun);
            match outcome.error() {
                Some(status) if namespace_ends(status) => Next::Done,
                _ => outcome.verdict(),
            }
        });
        Next::Done
    }
}

fn is_mirrored(meta: &ObjectMeta) -> bool {
    !meta.annotations.contains_key(LEADER) && meta.labels.get(SKIP).is_none_or(|skip| skip != "true")
}

fn wanted(endpoints: &Endpoints, ipv6: bool) -> BTreeMap<slicing::PortKey, Wanted> {
    let mut groups: BTreeMap<slicing::PortKey, Wanted> = BTreeMap::new();
    for subset in &endpoints.subsets {
        let ports = ports(subset);
        let ready = subset.addresses.iter().map(|address| (address, true));
        let idle = subset.not_ready_addresses.iter().map(|address| (address, false));
        let of_family = |address: &EndpointAddress| address.ip.contains(':') == ipv6;
        let list: Vec<Endpoint> = ready
            .chain(idle)
            .filter(|(address, _)| of_family(address))
            .take(SUBSET_MAX)
            .map(|(address, ready)| endpoint(address, ready))
            .collect();
        if !list.is_empty() {
            let group = groups.entry(port_key(&ports)).or_default();
            group.ports = ports;
            group.endpoints.extend(list);
        }
    }
    groups
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let port = |port: &types::core::v1::EndpointPort| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    };
    subset.ports.iter().map(port).collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: [address.ip.clone()].into_iter().collect(),
        conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
        hostname: Some(address.hostname.clone()).filter(|name| !name.is_empty()),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        ..Endpoint::default()
    }
}

fn blank(endpoints: &Endpoints, service: &Service, family: &str) -> EndpointSlice {
    let mut slice = EndpointSlice { address_type: family.into(), ..EndpointSlice::default() };
    slice.metadata.namespace = endpoints.metadata.namespace.clone();
    slice.metadata.generate_name = Str::from(format!("{}-", endpoints.metadata.name));
    slice.metadata.owner_references.push(controller_ref(endpoints));
    bring_up(&mut slice.metadata, endpoints, service);
    slice
}

fn bring_up(meta: &mut ObjectMeta, endpoints: &Endpoints, service: &Service) -> bool {
    let mut labels: Map<Str> = endpoints.metadata.labels.clone();
    labels.remove("endpoints.kubernetes.io/managed-by");
    labels.insert(SLICES_OF, endpoints.metadata.name.clone());
    labels.insert(MANAGED_BY, MANAGER.into());
    if has_ip(service) {
        labels.remove(HEADLESS);
    } else {
        labels.insert(HEADLESS, Str::new());
    }
    let mut annotations = endpoints.metadata.annotations.clone();
    annotations.remove(TRIGGER_TIME);
    annotations.remove(LAST_APPLIED);
    let changed = meta.labels != labels || meta.annotations != annotations;
    meta.labels = labels;
    meta.annotations = annotations;
    changed
}
