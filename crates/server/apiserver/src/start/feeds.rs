//! Following one resource's feed for as long as the server runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use feed::{EventKind, Item, ReadAt, Scope, Start, WatchOptions};
use meta::{Object, Str};
use registry::Served;

use crate::server::Server;

/// Pause before a feed that could not be watched is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Events that may wait for a follower before it must begin anew.
const CAPACITY: usize = 16 << 10;

/// Tells `see` of every object and every change, and whether the object is gone. A follower that fell behind, or whose watch
/// did not start, begins anew; `begin` is told before that which objects there are, so that it can forget the others.
pub(super) async fn each_change(
    server: &Arc<Server>,
    group: &str,
    plural: &str,
    begin: impl Fn(&Arc<Server>, &BTreeSet<Str>) + Send,
    see: impl Fn(&Arc<Server>, &Arc<dyn Object>, bool) + Send,
) {
    each_change_in(server, group, plural, |_| Scope::All, begin, see).await;
}

/// The same of some objects only.
pub(super) async fn each_change_in(
    server: &Arc<Server>,
    group: &str,
    plural: &str,
    scope: impl Fn(&Served) -> Scope + Send,
    begin: impl Fn(&Arc<Server>, &BTreeSet<Str>) + Send,
    see: impl Fn(&Arc<Server>, &Arc<dyn Object>, bool) + Send,
) {
    let Some(served) = Served::stored_version(group, plural) else { return };
    loop {
        let watcher = async {
            let there = server.registry.all(&served, "").await?;
            begin(server, &there.iter().map(|stored| stored.object().meta().name.clone()).collect());
            let start = Start::State { at: ReadAt::Any, end_bookmark: false };
            let options = WatchOptions { capacity: CAPACITY, ..WatchOptions::new(scope(&served), start) };
            server.registry.feed(&served)?.watch(options).await.map_err(meta::Status::internal_error)
        };
        let mut watcher = match watcher.await {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, plural, "a feed could not be followed");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        while let Ok(items) = watcher.next().await {
            for item in items {
                match item {
                    Item::Initial(entry) => see(server, entry.object(), false),
                    Item::Event(event) => {
                        see(server, event.entry.object(), event.kind == EventKind::Deleted);
                    }
                    Item::Bookmark { .. } => {}
                }
            }
        }
    }
}
