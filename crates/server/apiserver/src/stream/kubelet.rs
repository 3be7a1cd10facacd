//! Exec, attach and port-forward: forwarded to the kubelet of the pod's node. Also how kubelets are found, and which container
//! of a pod is meant.

use std::sync::Arc;

use authz::{Authorized, Decision};
use http::Request;
use hyper::body::Incoming;
use meta::Status;
use registry::{Served, errors};
use types::core::v1::{Node, Pod};

use super::backend::{Backend, BackendError, Host, wants_upgrade};
use crate::answer::Answer;
use crate::http::query::Query;
use crate::pipeline::Decoded;
use crate::server::Server;

/// Kinds of node addresses, the preferred first.
const ADDRESS_ORDER: [&str; 5] = ["InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS"];
/// The kubelet's port, unless the node says otherwise.
const KUBELET_PORT: u16 = 10250;

/// The pod of the request's path.
pub(super) async fn pod(server: &Server, decoded: &Decoded) -> Result<Arc<Pod>, Status> {
    let info = &decoded.info;
    let served = Served::find("", "v1", "pods").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, &info.namespace, &info.name).await?;
    let found = found.and_then(|stored| meta::downcast::<Pod>(stored.object().clone()));
    found.ok_or_else(|| errors::not_found("", "pods", &info.name))
}

/// Where a node's kubelet listens.
pub(crate) async fn backend(server: &Server, name: &str) -> Result<Backend, Status> {
    let served = Served::find("", "v1", "nodes").ok_or_else(errors::no_such_resource)?;
    let found = server.registry.find_object(&served, "", name).await?;
    let node = found.and_then(|stored| meta::downcast::<Node>(stored.object().clone()));
    let node = node.ok_or_else(|| errors::not_found("", "nodes", name))?;
    let address = ADDRESS_ORDER
        .iter()
        .find_map(|kind| node.status.addresses.iter().find(|a| a.type_ == *kind && !a.address.is_empty()))
        .ok_or_else(|| {
            let known: Vec<String> =
                node.status.addresses.iter().map(|a| format!("{{{} {}}}", a.type_, a.address)).collect();
            errors::bare(format!("no preferred addresses found; known addresses: [{}]", known.join(" ")))
        })?;
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    let port = u16::try_from(port).ok().filter(|p| *p != 0).unwrap_or(KUBELET_PORT);
    let tls = server.kubelet_client.as_ref().map(|client| client.config());
    let Some(tls) = tls else {
        return Err(Status::service_unavailable("this server has no client certificate for kubelets"));
    };
    Ok(Backend { host: address.address.to_string(), port, tls: Some(tls), name: None })
}

/// The container that a request means: the named one, or the only regular one. Annotations are for clients to read.
pub(super) fn container(pod: &Pod, wanted: &str) -> Result<String, Status> {
    let spec = &pod.spec;
    let init = spec.init_containers.iter().map(|c| c.name.as_str());
    let regular = init.chain(spec.containers.iter().map(|c| c.name.as_str()));
    let names: Vec<&str> = regular.chain(spec.ephemeral_containers.iter().map(|c| c.name.as_str())).collect();
    let pod_name = &pod.metadata.name;
    if !wanted.is_empty() {
        return if names.contains(&wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(errors::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
        };
    }
    match &spec.containers[..] {
        [one] => Ok(one.name.to_string()),
        [] => Err(errors::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        _ => Err(errors::bad_request(format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            names.join(" ")
        ))),
    }
}

/// Percent-encodes a query value or a path segment.
pub(crate) fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Checks the parameters of a connection before anybody is asked.
///
/// # Errors
/// In the words of upstream's conversion, of which only that of ports can fail.
pub(crate) fn check(what: &str, query: &Query) -> Result<(), Status> {
    if what == "portforward" { ports(query).map(drop) } else { Ok(()) }
}

fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let given = query.all("ports").flat_map(|value| value.split(','));
    given
        .map(|port| {
            port.parse::<u16>().ok().filter(|_| !port.starts_with('+')).ok_or_else(|| {
                let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                let why = if digits { "value out of range" } else { "invalid syntax" };
                errors::bad_request(format!(
                    "cannot convert to []int32: strconv.ParseUint: parsing {}: {why}",
                    meta::go_quote(port)
                ))
            })
        })
        .collect()
}

/// What the kubelet is asked for, as its own API names it. Upstream sorts parameters by name.
fn kubelet_query(what: &str, query: &Query) -> Result<String, Status> {
    let mut pairs = Vec::new();
    if what == "portforward" {
        let ports: Vec<String> = ports(query)?.iter().map(u16::to_string).collect();
        if !ports.is_empty() {
            pairs.push(format!("port={}", encode(&ports.join(","))));
        }
    } else {
        if what == "exec" {
            pairs.extend(query.all("command").map(|word| format!("command={}", encode(word))));
        }
        for (given, kubelet) in
            [("stderr", "error"), ("stdin", "input"), ("stdout", "output"), ("tty", "tty")]
        {
            if query.flag(given) {
                pairs.push(format!("{kubelet}=1"));
            }
        }
    }
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// Who may not create what it connects to may not connect by a GET either: browsers have no other method, and a right to read
/// is none to run commands (upstream's gate AuthorizePodWebsocketUpgradeCreatePermission).
async fn may_create(server: &Server, authorized: &Authorized) -> Result<(), Status> {
    let asked = authorized.attributes();
    if asked.verb == "create" {
        return Ok(());
    }
    let wanted = authz::Attributes { verb: "create".into(), ..asked.clone() };
    let outcome = server.authorizer.decide(authorized.user(), &wanted).await;
    match outcome.decision {
        Decision::Allow(_) => Ok(()),
        _ if !outcome.error.is_empty() => Err(errors::bare(outcome.error)),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            Err(errors::forbidden(&asked.group, &asked.resource, &asked.name, &reason))
        }
    }
}

/// `pods/exec`, `pods/attach` and `pods/portforward`.
pub(crate) async fn stream(
    server: &Server,
    authorized: &Authorized,
    decoded: &Decoded,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    may_create(server, authorized).await?;
    let pod = pod(server, decoded).await?;
    let what = decoded.info.subresource.as_str();
    let mut path_container = String::new();
    if what != "portforward" {
        path_container =
            format!("/{}", encode(&container(&pod, decoded.query.get("container").unwrap_or_default())?));
    }
    if pod.spec.node_name.is_empty() {
        return Err(errors::bad_request(format!("pod {} does not have a host assigned", pod.metadata.name)));
    }
    let backend = backend(server, &pod.spec.node_name).await?;
    let root = if what == "portforward" { "portForward" } else { what };
    let path = format!(
        "/{root}/{}/{}{path_container}{}",
        encode(&pod.metadata.namespace),
        encode(&pod.metadata.name),
        kubelet_query(what, &decoded.query)?
    );
    if !wants_upgrade(request.headers()) {
        return Err(errors::bad_request("Upgrade request required"));
    }
    backend.upgrade(request, &path, Host::Asked).await.map(Answer::Raw).map_err(upgrade_failed)
}

/// Upstream's refusal of a connection that could not be made.
pub(super) fn upgrade_failed(error: BackendError) -> Status {
    match error {
        BackendError::NoUpgrade(_) => errors::bare(error.to_string()),
        _ => errors::bare(format!("error dialing backend: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_are_asked_in_their_own_words() {
        for (what, query, want) in [
            (
                "exec",
                "command=sh&command=-c&command=a+b&stdout=true&stdin&tty=1&stderr=false&container=c",
                "?command=sh&command=-c&command=a%20b&input=1&output=1&tty=1",
            ),
            ("attach", "command=ls&stderr=yes&stdout=0", "?error=1"),
            ("portforward", "ports=80,443&ports=8080&stdin=1", "?port=80%2C443%2C8080"),
            ("portforward", "", ""),
        ] {
            assert_eq!(kubelet_query(what, &Query::parse(query)).unwrap(), want, "{what} {query}");
        }
    }

    #[test]
    fn ports_are_numbers_of_sixteen_bits() {
        for (query, want) in [
            ("ports=abc", "parsing \"abc\": invalid syntax"),
            ("ports=-1", "parsing \"-1\": invalid syntax"),
            ("ports=80,", "parsing \"\": invalid syntax"),
            ("ports=70000", "parsing \"70000\": value out of range"),
        ] {
            let refused = check("portforward", &Query::parse(query)).unwrap_err();
            assert_eq!(refused.code, 400);
            let message = refused.message.as_str();
            assert_eq!(message, format!("cannot convert to []int32: strconv.ParseUint: {want}"));
        }
        assert!(check("exec", &Query::parse("ports=abc")).is_ok());
    }
}
