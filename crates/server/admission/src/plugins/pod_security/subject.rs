//! What is judged: a pod's annotations and spec, with its containers of all kinds seen alike.

use meta::{Map, Str};
use types::core::v1::{
    Container, ContainerPort, EphemeralContainer, Lifecycle, PodSecurityContext, PodSpec, Probe,
    SecurityContext,
};

/// A pod, or a template of one.
pub struct Subject<'a> {
    /// Annotations of the pod.
    pub annotations: &'a Map<Str>,
    /// Its spec.
    pub spec: &'a PodSpec,
    /// Init containers, containers and ephemeral containers, in this order.
    pub parts: Vec<Part<'a>>,
}

/// One container of any kind, with what the standards look at.
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its security context.
    pub security: Option<&'a SecurityContext>,
    /// Its ports.
    pub ports: &'a [ContainerPort],
    /// Liveness, readiness and startup probes, as far as there are any.
    pub probes: [Option<&'a Probe>; 3],
    /// Its lifecycle handlers.
    pub lifecycle: Option<&'a Lifecycle>,
}

impl<'a> Subject<'a> {
    /// The pod with these annotations and this spec.
    pub fn new(annotations: &'a Map<Str>, spec: &'a PodSpec) -> Self {
        let parts = spec.init_containers.iter().chain(spec.containers.iter()).map(Part::of_container);
        let parts = parts.chain(spec.ephemeral_containers.iter().map(Part::of_ephemeral)).collect();
        Self { annotations, spec, parts }
    }

    /// The pod's own security context.
    pub fn security(&self) -> Option<&'a PodSecurityContext> {
        self.spec.security_context.as_deref()
    }

    /// Whether the pod's users are not those of the host, which lets some rules go since v1.35.
    pub fn own_users(&self) -> bool {
        self.spec.host_users == Some(false)
    }

    /// Whether the pod says that it is for Windows, where some fields cannot be set.
    pub fn is_windows(&self) -> bool {
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
    }

    /// Names of the containers of which `bad` is true.
    pub fn named(&self, bad: impl Fn(&Part<'a>) -> bool) -> Vec<&'a str> {
        self.parts.iter().filter(|part| bad(part)).map(|part| part.name).collect()
    }
}

impl<'a> Part<'a> {
    fn of_container(c: &'a Container) -> Self {
        Self {
            name: &c.name,
            security: c.security_context.as_deref(),
            ports: &c.ports,
            probes: [c.liveness_probe.as_deref(), c.readiness_probe.as_deref(), c.startup_probe.as_deref()],
            lifecycle: c.lifecycle.as_deref(),
        }
    }

    fn of_ephemeral(c: &'a EphemeralContainer) -> Self {
        Self {
            name: &c.name,
            security: c.security_context.as_deref(),
            ports: &c.ports,
            probes: [c.liveness_probe.as_deref(), c.readiness_probe.as_deref(), c.startup_probe.as_deref()],
            lifecycle: c.lifecycle.as_deref(),
        }
    }

    /// Hosts that probes and lifecycle handlers name.
    pub fn hosts(&self) -> Vec<&'a str> {
        let probes = self.probes.into_iter().flatten().map(|p| (p.http_get.as_ref(), p.tcp_socket.as_ref()));
        let handlers = self
            .lifecycle
            .into_iter()
            .flat_map(|l| [l.post_start.as_deref(), l.pre_stop.as_deref()])
            .flatten()
            .map(|h| (h.http_get.as_ref(), h.tcp_socket.as_ref()));
        let pairs = probes.chain(handlers);
        let hosts = pairs.flat_map(|(http, tcp)| [http.map(|a| &a.host), tcp.map(|a| &a.host)]);
        hosts.flatten().map(Str::as_str).filter(|host| !host.is_empty()).collect()
    }
}
