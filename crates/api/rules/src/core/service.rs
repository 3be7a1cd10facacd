//! Services.

use super::pod::container::{PROTOCOLS, number};
use super::pod::probe;
use crate::check::{Errs, dns_label, dns_subdomain, ip, labels, name_1035_label, qualified_name};
use crate::fill::{set, text, text_opt};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{BadValue, FieldError, IntOrString, List, Str, thin_vec};
use std::collections::BTreeSet;
use std::net::IpAddr;
use types::core::v1::*;

const STICKY_SECONDS: i32 = 10800;
const STICKY_SECONDS_MAX: i32 = 86400;
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

impl Rules for Service {
    const NAME: crate::check::NameCheck = service_name;
    const CREATE_ON_UPDATE: bool = true;
    const FIELD_LABELS: &'static [&'static str] = &["spec.clusterIP", "spec.type"];
    spec_and_status!();

    fn default(&mut self) {
        default(self);
    }

    fn prepare_create(&mut self, _cx: &Context) {
        self.clear_status();
        sync_cluster_ips(&mut self.spec, None);
    }

    fn prepare_update(&mut self, old: &Self, _cx: &Context) {
        self.keep_status(old);
        keep_allocated(&mut self.spec, &old.spec);
        sync_cluster_ips(&mut self.spec, Some(&old.spec));
        drop_what_the_type_lost(&mut self.spec, &old.spec);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        check(self, e);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        fixed_addresses(e, &self.spec, &old.spec);
        fixed_families(e, &self.spec, &old.spec);
        if is_balancer(&self.spec)
            && is_balancer(&old.spec)
            && self.spec.load_balancer_class != old.spec.load_balancer_class
        {
            let value = BadValue::of(&self.spec.load_balancer_class);
            e.invalid(&Path::root("spec").child("loadBalancerClass"), value, "may not change once set");
        }
        balancer_class(e, &Path::root("spec"), &self.spec);
        let ports = (self.spec.health_check_node_port, old.spec.health_check_node_port);
        if needs_health_check(&self.spec) && needs_health_check(&old.spec) && ports.0 != ports.1 {
            e.forbidden(&Path::root("spec").child("healthCheckNodePort"), "field is immutable");
        }
        check(self, e);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let status = Path::root("status");
        balancer_status(e, &status.child("loadBalancer"), &self.status.load_balancer, &self.spec);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        warnings(self)
    }

    fn status_warnings(&self) -> Vec<String> {
        let status = Path::root("status");
        let balancer = status.child("loadBalancer");
        let ips = self.status.load_balancer.ingress.iter().map(|ingress| &ingress.ip);
        ip::balancer_warnings(&balancer.child("ingress"), ips)
    }

    fn field(&self, label: &str) -> Option<Str> {
        match label {
            "spec.clusterIP" => Some(self.spec.cluster_ip.clone()),
            "spec.type" => Some(self.spec.type_.clone()),
            _ => None,
        }
    }
}

/// Service names may begin with a digit since v1.36 (KEP-5311).
fn service_name(name: &str, prefix: bool) -> crate::check::Messages {
    if name_1035_label(name, prefix).is_empty() { Vec::new() } else { crate::check::name_label(name, prefix) }
}

fn default(service: &mut Service) {
    let spec = &mut service.spec;
    text(&mut spec.session_affinity, "None");
    if spec.session_affinity == "None" {
        spec.session_affinity_config = None;
    }
    if spec.session_affinity == "ClientIP" {
        let config = spec.session_affinity_config.get_or_insert_default();
        set(&mut config.client_ip.get_or_insert_default().timeout_seconds, STICKY_SECONDS);
    }
    text(&mut spec.type_, "ClusterIP");
    for port in spec.ports.iter_mut() {
        text(&mut port.protocol, "TCP");
        if matches!(&port.target_port, IntOrString::Int(0))
            || matches!(&port.target_port, IntOrString::String(s) if s.is_empty())
        {
            port.target_port = IntOrString::Int(port.port);
        }
    }
    if is_external(spec) {
        text(&mut spec.external_traffic_policy, "Cluster");
    }
    if needs_cluster_ip(spec) {
        text_opt(&mut spec.internal_traffic_policy, "Cluster");
    }
    if is_balancer(spec) {
        set(&mut spec.allocate_load_balancer_node_ports, true);
        for ingress in service.status.load_balancer.ingress.iter_mut().filter(|i| !i.ip.is_empty()) {
            text_opt(&mut ingress.ip_mode, "VIP");
        }
    }
}

fn is_balancer(spec: &ServiceSpec) -> bool {
    spec.type_ == "LoadBalancer"
}

fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    ["ClusterIP", "NodePort", "LoadBalancer"].contains(&spec.type_.as_str())
}

fn needs_node_port(spec: &ServiceSpec) -> bool {
    spec.type_ == "NodePort" || (is_balancer(spec) && spec.allocate_load_balancer_node_ports != Some(false))
}

/// Whether traffic can come from outside the cluster.
fn is_external(spec: &ServiceSpec) -> bool {
    is_balancer(spec)
        || spec.type_ == "NodePort"
        || (spec.type_ == "ClusterIP" && !spec.external_ips.is_empty())
}

/// Whether nodes must tell a load balancer if they have endpoints.
fn needs_health_check(spec: &ServiceSpec) -> bool {
    is_balancer(spec) && spec.external_traffic_policy == "Local"
}

fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(&spec.cluster_ips[..], [only] if only == "None")
}

/// `clusterIP` and the first of `clusterIPs` are one value; whichever the user changed wins.
fn sync_cluster_ips(spec: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    match old {
        None if !spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() => {
            spec.cluster_ips = thin_vec![spec.cluster_ip.clone()];
        }
        Some(old) if spec.cluster_ip != old.cluster_ip && spec.cluster_ips == old.cluster_ips => {
            spec.cluster_ips = match spec.cluster_ip.as_str() {
                "" => List::new(),
                _ => thin_vec![spec.cluster_ip.clone()],
            };
        }
        _ => {}
    }
}

/// What the server allocated stays when the user leaves it out.
fn keep_allocated(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old) && needs_cluster_ip(spec) {
        if spec.cluster_ip.is_empty() {
            spec.cluster_ip = old.cluster_ip.clone();
        }
        if spec.cluster_ips.is_empty() && spec.cluster_ip == old.cluster_ip {
            spec.cluster_ips = old.cluster_ips.clone();
        }
    }
    if needs_node_port(old) && needs_node_port(spec) {
        let mut used: BTreeSet<i32> = spec.ports.iter().map(|p| p.node_port).filter(|p| *p != 0).collect();
        for port in spec.ports.iter_mut().filter(|p| p.node_port == 0) {
            let same = |o: &&ServicePort| o.protocol == port.protocol && o.port == port.port;
            if let Some(kept) = old.ports.iter().find(same).map(|o| o.node_port).filter(|p| !used.contains(p))
            {
                port.node_port = kept;
                used.insert(kept);
            }
        }
    }
    if needs_health_check(old) && needs_health_check(spec) && spec.health_check_node_port == 0 {
        spec.health_check_node_port = old.health_check_node_port;
    }
}

/// When the type changes, fields that the new type does not have go, unless the user changed them too.
fn drop_what_the_type_lost(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        if spec.cluster_ip == old.cluster_ip && spec.cluster_ips == old.cluster_ips {
            spec.cluster_ip = Str::default();
            spec.cluster_ips = List::new();
        }
        if spec.ip_families == old.ip_families {
            spec.ip_families = List::new();
        }
        if spec.ip_family_policy == old.ip_family_policy {
            spec.ip_family_policy = None;
        }
    }
    let node_ports = |s: &ServiceSpec| s.ports.iter().map(|p| p.node_port).collect::<Vec<_>>();
    if needs_node_port(old) && !needs_node_port(spec) && node_ports(spec) == node_ports(old) {
        spec.ports.iter_mut().for_each(|p| p.node_port = 0);
    }
    if needs_health_check(old)
        && !needs_health_check(spec)
        && spec.health_check_node_port == old.health_check_node_port
    {
        spec.health_check_node_port = 0;
    }
    if is_balancer(old) && !is_balancer(spec) {
        if spec.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if spec.load_balancer_class == old.load_balancer_class {
            spec.load_balancer_class = None;
        }
    }
    if is_external(old) && !is_external(spec) && spec.external_traffic_policy == old.external_traffic_policy {
        spec.external_traffic_policy = Str::default();
    }
}

fn check(service: &Service, e: &mut Errs) {
    let spec = &service.spec;
    let at = Path::root("spec");
    if spec.ports.is_empty() && !is_headless(spec) && spec.type_ != "ExternalName" {
        e.required(&at.child("ports"), "");
    }
    match spec.type_.as_str() {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            e.invalid(
                &at.child("clusterIPs").index(0),
                "None",
                format!("may not be set to 'None' for {kind} services"),
            );
        }
        "ExternalName" => external_name(e, &at, spec),
        _ => {}
    }
    let ports_at = at.child("ports");
    let mut names = BTreeSet::new();
    for (i, p) in spec.ports.iter().enumerate() {
        port(e, &ports_at.index(i), p, spec.ports.len() > 1, &mut names);
    }
    labels::labels(e, &at.child("selector"), &spec.selector);
    e.required_one_of(&at.child("sessionAffinity"), &spec.session_affinity, &["ClientIP", "None"]);
    affinity(e, &at.child("sessionAffinityConfig"), spec);
    addresses(e, spec);
    let list = at.child("externalIPs");
    for (i, value) in spec.external_ips.iter().enumerate() {
        let before = e.len();
        ip::address(e, &list.index(i), value);
        if e.len() == before {
            ip::reachable(e, &list.index(i), value);
        }
    }
    e.required_one_of(
        &at.child("type"),
        &spec.type_,
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    port_pairs(e, &ports_at, spec);
    source_ranges(e, service);
    if spec.allocate_load_balancer_node_ports.is_some() && !is_balancer(spec) {
        e.forbidden(&at.child("allocateLoadBalancerNodePorts"), ONLY_LOAD_BALANCER);
    }
    if is_balancer(spec) && spec.allocate_load_balancer_node_ports.is_none() {
        e.required(&Path::root("allocateLoadBalancerNodePorts"), "");
    }
    balancer_class(e, &at, spec);
    traffic(e, &at, spec);
}

fn balancer_class(e: &mut Errs, at: &Path<'_>, spec: &ServiceSpec) {
    let Some(class) = &spec.load_balancer_class else { return };
    let at = at.child("loadBalancerClass");
    if is_balancer(spec) {
        e.each(&at, class, qualified_name(class));
    } else {
        e.forbidden(&at, ONLY_LOAD_BALANCER);
    }
}

fn external_name(e: &mut Errs, at: &Path<'_>, spec: &ServiceSpec) {
    for (field, set) in [
        ("clusterIPs", !spec.cluster_ips.is_empty()),
        ("ipFamilies", !spec.ip_families.is_empty()),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ] {
        if set {
            e.forbidden(&at.child(field), "may not be set for ExternalName services");
        }
    }
    let name = spec.external_name.strip_suffix('.').unwrap_or(&spec.external_name);
    if e.present(&at.child("externalName"), name) {
        e.each(&at.child("externalName"), name, dns_subdomain(name));
    }
}

fn port<'a>(e: &mut Errs, at: &Path<'_>, p: &'a ServicePort, named: bool, names: &mut BTreeSet<&'a Str>) {
    if named && p.name.is_empty() {
        e.required(&at.child("name"), "");
    } else if !p.name.is_empty() {
        e.each(&at.child("name"), &p.name, dns_label(&p.name));
        if !names.insert(&p.name) {
            e.duplicate(&at.child("name"), &p.name);
        }
    }
    number(e, &at.child("port"), p.port);
    e.required_one_of(&at.child("protocol"), &p.protocol, &PROTOCOLS);
    probe::port(e, &at.child("targetPort"), &p.target_port);
    if let Some(protocol) = &p.app_protocol {
        e.each(&at.child("appProtocol"), protocol, qualified_name(protocol));
    }
}

fn affinity(e: &mut Errs, at: &Path<'_>, spec: &ServiceSpec) {
    const WHEN: &str = "when session affinity type is ClientIP";
    match (spec.session_affinity.as_str(), &spec.session_affinity_config) {
        ("ClientIP", None) => e.required(at, WHEN),
        ("ClientIP", Some(config)) => {
            let at = at.child("clientIP");
            match config.client_ip.as_ref().map(|c| c.timeout_seconds) {
                None => e.required(&at, WHEN),
                Some(None) => e.required(&at.child("timeoutSeconds"), WHEN),
                Some(Some(seconds)) if !(1..=STICKY_SECONDS_MAX).contains(&seconds) => e.invalid(
                    &at.child("timeoutSeconds"),
                    seconds,
                    format!("must be greater than 0 and less than {STICKY_SECONDS_MAX}"),
                ),
                Some(Some(_)) => {}
            }
        }
        ("None", Some(_)) => e.forbidden(at, "must not be set when session affinity is None"),
        _ => {}
    }
}

/// What is wrong with a Service's cluster addresses, families and family policy, which is judged before any is given out.
pub fn service_addresses(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut e = Errs::new();
    addresses(&mut e, spec);
    e.into_vec()
}

/// Cluster addresses, their families and the family policy, and that they fit together.
pub(crate) fn addresses(e: &mut Errs, spec: &ServiceSpec) {
    if spec.type_ == "ExternalName" {
        return;
    }
    let root = Path::root("spec");
    let at = root.child("clusterIPs");
    match (spec.cluster_ip.as_str(), spec.cluster_ips.first()) {
        ("", None) => {}
        ("", Some(_)) => {
            e.invalid(&at, BadValue::of(&spec.cluster_ips), "must be empty when `clusterIP` is not specified")
        }
        (_, None) => e.required(&at, ""),
        (one, Some(first)) if one != first => {
            e.invalid(&at, BadValue::of(&spec.cluster_ips), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let families = root.child("ipFamilies");
    for (i, family) in spec.ip_families.iter().enumerate() {
        e.one_of(&families.index(i), family, &FAMILIES);
        if spec.ip_families[..i].contains(family) {
            e.duplicate(&families.index(i), family);
        }
    }
    if let Some(policy) = &spec.ip_family_policy {
        e.one_of(
            &root.child("ipFamilyPolicy"),
            policy,
            &["PreferDualStack", "RequireDualStack", "SingleStack"],
        );
    }
    let before = e.len();
    for (i, value) in spec.cluster_ips.iter().enumerate() {
        if i == 0 && value == "None" {
            if spec.cluster_ips.len() > 1 {
                e.invalid(&at, BadValue::of(&spec.cluster_ips), "'None' must be the first and only value");
            }
        } else {
            ip::address(e, &at.index(i), value);
        }
    }
    let all_valid = e.len() == before;
    if spec.cluster_ips.len() > 2 {
        e.invalid(&at, BadValue::of(&spec.cluster_ips), "may only hold up to 2 values");
    }
    if !all_valid {
        return;
    }
    let is_v6: Vec<bool> =
        spec.cluster_ips.iter().filter_map(|v| ip::parse(v)).map(|a: IpAddr| a.is_ipv6()).collect();
    if spec.cluster_ips.len() > 1 && !(is_v6.contains(&true) && is_v6.contains(&false)) {
        e.invalid(&at, BadValue::of(&spec.cluster_ips), "may specify no more than one IP for each IP family");
    }
    for (i, (family, v6)) in spec.ip_families.iter().zip(is_v6).enumerate() {
        if (family == "IPv4" && v6) || (family == "IPv6" && !v6) {
            e.invalid(
                &at.index(i),
                &spec.cluster_ips[i],
                format!("expected an {family} value as indicated by `ipFamilies[{i}]`"),
            );
        }
    }
}

fn port_pairs(e: &mut Errs, at: &Path<'_>, spec: &ServiceSpec) {
    for (i, p) in spec.ports.iter().enumerate() {
        if spec.type_ == "ClusterIP" && p.node_port != 0 {
            e.forbidden(&at.index(i).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    for (i, p) in spec.ports.iter().enumerate() {
        let same = |o: &ServicePort| o.node_port == p.node_port && o.protocol == p.protocol;
        if p.node_port != 0 && spec.ports[..i].iter().any(same) {
            e.duplicate(&at.index(i).child("nodePort"), p.node_port);
        }
    }
    for (i, p) in spec.ports.iter().enumerate() {
        if spec.ports[..i].iter().any(|o| o.port == p.port && o.protocol == p.protocol) {
            let quoted = format!(
                r#"{{"Name":"","Protocol":"{}","AppProtocol":null,"Port":{},"TargetPort":0,"NodePort":0}}"#,
                p.protocol, p.port
            );
            e.duplicate(&at.index(i), BadValue::Plain(quoted));
        }
    }
}

fn source_ranges(e: &mut Errs, service: &Service) {
    let spec = &service.spec;
    if !spec.load_balancer_source_ranges.is_empty() {
        let root = Path::root("spec");
        let at = root.child("LoadBalancerSourceRanges");
        if !is_balancer(spec) {
            e.forbidden(&at, ONLY_LOAD_BALANCER);
        }
        for (i, value) in spec.load_balancer_source_ranges.iter().enumerate() {
            ip::range(e, &at.index(i), value.trim());
        }
    } else if let Some(text) = service.metadata.annotations.get(SOURCE_RANGES) {
        let metadata = Path::root("metadata");
        let annotations = metadata.child("annotations");
        let at = annotations.key(SOURCE_RANGES);
        if !is_balancer(spec) {
            e.forbidden(&at, ONLY_LOAD_BALANCER);
        }
        for value in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
            ip::range(e, &at, value.trim());
        }
    }
}

fn traffic(e: &mut Errs, at: &Path<'_>, spec: &ServiceSpec) {
    let external = at.child("externalTrafficPolicy");
    if is_external(spec) {
        e.required_one_of(&external, &spec.external_traffic_policy, &["Cluster", "Local"]);
    } else if !spec.external_traffic_policy.is_empty() {
        e.invalid(
            &external,
            &spec.external_traffic_policy,
            "may only be set for externally-accessible services",
        );
    }
    let health = at.child("healthCheckNodePort");
    match (needs_health_check(spec), spec.health_check_node_port) {
        (true, 0) => e.required(&health, ""),
        (true, n) => number(e, &health, n),
        (false, 0) => {}
        (false, n) => e.invalid(
            &health,
            n,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
    }
    match &spec.internal_traffic_policy {
        None if needs_cluster_ip(spec) => e.required(&at.child("internalTrafficPolicy"), ""),
        None => {}
        Some(policy) => e.one_of(&at.child("internalTrafficPolicy"), policy, &["Cluster", "Local"]),
    }
    if let Some(wish) = &spec.traffic_distribution {
        e.one_of(
            &at.child("trafficDistribution"),
            wish,
            &["PreferClose", "PreferSameZone", "PreferSameNode"],
        );
    }
}

/// Addresses stay once they are given, unless the service becomes or was another kind of service.
fn fixed_addresses(e: &mut Errs, new: &ServiceSpec, old: &ServiceSpec) {
    if new.type_ == "ExternalName" || old.type_ == "ExternalName" || (is_headless(new) && is_headless(old)) {
        return;
    }
    let root = Path::root("spec");
    let at = root.child("clusterIPs");
    let shown = || BadValue::of(&new.cluster_ips);
    let (now, before) = (new.cluster_ips.len(), old.cluster_ips.len());
    if now == before {
        for (i, _) in
            old.cluster_ips.iter().zip(new.cluster_ips.iter()).enumerate().filter(|(_, (a, b))| a != b)
        {
            e.invalid(&at.index(i), shown(), "may not change once set");
        }
        return;
    }
    if now == 0 {
        e.invalid(&at.index(0), shown(), "primary clusterIP can not be unset");
    }
    if now > 0 && before > 0 && new.cluster_ips[0] != old.cluster_ips[0] {
        e.invalid(&at.index(0), shown(), "may not change once set");
    }
    if before > now && now == 1 && new.ip_family_policy.as_deref() != Some("SingleStack") {
        e.invalid(
            &root.child("ipFamilyPolicy"),
            BadValue::of(&new.ip_family_policy),
            "must be set to 'SingleStack' when releasing the secondary clusterIP",
        );
    }
}

fn fixed_families(e: &mut Errs, new: &ServiceSpec, old: &ServiceSpec) {
    let special = new.type_ == "ExternalName" || old.type_ == "ExternalName";
    if special || is_headless(new) || is_headless(old) {
        return;
    }
    let root = Path::root("spec");
    let list = root.child("ipFamilies");
    let at = list.index(0);
    let (now, before) = (new.ip_families.len(), old.ip_families.len());
    if now == before {
        for _ in old.ip_families.iter().zip(new.ip_families.iter()).filter(|(a, b)| a != b) {
            e.invalid(&at, BadValue::of(&new.ip_families), "may not change once set");
        }
        return;
    }
    if before > now && new.cluster_ips.is_empty() {
        e.invalid(&at, BadValue::of(&new.ip_families), "primary ipFamily can not be unset");
    }
    if now > 0 && before > 0 && new.ip_families[0] != old.ip_families[0] {
        e.invalid(&at, BadValue::of(&new.cluster_ips), "may not change once set");
    }
    if before > now && now == 1 && new.ip_family_policy.as_deref() != Some("SingleStack") {
        e.invalid(
            &root.child("ipFamilyPolicy"),
            BadValue::of(&new.ip_family_policy),
            "must be set to 'SingleStack' when releasing the secondary ipFamily",
        );
    }
}

fn balancer_status(e: &mut Errs, at: &Path<'_>, status: &LoadBalancerStatus, spec: &ServiceSpec) {
    let list = at.child("ingress");
    if !is_balancer(spec) && !status.ingress.is_empty() {
        return e.forbidden(&list, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (i, ingress) in status.ingress.iter().enumerate() {
        let at = list.index(i);
        if !ingress.ip.is_empty() {
            ip::address(e, &at.child("ip"), &ingress.ip);
        }
        match &ingress.ip_mode {
            None if !ingress.ip.is_empty() => {
                e.required(&at.child("ipMode"), "must be specified when `ip` is set")
            }
            None => {}
            Some(_) if ingress.ip.is_empty() => {
                e.forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set");
            }
            Some(mode) => e.one_of(&at.child("ipMode"), mode, &["Proxy", "VIP"]),
        }
        host_name(e, &at.child("hostname"), &ingress.hostname);
    }
}

/// The name of a load balancer, which must not be an address.
pub(crate) fn host_name(e: &mut Errs, at: &Path<'_>, name: &str) {
    if name.is_empty() {
        return;
    }
    e.each(at, name, dns_subdomain(name));
    if ip::parse(name).is_some() {
        e.invalid(at, name, "must be a DNS name, not an IP address");
    }
}

fn warnings(service: &Service) -> Vec<String> {
    const OLD_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const HINTS: &str = "service.kubernetes.io/topology-mode";
    let mut out: Vec<String> = Vec::new();
    let spec = &service.spec;
    let at = Path::root("spec");
    if service.metadata.annotations.contains_key(OLD_HINTS) {
        out.push(format!("annotation {OLD_HINTS} is deprecated, please use {HINTS} instead"));
    }
    let each = |out: &mut Vec<String>, field: &str, list: &List<Str>| {
        let list_at = at.child(field);
        out.extend(list.iter().enumerate().filter_map(|(i, v)| ip::address_warning(&list_at.index(i), v)));
    };
    let external = spec.type_ == "ExternalName";
    let headless = spec.type_ == "ClusterIP" && spec.cluster_ip == "None";
    if !external && !spec.cluster_ip.is_empty() && !headless {
        each(&mut out, "clusterIPs", &spec.cluster_ips);
    }
    if headless {
        if !spec.load_balancer_ip.is_empty() {
            out.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if !spec.external_ips.is_empty() {
            out.push("spec.externalIPs is ignored for headless services".into());
        }
        if spec.session_affinity != "None" {
            out.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    each(&mut out, "externalIPs", &spec.external_ips);
    if !spec.external_ips.is_empty() && !headless && !external {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    if !spec.load_balancer_ip.is_empty() {
        out.extend(ip::address_warning(&at.child("loadBalancerIP"), &spec.load_balancer_ip));
    }
    let list_at = at.child("loadBalancerSourceRanges");
    for (i, v) in spec.load_balancer_source_ranges.iter().enumerate() {
        out.extend(ip::range_warnings(&list_at.index(i), v.trim()));
    }
    if external && !spec.external_ips.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !external && !spec.external_name.is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    out
}
