//! Caches over a server in memory: own writes, lagging watches, forgotten history.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use call::EventType;
use client::fake::{Fake, eventually, paused_env};
use informer::{Cache, Change, Informers, Key};
use types::core::v1::ConfigMap;

fn map(name: &str, revision: u64) -> Arc<ConfigMap> {
    let mut map = ConfigMap::default();
    map.metadata.namespace = "default".into();
    map.metadata.name = name.into();
    map.metadata.uid = format!("uid-{name}").into();
    map.metadata.resource_version = revision.to_string().into();
    Arc::new(map)
}

fn log(cache: &Cache<ConfigMap>) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    cache.subscribe(move |change| {
        let verb = match change {
            Change::Added(_) => "added",
            Change::Updated { .. } => "updated",
            Change::Deleted(_) => "deleted",
        };
        let meta = &change.object().metadata;
        sink.lock()
            .expect("no test panics with the lock")
            .push(format!("{verb} {}@{}", meta.name, meta.resource_version));
    });
    told
}

#[test]
fn own_writes_are_seen_at_once_and_only_once() {
    let cache = Cache::new();
    cache.replace(vec![map("a", 1)], 5, Duration::ZERO);
    let told = log(&cache);
    assert!(cache.observe(map("b", 6)));
    assert!(!cache.observe(map("b", 6)));
    cache.apply(EventType::Added, map("b", 6));
    cache.apply(EventType::Modified, map("b", 7));
    assert!(!cache.observe(map("b", 6)), "an answer that is late is no news");
    assert_eq!(*told.lock().unwrap(), ["added a@1", "added b@6", "updated b@7"]);
}

#[test]
fn an_answer_does_not_bring_back_what_the_watch_saw_end() {
    let cache = Cache::new();
    cache.replace(Vec::new(), 5, Duration::ZERO);
    cache.apply(EventType::Added, map("a", 6));
    cache.apply(EventType::Deleted, map("a", 7));
    assert!(!cache.observe(map("a", 6)));
    assert!(cache.is_empty());
}

#[test]
fn own_deletes_stay_until_the_watch_has_passed_them() {
    let cache = Cache::new();
    cache.replace(vec![map("a", 1)], 5, Duration::ZERO);
    assert!(cache.forget(&Key::new("default", "a"), "uid-a", Duration::from_secs(1)));
    cache.apply(EventType::Modified, map("a", 6));
    assert!(cache.is_empty(), "news from before the delete");
    cache.apply(EventType::Deleted, map("a", 7));
    let mut again = (*map("a", 8)).clone();
    again.metadata.uid = "another".into();
    cache.apply(EventType::Added, Arc::new(again));
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_list_keeps_newer_own_writes_and_drops_the_rest() {
    let cache = Cache::new();
    cache.replace(vec![map("a", 1), map("b", 2)], 5, Duration::ZERO);
    cache.observe(map("c", 9));
    cache.forget(&Key::new("default", "b"), "uid-b", Duration::from_secs(10));
    let told = log(&cache);
    told.lock().unwrap().clear();
    // Asked for before the delete was acknowledged, so it may still show b.
    cache.replace(vec![map("b", 2), map("d", 7)], 8, Duration::from_secs(9));
    assert_eq!(*told.lock().unwrap(), ["added d@7", "deleted a@1"]);
    let names: Vec<_> = cache.list().iter().map(|map| map.metadata.name.to_string()).collect();
    assert_eq!(names, ["c", "d"]);
}

#[test]
fn indexes_follow_changes() {
    let cache = Cache::new();
    cache.replace(vec![map("a", 1)], 5, Duration::ZERO);
    cache.index("name", |map: &ConfigMap| vec![map.metadata.name.clone()]);
    cache.apply(EventType::Added, map("b", 6));
    assert_eq!((cache.find("name", "a").len(), cache.find("name", "b").len()), (1, 1));
    cache.apply(EventType::Deleted, map("a", 7));
    assert!(cache.find("name", "a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cache_follows_through_lag_and_forgotten_history() {
    let env = paused_env(1);
    let server = Fake::new(env.clone());
    server.put((*map("a", 0)).clone());
    let informers = Informers::new(server.client(), env);
    let cache = informers.cache::<ConfigMap>();
    cache.synced().await;
    assert_eq!(cache.len(), 1);
    server.hold(true);
    server.put((*map("b", 0)).clone());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cache.len(), 1, "the watch is held");
    server.hold(false);
    assert!(eventually(|| cache.len() == 2).await);
    server.remove::<ConfigMap>("default", "a");
    server.compact();
    server.put((*map("c", 0)).clone());
    assert!(eventually(|| cache.get("default", "a").is_none() && cache.get("default", "c").is_some()).await);
}
