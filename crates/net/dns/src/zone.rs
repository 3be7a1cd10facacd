//! What the cluster has: services and their endpoints, kept up to date one object at a time. Lookups by service and by address are
//! one step in a hash map. Which answer a question gets is decided in [`crate::answer`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use crate::name::Name;

/// What the API says of one Service, as far as DNS cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Cluster addresses; empty for headless services and for those with an external name.
    pub cluster_ips: Vec<IpAddr>,
    /// Named and unnamed ports.
    pub ports: Vec<Port>,
    /// `spec.externalName` of type ExternalName.
    pub external_name: Option<String>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
}

/// A port of a service or slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Name, may be empty.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Number.
    pub port: u16,
}

/// What the API says of one EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Service that the label `kubernetes.io/service-name` names.
    pub service: String,
    /// Ports.
    pub ports: Vec<Port>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// `hostname`, if it has a name of its own.
    pub hostname: Option<String>,
    /// `conditions.ready`, absent meaning true.
    pub ready: bool,
}

/// A service with its slices.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The service, absent while only slices are known.
    pub service: Option<Service>,
    slices: BTreeMap<String, Slice>,
}

impl Entry {
    /// Endpoints that are published, with the ports of their slice.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        let all = self.service.as_ref().is_some_and(|service| service.publish_not_ready);
        let slices = self.slices.values();
        let pairs = slices
            .flat_map(|slice| slice.endpoints.iter().map(|endpoint| (endpoint, slice.ports.as_slice())));
        pairs.filter(move |(endpoint, _)| all || endpoint.ready)
    }
}

/// `namespace`, `name`.
pub type Key = (String, String);

/// The cluster's zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name, `cluster.local.` by default.
    pub domain: Name,
    /// Seconds for which answers may be remembered.
    pub ttl: u32,
    /// Counts changes, for the SOA.
    pub serial: u32,
    namespaces: HashMap<String, HashMap<String, Entry>>,
    known_namespaces: HashSet<String>,
    by_address: HashMap<IpAddr, Vec<Key>>,
    slice_owner: HashMap<Key, String>,
}

impl Zone {
    /// An empty zone. `None` if the domain is no domain name.
    pub fn new(domain: &str, ttl: u32) -> Option<Zone> {
        Some(Zone {
            domain: Name::parse(domain)?,
            ttl,
            serial: 1,
            namespaces: HashMap::new(),
            known_namespaces: HashSet::new(),
            by_address: HashMap::new(),
            slice_owner: HashMap::new(),
        })
    }

    /// The service of that name with its endpoints.
    pub fn entry(&self, namespace: &str, name: &str) -> Option<&Entry> {
        self.namespaces.get(namespace)?.get(name).filter(|entry| entry.service.is_some())
    }

    /// Whether the namespace exists, or has services.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.known_namespaces.contains(namespace)
            || self
                .namespaces
                .get(namespace)
                .is_some_and(|all| all.values().any(|entry| entry.service.is_some()))
    }

    /// Services that have this address as cluster address or endpoint.
    pub fn by_address(&self, address: IpAddr) -> &[Key] {
        self.by_address.get(&address).map(Vec::as_slice).unwrap_or_default()
    }

    /// Adds a namespace, so that names of its pods exist.
    pub fn set_namespace(&mut self, name: &str) {
        self.known_namespaces.insert(name.to_owned());
    }

    /// Removes a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        self.known_namespaces.remove(name);
    }

    /// Adds or replaces a service.
    pub fn set_service(&mut self, namespace: &str, name: &str, service: Service) {
        self.change(namespace, name, |entry| entry.service = Some(service));
    }

    /// Removes a service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.change(namespace, name, |entry| entry.service = None);
    }

    /// Adds or replaces a slice.
    pub fn set_slice(&mut self, namespace: &str, name: &str, slice: Slice) {
        let key = (namespace.to_owned(), name.to_owned());
        if self.slice_owner.get(&key).is_some_and(|owner| *owner != slice.service) {
            self.remove_slice(namespace, name);
        }
        let service = slice.service.clone();
        self.slice_owner.insert(key, service.clone());
        self.change(namespace, &service, |entry| {
            entry.slices.insert(name.to_owned(), slice);
        });
    }

    /// Removes a slice.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        if let Some(service) = self.slice_owner.remove(&(namespace.to_owned(), name.to_owned())) {
            self.change(namespace, &service, |entry| {
                entry.slices.remove(name);
            });
        }
    }

    /// Changes an entry, and the index of addresses with it.
    fn change(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut Entry)) {
        let services = self.namespaces.entry(namespace.to_owned()).or_default();
        let entry = services.entry(name.to_owned()).or_default();
        let before = addresses(entry);
        change(entry);
        let after = addresses(entry);
        if entry.service.is_none() && entry.slices.is_empty() {
            services.remove(name);
            if services.is_empty() {
                self.namespaces.remove(namespace);
            }
        }
        let key = (namespace.to_owned(), name.to_owned());
        for address in before.difference(&after) {
            if let Some(keys) = self.by_address.get_mut(address) {
                keys.retain(|have| *have != key);
                if keys.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
        for address in after.difference(&before) {
            let keys = self.by_address.entry(*address).or_default();
            let at = keys.partition_point(|have| *have < key);
            keys.insert(at, key.clone());
        }
        self.serial = self.serial.wrapping_add(1);
    }
}

/// The addresses whose names lead to this service.
fn addresses(entry: &Entry) -> HashSet<IpAddr> {
    let Some(service) = &entry.service else { return HashSet::new() };
    let of_endpoints = entry.endpoints().flat_map(|(endpoint, _)| endpoint.addresses.iter().copied());
    service.cluster_ips.iter().copied().chain(of_endpoints).collect()
}
