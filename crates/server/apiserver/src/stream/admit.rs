//! Admission of connections: what a client wants to connect to, as the options object that upstream makes of it.

use admission::Notes;
use authz::Authorized;
use call::Target;
use meta::Status;
use serde_json::{Value, json};

use crate::pipeline::Decoded;
use crate::server::Server;

/// Asks admission whether the connection may be made. Warnings of webhooks have no place in an upgraded answer.
pub(crate) async fn admit(server: &Server, authorized: &Authorized, decoded: &Decoded) -> Result<(), Status> {
    let info = &decoded.info;
    let target = Target {
        group: info.group.as_str().into(),
        version: info.version.as_str().into(),
        resource: info.resource.as_str().into(),
        namespace: info.namespace.as_str().into(),
        name: info.name.as_str().into(),
        subresource: info.subresource.as_str().into(),
    };
    let (mut warnings, notes) = (Vec::new(), Notes::default());
    let options = options(decoded);
    let admitted =
        server.registry.admit_connection(authorized, &target, &options, &mut warnings, &notes).await;
    if let Some(record) = decoded.record() {
        crate::audit::notes(record, &notes);
    }
    admitted
}

fn options(decoded: &Decoded) -> Value {
    let (info, query) = (&decoded.info, &decoded.query);
    let kind = match (info.resource.as_str(), info.subresource.as_str()) {
        (_, "exec") => "PodExecOptions",
        (_, "attach") => "PodAttachOptions",
        (_, "portforward") => "PodPortForwardOptions",
        ("nodes", _) => "NodeProxyOptions",
        ("services", _) => "ServiceProxyOptions",
        _ => "PodProxyOptions",
    };
    let mut options = json!({ "kind": kind, "apiVersion": "v1" });
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if query.flag(flag) {
                    options[flag] = true.into();
                }
            }
            if let Some(container) = query.get("container") {
                options["container"] = container.into();
            }
            if kind == "PodExecOptions" {
                options["command"] = query.all("command").collect();
            }
        }
        "PodPortForwardOptions" => {
            let ports: Vec<i64> = query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = ports.into();
            }
        }
        _ if !info.rest.is_empty() => options["path"] = info.rest.as_str().into(),
        _ => {}
    }
    options
}
