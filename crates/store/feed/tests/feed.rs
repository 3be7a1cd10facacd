//! A feed as its users see it, over a store in memory.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{Thing, codec, create, delete, describe, key, open_feed, open_store, put, replay};
use feed::{Entry, EventKind, FeedError, FeedOptions, Item, ReadAt, Scope, Start, WatchOptions, Watcher};
use mvcc::{KeyRange, Options, Store};
use std::sync::Arc;
use std::time::Duration;

/// Takes items until `count` have come.
async fn take(watcher: &mut Watcher<dyn Thing>, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(watcher.next().await.unwrap().iter().map(describe));
    }
    seen
}

fn follow(scope: Scope, after: i64) -> WatchOptions {
    WatchOptions::new(scope, Start::After(after))
}

#[tokio::test]
async fn lists_are_fresh_and_share_encodings() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    for name in ["ns/b", "ns/a", "other/a"] {
        create(&*store, name, "1").await;
    }
    let snapshot = feed.snapshot(ReadAt::Latest).await.unwrap();
    assert_eq!(snapshot.len(), 3);
    assert_eq!(snapshot.revision, store.revision().await.unwrap());
    let range = snapshot.namespace_range("ns");
    let names: Vec<_> = snapshot.range(&range).map(|entry| entry.object().name()).collect();
    assert_eq!(names, ["ns/a", "ns/b"]);
    let entry = snapshot.get(&key("ns/a")).unwrap();
    assert_eq!(&entry.json()[..], br#"{"name":"ns/a","node":"","value":"1","rv":3}"#);
    let (one, two) = (entry.json().clone(), feed.snapshot_now().get(&key("ns/a")).unwrap().json().clone());
    assert_eq!(one.as_ptr(), two.as_ptr(), "encoded once");
    let other = |entry: &Arc<Entry<dyn Thing>>| entry.encoding(7, |thing| thing.name().to_owned().into());
    assert_eq!(other(entry).as_ptr(), other(entry).as_ptr());
    assert_eq!(&entry.protobuf()[..], b"ns/a");
    put(&*store, "ns/a", "", "2").await;
    assert_eq!(feed.snapshot(ReadAt::Latest).await.unwrap().get(&key("ns/a")).unwrap().object().value(), "2");
    assert_eq!(snapshot.get(&key("ns/a")).unwrap().object().value(), "1", "a snapshot stands still");
}

#[tokio::test]
async fn writes_to_other_kinds_raise_the_revision() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    store.create(mvcc::Put::new("/registry/other/x", "1")).await.unwrap();
    let revision = store.revision().await.unwrap();
    assert_eq!(feed.snapshot(ReadAt::AtLeast(revision)).await.unwrap().revision, revision);
}

#[tokio::test]
async fn watches_continue_where_they_were() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let first = create(&*store, "ns/a", "1").await;
    put(&*store, "ns/a", "", "2").await;
    delete(&*store, "ns/a").await;
    let mut watcher = feed.watch(follow(Scope::All, first)).await.unwrap();
    assert_eq!(take(&mut watcher, 2).await, ["Modified ns/a=2@3 after 1@2", "Deleted ns/a=2@4 after 2@3"]);
    create(&*store, "ns/a", "3").await;
    assert_eq!(take(&mut watcher, 1).await, ["Added ns/a=3@5"]);
    assert!(watcher.try_next().is_none());
}

#[tokio::test]
async fn a_watch_older_than_the_ring_is_served_from_history_until_that_is_compacted() {
    let (store, env, _) = open_store(&Options::default());
    let options =
        FeedOptions { recent_events: 2, ..FeedOptions::new("/registry/things/", "example.com", "things") };
    let feed = feed::Feed::open(store.clone(), codec(), &env, options).await.unwrap();
    let first = create(&*store, "ns/a", "0").await;
    for value in 1..8 {
        put(&*store, "ns/a", "", &value.to_string()).await;
    }
    feed.wait(ReadAt::Latest).await.unwrap();
    let mut watcher = feed.watch(follow(Scope::All, first)).await.unwrap();
    put(&*store, "ns/a", "", "8").await;
    let expected: Vec<_> =
        (1..9).map(|n| format!("Modified ns/a={n}@{} after {}@{}", n + 2, n - 1, n + 1)).collect();
    assert_eq!(take(&mut watcher, 8).await, expected);
    store.compact(first + 3).await.unwrap();
    let gone = feed.watch(follow(Scope::All, first + 1)).await.unwrap_err();
    assert_eq!(gone.to_string(), format!("too old resource version: {} ({})", first + 1, first + 3));
    assert!(matches!(gone, FeedError::Gone { .. }));
    feed.watch(follow(Scope::All, first + 3)).await.unwrap();
}

#[tokio::test]
async fn a_watch_may_start_in_the_future() {
    let (store, env, clock) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let options = WatchOptions { bookmarks: Some(Duration::from_secs(60)), ..follow(Scope::All, 4) };
    let mut watcher = feed.watch(options).await.unwrap();
    for value in 1..6 {
        put(&*store, "ns/a", "", &value.to_string()).await;
        if value == 1 {
            feed.wait(ReadAt::Latest).await.unwrap();
            clock.advance(Duration::from_secs(61));
        }
    }
    // The bookmark that fell due may come between the events, but never tells of a revision before the start.
    let (mut events, mut bookmarks) = (Vec::new(), Vec::new());
    while events.len() < 2 {
        for item in take(&mut watcher, 1).await {
            if item.starts_with("Bookmark") { bookmarks.push(item) } else { events.push(item) }
        }
    }
    assert_eq!(events, ["Modified ns/a=4@5 after 3@4", "Modified ns/a=5@6 after 4@5"]);
    assert!(
        bookmarks.iter().all(|mark| ["Bookmark @4", "Bookmark @5", "Bookmark @6"].contains(&mark.as_str())),
        "{bookmarks:?}"
    );
}

#[tokio::test]
async fn initial_objects_come_first_and_end_with_a_bookmark() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    for number in 0..1000 {
        create(&*store, &format!("ns/{number:04}"), "1").await;
    }
    create(&*store, "other/a", "1").await;
    let start = Start::State { at: ReadAt::Latest, end_bookmark: true };
    let mut watcher = feed.watch(WatchOptions::new(Scope::Namespace("ns".into()), start)).await.unwrap();
    create(&*store, "ns/new", "1").await;
    let seen = take(&mut watcher, 1002).await;
    assert_eq!(seen[0], "Initial ns/0000=1@2");
    assert_eq!(seen[999], "Initial ns/0999=1@1001");
    assert_eq!(seen[1000], "Bookmark @1002 end");
    assert_eq!(seen[1001], "Added ns/new=1@1003");
    let mut empty = feed.watch(WatchOptions::new(Scope::Namespace("none".into()), start)).await.unwrap();
    assert_eq!(take(&mut empty, 1).await, ["Bookmark @1003 end"]);
}

#[tokio::test]
async fn scopes_find_exactly_their_events() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let node = |value: &str| Scope::Index { index: "node", value: value.to_owned() };
    let mut node_one = feed.watch(follow(node("one"), 1)).await.unwrap();
    let mut node_two = feed.watch(follow(node("two"), 1)).await.unwrap();
    let mut single = feed.watch(follow(Scope::Key(key("ns/b")), 1)).await.unwrap();
    let mut space = feed.watch(follow(Scope::Namespace("ns".into()), 1)).await.unwrap();
    assert_eq!(feed.watchers(), 4);
    put(&*store, "ns/a", "", "1").await;
    put(&*store, "ns/a", "one", "2").await;
    put(&*store, "ns/a", "one", "3").await;
    put(&*store, "ns/a", "two", "4").await;
    put(&*store, "nsx/b", "", "5").await;
    put(&*store, "ns/b", "", "6").await;
    delete(&*store, "ns/a").await;
    feed.wait(ReadAt::Latest).await.unwrap();
    let values = |seen: Vec<String>| -> Vec<String> {
        seen.iter().map(|text| text.split(['=', '@']).nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(
        values(take(&mut node_one, 3).await),
        ["2", "3", "4"],
        "the leaving is seen by the node that is left"
    );
    assert_eq!(values(take(&mut node_two, 2).await), ["4", "4"]);
    assert_eq!(values(take(&mut single, 1).await), ["6"]);
    assert_eq!(values(take(&mut space, 6).await), ["1", "2", "3", "4", "6", "4"]);
    assert!(
        [&mut node_one, &mut node_two, &mut single, &mut space].iter_mut().all(|w| w.try_next().is_none())
    );
    drop((node_one, node_two, single));
    assert_eq!(feed.watchers(), 1);
    let unknown = Scope::Index { index: "colour", value: String::new() };
    assert!(matches!(feed.watch(follow(unknown, 1)).await, Err(FeedError::NoIndex(_))));
}

#[tokio::test]
async fn a_watcher_knows_how_many_hear_the_same() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let mut one = feed.watch(follow(Scope::Key(key("ns/a")), 1)).await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..3 {
        crowd.push(feed.watch(follow(Scope::Namespace("ns".into()), 1)).await.unwrap());
    }
    put(&*store, "ns/a", "", "1").await;
    take(&mut one, 1).await;
    assert_eq!(one.listeners(), 1);
    for watcher in &mut crowd {
        take(watcher, 1).await;
        assert_eq!(watcher.listeners(), 3);
    }
    crowd.pop();
    put(&*store, "ns/b", "", "2").await;
    take(&mut crowd[0], 1).await;
    assert_eq!(crowd[0].listeners(), 2);
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_holds_up_nobody() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let mut slow = feed.watch(WatchOptions { capacity: 3, ..follow(Scope::All, 1) }).await.unwrap();
    let mut quick = feed.watch(follow(Scope::All, 1)).await.unwrap();
    for number in 0..10 {
        create(&*store, &format!("ns/{number}"), "1").await;
        feed.wait(ReadAt::Latest).await.unwrap();
    }
    assert_eq!(take(&mut quick, 10).await.len(), 10);
    assert_eq!(slow.next().await.unwrap().len(), 3, "what it had room for is delivered");
    assert!(matches!(slow.next().await, Err(FeedError::Slow)));
    assert_eq!(feed.watchers(), 1);
}

#[tokio::test]
async fn bookmarks_tell_the_revision_of_the_whole_store() {
    let (store, env, clock) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let options = WatchOptions { bookmarks: Some(Duration::from_secs(60)), ..follow(Scope::All, 1) };
    let mut watcher = feed.watch(options).await.unwrap();
    store.create(mvcc::Put::new("/registry/other/x", "1")).await.unwrap();
    assert!(watcher.try_next().is_none());
    clock.advance(Duration::from_secs(61));
    assert_eq!(take(&mut watcher, 1).await, ["Bookmark @2"]);
    create(&*store, "ns/a", "1").await;
    feed.wait(ReadAt::Latest).await.unwrap();
    assert_eq!(take(&mut watcher, 1).await, ["Added ns/a=1@3"]);
    clock.advance(Duration::from_secs(61));
    assert_eq!(take(&mut watcher, 1).await, ["Bookmark @3"]);
}

#[tokio::test]
async fn selection_turns_changes_into_coming_and_going() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let mut watcher = feed.watch(follow(Scope::All, 1)).await.unwrap();
    for node in ["", "one", "one", "two"] {
        put(&*store, "ns/a", node, "1").await;
    }
    delete(&*store, "ns/a").await;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        for item in watcher.next().await.unwrap() {
            let Item::Event(event) = item else { panic!("{item:?}") };
            let told = event.selected(|thing| thing.node() == "one");
            seen.push(
                told.map(|(kind, entry)| (kind, entry.object().node().to_owned(), entry.object().revision())),
            );
        }
    }
    let one = |kind, revision| Some((kind, "one".to_owned(), revision));
    let expected =
        [None, one(EventKind::Added, 3), one(EventKind::Modified, 4), one(EventKind::Deleted, 5), None];
    assert_eq!(
        seen, expected,
        "what leaves the selection is shown as it was, at the revision of its leaving"
    );
}

#[tokio::test]
async fn lists_continue_at_their_revision() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    for name in ["ns/a", "ns/b", "ns/c", "ns/d"] {
        create(&*store, name, "1").await;
    }
    let snapshot = feed.snapshot(ReadAt::Latest).await.unwrap();
    let range = KeyRange::prefix("/registry/things/");
    let first = snapshot.page(&range, 2);
    assert_eq!((first.entries.len(), first.remaining), (2, 2));
    let rest = range.after(first.entries[1].key());
    // Nothing of this kind has changed: served from the snapshot, without the store.
    store.create(mvcc::Put::new("/registry/other/x", "1")).await.unwrap();
    assert_eq!(feed.list_at(first.revision, &rest, 0).await.unwrap().entries.len(), 2);
    delete(&*store, "ns/c").await;
    put(&*store, "ns/d", "", "2").await;
    create(&*store, "ns/e", "1").await;
    let second = feed.list_at(first.revision, &rest, 1).await.unwrap();
    assert_eq!((second.entries[0].object().name(), second.remaining), ("ns/c", 1));
    let third = feed.list_at(first.revision, &range.after(second.entries[0].key()), 1).await.unwrap();
    assert_eq!((third.entries[0].object().value(), third.remaining), ("1", 0));
    store.compact(store.revision().await.unwrap()).await.unwrap();
    assert!(matches!(feed.list_at(first.revision, &rest, 1).await, Err(FeedError::Gone { .. })));
}

#[tokio::test]
async fn a_revision_that_never_comes_is_told_after_a_while() {
    let (store, env, clock) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let read = feed.snapshot(ReadAt::AtLeast(100));
    let advance = async {
        while clock.next_timer().is_none_or(|wait| wait > Duration::from_secs(3)) {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(3));
    };
    let (refused, ()) = tokio::join!(read, advance);
    let text = refused.unwrap_err().to_string();
    assert_eq!(text, "Too large resource version: 100, current: 1");
}

#[tokio::test]
async fn objects_of_an_earlier_run_are_decoded_and_bad_ones_left_out() {
    let (store, env, _) = open_store(&Options::default());
    let stored = |name: &str, value: &'static str| mvcc::Put::new(key(name), value);
    store.create(stored("ns/a", r#"{"name":"ns/a","node":"one","value":"1","rv":}"#)).await.unwrap();
    store.create(stored("ns/bad", "garbage")).await.unwrap();
    let feed = open_feed(&store, &env).await;
    let snapshot = feed.snapshot_now();
    assert_eq!(snapshot.len(), 1);
    let entry = snapshot.get(&key("ns/a")).unwrap();
    assert_eq!((entry.object().node(), entry.object().revision()), ("one", 2));
    let mut watcher = feed.watch(follow(Scope::All, snapshot.revision)).await.unwrap();
    delete(&*store, "ns/bad").await;
    put(&*store, "ns/a", "", "2").await;
    assert_eq!(take(&mut watcher, 1).await, ["Modified ns/a=2@5 after 1@2"]);
}

#[tokio::test]
async fn closing_the_store_ends_nothing_by_panic_and_dropping_the_feed_ends_its_watches() {
    let (store, env, _) = open_store(&Options::default());
    let feed = open_feed(&store, &env).await;
    let mut watcher = feed.watch(follow(Scope::All, 1)).await.unwrap();
    drop(feed);
    assert!(matches!(watcher.next().await, Err(FeedError::Interrupted)));
}

/// Random writes and watchers that start anywhere: whoever replays its events onto its starting state has what is
/// there.
#[tokio::test]
async fn every_watcher_arrives_at_the_same_state() {
    for seed in 0..30 {
        let (store, env, _) = open_store(&Options::default());
        let options = FeedOptions {
            recent_events: 16,
            ..FeedOptions::new("/registry/things/", "example.com", "things")
        };
        let feed = feed::Feed::open(store.clone(), codec(), &env, options).await.unwrap();
        let random = env::Random::seeded(seed);
        let mut watchers: Vec<(Watcher<dyn Thing>, Scope, common::Replica)> = Vec::new();
        for step in 0..120 {
            let name = format!("{}/{}", ["x", "y"][random.below(2)], random.below(6));
            match random.below(4) {
                0 => drop(delete(&*store, &name).await),
                _ => drop(put(&*store, &name, ["", "one", "two"][random.below(3)], &step.to_string()).await),
            }
            if random.below(6) == 0 {
                let scope = match random.below(4) {
                    0 => Scope::All,
                    1 => Scope::Namespace("x".into()),
                    2 => Scope::Key(key("y/3")),
                    _ => Scope::Index { index: "node", value: "one".into() },
                };
                let now = store.revision().await.unwrap();
                let after = (now - random.below(40) as i64).max(1);
                let (start, replica) = if random.below(2) == 0 {
                    (
                        Start::State { at: ReadAt::Any, end_bookmark: random.below(2) == 0 },
                        common::Replica::new(),
                    )
                } else {
                    (Start::After(after), common::state_at(&*store, after, &scope).await)
                };
                let watcher = feed.watch(WatchOptions::new(scope.clone(), start)).await.unwrap();
                watchers.push((watcher, scope, replica));
            }
        }
        let last = store.revision().await.unwrap();
        feed.wait(ReadAt::Latest).await.unwrap();
        for (mut watcher, scope, mut replica) in watchers {
            while let Some(items) = watcher.try_next() {
                items.unwrap().iter().for_each(|item| replay(&mut replica, item, &scope));
            }
            assert_eq!(replica, common::state_at(&*store, last, &scope).await, "seed {seed}, {scope:?}");
        }
    }
}
