//! Encryption at rest: the options under upstream's names, the store that is opened with them, and following the file.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use encryption::Encryption;
use env::{Env, FileWatch, Task};
use mvcc::{Embedded, Options};
use serde::{Deserialize, Serialize};

use crate::options::Settings;

/// Without a file, values are written as they are.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct EncryptionOptions {
    /// File that says which resources are encrypted on disk, and how
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Take over changes of --encryption-provider-config without a restart
    #[arg(long)]
    pub encryption_provider_config_automatic_reload: bool,
}

/// An open store, and what keeps its encryption as it should be.
pub(crate) struct Opened {
    pub store: Arc<Embedded>,
    pub encryption: Option<Arc<Encryption>>,
    /// Ends when dropped.
    pub following: Option<Task>,
}

impl Opened {
    /// How KMS plugins are; nothing where values are not encrypted.
    pub(crate) fn check(&self) -> Option<apiserver::HealthCheck> {
        let encryption = self.encryption.clone()?;
        Some(("kms-providers", Arc::new(move || encryption.health().unwrap_or(Ok(())))))
    }
}

/// Opens the store.
pub(crate) async fn open(settings: &Settings, env: &Env) -> Result<Opened> {
    let options = &settings.options.encryption;
    let encryption = match &options.encryption_provider_config {
        Some(path) => Some(Encryption::load(path, env).await?),
        None => None,
    };
    let (directory, store_env, seal) = (settings.paths.store(), env.clone(), encryption.clone());
    let opened = tokio::task::spawn_blocking(move || match seal {
        Some(seal) => Embedded::open_sealed(&directory, &store_env, &Options::default(), seal),
        None => Embedded::open(&directory, &store_env, &Options::default()),
    });
    let store = Arc::new(
        opened
            .await?
            .with_context(|| format!("cannot open the store in {}", settings.paths.store().display()))?,
    );
    let following = match &encryption {
        None => None,
        Some(encryption) => {
            let watch = match options.encryption_provider_config_automatic_reload {
                true => Some(FileWatch::of(&[encryption.path().to_owned()])?),
                false => None,
            };
            Some(env::spawn("encryption", follow(encryption.clone(), store.clone(), watch)))
        }
    };
    Ok(Opened { store, encryption, following })
}

/// Writes everything anew when the file or the key of a KMS plugin changes.
async fn follow(encryption: Arc<Encryption>, store: Arc<Embedded>, mut watch: Option<FileWatch>) {
    let mut known = std::fs::read(encryption.path()).unwrap_or_default();
    loop {
        let changed = async {
            match &mut watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = encryption.rotated() => {
                encryption::read_again(&encryption, &store).await;
                store.rewrite();
            }
            changed = changed => {
                if let Err(error) = changed {
                    tracing::error!(%error, "the encryption configuration can no longer be watched");
                    watch = None;
                    continue;
                }
                let now = std::fs::read(encryption.path()).unwrap_or_default();
                if now == known {
                    continue;
                }
                known = now;
                match encryption.reload().await {
                    Ok(()) => {
                        tracing::info!("the encryption configuration has changed, everything is written anew");
                        encryption::read_again(&encryption, &store).await;
                        store.rewrite();
                    }
                    Err(error) => tracing::error!(%error, "the changed encryption configuration is not used"),
                }
            }
        }
    }
}
