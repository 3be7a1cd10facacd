//! The registry as admission sees the cluster: the feeds, as they are now.

use std::sync::Arc;

use admission::World;
use authz::Attributes;
use meta::Object;
use mvcc::KeyRange;

use crate::registry::{Registry, Request};
use crate::served::Served;

/// Kinds that plugins read when something is created in a namespace.
const READ_FOR_ANY: [(&str, &str); 3] = [("", "namespaces"), ("", "limitranges"), ("", "resourcequotas")];
/// Kinds that plugins read beyond these when a pod is created.
const READ_FOR_PODS: [(&str, &str); 3] =
    [("", "serviceaccounts"), ("scheduling.k8s.io", "priorityclasses"), ("node.k8s.io", "runtimeclasses")];
/// And when a claim is created.
const READ_FOR_CLAIMS: [(&str, &str); 1] = [("storage.k8s.io", "storageclasses")];

impl World for Registry {
    fn find(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<dyn Object>> {
        let served = Served::stored_version(group, plural)?;
        let snapshot = self.feeds.now(served.resource())?;
        snapshot.get(&served.key(namespace, name)).map(|entry| entry.object().clone())
    }

    fn all(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<dyn Object>> {
        let Some(served) = Served::stored_version(group, plural) else { return Vec::new() };
        let Some(snapshot) = self.feeds.now(served.resource()) else { return Vec::new() };
        if snapshot.is_empty() {
            return Vec::new();
        }
        let range = KeyRange::prefix(served.prefix(namespace));
        snapshot.range(&range).map(|entry| entry.object().clone()).collect()
    }

    fn allows(&self, user: &authn::User, attributes: &Attributes) -> bool {
        self.authorizer.allows(user, attributes)
    }

    fn random(&self) -> &env::Random {
        &self.env.random
    }
}

impl Registry {
    /// Brings what admission will read up to the last commit, so that a client that created a namespace a moment ago
    /// can create something in it.
    pub(crate) async fn catch_up_for(&self, request: &Request<'_>) {
        if request.target.namespace.is_empty() {
            return;
        }
        let more: &[(&str, &str)] = match request.target.resource.as_str() {
            "pods" => &READ_FOR_PODS,
            "persistentvolumeclaims" => &READ_FOR_CLAIMS,
            _ => &[],
        };
        for (group, plural) in READ_FOR_ANY.iter().chain(more) {
            if let Some(served) = Served::stored_version(group, plural) {
                self.feeds.catch_up(served.resource()).await;
            }
        }
    }
}
