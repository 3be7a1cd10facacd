//! Services, endpoints, ingresses and network policies.

use std::collections::BTreeSet;

use meta::Time;
use serde_json::{Value, json};
use types::core::v1::{Endpoints, Service, ServicePort};
use types::discovery::v1::EndpointSlice;
use types::networking::v1::{IPAddress, Ingress, IngressClass, IngressRule, NetworkPolicy, ServiceCIDR};

use crate::human::{age_cell, labels, marked, name, or_none, selector, some};
use crate::{Column, Printer, named, printer, text, wide};

pub const TABLE: &[Printer] = &[
    printer!(Service, SERVICE, service),
    printer!(Endpoints, &[named("Name"), text("Endpoints"), text("Age")], endpoints),
    printer!(
        EndpointSlice,
        &[named("Name"), text("AddressType"), text("Ports"), text("Endpoints"), text("Age")],
        endpoint_slice
    ),
    printer!(
        Ingress,
        &[named("Name"), text("Class"), text("Hosts"), text("Address"), text("Ports"), text("Age")],
        ingress
    ),
    printer!(
        IngressClass,
        &[named("Name"), text("Controller"), text("Parameters"), text("Age")],
        ingress_class
    ),
    printer!(NetworkPolicy, &[named("Name"), text("Pod-Selector"), text("Age")], |policy, now| vec![
        name(policy),
        selector(Some(&policy.spec.pod_selector), "<none>"),
        age_cell(policy, now)
    ]),
    // Upstream's rows tell the age as well, its columns do not.
    printer!(IPAddress, &[named("Name"), text("ParentRef")], |address, now| {
        let parent = address.spec.parent_ref.as_ref().map(|parent| {
            let group = if parent.group.is_empty() { "" } else { "." };
            let of = format!("{}{group}{}", parent.resource, parent.group).to_lowercase();
            let namespace = if parent.namespace.is_empty() { "" } else { "/" };
            format!("{of}{namespace}{}/{}", parent.namespace, parent.name)
        });
        let parent = parent.unwrap_or_else(|| "<none>".to_owned());
        vec![name(address), json!(parent), age_cell(address, now)]
    }),
    printer!(ServiceCIDR, &[named("Name"), text("CIDRs"), text("Age")], |range, now| vec![
        name(range),
        json!(range.spec.cidrs.iter().map(|cidr| cidr.as_str()).collect::<Vec<_>>().join(",")),
        age_cell(range, now)
    ]),
];

const SERVICE: &[Column] = &[
    named("Name"),
    text("Type"),
    text("Cluster-IP"),
    text("External-IP"),
    text("Port(s)"),
    text("Age"),
    wide("Selector"),
];

fn service(service: &Service, now: Time) -> Vec<Value> {
    let ip = service.spec.cluster_ips.first().map_or("<none>", |ip| ip.as_str());
    let ip = if ip.is_empty() { "<none>" } else { ip };
    vec![
        name(service),
        json!(service.spec.type_.as_str()),
        json!(ip),
        json!(external_ip(service)),
        json!(ports(&service.spec.ports)),
        age_cell(service, now),
        labels(&service.spec.selector),
    ]
}

fn external_ip(service: &Service) -> String {
    let listed: Vec<&str> = service.spec.external_ips.iter().map(|ip| ip.as_str()).collect();
    let given = &service.status.load_balancer.ingress;
    let given = addresses(given.iter().map(|ingress| (ingress.ip.as_str(), ingress.hostname.as_str())));
    match service.spec.type_.as_str() {
        "ExternalName" => service.spec.external_name.to_string(),
        "LoadBalancer" => match (given.is_empty(), listed.is_empty()) {
            (true, true) => "<pending>".to_owned(),
            _ => given.into_iter().chain(listed).collect::<Vec<_>>().join(","),
        },
        _ if listed.is_empty() => "<none>".to_owned(),
        _ => listed.join(","),
    }
}

/// The addresses of a load balancer, each given by its number or else by its name: every one once, in their texts' order.
fn addresses<'a>(given: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeSet<&'a str> {
    given.map(|(ip, name)| if ip.is_empty() { name } else { ip }).filter(|one| !one.is_empty()).collect()
}

fn ports(ports: &[ServicePort]) -> String {
    let texts: Vec<String> = ports
        .iter()
        .map(|port| match port.node_port {
            0 => format!("{}/{}", port.port, port.protocol),
            node => format!("{}:{node}/{}", port.port, port.protocol),
        })
        .collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}

fn endpoints(endpoints: &Endpoints, now: Time) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in endpoints.subsets.iter() {
        if subset.ports.is_empty() {
            all.extend(subset.addresses.iter().map(|address| address.ip.to_string()));
        }
        for port in subset.ports.iter() {
            all.extend(subset.addresses.iter().map(|address| {
                if address.ip.contains(':') {
                    format!("[{}]:{}", address.ip, port.port)
                } else {
                    format!("{}:{}", address.ip, port.port)
                }
            }));
        }
    }
    vec![name(endpoints), json!(some(&all, 3)), age_cell(endpoints, now)]
}

fn endpoint_slice(slice: &EndpointSlice, now: Time) -> Vec<Value> {
    let ports: Vec<String> = slice
        .ports
        .iter()
        .map(|port| match (&port.port, port.name.as_deref()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) if !name.is_empty() => name.to_owned(),
            _ => "*".to_owned(),
        })
        .collect();
    let ports = if slice.ports.is_empty() { "<unset>".to_owned() } else { some(&ports, 3) };
    let addresses: Vec<String> = slice
        .endpoints
        .iter()
        .flat_map(|endpoint| endpoint.addresses.iter().map(|ip| ip.to_string()))
        .collect();
    let addresses = if slice.endpoints.is_empty() { "<unset>".to_owned() } else { some(&addresses, 3) };
    vec![
        name(slice),
        json!(slice.address_type.as_str()),
        json!(ports),
        json!(addresses),
        age_cell(slice, now),
    ]
}

/// The first three hosts; the rules that follow the third, whether they name a host or not, make it more.
fn hosts(rules: &[IngressRule]) -> String {
    const SHOWN: usize = 3;
    let named = rules.iter().enumerate().filter(|(_, rule)| !rule.host.is_empty());
    let shown: Vec<(usize, &str)> =
        named.map(|(place, rule)| (place, rule.host.as_str())).take(SHOWN).collect();
    let Some((last, _)) = shown.last() else { return "*".to_owned() };
    let joined = shown.iter().map(|(_, host)| *host).collect::<Vec<_>>().join(",");
    match shown.len() == SHOWN && last + 1 < rules.len() {
        true => format!("{joined} + {} more...", rules.len() - SHOWN),
        false => joined,
    }
}

fn ingress(ingress: &Ingress, now: Time) -> Vec<Value> {
    let given = &ingress.status.load_balancer.ingress;
    let addresses = addresses(given.iter().map(|one| (one.ip.as_str(), one.hostname.as_str())));
    vec![
        name(ingress),
        or_none(ingress.spec.ingress_class_name.as_deref().unwrap_or_default()),
        json!(hosts(&ingress.spec.rules)),
        json!(addresses.into_iter().collect::<Vec<_>>().join(",")),
        json!(if ingress.spec.tls.is_empty() { "80" } else { "80, 443" }),
        age_cell(ingress, now),
    ]
}

fn ingress_class(class: &IngressClass, now: Time) -> Vec<Value> {
    let parameters = class.spec.parameters.as_ref().map_or_else(
        || "<none>".to_owned(),
        |parameters| match parameters.api_group.as_deref() {
            Some(group) if !group.is_empty() => format!("{}.{group}/{}", parameters.kind, parameters.name),
            _ => format!("{}/{}", parameters.kind, parameters.name),
        },
    );
    let shown = marked(class, &["ingressclass.kubernetes.io/is-default-class"]);
    vec![shown, json!(class.spec.controller.as_str()), json!(parameters), age_cell(class, now)]
}
