//! What a pod means, as pure functions: no clock, no I/O, no API. The worker acts on what these rooms answer.
//!
//! Start at [`plan`] (what to do next) and [`status`] (what to tell the API).

pub mod backoff;
pub mod conditions;
pub mod config;
pub mod container_status;
pub(crate) mod ending;
pub mod env;
pub mod expand;
pub mod hosts;
pub mod patch;
pub mod phase;
pub mod plan;
pub mod resources;
pub mod restart;
pub mod security;
pub mod status;
pub mod view;

use std::borrow::Cow;

use meta::Codec;
use types::core::v1::{Container, Pod};

/// The three lists of containers in a pod, and the two kinds of init containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// An init container that runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`, which stays beside the regular containers.
    Sidecar,
    /// One of `spec.containers`.
    Regular,
    /// Added to a running pod for debugging.
    Ephemeral,
}

impl Role {
    /// How metrics tell containers apart: both sorts of init containers are one.
    pub fn counted(self) -> &'static str {
        match self {
            Role::Init | Role::Sidecar => "init_container",
            Role::Regular => "container",
            Role::Ephemeral => "ephemeral_container",
        }
    }
}

/// The role of an init container.
pub fn init_role(container: &Container) -> Role {
    if rules::amounts::is_sidecar(container) { Role::Sidecar } else { Role::Init }
}

/// Every container of a pod with its role, in the order in which they start.
pub fn containers(pod: &Pod) -> Vec<(Role, Cow<'_, Container>)> {
    let init = pod.spec.init_containers.iter().map(|c| (init_role(c), Cow::Borrowed(c)));
    let regular = pod.spec.containers.iter().map(|c| (Role::Regular, Cow::Borrowed(c)));
    let ephemeral = ephemeral(pod).into_iter().map(|c| (Role::Ephemeral, Cow::Owned(c)));
    init.chain(regular).chain(ephemeral).collect()
}

/// Ephemeral containers as containers: the types share every field that matters here.
pub fn ephemeral(pod: &Pod) -> Vec<Container> {
    let read = |c: &types::core::v1::EphemeralContainer| Container::from_json(&c.to_json()).ok();
    pod.spec.ephemeral_containers.iter().filter_map(read).collect()
}

/// One container by name.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    containers(pod).into_iter().find(|(_, c)| c.name == name)
}

/// `name_namespace(uid)`, as messages name a pod.
pub fn format(pod: &Pod) -> String {
    format!("{}_{}({})", pod.metadata.name, pod.metadata.namespace, pod.metadata.uid)
}

/// Whether the pod came from a file of this node: its mirror in the API carries these marks too.
pub fn is_static(pod: &Pod) -> bool {
    pod.metadata.annotations.get("kubernetes.io/config.source").is_some_and(|s| s != "api")
}

/// Whether this API object only shows a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.contains_key("kubernetes.io/config.mirror")
}
