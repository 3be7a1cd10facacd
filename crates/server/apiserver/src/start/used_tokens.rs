//! Notes in secrets on which day the token in them was last used, as those who clean up such secrets ask.

use std::sync::Arc;

use admission::WorldExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use types::core::v1::Secret;

use super::first::Writer;
use super::hooks;
use super::until_stopped;
use crate::directory::{LAST_USED, Used};
use crate::server::Server;

/// Notes every use until the server stops.
pub(crate) fn note_used_tokens(server: &Arc<Server>, mut uses: mpsc::Receiver<Used>) -> JoinHandle<()> {
    let noted = server.clone();
    let task = until_stopped(server, async move {
        while let Some(used) = uses.recv().await {
            note(&noted, &used).await;
        }
    });
    server.hooks.lives(hooks::USED_TOKENS, &task);
    task
}

async fn note(server: &Arc<Server>, used: &Used) {
    let world: &dyn admission::World = &*server.registry;
    let Some(secret) = world.get::<Secret>(&used.namespace, &used.secret) else { return };
    if secret.metadata.labels.get(LAST_USED) == Some(&used.day) {
        return;
    }
    let mut secret = Secret::clone(&secret);
    secret.metadata.labels.insert(LAST_USED, used.day.clone());
    if let Err(error) = Writer::new(server, "kube-apiserver").update(secret).await {
        let (namespace, secret) = (used.namespace.as_str(), used.secret.as_str());
        tracing::warn!(%error, namespace, secret, "the use of a token could not be noted");
    }
}
