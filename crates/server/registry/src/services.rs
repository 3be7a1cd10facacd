//! What Services need beyond their rules: IP families, cluster IPs and node ports.
//!
//! Values are taken before the Service is validated and stored. They are leases until the commit: whatever refuses the
//! Service afterwards gives them back.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use env::Random;
use ipnet::IpNet;
use meta::{BadValue, FieldError, FieldErrorKind, Object, Status, Str};
use parking_lot::RwLock;
use types::core::v1::{Service, ServiceSpec};
use types::networking::v1::ServiceCIDR;

use crate::allocate::{AddressError, Addresses, Lease, Ports, Taking, forget_range};
use crate::errors;
use crate::registry::Registry;
use crate::served::Served;
use crate::stored::Stored;

/// The allocators.
pub(crate) struct Services {
    /// The server's own ranges, one a family.
    ranges: Vec<Addresses>,
    /// Those of further ServiceCIDRs.
    further: RwLock<Vec<Further>>,
    ports: Ports,
    random: Random,
}

/// A range that a ServiceCIDR adds (KEP-1880).
struct Further {
    /// The ServiceCIDR.
    name: Str,
    addresses: Arc<Addresses>,
    /// Whether it gives addresses; one that is to go takes them back only.
    open: bool,
}

/// Addresses that lie in a further range as well as in an earlier one are the earlier one's: so many are passed over before
/// the range counts as full.
const PASSED_OVER_MAX: usize = 256;

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
        Services { ranges, further: RwLock::default(), ports: Ports::new(node_ports), random }
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

    /// Whether an address belongs to one of the server's own ranges.
    fn own(&self, ip: IpAddr) -> Option<&Addresses> {
        self.range(family(ip)).filter(|range| range.range().contains(&ip))
    }

    /// The further ranges that have an address, in the order in which they came.
    fn further(&self, ip: IpAddr) -> Vec<Arc<Addresses>> {
        let further = self.further.read();
        let those = further.iter().filter(|one| one.addresses.range().contains(&ip));
        those.map(|one| one.addresses.clone()).collect()
    }

    fn free(&self, ip: IpAddr) {
        if let Some(range) = self.own(ip) {
            range.release(ip);
        }
        self.further(ip).iter().for_each(|range| range.release(ip));
    }

    fn mark(&self, spec: &ServiceSpec) {
        for ip in addresses(spec) {
            if let Some(range) = self.own(ip) {
                range.mark(ip);
            }
            self.further(ip).iter().for_each(|range| range.mark(ip));
        }
        ports(spec).into_iter().for_each(|port| self.ports.mark(port));
    }

    /// Adds the ranges of a ServiceCIDR, closed. Returns whether they are new.
    fn add(&self, range: &ServiceCIDR) -> bool {
        let mut further = self.further.write();
        if further.iter().any(|one| one.name == range.metadata.name) {
            return false;
        }
        for network in range.spec.cidrs.iter().filter_map(|cidr| cidr.parse().ok()) {
            let addresses = Arc::new(Addresses::new(network));
            further.push(Further { name: range.metadata.name.clone(), addresses, open: false });
        }
        true
    }

    fn set_open(&self, name: &str, open: bool) {
        self.further.write().iter_mut().filter(|one| one.name == name).for_each(|one| one.open = open);
    }

    fn remove(&self, name: &str) -> bool {
        let mut further = self.further.write();
        let gone: Vec<_> =
            further.extract_if(.., |one| one.name == name).map(|one| one.addresses.range()).collect();
        for range in &gone {
            let own = self.ranges.iter().any(|one| one.range() == *range);
            if !own && further.iter().all(|one| one.addresses.range() != *range) {
                forget_range(*range);
            }
        }
        !gone.is_empty()
    }

    /// Where an address that is asked for is to be taken: where it first belongs.
    fn take(&self, taking: &mut Taking<'_>, range: &Addresses, ip: IpAddr) -> Result<(), AddressError> {
        if range.range().contains(&ip) {
            return taking.address(range, ip);
        }
        let open = {
            let further = self.further.read();
            let first = further.iter().find(|one| one.addresses.range().contains(&ip));
            first.filter(|one| one.open).map(|one| one.addresses.clone())
        };
        taking.address(open.as_deref().unwrap_or(range), ip)
    }

    /// Any address of the family: of the server's own range, or else of a further one.
    fn take_any(&self, taking: &mut Taking<'_>, range: &Addresses) -> Result<IpAddr, AddressError> {
        let family = self::family(range.range().addr());
        let further: Vec<Arc<Addresses>> = {
            let all = self.further.read();
            let open =
                all.iter().filter(|one| one.open && self::family(one.addresses.range().addr()) == family);
            open.map(|one| one.addresses.clone()).collect()
        };
        let own = taking.any_address(range, self.random.u64());
        if own != Err(AddressError::Full) {
            return own;
        }
        for (at, one) in further.iter().enumerate() {
            let earlier = |ip: &IpAddr| {
                range.range().contains(ip) || further[..at].iter().any(|other| other.range().contains(ip))
            };
            for _ in 0..PASSED_OVER_MAX {
                match taking.any_address(one, self.random.u64()) {
                    Ok(ip) if earlier(&ip) => taking.give_back(),
                    Ok(ip) => return Ok(ip),
                    Err(_) => break,
                }
            }
        }
        Err(AddressError::Full)
    }

    /// Settles how many families the Service has and which.
    fn set_families(&self, spec: &mut ServiceSpec) -> Result<(), Vec<FieldError>> {
        let own: Vec<&str> = self.ranges.iter().map(|r| family(r.range().addr())).collect();
        let selectorless = headless(spec) && spec.selector.is_empty();
        if spec.ip_family_policy.is_none() {
            let policy = if selectorless { "RequireDualStack" } else { "SingleStack" };
            spec.ip_family_policy = Some(policy.into());
        }
        let single = spec.ip_family_policy.as_deref() == Some("SingleStack");
        let mut problems = Vec::new();
        for (count, what) in
            [(spec.cluster_ips.len(), "cluster IPs"), (spec.ip_families.len(), "IP families")]
        {
            if single && count == 2 {
                problems.push(FieldError {
                    kind: FieldErrorKind::Invalid,
                    field: "spec.ipFamilyPolicy".into(),
                    value: "SingleStack".into(),
                    detail: format!(
                        "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                    ),
                });
            }
        }
        for (at, ip) in spec.cluster_ips.clone().iter().enumerate().skip(spec.ip_families.len()) {
            let Some(family) = ip.parse().ok().map(family) else { continue };
            if self.range(family).is_some() {
                spec.ip_families.push(family.into());
            } else {
                problems.push(FieldError {
                    kind: FieldErrorKind::Invalid,
                    field: format!("spec.clusterIPs[{at}]"),
                    value: shown(spec),
                    detail: format!("{family} is not configured on this cluster"),
                });
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.check_families(spec)?;
        if spec.ip_families.is_empty() {
            spec.ip_families.push(own.first().copied().unwrap_or("IPv4").into());
        }
        if !single && (own.len() > 1 || selectorless) && spec.ip_families.len() == 1 {
            let other = if spec.ip_families[0] == "IPv4" { "IPv6" } else { "IPv4" };
            spec.ip_families.push(other.into());
        }
        Ok(())
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
        dry_run: bool,
    ) -> Result<Leases, Refused> {
        if spec.cluster_ips.is_empty() && !spec.cluster_ip.is_empty() {
            spec.cluster_ips.push(spec.cluster_ip.clone());
        }
        let problems = rules::service_addresses(spec);
        if !problems.is_empty() {
            return Err(Refused::Invalid(problems));
        }
        let mut taking = Taking::new(&self.ports, dry_run);
        if spec.type_ != "ExternalName" {
            self.set_families(spec).map_err(Refused::Invalid)?;
            if !headless(spec) {
                self.allocate_addresses(spec, held, &mut taking)?;
            }
            self.allocate_ports(spec, held, &mut taking)?;
        }
        Ok(Leases(taking.into_leases()))
    }

    fn allocate_addresses(
        &self,
        spec: &mut ServiceSpec,
        held: Option<&ServiceSpec>,
        taking: &mut Taking<'_>,
    ) -> Result<(), Refused> {
        let held = held.map(addresses).unwrap_or_default();
        let shown = shown(spec);
        let refuse = |ip: &str, why: String| {
            let what = if ip.is_empty() { String::new() } else { format!(" {ip}") };
            Refused::Invalid(vec![FieldError {
                kind: FieldErrorKind::Invalid,
                field: "spec.clusterIPs".into(),
                value: shown.clone(),
                detail: format!("failed to allocate IP{what}: {why}"),
            }])
        };
        for (index, name) in spec.ip_families.iter().enumerate() {
            let Some(range) = self.range(name) else { continue };
            let wanted = spec.cluster_ips.get(index).cloned().unwrap_or_default();
            if wanted.is_empty() {
                let taken = self.take_any(taking, range);
                let ip = taken.map_err(|e| refuse("", e.to_string()))?;
                spec.cluster_ips.push(ip.to_string().into());
                continue;
            }
            // An address that is none is for validation to refuse.
            let Ok(ip) = wanted.parse::<IpAddr>() else { continue };
            if !held.contains(&ip) {
                self.take(taking, range, ip).map_err(|e| refuse(&wanted, e.to_string()))?;
            }
        }
        spec.cluster_ip = spec.cluster_ips.first().cloned().unwrap_or_default();
        Ok(())
    }

    fn allocate_ports(
        &self,
        spec: &mut ServiceSpec,
        held: Option<&ServiceSpec>,
        taking: &mut Taking<'_>,
    ) -> Result<(), Refused> {
        let is_new = held.is_none();
        let held = held.map(ports).unwrap_or_default();
        let balanced = spec.type_ == "LoadBalancer";
        let allocates = !balanced || spec.allocate_load_balancer_node_ports.unwrap_or(true);
        if spec.type_ == "NodePort" || balanced {
            let wanted: Vec<(i32, i32)> = spec.ports.iter().map(|p| (p.port, p.node_port)).collect();
            // By port, the node port that it has: in a new Service one number serves all protocols of a port.
            let mut given: Vec<(i32, i32)> = Vec::new();
            for (index, port) in spec.ports.iter_mut().enumerate() {
                if port.node_port == 0 && !allocates {
                    continue;
                }
                if port.node_port == 0 && is_new {
                    let alike = |list: &[(i32, i32)]| {
                        list.iter().find(|(of, node)| *of == port.port && *node != 0).map(|(_, node)| *node)
                    };
                    port.node_port = alike(&given).or_else(|| alike(&wanted)).unwrap_or_default();
                }
                if port.node_port == 0 {
                    let taken = taking.any_port(self.random.u64());
                    let why = |e| Refused::Internal(format!("failed to allocate a nodePort: {e}"));
                    port.node_port = i32::from(taken.map_err(why)?);
                } else if let Ok(number) = u16::try_from(port.node_port) {
                    // A new Service may repeat the number of a port for another protocol of that port only.
                    let repeats =
                        |(of, node): &(i32, i32)| *node == port.node_port && (!is_new || *of == port.port);
                    let mine = held.contains(&number) || given.iter().any(repeats);
                    if !mine {
                        taking.port(number).map_err(|e| {
                            Refused::Invalid(vec![FieldError {
                                kind: FieldErrorKind::Invalid,
                                field: format!("spec.ports[{index}].nodePort"),
                                value: BadValue::Plain(port.node_port.to_string()),
                                detail: e.to_string(),
                            }])
                        })?;
                    }
                }
                given.push((port.port, port.node_port));
            }
        }
        if balanced && spec.external_traffic_policy == "Local" {
            let wanted = spec.health_check_node_port;
            if wanted == 0 {
                let taken = taking.any_port(self.random.u64());
                let why = |e| Refused::Internal(format!("failed to allocate a HealthCheck NodePort 0: {e}"));
                spec.health_check_node_port = i32::from(taken.map_err(why)?);
            } else if let Ok(number) = u16::try_from(wanted)
                && !held.contains(&number)
            {
                taking.port(number).map_err(|e| {
                    let why = format!("failed to allocate requested HealthCheck NodePort {wanted}: {e}");
                    Refused::Internal(why)
                })?;
            }
        }
        Ok(())
    }
}

/// Why a Service did not get what it needs.
enum Refused {
    /// It asked for what it cannot have.
    Invalid(Vec<FieldError>),
    /// Nothing is left, or upstream takes it for a fault of its own.
    Internal(String),
}

impl Refused {
    fn status(self, service: &Str) -> Status {
        match self {
            Refused::Invalid(problems) => errors::invalid("", "Service", service, problems),
            Refused::Internal(why) => errors::internal(why),
        }
    }
}

/// The addresses of a Service as refusals show them.
fn shown(spec: &ServiceSpec) -> BadValue {
    BadValue::of(&spec.cluster_ips)
}

impl Registry {
    /// Lets a further ServiceCIDR give addresses, besides those that Services have of it already.
    ///
    /// # Errors
    /// The Services cannot be read.
    pub async fn open_service_range(&self, range: &ServiceCIDR) -> Result<(), Status> {
        // Closed until it is known what is taken.
        if self.services.add(range) {
            self.load_services().await?;
        }
        self.services.set_open(&range.metadata.name, true);
        Ok(())
    }

    /// Lets a ServiceCIDR give no more addresses.
    pub fn close_service_range(&self, name: &str) {
        self.services.set_open(name, false);
    }

    /// Forgets a ServiceCIDR. What Services have of it belongs to those that overlap it from now on.
    ///
    /// # Errors
    /// The Services cannot be read.
    pub async fn forget_service_range(&self, name: &str) -> Result<(), Status> {
        if self.services.remove(name) { self.load_services().await } else { Ok(()) }
    }

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
    pub(crate) fn allocate_for_new(&self, object: &mut dyn Object, dry_run: bool) -> Result<Leases, Status> {
        let Some(service) = object.as_any_mut().downcast_mut::<Service>() else {
            return Ok(Leases::default());
        };
        let name = service.metadata.name.clone();
        self.services.allocate(&mut service.spec, None, dry_run).map_err(|refused| refused.status(&name))
    }

    /// Takes what a changed Service needs beyond what it has; what the client left out stays as it was.
    pub(crate) fn allocate_for_changed(
        &self,
        object: &mut dyn Object,
        old: &dyn Object,
        dry_run: bool,
    ) -> Result<Leases, Status> {
        let (Some(service), Some(old)) =
            (object.as_any_mut().downcast_mut::<Service>(), meta::downcast_ref::<Service>(old))
        else {
            return Ok(Leases::default());
        };
        keep_allocated(&mut service.spec, &old.spec);
        let name = service.metadata.name.clone();
        let held = Some(&*old.spec);
        self.services.allocate(&mut service.spec, held, dry_run).map_err(|refused| refused.status(&name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec;

    fn cidr(name: &str, range: &str) -> ServiceCIDR {
        let text = format!("{{\"metadata\":{{\"name\":\"{name}\"}},\"spec\":{{\"cidrs\":[\"{range}\"]}}}}");
        ServiceCIDR::from_json(text.as_bytes()).unwrap()
    }

    fn asked(services: &Services, ip: &str) -> Result<Leases, String> {
        let mut spec = ServiceSpec { type_: "ClusterIP".into(), ..ServiceSpec::default() };
        spec.cluster_ip = ip.into();
        services
            .allocate(&mut spec, None, false)
            .map_err(|refused| refused.status(&"s".into()).message.to_string())
    }

    #[test]
    fn further_ranges_give_addresses_while_they_are_open() {
        let services =
            Services::new(&["10.96.0.0/30".parse().unwrap()], 30000..=32767, env::Env::real().random);
        let outside = |outcome: Result<Leases, String>| {
            outcome.is_err_and(|why| why.contains("not in the valid range"))
        };
        assert!(outside(asked(&services, "10.98.0.5")));
        assert!(services.add(&cidr("more", "10.98.0.0/24")));
        assert!(outside(asked(&services, "10.98.0.5")), "it is closed yet");
        services.set_open("more", true);
        let five = asked(&services, "10.98.0.5").unwrap();
        assert!(asked(&services, "10.98.0.5").is_err_and(|why| why.contains("already allocated")));
        drop(five);
        asked(&services, "10.98.0.5").unwrap().keep();
        // The own range goes first; when it is full, the further one serves.
        let taken: Vec<Leases> = (0..20).map(|_| asked(&services, "").unwrap()).collect();
        services.set_open("more", false);
        assert!(asked(&services, "").is_err_and(|why| why.contains("range is full")));
        drop(taken);
        services.free("10.98.0.5".parse().unwrap());
        services.set_open("more", true);
        asked(&services, "10.98.0.5").unwrap().keep();
        assert!(services.remove("more") && outside(asked(&services, "10.98.0.6")));
    }

    #[test]
    fn a_wider_range_leaves_what_is_of_the_own_one_alone() {
        let services =
            Services::new(&["10.96.0.0/29".parse().unwrap()], 30000..=32767, env::Env::real().random);
        services.add(&cidr("wide", "10.96.0.0/28"));
        services.set_open("wide", true);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..14 {
            let mut spec = ServiceSpec { type_: "ClusterIP".into(), ..ServiceSpec::default() };
            let Ok(leases) = services.allocate(&mut spec, None, false) else { break };
            leases.keep();
            assert!(seen.insert(spec.cluster_ip.clone()), "{} twice", spec.cluster_ip);
        }
        assert!(seen.len() > 6, "{seen:?}");
    }
}
