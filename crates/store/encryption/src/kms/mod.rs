//! KMS v2: values are encrypted under a seed of ours, which a plugin encrypts under a key that we never see.
//!
//! The plugin is asked once for each seed, never for single values. It says which key it uses; when that changes, a new seed
//! is made. A seed is written with for three minutes after the plugin was last well, so that nobody writes under a key
//! that was taken away; the plugin is looked at every minute, and every ten seconds while it is not well.

mod envelope;
mod metrics;
mod plugin;
mod proto;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use env::{Env, Task};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::envelope::{Envelope, SEED_BYTES, Source, check, check_key_id};
use self::plugin::{Encrypted, Plugin, Status};
use crate::configuration::Kms;
use crate::provider::random;

/// Between looks at a plugin that is well.
const WELL: Duration = Duration::from_secs(60);
/// Between looks at one that is not.
const UNWELL: Duration = Duration::from_secs(10);
/// How long a seed is written with after the plugin was last well.
const WRITES: Duration = Duration::from_secs(180);
/// How often a plugin is asked at first, before the server goes on without it.
const FIRST_ATTEMPTS: u32 = 3;
/// Between these, and until the plugin was well once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Seeds that are remembered; each restart and each change of the key adds one until everything is rewritten.
const SEEDS_MAX: usize = 4096;

/// What is written with.
struct State {
    seed: [u8; SEED_BYTES],
    source: Encrypted,
}

struct Inner {
    name: String,
    plugin: Plugin,
    state: ArcSwapOption<State>,
    /// Until when `state` is written with, by the monotonic clock.
    expires: Mutex<Duration>,
    /// How the last look went.
    health: Mutex<Result<(), String>>,
    /// Seeds that the plugin has decrypted, by what it decrypted.
    seeds: Mutex<HashMap<Encrypted, Arc<Source>>>,
    env: Env,
}

/// A plugin and what is written with.
pub(crate) struct KmsProvider {
    inner: Arc<Inner>,
    prefix: Vec<u8>,
    runtime: Handle,
    _watching: Task,
}

impl KmsProvider {
    /// Asks a plugin for its state, more than once if it is not there yet; `rotated` is told when its key changes, and when
    /// it is well for the first time. Whether it is well already, [`KmsProvider::health`] tells.
    pub(crate) async fn start(kms: &Kms, env: &Env, rotated: Arc<Notify>) -> Result<Self, String> {
        let (Some(socket), Some(timeout)) = (kms.socket(), kms.timeout()) else {
            return Err("endpoint and timeout must be valid".to_owned());
        };
        let inner = Arc::new(Inner {
            name: kms.name.clone(),
            plugin: Plugin::new(socket, timeout),
            state: ArcSwapOption::empty(),
            expires: Mutex::default(),
            health: Mutex::new(Ok(())),
            seeds: Mutex::default(),
            env: env.clone(),
        });
        for attempt in 1.. {
            match inner.look().await {
                Ok(_) => break,
                Err(why) if attempt == FIRST_ATTEMPTS => {
                    tracing::warn!(
                        kms = inner.name,
                        why,
                        "a KMS plugin is not ready; the server is not until it is"
                    );
                    break;
                }
                Err(_) => env.sleep(FIRST_PAUSE).await,
            }
        }
        let watching = env::spawn("kms", inner.clone().watch(rotated));
        let prefix = format!("k8s:enc:kms:v2:{}:", kms.name).into_bytes();
        Ok(Self { inner, prefix, runtime: Handle::current(), _watching: watching })
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// How the plugin was when it was last looked at.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.inner.health.lock().clone()
    }

    pub(crate) fn seal(&self, place: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let state = self.inner.state.load();
        let state = state.as_ref().ok_or("got unexpected nil transformer")?;
        let over = self.inner.env.clock.monotonic().saturating_sub(*self.inner.expires.lock());
        if !over.is_zero() {
            return Err(format!(
                "encryptedDEKSource with keyID hash {:?} expired {} s ago",
                hash(&state.source.key_id),
                over.as_secs()
            ));
        }
        out.extend_from_slice(&self.prefix);
        Envelope::seal(&state.seed, &state.source, place, value, out)
    }

    /// Reads a value; this may ask the plugin, so it is not for threads of the runtime.
    pub(crate) fn open(&self, place: &[u8], stored: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let envelope = Envelope::parse(stored)?;
        let known = self.inner.seeds.lock().get(&envelope.source).cloned();
        // A plugin that was never well is not asked for each of the values that it keeps from being read.
        if known.is_none()
            && self.inner.state.load().is_none()
            && let Err(why) = self.health()
        {
            return Err(format!("failed to decrypt DEK, error: {why}"));
        }
        let source = match known {
            Some(source) => source,
            None => {
                let uid = self.inner.env.random.uuid();
                let asking = self.inner.plugin.decrypt(&uid, &envelope.source);
                let plaintext = self.runtime.block_on(asking);
                let plaintext = plaintext.map_err(|why| format!("failed to decrypt DEK, error: {why}"))?;
                let source = Arc::new(Source::new(plaintext, envelope.is_seed)?);
                self.inner.remember(envelope.source.clone(), source.clone());
                source
            }
        };
        let value = envelope.open(&source, place)?;
        let state = self.inner.state.load();
        let current = state.as_ref().is_some_and(|state| state.source.key_id == envelope.source.key_id);
        Ok((value, !current || !envelope.is_seed))
    }
}

impl Inner {
    fn remember(&self, encrypted: Encrypted, source: Arc<Source>) {
        let mut seeds = self.seeds.lock();
        if seeds.len() >= SEEDS_MAX {
            seeds.clear();
        }
        seeds.insert(encrypted, source);
    }

    /// Looks at the plugin, and makes a new seed if its key is another one, or the first: whether it did.
    async fn look(&self) -> Result<bool, String> {
        let result = self.try_look().await;
        *self.health.lock() = result.as_ref().map(drop).map_err(Clone::clone);
        result
    }

    async fn try_look(&self) -> Result<bool, String> {
        let status = self.plugin.status().await.map_err(|why| {
            format!(
                "failed to perform status section of the healthz check for KMS Provider {}, error: {why}",
                self.name
            )
        })?;
        check_status(&status)
            .map_err(|why| format!("kmsv2 Provider {} is not healthy, error: {why}", self.name))?;
        let expires = self.env.clock.monotonic() + WRITES;
        let current = self.state.load();
        if current.as_ref().is_some_and(|state| state.source.key_id == status.key_id) {
            *self.expires.lock() = expires;
            return Ok(false);
        }
        let seed = random::<SEED_BYTES>()?;
        let uid = self.env.random.uuid();
        let failed = |why: String| format!("failed to rotate DEK uid={uid:?}: {why}");
        let source = self.plugin.encrypt(&uid, &seed).await;
        let source = source.map_err(|why| failed(format!("failed to encrypt DEK, error: {why}")))?;
        check(&source).map_err(failed)?;
        self.remember(source.clone(), Arc::new(Source::new(seed.to_vec(), true)?));
        self.state.store(Some(Arc::new(State { seed, source })));
        *self.expires.lock() = expires;
        Ok(true)
    }

    async fn watch(self: Arc<Self>, rotated: Arc<Notify>) {
        loop {
            let well = self.health.lock().is_ok();
            let pause = match self.state.load().is_none() {
                true => FIRST_PAUSE,
                false if well => WELL,
                false => UNWELL,
            };
            self.env.sleep(pause).await;
            match self.look().await {
                Ok(true) => {
                    tracing::info!(kms = self.name, "the KMS plugin has a new key");
                    rotated.notify_one();
                }
                Ok(false) => {}
                Err(why) => tracing::warn!(kms = self.name, why, "the KMS plugin is not well"),
            }
        }
    }
}

fn check_status(status: &Status) -> Result<(), String> {
    let mut problems = Vec::new();
    if status.healthz != "ok" {
        problems.push(format!("got unexpected healthz status: {}", status.healthz));
    }
    if !["v2", "v2beta1"].contains(&status.version.as_str()) {
        problems.push(format!("expected KMSv2 API version v2, got {}", status.version));
    }
    if let Err(why) = check_key_id(&status.key_id) {
        problems.push(format!("got invalid KMSv2 KeyID hash {:?}: {why}", hash(&status.key_id)));
    }
    crate::provider::joined(problems).map_or(Ok(()), Err)
}

/// Ids of keys are shown hashed, as upstream shows them.
fn hash(key_id: &str) -> String {
    if key_id.is_empty() {
        return String::new();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, key_id.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
