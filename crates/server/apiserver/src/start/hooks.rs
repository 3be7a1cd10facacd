//! What the server does besides answering, part by part: which parts have been done, and whether the tasks that go on with
//! them are alive. The health checks `poststarthook/…` are read off this.
//!
//! The names are those of upstream's hooks that do the same there. A part without a task is done for good; one whose task
//! ended while the server runs has failed.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinHandle};

/// Policies and webhooks are known to admission, and followed.
pub(crate) const ADMISSION: &str = "poststarthook/start-apiserver-admission-initializer";
/// What authorization decides by is known, and followed.
pub(crate) const POLICY: &str = "poststarthook/generic-apiserver-start-informers";
/// Flow control runs by the stored configuration, and follows it.
pub(crate) const FLOW: &str = "poststarthook/priority-and-fairness-config-consumer";
/// Flow control has the levels that every request finds its place in.
pub(crate) const FLOW_LEVELS: &str = "poststarthook/priority-and-fairness-filter";
/// Objects are counted for the metrics.
pub(crate) const COUNTS: &str = "poststarthook/storage-object-count-tracker-hook";
/// Definitions of custom kinds have been read.
pub(crate) const DEFINITIONS: &str = "poststarthook/start-apiextensions-informers";
/// Definitions of custom kinds are followed.
pub(crate) const DEFINED: &str = "poststarthook/start-apiextensions-controllers";
/// Kinds that were defined before are served.
pub(crate) const DEFINITIONS_SERVED: &str = "poststarthook/crd-informer-synced";
/// The namespaces of every cluster are there, and made again.
pub(crate) const NAMESPACES: &str = "poststarthook/start-system-namespaces-controller";
/// The address of this server is kept where others look for it.
pub(crate) const ENDPOINTS: &str = "poststarthook/peer-endpoint-reconciler-controller";
/// Whom extension API servers trust is told to them, and kept true.
pub(crate) const TRUST: &str = "poststarthook/start-cluster-authentication-info-controller";
/// This server's lease is renewed.
pub(crate) const LEASE: &str = "poststarthook/start-kube-apiserver-identity-lease-controller";
/// Leases of servers that are no more go.
pub(crate) const LEASES: &str = "poststarthook/start-kube-apiserver-identity-lease-garbage-collector";
/// Every stored kind has its cache.
pub(crate) const STORAGE: &str = "poststarthook/storage-readiness";
/// The use of tokens in secrets is noted.
pub(crate) const USED_TOKENS: &str = "poststarthook/start-legacy-token-tracking-controller";
/// Addresses of Services have their objects.
pub(crate) const ADDRESSES: &str = "poststarthook/start-service-ip-repair-controllers";
/// The cluster's roles are there.
pub(crate) const ROLES: &str = "poststarthook/rbac/bootstrap-roles";
/// The cluster's priority classes are there.
pub(crate) const PRIORITIES: &str = "poststarthook/scheduling/bootstrap-system-priority-classes";
/// The objects of flow control are there.
pub(crate) const FLOW_OBJECTS: &str = "poststarthook/priority-and-fairness-config-producer";
/// The `kubernetes` Service is there, and made again.
pub(crate) const SERVICE: &str = "poststarthook/bootstrap-controller";
/// Ranges of Services' addresses are followed.
pub(crate) const RANGES: &str = "poststarthook/start-kubernetes-service-cidr-controller";
/// The certificate for extension API servers is read again when it changes.
pub(crate) const PROXY_KEYS: &str = "poststarthook/aggregator-reload-proxy-client-cert";
/// APIServices have been read.
pub(crate) const SERVERS: &str = "poststarthook/start-kube-aggregator-informers";
/// APIServices of this server's own groups are there, and available.
pub(crate) const SERVERS_LOCAL: &str = "poststarthook/apiservice-status-local-available-controller";
/// Extension API servers are judged by their Services and endpoints.
pub(crate) const SERVERS_REMOTE: &str = "poststarthook/apiservice-status-remote-available-controller";
/// APIServices are followed.
pub(crate) const SERVERS_FOLLOWED: &str = "poststarthook/apiservice-registration-controller";
/// Every APIService that was there before has its routes.
pub(crate) const SERVERS_SYNCED: &str = "poststarthook/apiservice-wait-for-first-sync";
/// Discovery of extension API servers is read.
pub(crate) const SERVERS_DISCOVERY: &str = "poststarthook/apiservice-discovery-controller";
/// Groups that are defined get their APIServices.
pub(crate) const REGISTRATION: &str = "poststarthook/kube-apiserver-autoregistration";
/// Every group that this server has got its APIService.
pub(crate) const REGISTERED: &str = "autoregister-completion";
/// What extension API servers say in OpenAPI v2 is read.
pub(crate) const SERVERS_V2: &str = "poststarthook/apiservice-openapi-controller";
/// What they say in OpenAPI v3 is read.
pub(crate) const SERVERS_V3: &str = "poststarthook/apiservice-openapiv3-controller";

/// All parts, in the order in which they are told.
pub(crate) const ALL: [&str; 32] = [
    ADMISSION,
    POLICY,
    FLOW,
    FLOW_LEVELS,
    COUNTS,
    DEFINITIONS,
    DEFINED,
    DEFINITIONS_SERVED,
    NAMESPACES,
    ENDPOINTS,
    TRUST,
    LEASE,
    LEASES,
    STORAGE,
    USED_TOKENS,
    ADDRESSES,
    ROLES,
    PRIORITIES,
    FLOW_OBJECTS,
    SERVICE,
    RANGES,
    PROXY_KEYS,
    SERVERS,
    SERVERS_LOCAL,
    SERVERS_REMOTE,
    SERVERS_FOLLOWED,
    SERVERS_SYNCED,
    SERVERS_DISCOVERY,
    REGISTRATION,
    REGISTERED,
    SERVERS_V2,
    SERVERS_V3,
];

/// How far each part is.
#[derive(Default)]
pub(crate) struct Hooks {
    parts: Mutex<HashMap<&'static str, Vec<AbortHandle>>>,
}

impl Hooks {
    /// A part has been done.
    pub(crate) fn done(&self, name: &'static str) {
        self.parts.lock().entry(name).or_default();
    }

    /// A part is done for as long as a task lives.
    pub(crate) fn lives(&self, name: &'static str, task: &JoinHandle<()>) {
        self.parts.lock().entry(name).or_default().push(task.abort_handle());
    }

    /// What is wrong with a part.
    pub(crate) fn check(&self, name: &str) -> Result<(), String> {
        match self.parts.lock().get(name) {
            None => Err("not finished".to_owned()),
            Some(tasks) if tasks.iter().any(AbortHandle::is_finished) => Err("a task of it ended".to_owned()),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_holds_while_its_tasks_live() {
        let hooks = Hooks::default();
        assert_eq!(hooks.check(ROLES), Err("not finished".to_owned()));
        hooks.done(ROLES);
        assert_eq!(hooks.check(ROLES), Ok(()));
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let _ = ends.await;
        });
        hooks.lives(FLOW, &task);
        assert_eq!(hooks.check(FLOW), Ok(()));
        drop(end);
        task.await.expect("it only waits");
        assert_eq!(hooks.check(FLOW), Err("a task of it ended".to_owned()));
    }
}
