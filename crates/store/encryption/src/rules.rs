//! Which providers are whose: from the keys of the store to the lists of the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use env::Env;
use mvcc::{Opened, Seal};
use tokio::sync::Notify;

use crate::configuration::{Configuration, ConfigurationError, Provider as Entry, split};
use crate::kms::KmsProvider;
use crate::provider::{ENCRYPTED, KeySet, Provider, joined};

/// Before all keys of the store.
const ROOT: &str = "/registry/";

/// Why values cannot be encrypted as asked.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// The file is unusable.
    #[error("error while parsing file: {0}")]
    Configuration(#[from] ConfigurationError),
    /// What it says cannot be done now: a KMS plugin is not there, or a rule can never apply.
    #[error("error while building transformers: {0}")]
    Build(String),
}

/// The providers of each resource.
#[derive(Default)]
struct Rules {
    /// By group and resource; a `*` stands for all.
    by_resource: HashMap<(String, String), Vec<Arc<Provider>>>,
    kms: Vec<Arc<Provider>>,
}

impl Rules {
    async fn build(
        configuration: &Configuration,
        env: &Env,
        rotated: &Arc<Notify>,
    ) -> Result<Self, EncryptionError> {
        let mut rules = Rules::default();
        for entry in &configuration.resources {
            let mut providers = Vec::new();
            for provider in &entry.providers {
                let provider = Arc::new(build(provider, env, rotated).await.map_err(EncryptionError::Build)?);
                if matches!(*provider, Provider::Kms(_)) {
                    rules.kms.push(provider.clone());
                }
                providers.push(provider);
            }
            for name in &entry.resources {
                let (group, resource) = split(name);
                // A rule that an earlier one hides would silently not apply.
                for earlier in [(group, "*"), ("*", "*")] {
                    let earlier = (earlier.0.to_owned(), earlier.1.to_owned());
                    let own = (group.to_owned(), resource.to_owned());
                    if own != earlier && rules.by_resource.contains_key(&earlier) {
                        let why = format!(
                            "resource {name:?} is masked by earlier rule \"{}.{}\"",
                            earlier.1, earlier.0
                        );
                        return Err(EncryptionError::Build(why));
                    }
                }
                let list = rules.by_resource.entry((group.to_owned(), resource.to_owned())).or_default();
                list.extend(providers.iter().cloned());
            }
        }
        Ok(rules)
    }

    /// How the KMS plugins are; `None` where there are none.
    fn health(&self) -> Option<Result<(), String>> {
        if self.kms.is_empty() {
            return None;
        }
        let unwell = self.kms.iter().filter_map(|provider| match &**provider {
            Provider::Kms(kms) => kms.health().err(),
            _ => None,
        });
        Some(joined(unwell.collect()).map_or(Ok(()), Err))
    }

    fn of(&self, group: &str, resource: &str) -> &[Arc<Provider>] {
        let rule =
            |group: &str, resource: &str| self.by_resource.get(&(group.to_owned(), resource.to_owned()));
        rule(group, resource)
            .or_else(|| rule(group, "*"))
            .or_else(|| rule("*", "*"))
            .map_or(&[], Vec::as_slice)
    }
}

async fn build(entry: &Entry, env: &Env, rotated: &Arc<Notify>) -> Result<Provider, String> {
    if let Some(keys) = &entry.aesgcm {
        return KeySet::gcm(keys);
    }
    if let Some(keys) = &entry.aescbc {
        return KeySet::cbc(keys);
    }
    if let Some(keys) = &entry.secretbox {
        return KeySet::secretbox(keys);
    }
    match &entry.kms {
        Some(kms) => KmsProvider::start(kms, env, rotated.clone()).await.map(Provider::Kms),
        None => Ok(Provider::Identity),
    }
}

/// See the crate.
pub struct Encryption {
    path: PathBuf,
    rules: ArcSwap<Rules>,
    /// Built-in resources by the beginning of their keys below the root: `secrets`, `services/specs`.
    builtin: HashMap<&'static str, (&'static str, &'static str)>,
    env: Env,
    rotated: Arc<Notify>,
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryption").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Encryption {
    /// As a file says. KMS plugins that are not there yet may come later, see [`Encryption::health`] and
    /// [`Encryption::rotated`].
    ///
    /// # Errors
    /// When the file is unusable.
    pub async fn load(path: &Path, env: &Env) -> Result<Arc<Self>, EncryptionError> {
        let rotated = Arc::new(Notify::new());
        let rules = Rules::build(&Configuration::load(path)?, env, &rotated).await?;
        let builtin = scheme::RESOURCES.iter().filter_map(|resource| {
            let place = resource.key_prefix.strip_prefix(ROOT)?.trim_end_matches('/');
            Some((place, (&*resource.group, &*resource.plural)))
        });
        Ok(Arc::new(Self {
            path: path.to_owned(),
            rules: ArcSwap::from_pointee(rules),
            builtin: builtin.collect(),
            env: env.clone(),
            rotated,
        }))
    }

    /// Takes over what the file says now. What is wrong with it leaves everything as it was.
    ///
    /// # Errors
    /// As [`Encryption::load`], and when a KMS plugin is not well: what is in use goes on then.
    pub async fn reload(&self) -> Result<(), EncryptionError> {
        let rules = Rules::build(&Configuration::load(&self.path)?, &self.env, &self.rotated).await?;
        rules.health().map_or(Ok(()), |health| health.map_err(EncryptionError::Build))?;
        self.rules.store(Arc::new(rules));
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until a KMS plugin has another key, or is well for the first time, so that everything should be written anew.
    pub async fn rotated(&self) {
        self.rotated.notified().await;
    }

    /// How the KMS plugins are; `None` where there are none.
    pub fn health(&self) -> Option<Result<(), String>> {
        self.rules.load().health()
    }

    /// Group and resource of a key of the store.
    fn resource<'k>(&'k self, place: &'k [u8]) -> Option<(&'k str, &'k str)> {
        let rest = std::str::from_utf8(place).ok()?.strip_prefix(ROOT)?;
        let first = rest.find('/').unwrap_or(rest.len());
        let second = rest[first..].get(1..).and_then(|more| more.find('/')).map(|at| first + 1 + at);
        // The longer beginning first: `services/specs` before a resource `services`.
        if let Some(second) = second
            && let Some(found) = self.builtin.get(&rest[..second])
        {
            return Some(*found);
        }
        if let Some(found) = self.builtin.get(&rest[..first]) {
            return Some(*found);
        }
        // Custom resources are kept by group and plural name.
        second.map(|second| (&rest[..first], &rest[first + 1..second]))
    }
}

impl Seal for Encryption {
    fn seal(&self, place: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let rules = self.rules.load();
        let providers = self.resource(place).map_or(&[][..], |(group, resource)| rules.of(group, resource));
        match providers.first().map(|first| &**first) {
            // What could not be read is kept as it is, for whoever has the key again.
            _ if value.starts_with(ENCRYPTED) => Ok(None),
            None | Some(Provider::Identity) => Ok(None),
            Some(first) => {
                let mut sealed = Vec::with_capacity(value.len() + 256);
                first.seal(place, value, &mut sealed)?;
                Ok(Some(sealed))
            }
        }
    }

    fn open(&self, place: &[u8], stored: Bytes) -> Opened {
        let rules = self.rules.load();
        let providers = self.resource(place).map_or(&[][..], |(group, resource)| rules.of(group, resource));
        if providers.is_empty() && !stored.starts_with(ENCRYPTED) {
            return Opened::Fresh(stored);
        }
        let mut problems = Vec::new();
        for (index, provider) in providers.iter().enumerate() {
            match provider.open(place, &stored) {
                None => {}
                Some(Ok((value, stale))) if stale || index != 0 => return Opened::Stale(value.into()),
                Some(Ok((value, _))) => return Opened::Fresh(value.into()),
                Some(Err(why)) => problems.push(why),
            }
        }
        let nothing = if providers.is_empty() {
            "identity transformer tried to read encrypted data"
        } else {
            "no matching prefix found"
        };
        Opened::Unreadable { stored, why: joined(problems).unwrap_or_else(|| nothing.to_owned()) }
    }
}
