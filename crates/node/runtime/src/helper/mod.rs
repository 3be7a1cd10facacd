//! Short-lived, single-threaded processes that do what a threaded server must not: forking into other namespaces.

pub(crate) mod exec;
pub(crate) mod pause;

/// First argument of the exec helper; its order comes on standard input.
pub(crate) const EXEC: &str = "runtime-exec";
/// First argument of the process that makes a pod's PID namespace; see [`pause`].
pub(crate) const PAUSE: &str = "runtime-pause";
