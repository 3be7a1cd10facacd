//! What authentication looks up, answered from the feeds.

use std::collections::HashMap;
use std::sync::Arc;

use admission::WorldExt as _;
use authn::{Directory, PodFacts};
use meta::{Kind, Object, Str};
use registry::Registry;
use types::core::v1::{Node, Pod, Secret, ServiceAccount};

/// Seconds after which a deleted pod's tokens end, counted from the time its deletion was due.
const DELETED_POD_GRACE_S: i64 = 60;

/// The registry's caches as a directory.
pub(crate) struct FeedDirectory {
    registry: Arc<Registry>,
}

impl FeedDirectory {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        FeedDirectory { registry }
    }

    fn find<K: Kind + Object>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let world: &dyn admission::World = &*self.registry;
        world.get::<K>(namespace, name)
    }

    fn over(&self, object: &dyn Object) -> bool {
        let now = self.registry.env().unix_ms() / 1000;
        object.meta().deletion_timestamp.is_some_and(|end| end.seconds + DELETED_POD_GRACE_S < now)
    }
}

impl Directory for FeedDirectory {
    fn service_account(&self, namespace: &str, name: &str) -> Option<Str> {
        let account = self.find::<ServiceAccount>(namespace, name).filter(|a| !self.over(&**a))?;
        Some(account.metadata.uid.clone())
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<PodFacts> {
        let pod = self.find::<Pod>(namespace, name).filter(|p| !self.over(&**p))?;
        Some(PodFacts { uid: pod.metadata.uid.clone(), node: pod.spec.node_name.clone() })
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Str> {
        let secret = self.find::<Secret>(namespace, name).filter(|s| !self.over(&**s))?;
        Some(secret.metadata.uid.clone())
    }

    fn node(&self, name: &str) -> Option<Str> {
        self.find::<Node>("", name).map(|node| node.metadata.uid.clone())
    }

    fn legacy_token(&self, namespace: &str, secret: &str) -> Option<Vec<u8>> {
        let secret = self.find::<Secret>(namespace, secret).filter(|s| !self.over(&**s))?;
        secret.data.get("token").map(|token| token.0.clone())
    }

    fn bootstrap_token(&self, id: &str) -> Option<HashMap<String, String>> {
        let secret = self.find::<Secret>("kube-system", &format!("bootstrap-token-{id}"))?;
        if secret.type_ != "bootstrap.kubernetes.io/token" || secret.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let text = |value: &meta::ByteString| String::from_utf8_lossy(&value.0).into_owned();
        Some(secret.data.iter().map(|(k, v)| (k.to_string(), text(v))).collect())
    }
}
