//! Follows CustomResourceDefinitions: says in their status which names are accepted and that objects are served, has the
//! registry serve them, and sees to it that the objects of a definition go before it does.
//!
//! What the status should be is decided in [`custom::definition`]. Objects are served before the status says so, since
//! clients begin as soon as they read it.

use std::collections::HashSet;
use std::sync::Arc;

use custom::definition::{self, Claimed, FINALIZER};
use feed::{EventKind, Item, ReadAt, Scope, Start, WatchOptions};
use meta::{Object, Status, Str, Time};
use parking_lot::Mutex;
use registry::Served;
use tokio::task::JoinHandle;
use types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionCondition};

use super::first::Writer;
use super::hooks;
use super::until_stopped;
use crate::serve::listen::stopped;
use crate::server::Server;

const MANAGER: &str = "kube-apiserver";
/// Pause before objects of a definition are deleted again, after that failed.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
/// Longest pause before definitions that could not be looked at are looked at again.
const RETRY_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// Serves the definitions that are there and begins to follow them.
pub(crate) async fn follow_definitions(server: &Arc<Server>) -> Result<Vec<JoinHandle<()>>, Status> {
    let Some(served) = Served::stored_version("apiextensions.k8s.io", "customresourcedefinitions") else {
        return Ok(Vec::new());
    };
    let known = all(server, &served).await?;
    server.hooks.done(hooks::DEFINITIONS);
    for crd in known {
        if definition::is_true(&crd, "Established") {
            // One that cannot be served keeps nobody else's from being served.
            if let Err(error) = server.registry.define(&crd).await {
                tracing::warn!(%error, name = %crd.metadata.name, "a definition cannot be served");
            }
        }
    }
    server.hooks.done(hooks::DEFINITIONS_SERVED);
    let following = server.clone();
    let task = until_stopped(server, async move { follow(&following, &served).await });
    server.hooks.lives(hooks::DEFINED, &task);
    Ok(vec![task])
}

async fn all(server: &Server, served: &Served) -> Result<Vec<Arc<CustomResourceDefinition>>, Status> {
    let stored = server.registry.all(served, "").await?;
    Ok(stored.into_iter().filter_map(|stored| meta::downcast(stored.object().clone())).collect())
}

async fn follow(server: &Arc<Server>, served: &Served) {
    let follower = Arc::new(Follower { server: server.clone(), ending: Mutex::default() });
    let mut pause = std::time::Duration::ZERO;
    loop {
        let Ok(feed) = server.registry.feed(served) else { return };
        let start = Start::State { at: ReadAt::Any, end_bookmark: false };
        let options = WatchOptions { capacity: 16 << 10, ..WatchOptions::new(Scope::All, start) };
        let Ok(mut watcher) = feed.watch(options).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let mut missed = false;
        while !missed && let Ok(items) = watcher.next().await {
            for item in items {
                let (object, gone) = match &item {
                    Item::Initial(entry) => (entry.object(), false),
                    Item::Event(event) => (event.entry.object(), event.kind == EventKind::Deleted),
                    Item::Bookmark { .. } => continue,
                };
                let Some(crd) = meta::downcast::<CustomResourceDefinition>(object.clone()) else { continue };
                if let Err(error) = follower.look_at(served, &crd, gone).await {
                    tracing::warn!(%error, name = %crd.metadata.name, "a definition could not be looked at");
                    missed = true;
                }
            }
        }
        // What could not be looked at is looked at again, with all others, later each time that it fails.
        pause = if missed { (pause * 2).clamp(RETRY, RETRY_MAX) } else { std::time::Duration::ZERO };
        tokio::time::sleep(pause).await;
    }
}

struct Follower {
    server: Arc<Server>,
    /// Definitions whose objects are being deleted, by uid.
    ending: Mutex<HashSet<Str>>,
}

impl Follower {
    async fn look_at(
        self: &Arc<Self>,
        served: &Served,
        crd: &Arc<CustomResourceDefinition>,
        gone: bool,
    ) -> Result<(), Status> {
        let others = all(&self.server, served).await?;
        if gone {
            if !others.iter().any(|other| other.metadata.name == crd.metadata.name) {
                self.server.registry.undefine(&crd.metadata.name);
            }
            // Names that it held are free for those that waited for them.
            let waiting = |other: &&Arc<CustomResourceDefinition>| {
                other.spec.group == crd.spec.group && other.spec.names != other.status.accepted_names
            };
            for other in others.iter().filter(waiting) {
                self.settle(other, &others).await?;
            }
            return Ok(());
        }
        self.settle(crd, &others).await
    }

    /// Brings a definition's status up to date, and serves it.
    async fn settle(
        self: &Arc<Self>,
        crd: &Arc<CustomResourceDefinition>,
        all: &[Arc<CustomResourceDefinition>],
    ) -> Result<(), Status> {
        let ends = crd.metadata.is_deleting();
        if ends && crd.metadata.finalizers.iter().any(|name| name == FINALIZER) {
            if definition::is_true(crd, "Established") {
                self.server.registry.define(crd).await?;
            }
            self.end(crd);
            return Ok(());
        }
        if ends {
            return Ok(());
        }
        let mut claimed = Claimed::default();
        for other in all
            .iter()
            .filter(|other| other.spec.group == crd.spec.group && other.metadata.name != crd.metadata.name)
        {
            claimed.add(&other.status.accepted_names);
        }
        let now = Time::from_unix(self.server.now_s());
        let mut told = (**crd).clone();
        told.status = definition::status(crd, &claimed, now);
        if definition::is_true(&told, "Established") {
            self.server.registry.define(&told).await?;
        }
        if told.status == crd.status {
            return Ok(());
        }
        Writer::new(&self.server, MANAGER).update_status(told).await
    }

    /// Deletes the objects of a definition aside, and then lets it go.
    fn end(self: &Arc<Self>, crd: &Arc<CustomResourceDefinition>) {
        if !self.ending.lock().insert(crd.metadata.uid.clone()) {
            return;
        }
        let (follower, crd) = (self.clone(), crd.clone());
        tokio::spawn(async move {
            let mut stopping = follower.server.shared.stopping.clone();
            let ended = async {
                while let Err(error) = follower.end_now(&crd).await {
                    tracing::warn!(%error, name = %crd.metadata.name, "objects could not be deleted");
                    let _ = follower.tell(&crd, definition::not_terminated(&error.to_string())).await;
                    tokio::time::sleep(RETRY).await;
                }
            };
            tokio::select! {
                () = ended => {}
                () = stopped(&mut stopping) => {}
            }
            follower.ending.lock().remove(&crd.metadata.uid);
        });
    }

    async fn end_now(&self, crd: &CustomResourceDefinition) -> Result<(), Status> {
        let last = if definition::is_true(crd, "Established") {
            self.tell(crd, definition::terminating()).await?;
            let writer = Writer::new(&self.server, MANAGER);
            let authorized =
                writer.authorized_for("deletecollection", &crd.spec.group, &crd.spec.names.plural).await?;
            self.server.registry.delete_instances(&authorized, &crd.metadata.name).await?;
            definition::terminated()
        } else {
            definition::never_established()
        };
        self.tell(crd, last).await?;
        self.change(crd, |crd| crd.metadata.finalizers.retain(|name| name != FINALIZER), false).await
    }

    async fn tell(
        &self,
        crd: &CustomResourceDefinition,
        condition: CustomResourceDefinitionCondition,
    ) -> Result<(), Status> {
        let now = Time::from_unix(self.server.now_s());
        self.change(crd, |crd| definition::set(&mut crd.status, condition.clone(), now), true).await
    }

    /// Changes a definition, unless it is gone or another has its name.
    async fn change(
        &self,
        crd: &CustomResourceDefinition,
        change: impl Fn(&mut CustomResourceDefinition),
        status: bool,
    ) -> Result<(), Status> {
        let writer = Writer::new(&self.server, MANAGER);
        loop {
            let Some(current) = writer.current(crd).await? else { return Ok(()) };
            if current.metadata.uid != crd.metadata.uid {
                return Ok(());
            }
            let mut changed = (*current).clone();
            change(&mut changed);
            if changed.eq_object(&*current) {
                return Ok(());
            }
            match writer.try_update(changed, status).await {
                Err(refused) if refused.is_conflict() => {}
                Err(refused) if refused.is_not_found() => return Ok(()),
                done => return done,
            }
        }
    }
}
