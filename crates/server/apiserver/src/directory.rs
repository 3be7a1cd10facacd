//! What authentication looks up, answered from the feeds.

use std::collections::HashMap;
use std::sync::Arc;

use admission::WorldExt as _;
use authn::{Directory, LegacyToken, PodFacts};
use meta::{Kind, Object, Str};
use registry::Registry;
use tokio::sync::mpsc;
use types::core::v1::{Node, Pod, Secret, ServiceAccount};

/// Seconds after which a deleted pod's tokens end, counted from the time its deletion was due.
const DELETED_POD_GRACE_S: i64 = 60;

/// Uses of tokens in secrets that may wait to be noted; more are noted when they come again.
const USES_MAX: usize = 256;

/// Label of the day on which a secret's token was used last.
pub(crate) const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// A secret whose token was used, and the day.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub namespace: Str,
    pub secret: Str,
    pub day: Str,
}

/// The registry's caches as a directory.
pub(crate) struct FeedDirectory {
    registry: Arc<Registry>,
    used: mpsc::Sender<Used>,
}

impl FeedDirectory {
    /// The directory, and the uses of tokens that it is told of.
    pub(crate) fn new(registry: Arc<Registry>) -> (Self, mpsc::Receiver<Used>) {
        let (used, uses) = mpsc::channel(USES_MAX);
        (FeedDirectory { registry, used }, uses)
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

    fn legacy_token(&self, namespace: &str, secret: &str) -> Option<LegacyToken> {
        let secret = self.find::<Secret>(namespace, secret).filter(|s| !self.over(&**s))?;
        let labels = &secret.metadata.labels;
        Some(LegacyToken {
            token: secret.data.get("token")?.0.clone(),
            last_used: labels.get(LAST_USED).cloned().unwrap_or_default(),
            marked_invalid: labels.contains_key(INVALID_SINCE),
        })
    }

    fn legacy_token_used(&self, namespace: &str, secret: &str, day: &str) {
        // When the queue is full, the next use tells it again.
        let _ =
            self.used.try_send(Used { namespace: namespace.into(), secret: secret.into(), day: day.into() });
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
