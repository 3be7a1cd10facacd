//! `pods/proxy`, `services/proxy` and `nodes/proxy`: HTTP to what the object stands for.

use http::Request;
use hyper::body::Incoming;
use meta::Status;
use registry::{Served, errors};
use types::core::v1::{Pod, Service};
use types::discovery::v1::EndpointSlice;

use super::backend::Backend;
use super::kubelet::{backend, forward};
use crate::answer::Answer;
use crate::pipeline::Decoded;
use crate::server::Server;

/// A name in a proxy path: `[https:]name[:port]`.
struct Named<'a> {
    tls: bool,
    name: &'a str,
    port: &'a str,
}

fn split(text: &str) -> Option<Named<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [name] => Some(Named { tls: false, name, port: "" }),
        [name, port] => Some(Named { tls: false, name, port }),
        ["http" | "", name, port] => Some(Named { tls: false, name, port }),
        ["https", name, port] => Some(Named { tls: true, name, port }),
        _ => None,
    }
}

/// Serves a proxy subresource.
pub(crate) async fn serve(
    server: &Server,
    decoded: &Decoded,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let info = &decoded.info;
    let bad = || errors::bad_request(format!("invalid {} request {:?}", &info.resource, info.name.as_str()));
    let named = split(&info.name).ok_or_else(bad)?;
    let mut path = if info.rest.is_empty() { "/".to_owned() } else { info.rest.clone() };
    path = path.split('/').map(super::kubelet::encode).collect::<Vec<_>>().join("/");
    if let Some(query) = request.uri().query() {
        path.push('?');
        path.push_str(query);
    }
    let target = match info.resource.as_str() {
        "nodes" => backend(server, named.name).await?,
        "pods" => pod(server, &info.namespace, &named).await?,
        _ => service(server, &info.namespace, &named).await?,
    };
    Ok(Answer::Raw(forward(&target, request, &path).await?))
}

/// Backends behind a proxy are whatever a user runs: their certificates cannot be checked.
fn tls(server: &Server, wanted: bool) -> Option<std::sync::Arc<rustls::ClientConfig>> {
    wanted.then(|| server.kubelet_client.as_ref().map(|c| c.unchecked.clone())).flatten()
}

async fn pod(server: &Server, namespace: &str, named: &Named<'_>) -> Result<Backend, Status> {
    let served = Served::find("", "v1", "pods").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, namespace, named.name).await?;
    let pod = found.and_then(|stored| meta::downcast::<Pod>(stored.object().clone()));
    let pod = pod.ok_or_else(|| errors::not_found("", "pods", named.name))?;
    let host = pod.status.pod_ip.to_string();
    if host.is_empty() || forbidden(&host) {
        return Err(errors::bad_request("address not allowed"));
    }
    let declared = pod.spec.containers.iter().flat_map(|c| &c.ports);
    let port = match named.port {
        "" => declared.clone().map(|p| p.container_port).next().unwrap_or(80),
        text => match text.parse() {
            Ok(number) => number,
            Err(_) => declared.clone().find(|p| p.name == text).map(|p| p.container_port).unwrap_or_default(),
        },
    };
    let port = u16::try_from(port).ok().filter(|p| *p != 0);
    let port = port.ok_or_else(|| errors::bad_request(format!("no port {:?}", named.port)))?;
    Ok(Backend { host, port, tls: tls(server, named.tls) })
}

/// Addresses that must not be reached through the server: its own machine and link-local services.
fn forbidden(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        Ok(std::net::IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || (ip.segments()[0] & 0xffc0) == 0xfe80
        }
        Err(_) => true,
    }
}

async fn service(server: &Server, namespace: &str, named: &Named<'_>) -> Result<Backend, Status> {
    let served = Served::find("", "v1", "services").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, namespace, named.name).await?;
    let service = found.and_then(|stored| meta::downcast::<Service>(stored.object().clone()));
    let service = service.ok_or_else(|| errors::not_found("", "services", named.name))?;
    let unavailable =
        || Status::service_unavailable(format!("no endpoints available for service {:?}", named.name));
    // A number is the Service's port; a name is looked for among those of the endpoints.
    let port_name = match named.port.parse::<i32>() {
        Ok(number) => {
            let port = service.spec.ports.iter().find(|p| p.port == number).ok_or_else(|| {
                let why = format!("no service port {number} found for service {:?}", named.name);
                Status::service_unavailable(why)
            })?;
            port.name.clone()
        }
        Err(_) => named.port.into(),
    };
    let slices =
        Served::find("discovery.k8s.io", "v1", "endpointslices").ok_or_else(errors::no_such_resource)?;
    let mut backends = Vec::new();
    for stored in server.registry.all(&slices, namespace).await? {
        let Some(slice) = meta::downcast_ref::<EndpointSlice>(&**stored.object()) else { continue };
        if slice.metadata.label("kubernetes.io/service-name") != named.name {
            continue;
        }
        let number = slice
            .ports
            .iter()
            .find(|p| p.name.as_deref().unwrap_or_default() == port_name.as_str())
            .and_then(|p| p.port)
            .and_then(|p| u16::try_from(p).ok());
        let Some(number) = number else { continue };
        for endpoint in slice.endpoints.iter().filter(|e| e.conditions.ready.unwrap_or(true)) {
            backends.extend(endpoint.addresses.iter().map(|ip| (ip.to_string(), number)));
        }
    }
    backends.retain(|(ip, _)| !forbidden(ip));
    if backends.is_empty() {
        return Err(unavailable());
    }
    let (host, port) = backends.swap_remove(server.env.random.below(backends.len()));
    Ok(Backend { host, port, tls: tls(server, named.tls) })
}
