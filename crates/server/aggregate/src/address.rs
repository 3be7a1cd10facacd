//! Where the Service of an extension API server is reached.

use std::sync::Arc;

use types::core::v1::Service;
use types::discovery::v1::EndpointSlice;

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// All addresses that serve a Service's port; requests may go to any of them.
///
/// Endpoints come first even without `endpoints_only` (`--enable-aggregator-routing`), since they can be reached where
/// nobody makes the Service's own address work; without ready ones, that address is all there is.
///
/// # Errors
/// When there is none, in upstream's words.
pub fn resolve(
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    port: i32,
    endpoints_only: bool,
) -> Result<Vec<Address>, String> {
    let name = service.metadata.name.as_str();
    let spec = &service.spec;
    let number = |port: i32| u16::try_from(port).unwrap_or(0);
    match spec.type_.as_str() {
        "ExternalName" if !endpoints_only => {
            return Ok(vec![Address { host: spec.external_name.to_string(), port: number(port) }]);
        }
        "ClusterIP" if !endpoints_only && spec.cluster_ip == "None" => {
            return Err("cannot route to service with ClusterIP \"None\"".to_owned());
        }
        "ClusterIP" | "LoadBalancer" | "NodePort" => {}
        other => return Err(format!("unsupported service type {other:?}")),
    }
    let wanted = spec.ports.iter().find(|candidate| candidate.port == port);
    let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let mut found = Vec::new();
    // Addresses of the Service's first family are better than the others.
    let preferred = spec.ip_families.first().map_or("", |family| family.as_str());
    for preferred_ones in [true, false] {
        let of_family = slices.iter().filter(|slice| (slice.address_type == preferred) == preferred_ones);
        for slice in of_family {
            let named = slice.ports.iter().filter(|p| p.name.as_deref() == Some(wanted.name.as_str()));
            for target in named.filter_map(|p| p.port) {
                let ready = slice.endpoints.iter().filter(|e| e.conditions.ready != Some(false));
                let addresses = ready.filter_map(|e| e.addresses.first());
                found.extend(addresses.map(|ip| Address { host: ip.to_string(), port: number(target) }));
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    match spec.cluster_ip.as_str() {
        host if !endpoints_only && !host.is_empty() => {
            Ok(vec![Address { host: host.to_owned(), port: number(port) }])
        }
        _ => Err(format!("no endpoints available for service {name:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn case(spec: Value, slices: &[Value], only: bool) -> Result<String, String> {
        let service: Service =
            meta::from_value(json!({ "metadata": { "name": "s", "namespace": "n" }, "spec": spec })).unwrap();
        let slices: Vec<Arc<EndpointSlice>> =
            slices.iter().map(|slice| Arc::new(meta::from_value(slice.clone()).unwrap())).collect();
        let found = resolve(&service, &slices, 443, only)?;
        Ok(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    fn slice(family: &str, addresses: &[&str], ready: bool) -> Value {
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|ip| json!({ "addresses": [ip], "conditions": { "ready": ready } }))
            .collect();
        json!({ "addressType": family, "endpoints": endpoints, "ports": [{ "name": "", "port": 8443 }] })
    }

    #[test]
    fn addresses() {
        let ports = json!([{ "port": 443 }]);
        let plain =
            json!({ "type": "ClusterIP", "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ports": ports });
        let (v4, v6) = (slice("IPv4", &["10.1.0.1", "10.1.0.2"], true), slice("IPv6", &["fd00::1"], true));
        let both = [v6.clone(), v4];
        let idle = [slice("IPv4", &["10.1.0.1"], false)];
        let external = json!({ "type": "ExternalName", "externalName": "api.example.com" });
        let headless = json!({ "type": "ClusterIP", "clusterIP": "None", "ports": ports });
        let other = json!({ "type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{ "port": 80 }] });
        for (spec, slices, only, want) in [
            (&plain, &both[..], false, Ok("10.1.0.1:8443 10.1.0.2:8443")),
            (&plain, &[v6][..], true, Ok("[fd00::1]:8443")),
            (&plain, &idle[..], false, Ok("10.0.0.1:443")),
            (&plain, &idle[..], true, Err("no endpoints available for service \"s\"")),
            (&external, &[], false, Ok("api.example.com:443")),
            (&external, &[], true, Err("unsupported service type \"ExternalName\"")),
            (&headless, &both[..], false, Err("cannot route to service with ClusterIP \"None\"")),
            (&headless, &both[..], true, Ok("[fd00::1]:8443 10.1.0.1:8443 10.1.0.2:8443")),
            (&other, &both[..], false, Err("no service port 443 found for service \"s\"")),
        ] {
            assert_eq!(
                case(spec.clone(), slices, only),
                want.map(str::to_owned).map_err(str::to_owned),
                "{spec}"
            );
        }
    }
}
