//! ConfigMaps, Secrets, claims and tokens for pods of this node.
//!
//! Each ConfigMap or Secret that some pod refers to is watched by name as long as a pod does: the node may read no others,
//! and a change reaches the pod's volumes at once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use call::Target;
use client::Client;
use env::{Env, Task};
use informer::{Cache, Reflection, reflect};
use meta::{Kind, Status};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use types::authentication::v1::{BoundObjectReference, TokenRequest as ApiTokenRequest};
use types::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount};
use volumes::{Error, Objects, Token, TokenRequest};

use crate::images::ImageVolumes;

type Result<T> = volumes::Result<T>;

/// Objects that pods of this node refer to.
pub struct ObjectStore {
    client: Client,
    env: Env,
    maps: Mutex<Watches<ConfigMap>>,
    secrets: Mutex<Watches<Secret>>,
    tokens: Mutex<HashMap<TokenRequest, Token>>,
    changed: mpsc::UnboundedSender<String>,
    images: ImageVolumes,
}

type Watches<K> = HashMap<(String, String), Watch<K>>;

/// One watched object and the pods (by UID) that refer to it.
struct Watch<K: Kind> {
    cache: Arc<Cache<K>>,
    users: Arc<Mutex<HashSet<String>>>,
    _task: Task,
}

impl ObjectStore {
    /// `changed` is told the UIDs of the pods that refer to an object that changed.
    pub fn new(
        client: Client,
        env: Env,
        images: ImageVolumes,
        changed: mpsc::UnboundedSender<String>,
    ) -> ObjectStore {
        ObjectStore {
            client,
            env,
            maps: Mutex::default(),
            secrets: Mutex::default(),
            tokens: Mutex::default(),
            changed,
            images,
        }
    }

    /// Says which objects a pod refers to; these are watched from now on.
    pub fn register(&self, uid: &str, namespace: &str, maps: &BTreeSet<String>, secrets: &BTreeSet<String>) {
        let mut watches = self.maps.lock();
        for name in maps {
            self.watch(&mut watches, uid, namespace, name);
        }
        drop(watches);
        let mut watches = self.secrets.lock();
        for name in secrets {
            self.watch(&mut watches, uid, namespace, name);
        }
    }

    /// The pod refers to nothing any more.
    pub fn release(&self, uid: &str) {
        fn drop_user<K: Kind>(watches: &mut Watches<K>, uid: &str) {
            watches.retain(|_, watch| {
                let mut users = watch.users.lock();
                users.remove(uid);
                !users.is_empty()
            });
        }
        drop_user(&mut self.maps.lock(), uid);
        drop_user(&mut self.secrets.lock(), uid);
        self.tokens.lock().retain(|request, _| request.pod_uid != uid);
    }

    fn watch<K: Kind>(&self, watches: &mut Watches<K>, uid: &str, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(watch) = watches.get(&key) {
            watch.users.lock().insert(uid.to_owned());
            return;
        }
        let cache: Arc<Cache<K>> = Arc::new(Cache::new());
        let users = Arc::new(Mutex::new(HashSet::from([uid.to_owned()])));
        let (told, changed) = (users.clone(), self.changed.clone());
        cache.subscribe(move |_| {
            for uid in told.lock().iter() {
                // The receiver lives as long as the kubelet.
                let _ = changed.send(uid.clone());
            }
        });
        let mut what = Reflection::of(Target::of::<K>(namespace));
        what.field_selector = format!("metadata.name={name}").into();
        let task =
            env::spawn("object-watch", reflect(self.client.clone(), what, self.env.clone(), cache.clone()));
        watches.insert(key, Watch { cache, users, _task: task });
    }

    /// From the watch if it has the object, else from the API: a watch that has not caught up is no proof of absence.
    async fn get<K: Kind>(
        &self,
        watches: &Mutex<Watches<K>>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<K>>> {
        let key = (namespace.to_owned(), name.to_owned());
        let cached = watches.lock().get(&key).and_then(|watch| watch.cache.get(namespace, name));
        match cached {
            Some(object) => Ok(Some(object)),
            None => self.client.namespaced::<K>(namespace).get_optional(name).await.map_err(worded),
        }
    }

    /// A pull secret of a pod, if it is there.
    pub async fn pull_secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.get(&self.secrets, namespace, name).await.ok().flatten()
    }
}

fn worded(status: Status) -> Error {
    Error::Object(status.message.to_string())
}

#[async_trait]
impl Objects for ObjectStore {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>> {
        self.get(&self.maps, namespace, name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>> {
        self.get(&self.secrets, namespace, name).await
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<Arc<PersistentVolumeClaim>>> {
        self.client.namespaced(namespace).get_optional(name).await.map_err(worded)
    }

    async fn persistent_volume(&self, name: &str) -> Result<Option<Arc<PersistentVolume>>> {
        self.client.all().get_optional(name).await.map_err(worded)
    }

    async fn token(&self, request: &TokenRequest) -> Result<Token> {
        let now = self.env.clock.now();
        if let Some(token) = self.tokens.lock().get(request).filter(|t| t.refresh_at > now) {
            return Ok(token.clone());
        }
        let token = self.request_token(request, now).await?;
        self.tokens.lock().insert(request.clone(), token.clone());
        Ok(token)
    }

    async fn trust_bundle(&self, name: &str) -> Result<Option<String>> {
        // Off by default upstream, and this API server does not serve the kind.
        Err(Error::Object(format!(
            "cannot project ClusterTrustBundle \"{name}\": the server could not find the requested resource"
        )))
    }

    async fn image_dir(&self, pod: &Pod, reference: &str, policy: &str) -> Result<PathBuf> {
        self.images.mount(pod, reference, policy).await.map_err(Error::Object)
    }
}

impl ObjectStore {
    async fn request_token(&self, request: &TokenRequest, now: SystemTime) -> Result<Token> {
        let mut body = ApiTokenRequest::default();
        if !request.audience.is_empty() {
            body.spec.audiences.push(request.audience.as_str().into());
        }
        body.spec.expiration_seconds = Some(request.expiration_seconds);
        body.spec.bound_object_ref = Some(Box::new(BoundObjectReference {
            kind: "Pod".into(),
            api_version: "v1".into(),
            name: request.pod_name.as_str().into(),
            uid: request.pod_uid.as_str().into(),
        }));
        let failed = |why: &str| Error::Object(format!("failed to fetch token: {why}"));
        let answer = self
            .client
            .namespaced::<ServiceAccount>(&request.namespace)
            .create_subresource(&request.service_account, "token", Box::new(body))
            .await
            .map_err(|status| failed(&status.message))?
            .and_then(meta::downcast::<ApiTokenRequest>)
            .ok_or_else(|| failed("the server's answer is no TokenRequest"))?;
        let expires = answer.status.expiration_timestamp.as_ref().map_or(0, |t| t.seconds);
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(expires).unwrap_or(0));
        Ok(Token { token: answer.status.token.to_string(), refresh_at: refresh_at(now, expires) })
    }
}

/// Tokens are replaced after four fifths of their life, or a day.
fn refresh_at(now: SystemTime, expires: SystemTime) -> SystemTime {
    let life = expires.duration_since(now).unwrap_or_default();
    now + life.mul_f64(0.8).min(Duration::from_secs(24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_refreshed_in_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (life, want) in [(3600, 2880), (600, 480), (31_536_000, 86_400), (0, 0)] {
            let at = refresh_at(now, now + Duration::from_secs(life));
            assert_eq!(at.duration_since(now).unwrap().as_secs(), want, "{life}");
        }
    }
}
