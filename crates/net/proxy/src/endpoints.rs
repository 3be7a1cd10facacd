//! Which endpoints a service port uses on this node: readiness, termination, topology hints and traffic policies, by the rules
//! of the Service API (KEP-1669 for terminating endpoints, KEP-2433 and KEP-3015 for hints). Pure.

use std::net::{IpAddr, SocketAddr};

use crate::spec::{EndpointSpec, NodeSpec, ServicePort, ServiceSpec, SliceSpec};

/// The endpoints of one service port in one address family, each list sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For traffic policy `Cluster`.
    pub cluster: Vec<SocketAddr>,
    /// For traffic policy `Local`: those on this node.
    pub local: Vec<SocketAddr>,
    /// Whether any node has an endpoint that could be used.
    pub any: bool,
}

/// Chooses among the endpoints that `slices` (those of the service) have for `port`.
pub fn choose(
    service: &ServiceSpec,
    port: &ServicePort,
    slices: &[&SliceSpec],
    node: &NodeSpec,
    is_v6: bool,
) -> Chosen {
    let all: Vec<(SocketAddr, &EndpointSpec)> = slices
        .iter()
        .flat_map(|slice| {
            let numbers = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
            numbers
                .flat_map(move |number| slice.endpoints.iter().map(move |endpoint| (number.port, endpoint)))
        })
        .filter(|(_, endpoint)| endpoint.address.is_ipv6() == is_v6)
        .map(|(number, endpoint)| (SocketAddr::new(endpoint.address, number), endpoint))
        .collect();
    let on_this_node = |endpoint: &EndpointSpec| !node.name.is_empty() && endpoint.node_name == node.name;
    let mut chosen = Chosen {
        cluster: usable(&all, |_| true),
        local: usable(&all, on_this_node),
        any: all.iter().any(|(_, endpoint)| is_usable(endpoint)),
    };
    if service.use_hints {
        chosen.cluster = by_hints(&all, node).unwrap_or(chosen.cluster);
    }
    chosen
}

/// Ready ones; if there are none, those that still serve while they terminate.
fn usable(all: &[(SocketAddr, &EndpointSpec)], wanted: impl Fn(&EndpointSpec) -> bool) -> Vec<SocketAddr> {
    let collect = |good: fn(&EndpointSpec) -> bool| -> Vec<SocketAddr> {
        let mut list: Vec<_> = all
            .iter()
            .filter(|(_, endpoint)| good(endpoint) && wanted(endpoint))
            .map(|(address, _)| *address)
            .collect();
        list.sort_unstable();
        list.dedup();
        list
    };
    let ready = collect(|endpoint| endpoint.ready);
    if ready.is_empty() { collect(|endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}

fn is_usable(endpoint: &EndpointSpec) -> bool {
    endpoint.ready || (endpoint.serving && endpoint.terminating)
}

/// The ready endpoints hinted for this node, else those hinted for its zone. `None` where hints cannot be trusted: some ready
/// endpoint has none, or none is meant for us.
fn by_hints(all: &[(SocketAddr, &EndpointSpec)], node: &NodeSpec) -> Option<Vec<SocketAddr>> {
    let ready: Vec<_> = all.iter().filter(|(_, endpoint)| endpoint.ready).collect();
    let pick = |hinted: fn(&EndpointSpec) -> &[String], ours: &str| -> Option<Vec<SocketAddr>> {
        if ours.is_empty()
            || ready.is_empty()
            || ready.iter().any(|(_, endpoint)| hinted(endpoint).is_empty())
        {
            return None;
        }
        let mine = |endpoint: &EndpointSpec| hinted(endpoint).iter().any(|hint| hint == ours);
        let mut list: Vec<_> =
            ready.iter().filter(|(_, endpoint)| mine(endpoint)).map(|(address, _)| *address).collect();
        list.sort_unstable();
        list.dedup();
        (!list.is_empty()).then_some(list)
    };
    pick(|endpoint| &endpoint.node_hints, &node.name)
        .or_else(|| pick(|endpoint| &endpoint.zone_hints, &node.zone))
}

/// How many usable endpoints of a service are on this node, counted by address as load balancers want it.
pub fn local_count(slices: &[&SliceSpec], node: &NodeSpec) -> usize {
    let on_this_node = slices.iter().flat_map(|slice| &slice.endpoints).filter(|e| e.node_name == node.name);
    let mut addresses: Vec<IpAddr> = on_this_node.filter(|e| e.ready).map(|e| e.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::spec::{EndpointPort, Protocol};

    /// `A` ready, `S` serving and terminating, `T` terminating only, `-` not ready; then node, zone hint, node hint.
    fn slice(list: &[(&str, char, &str, &str, &str)]) -> SliceSpec {
        let hints = |hint: &str| if hint.is_empty() { vec![] } else { vec![hint.to_owned()] };
        SliceSpec {
            ports: vec![EndpointPort { name: "http".to_owned(), protocol: Protocol::Tcp, port: 8080 }],
            endpoints: list
                .iter()
                .map(|(address, state, node, zone_hint, node_hint)| EndpointSpec {
                    address: address.parse().unwrap(),
                    ready: *state == 'A',
                    serving: matches!(state, 'A' | 'S'),
                    terminating: matches!(state, 'S' | 'T'),
                    node_name: (*node).to_owned(),
                    zone_hints: hints(zone_hint),
                    node_hints: hints(node_hint),
                })
                .collect(),
            ..SliceSpec::default()
        }
    }

    #[test]
    fn readiness_policies_and_hints() {
        type Row<'a> =
            (&'a str, bool, &'a [(&'a str, char, &'a str, &'a str, &'a str)], &'a str, &'a str, bool);
        let rows: &[Row] = &[
            ("nothing", false, &[], "", "", false),
            (
                "ready",
                false,
                &[("10.0.0.2", 'A', "b", "", ""), ("10.0.0.1", 'A', "a", "", "")],
                "1 2",
                "1",
                true,
            ),
            ("not ready", false, &[("10.0.0.1", '-', "a", "", "")], "", "", false),
            (
                "ready beats terminating",
                false,
                &[("10.0.0.1", 'S', "a", "", ""), ("10.0.0.2", 'A', "b", "", "")],
                "2",
                "1",
                true,
            ),
            (
                "terminating but serving",
                false,
                &[("10.0.0.1", 'S', "b", "", ""), ("10.0.0.2", 'T', "a", "", "")],
                "1",
                "",
                true,
            ),
            ("other family", false, &[("fd00::1", 'A', "a", "", "")], "", "", false),
            (
                "zone hints",
                true,
                &[("10.0.0.1", 'A', "b", "z1", ""), ("10.0.0.2", 'A', "c", "z2", "")],
                "1",
                "",
                true,
            ),
            (
                "a hint is missing",
                true,
                &[("10.0.0.1", 'A', "b", "z1", ""), ("10.0.0.2", 'A', "c", "", "")],
                "1 2",
                "",
                true,
            ),
            ("no hint for us", true, &[("10.0.0.1", 'A', "b", "z2", "")], "1", "", true),
            (
                "hints not asked for",
                false,
                &[("10.0.0.1", 'A', "b", "z1", ""), ("10.0.0.2", 'A', "c", "z2", "")],
                "1 2",
                "",
                true,
            ),
            (
                "node hints first",
                true,
                &[("10.0.0.1", 'A', "b", "z1", "b"), ("10.0.0.2", 'A', "a", "z1", "a")],
                "2",
                "2",
                true,
            ),
            (
                "node hints fall back to zone",
                true,
                &[("10.0.0.1", 'A', "b", "z1", "b"), ("10.0.0.2", 'A', "c", "z2", "c")],
                "1",
                "",
                true,
            ),
        ];
        let node = NodeSpec { name: "a".to_owned(), zone: "z1".to_owned(), ..NodeSpec::default() };
        let port = ServicePort { name: "http".to_owned(), ..ServicePort::default() };
        let show = |list: &[SocketAddr]| {
            let last: Vec<_> = list
                .iter()
                .map(|a| a.to_string().trim_start_matches("10.0.0.").replace(":8080", ""))
                .collect();
            last.join(" ")
        };
        for (what, use_hints, list, cluster, local, any) in rows {
            let service = ServiceSpec { use_hints: *use_hints, ..ServiceSpec::default() };
            let chosen = choose(&service, &port, &[&slice(list)], &node, false);
            assert_eq!(
                (show(&chosen.cluster).as_str(), show(&chosen.local).as_str(), chosen.any),
                (*cluster, *local, *any),
                "{what}"
            );
        }
    }
}
