//! What Services need beyond their rules: IP families, cluster IPs and node ports.
//!
//! Values are taken before the Service is validated and stored. They are leases until the commit: whatever refuses the
//! Service afterwards gives them back.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use env::Random;
use ipnet::IpNet;
use meta::{BadValue, FieldError, FieldErrorKind, Object, Status, Str};
use types::core::v1::{Service, ServiceSpec};

use crate::allocate::{Addresses, Lease, Ports};
use crate::errors;
use crate::registry::Registry;
use crate::served::Served;
use crate::stored::Stored;

/// The allocators.
pub(crate) struct Services {
    ranges: Vec<Addresses>,
    ports: Ports,
    random: Random,
}

/// What one write took. Dropping it gives everything back.
#[derive(Default)]
pub(crate) struct Leases(Vec<Lease>);

impl Leases {
    /// The write was stored.
    pub(crate) fn keep(self) {
        self.0.into_iter().for_each(Lease::keep);
    }

    /// A change was stored: keeps what it took and gives back what it no longer uses.
    pub(crate) fn settle(self, registry: &Registry, old: &dyn Object, new: &Stored) {
        self.keep();
        let (Some(old), Some(new)) =
            (meta::downcast_ref::<Service>(old), meta::downcast_ref::<Service>(&**new.object()))
        else {
            return;
        };
        let (kept_ips, kept_ports) = (addresses(&new.spec), ports(&new.spec));
        addresses(&old.spec)
            .iter()
            .filter(|ip| !kept_ips.contains(ip))
            .for_each(|ip| registry.services.free(*ip));
        ports(&old.spec)
            .iter()
            .filter(|p| !kept_ports.contains(p))
            .for_each(|p| registry.services.ports.release(*p));
    }
}

impl Services {
    pub(crate) fn new(ranges: &[IpNet], node_ports: RangeInclusive<u16>, random: Random) -> Self {
        let ranges = ranges.iter().map(|range| Addresses::new(*range)).collect();
        Services { ranges, ports: Ports::new(node_ports), random }
    }

    /// The first address of the first range.
    pub(crate) fn first_address(&self) -> Option<IpAddr> {
        self.ranges.first().and_then(|range| range.range().hosts().next())
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> Vec<IpNet> {
        self.ranges.iter().map(Addresses::range).collect()
    }

    fn range(&self, family: &str) -> Option<&Addresses> {
        self.ranges.iter().find(|r| self::family(r.range().addr()) == family)
    }

    fn free(&self, ip: IpAddr) {
        if let Some(range) = self.range(family(ip)) {
            range.release(ip);
        }
    }

    fn mark(&self, spec: &ServiceSpec) {
        for ip in addresses(spec) {
            if let Some(range) = self.range(family(ip)) {
                range.mark(ip);
            }
        }
        ports(spec).into_iter().for_each(|port| self.ports.mark(port));
    }

    fn set_families(&self, spec: &mut ServiceSpec) {
        let own: Vec<&str> = self.ranges.iter().map(|r| family(r.range().addr())).collect();
        let default = own.first().copied().unwrap_or("IPv4");
        for ip in addresses(spec) {
            if spec.ip_families.len() < addresses(spec).len()
                && !spec.ip_families.iter().any(|f| f == family(ip))
            {
                spec.ip_families.push(family(ip).into());
            }
        }
        let selectorless = headless(spec) && spec.selector.is_empty();
        let dual = own.len() > 1;
        let policy = spec.ip_family_policy.get_or_insert_with(|| {
            if selectorless || spec.ip_families.len() == 2 || spec.cluster_ips.len() == 2 {
                "RequireDualStack".into()
            } else {
                "SingleStack".into()
            }
        });
        let wants_two = policy != "SingleStack" && (dual || selectorless);
        if spec.ip_families.is_empty() {
            spec.ip_families.push(default.into());
        }
        if wants_two && spec.ip_families.len() == 1 {
            let other = if spec.ip_families[0] == "IPv4" { "IPv6" } else { "IPv4" };
            spec.ip_families.push(other.into());
        }
    }

    /// Refuses families that the cluster has no range for; a Service without addresses of ours may name any.
    fn check_families(&self, spec: &ServiceSpec) -> Result<(), Vec<FieldError>> {
        if headless(spec) && spec.selector.is_empty() {
            return Ok(());
        }
        let problem = |field: String, value: &str, detail: &str| FieldError {
            kind: meta::FieldErrorKind::Invalid,
            field,
            value: value.into(),
            detail: detail.into(),
        };
        let known = |family: &Str| matches!(family.as_str(), "IPv4" | "IPv6");
        let mut problems: Vec<FieldError> = spec
            .ip_families
            .iter()
            .enumerate()
            .filter(|(_, family)| known(family) && self.range(family).is_none())
            .map(|(at, family)| {
                problem(format!("spec.ipFamilies[{at}]"), family, "not configured on this cluster")
            })
            .collect();
        if spec.ip_family_policy.as_deref() == Some("RequireDualStack") && self.ranges.len() < 2 {
            let detail = "this cluster is not configured for dual-stack services";
            problems.insert(0, problem("spec.ipFamilyPolicy".into(), "RequireDualStack", detail));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Fills in what is missing; what was asked for must be free or already `held` by the Service itself.
    fn allocate(
        &self,
        spec: &mut ServiceSpec,
        held: Option<&ServiceSpec>,
    ) -> Result<Leases, Vec<FieldError>> {
        let mut leases = Leases::default();
        if spec.cluster_ips.is_empty() && !spec.cluster_ip.is_empty() {
            spec.cluster_ips.push(spec.cluster_ip.clone());
        }
        let problems = rules::service_addresses(spec);
        if !problems.is_empty() {
            return Err(problems);
        }
        if spec.type_ == "ExternalName" {
            return Ok(leases);
        }
        self.set_families(spec);
        self.check_families(spec)?;
        if !headless(spec) {
            self.allocate_addresses(spec, held, &mut leases)?;
        }
        self.allocate_ports(spec, held, &mut leases)?;
        Ok(leases)
    }

    fn allocate_addresses(
        &self,
        spec: &mut ServiceSpec,
        held: Option<&ServiceSpec>,
        leases: &mut Leases,
    ) -> Result<(), Vec<FieldError>> {
        let held = held.map(addresses).unwrap_or_default();
        let shown =
            serde_json::json!(spec.cluster_ips.iter().map(Str::as_str).collect::<Vec<_>>()).to_string();
        let refuse = |ip: &str, why: String| {
            let what = if ip.is_empty() { String::new() } else { format!(" {ip}") };
            vec![FieldError {
                kind: FieldErrorKind::Invalid,
                field: "spec.clusterIPs".into(),
                value: BadValue::Plain(shown.clone()),
                detail: format!("failed to allocate IP{what}: {why}"),
            }]
        };
        for (index, name) in spec.ip_families.iter().enumerate() {
            let Some(range) = self.range(name) else { continue };
            let wanted = spec.cluster_ips.get(index).cloned().unwrap_or_default();
            if wanted.is_empty() {
                let lease = range.take_any(self.random.u64()).map_err(|e| refuse("", e.to_string()))?;
                let text = Str::from(range.address(&lease).to_string());
                leases.0.push(lease);
                spec.cluster_ips.push(text);
                continue;
            }
            // An address that is none is for validation to refuse.
            let Ok(ip) = wanted.parse::<IpAddr>() else { continue };
            if !held.contains(&ip) {
                leases.0.push(range.take(ip).map_err(|e| refuse(&wanted, e.to_string()))?);
            }
        }
        spec.cluster_ip = spec.cluster_ips.first().cloned().unwrap_or_default();
        Ok(())
    }

    fn allocate_ports(
        &self,
        spec: &mut ServiceSpec,
        held: Option<&ServiceSpec>,
        leases: &mut Leases,
    ) -> Result<(), Vec<FieldError>> {
        let held = held.map(ports).unwrap_or_default();
        let refuse = |field: String, value: i32, why: String| {
            vec![FieldError {
                kind: FieldErrorKind::Invalid,
                field,
                value: BadValue::Plain(value.to_string()),
                detail: why,
            }]
        };
        let balanced = spec.type_ == "LoadBalancer";
        let allocates = spec.allocate_load_balancer_node_ports.unwrap_or(true);
        if spec.type_ == "NodePort" || balanced {
            // One number may serve several protocols of the same Service.
            let mut own: Vec<(i32, Str)> = Vec::new();
            for (index, port) in spec.ports.iter_mut().enumerate() {
                let field = || format!("spec.ports[{index}].nodePort");
                if port.node_port == 0 {
                    if balanced && !allocates {
                        continue;
                    }
                    let lease = self
                        .ports
                        .take_any(self.random.u64())
                        .map_err(|e| refuse(field(), 0, e.to_string()))?;
                    port.node_port = i32::from(self.ports.port(&lease));
                    leases.0.push(lease);
                } else if let Ok(number) = u16::try_from(port.node_port) {
                    let mine = held.contains(&number) || own.iter().any(|(p, _)| *p == port.node_port);
                    if !mine {
                        let lease = self.ports.take(number);
                        leases.0.push(lease.map_err(|e| refuse(field(), port.node_port, e.to_string()))?);
                    }
                }
                own.push((port.node_port, port.protocol.clone()));
            }
        }
        if balanced && spec.external_traffic_policy == "Local" {
            if spec.health_check_node_port == 0 {
                let field = "spec.healthCheckNodePort".to_owned();
                let lease =
                    self.ports.take_any(self.random.u64()).map_err(|e| refuse(field, 0, e.to_string()))?;
                spec.health_check_node_port = i32::from(self.ports.port(&lease));
                leases.0.push(lease);
            } else if let Ok(number) = u16::try_from(spec.health_check_node_port)
                && !held.contains(&number)
            {
                let field = "spec.healthCheckNodePort".to_owned();
                let lease = self.ports.take(number);
                leases.0.push(lease.map_err(|e| refuse(field, spec.health_check_node_port, e.to_string()))?);
            }
        }
        Ok(())
    }
}

impl Registry {
    /// Learns which addresses and ports the stored Services use.
    pub(crate) async fn load_services(&self) -> Result<(), Status> {
        let served = Served::find("", "v1", "services").ok_or_else(errors::no_such_resource)?;
        for stored in self.all(&served, "").await? {
            if let Some(service) = meta::downcast_ref::<Service>(&**stored.object()) {
                self.services.mark(&service.spec);
            }
        }
        Ok(())
    }

    /// Takes what a new Service needs; other kinds need nothing.
    pub(crate) fn allocate_for_new(&self, object: &mut dyn Object) -> Result<Leases, Status> {
        let Some(service) = object.as_any_mut().downcast_mut::<Service>() else {
            return Ok(Leases::default());
        };
        let name = service.metadata.name.clone();
        self.services.allocate(&mut service.spec, None).map_err(|e| errors::invalid("", "Service", &name, e))
    }

    /// Takes what a changed Service needs beyond what it has; what the client left out stays as it was.
    pub(crate) fn allocate_for_changed(
        &self,
        object: &mut dyn Object,
        old: &dyn Object,
    ) -> Result<Leases, Status> {
        let (Some(service), Some(old)) =
            (object.as_any_mut().downcast_mut::<Service>(), meta::downcast_ref::<Service>(old))
        else {
            return Ok(Leases::default());
        };
        keep_allocated(&mut service.spec, &old.spec);
        let name = service.metadata.name.clone();
        let held = Some(&*old.spec);
        self.services.allocate(&mut service.spec, held).map_err(|e| errors::invalid("", "Service", &name, e))
    }

    /// Gives back what a deleted Service used.
    pub(crate) fn release(&self, object: &dyn Object) {
        let Some(service) = meta::downcast_ref::<Service>(object) else { return };
        addresses(&service.spec).into_iter().for_each(|ip| self.services.free(ip));
        ports(&service.spec).into_iter().for_each(|port| self.services.ports.release(port));
    }
}

/// Values that a client of a PUT did not repeat.
fn keep_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    let addressed = |spec: &ServiceSpec| spec.type_ != "ExternalName";
    if addressed(new) && addressed(old) && new.cluster_ip.is_empty() && new.cluster_ips.is_empty() {
        new.cluster_ip = old.cluster_ip.clone();
        new.cluster_ips = old.cluster_ips.clone();
    }
    if addressed(new) && addressed(old) {
        if new.ip_families.is_empty() {
            new.ip_families = old.ip_families.clone();
        }
        if new.ip_family_policy.is_none() {
            new.ip_family_policy = old.ip_family_policy.clone();
        }
    }
    if addressed(old) && !addressed(new) {
        // What belongs to an address goes with it, unless the client says otherwise.
        if new.internal_traffic_policy == old.internal_traffic_policy {
            new.internal_traffic_policy = None;
        }
        if new.external_traffic_policy == old.external_traffic_policy {
            new.external_traffic_policy = Str::new();
        }
    }
    if addressed(old) && !addressed(new) && new.cluster_ip == old.cluster_ip {
        new.cluster_ip = Str::new();
        new.cluster_ips.clear();
        new.ip_families.clear();
        new.ip_family_policy = None;
    }
    let exposed = |spec: &ServiceSpec| matches!(spec.type_.as_str(), "NodePort" | "LoadBalancer");
    if exposed(new) && exposed(old) {
        let mut taken: Vec<i32> = new.ports.iter().map(|p| p.node_port).collect();
        for port in new.ports.iter_mut().filter(|p| p.node_port == 0) {
            let same = old.ports.iter().find(|o| o.port == port.port && o.protocol == port.protocol);
            if let Some(same) = same.filter(|o| !taken.contains(&o.node_port)) {
                port.node_port = same.node_port;
                taken.push(same.node_port);
            }
        }
        if new.health_check_node_port == 0 && new.external_traffic_policy == "Local" {
            new.health_check_node_port = old.health_check_node_port;
        }
    }
    if exposed(old) && !exposed(new) {
        for port in &mut new.ports {
            if old.ports.iter().any(|o| o.node_port == port.node_port) {
                port.node_port = 0;
            }
        }
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip == "None"
}

fn addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    if let Ok(ip) = spec.cluster_ip.parse()
        && !found.contains(&ip)
    {
        found.push(ip);
    }
    found
}

fn ports(spec: &ServiceSpec) -> Vec<u16> {
    let all = spec.ports.iter().map(|p| p.node_port).chain([spec.health_check_node_port]);
    all.filter(|p| *p != 0).filter_map(|p| u16::try_from(p).ok()).collect()
}
