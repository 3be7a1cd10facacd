//! The contract test suite: what every implementation of [`Store`] has to do, once written down and run over each.
//!
//! A test suite calls [`run`] with a function that makes an empty store. The checks panic with what they saw.

use crate::{
    Compare, EventKind, KeyRange, KeyValue, NO_LEASE, Op, Put, RangeOptions, Store, StoreError, Txn,
    TxnResponse,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Runs every check, each on a store of its own.
pub async fn run<F, S>(mut make: F)
where
    F: AsyncFnMut() -> S,
    S: AsRef<dyn Store>,
{
    revisions_and_versions(make().await.as_ref()).await;
    transactions_are_guarded_and_whole(make().await.as_ref()).await;
    invalid_transactions_are_refused(make().await.as_ref()).await;
    ranges_page_and_count(make().await.as_ref()).await;
    the_past_can_be_read_until_compacted(make().await.as_ref()).await;
    watches_replay_and_follow(make().await.as_ref()).await;
    watches_cover_exactly_their_range(make().await.as_ref()).await;
    watches_tell_progress(make().await.as_ref()).await;
    leases_take_their_keys_along(make().await.as_ref()).await;
}

fn key(name: &str) -> Bytes {
    Bytes::from(format!("/registry/things/{name}"))
}

/// Puts without a condition and gives the revision.
async fn put(store: &dyn Store, name: &str, value: &str) -> i64 {
    let txn = Txn { compare: Vec::new(), ops: vec![Op::Put(Put::new(key(name), value.to_owned()))] };
    committed(store.txn(txn).await).0
}

async fn delete(store: &dyn Store, name: &str) -> i64 {
    committed(store.delete(key(name), None).await).0
}

fn committed(outcome: Result<TxnResponse, StoreError>) -> (i64, Vec<crate::OpResult>) {
    match outcome.expect("the transaction is valid") {
        TxnResponse::Committed { revision, results } => (revision, results),
        TxnResponse::Conflict { current, .. } => panic!("unexpected conflict with {current:?}"),
    }
}

fn conflict(outcome: Result<TxnResponse, StoreError>) -> Vec<Option<Arc<KeyValue>>> {
    match outcome.expect("the transaction is valid") {
        TxnResponse::Conflict { current, .. } => current,
        TxnResponse::Committed { .. } => panic!("unexpectedly committed"),
    }
}

async fn values(store: &dyn Store, at: Option<i64>) -> Vec<String> {
    let range = KeyRange::prefix("/registry/things/");
    let answer = store.range(&range, RangeOptions { at, ..RangeOptions::default() }).await.expect("readable");
    let text = |kv: &Arc<KeyValue>| {
        let name = String::from_utf8_lossy(&kv.key).replace("/registry/things/", "");
        format!("{name}={}", String::from_utf8_lossy(&kv.value))
    };
    answer.kvs.iter().map(text).collect()
}

async fn revisions_and_versions(store: &dyn Store) {
    let start = store.revision().await.expect("reachable");
    let first = put(store, "a", "1").await;
    assert_eq!(first, start + 1, "one transaction, one revision");
    let second = put(store, "a", "2").await;
    let kv = store.get(&key("a"), None).await.expect("readable").kv.expect("there");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, second, 2));
    assert_eq!(&kv.value[..], b"2");
    let gone = delete(store, "a").await;
    assert_eq!(gone, second + 1);
    assert_eq!(delete(store, "a").await, gone, "deleting what is not there changes nothing");
    let again = put(store, "a", "3").await;
    let answer = store.get(&key("a"), None).await.expect("readable");
    let kv = answer.kv.expect("there");
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (again, again, 1),
        "a new life starts at 1"
    );
    assert!(answer.revision >= again);
    assert_eq!(store.get(&key("b"), None).await.expect("readable").kv, None);
}

async fn transactions_are_guarded_and_whole(store: &dyn Store) {
    let (created, _) = committed(store.create(Put::new(key("a"), "1")).await);
    let current = conflict(store.create(Put::new(key("a"), "2")).await);
    assert_eq!(current[0].as_ref().map(|kv| kv.mod_revision), Some(created));
    assert_eq!(conflict(store.replace(Put::new(key("b"), "1"), 7).await), [None]);
    let (updated, results) = committed(store.replace(Put::new(key("a"), "2"), created).await);
    assert_eq!(results[0].prev.as_ref().map(|kv| kv.mod_revision), Some(created));
    assert_eq!(results[0].kv.as_ref().map(|kv| kv.mod_revision), Some(updated));
    conflict(store.delete(key("a"), Some(created)).await);
    let both = |guard| Txn {
        compare: vec![Compare { key: key("a"), mod_revision: guard }],
        ops: vec![Op::Delete(key("a")), Op::Put(Put::new(key("c"), "3"))],
    };
    conflict(store.txn(both(created)).await);
    assert_eq!(values(store, None).await, ["a=2"], "a conflict changes nothing");
    let (moved, results) = committed(store.txn(both(updated)).await);
    assert_eq!(values(store, None).await, ["c=3"]);
    assert_eq!(results[1].kv.as_ref().map(|kv| kv.mod_revision), Some(moved), "one revision for all of it");
    assert_eq!(results[0].kv, None);
}

async fn invalid_transactions_are_refused(store: &dyn Store) {
    let before = store.revision().await.expect("reachable");
    let twice =
        Txn { compare: Vec::new(), ops: vec![Op::Delete(key("a")), Op::Put(Put::new(key("a"), "1"))] };
    assert!(matches!(store.txn(twice).await, Err(StoreError::InvalidTxn(_))));
    let nameless = Txn { compare: Vec::new(), ops: vec![Op::Put(Put::new("", "1"))] };
    assert!(matches!(store.txn(nameless).await, Err(StoreError::InvalidTxn(_))));
    let leased = Put { lease: 4711, ..Put::new(key("a"), "1") };
    assert!(matches!(store.create(leased).await, Err(StoreError::LeaseNotFound { lease: 4711 })));
    assert!(matches!(store.revoke_lease(4711).await, Err(StoreError::LeaseNotFound { lease: 4711 })));
    assert!(matches!(
        store.get(&key("a"), Some(before + 10)).await,
        Err(StoreError::FutureRevision { revision }) if revision == before
    ));
    assert_eq!(store.revision().await.expect("reachable"), before);
}

async fn ranges_page_and_count(store: &dyn Store) {
    for name in ["d", "b", "a", "c", "e"] {
        put(store, name, name).await;
    }
    committed(store.create(Put::new("/registry/things0", "outside")).await);
    let mut range = KeyRange::prefix("/registry/things/");
    let mut options = RangeOptions { limit: 2, count: true, at: None };
    let mut seen = Vec::new();
    for (more, remaining) in [(true, 3), (true, 1), (false, 0)] {
        let page = store.range(&range, options).await.expect("readable");
        assert_eq!((page.more, page.remaining), (more, remaining));
        assert!(options.at.is_none_or(|at| at == page.revision), "a page is read where it was asked for");
        options.at = Some(page.revision);
        let last = page.kvs.last().expect("no page is empty").key.clone();
        range = range.after(&last);
        seen.extend(page.kvs.iter().map(|kv| kv.value.clone()));
        // Not seen by the later pages, which continue at the first one's revision.
        put(store, "bb", "later").await;
        delete(store, "e").await;
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"], "in order, as of the first page");
    let none = store.range(&KeyRange::between("z", "a"), RangeOptions::default()).await.expect("readable");
    assert!(none.kvs.is_empty() && !none.more);
}

async fn the_past_can_be_read_until_compacted(store: &dyn Store) {
    let one = put(store, "a", "1").await;
    let two = put(store, "b", "1").await;
    let three = put(store, "a", "2").await;
    let four = delete(store, "b").await;
    let five = put(store, "c", "1").await;
    let history: Vec<_> = [
        (one, vec!["a=1"]),
        (two, vec!["a=1", "b=1"]),
        (three, vec!["a=2", "b=1"]),
        (four, vec!["a=2"]),
        (five, vec!["a=2", "c=1"]),
    ]
    .into();
    for (at, expected) in &history {
        assert_eq!(values(store, Some(*at)).await, *expected, "at {at}");
    }
    store.compact(four).await.expect("compacts");
    for (at, expected) in &history {
        let read = store.get(&key("a"), Some(*at)).await;
        if *at < four {
            assert!(
                matches!(read, Err(StoreError::Compacted { compact_revision }) if compact_revision == four),
                "{read:?}"
            );
        } else {
            assert_eq!(values(store, Some(*at)).await, *expected, "at {at}, compacted at {four}");
        }
    }
    assert!(matches!(store.compact(four).await, Err(StoreError::Compacted { .. })));
    assert!(matches!(store.compact(five + 10).await, Err(StoreError::FutureRevision { .. })));
    assert!(matches!(
        store.watch(KeyRange::all(), Some(two)).await.map(|_| ()),
        Err(StoreError::Compacted { compact_revision }) if compact_revision == four
    ));
    let mut watch =
        store.watch(KeyRange::prefix("/registry/things/"), Some(five)).await.expect("not compacted");
    assert_eq!(watch.next().await.expect("an event").events[0].revision(), five);
}

async fn watches_replay_and_follow(store: &dyn Store) {
    let one = put(store, "a", "1").await;
    put(store, "a", "2").await;
    let mut watch = store.watch(KeyRange::prefix("/registry/things/"), Some(one)).await.expect("watches");
    let mut now = store.watch(KeyRange::prefix("/registry/things/"), None).await.expect("watches");
    delete(store, "a").await;
    let last = put(store, "a", "3").await;
    let mut seen = Vec::new();
    let mut through = 0;
    while through < last {
        let batch = watch.next().await.expect("not compacted");
        assert!(batch.events.iter().all(|event| event.revision() <= batch.revision));
        through = batch.revision;
        seen.extend(batch.events);
    }
    let text = |kv: &KeyValue| String::from_utf8_lossy(&kv.value).into_owned();
    let told: Vec<_> = seen
        .iter()
        .map(|event| {
            (event.kind, text(&event.kv), event.prev.as_ref().map(|prev| text(prev)), event.revision() - one)
        })
        .collect();
    let some = |value: &str| Some(value.to_owned());
    let expected = [
        (EventKind::Put, "1".to_owned(), None, 0),
        (EventKind::Put, "2".to_owned(), some("1"), 1),
        (EventKind::Delete, String::new(), some("2"), 2),
        (EventKind::Put, "3".to_owned(), None, 3),
    ];
    assert_eq!(told, expected);
    assert!(seen[0].is_create() && !seen[1].is_create() && !seen[2].is_create() && seen[3].is_create());
    let mut later = Vec::new();
    while later.len() < 2 {
        later.extend(now.next().await.expect("not compacted").events);
    }
    assert_eq!(later, seen[2..], "a watch from now starts after what was there");
}

async fn watches_cover_exactly_their_range(store: &dyn Store) {
    let other = |name: &str| Op::Put(Put::new(format!("/registry/others/{name}"), "x"));
    let mut one = store.watch(KeyRange::single(key("a")), None).await.expect("watches");
    let mut all = store.watch(KeyRange::prefix("/registry/"), None).await.expect("watches");
    put(store, "aa", "1").await;
    let txn =
        Txn { compare: Vec::new(), ops: vec![other("z"), Op::Put(Put::new(key("a"), "1")), other("a")] };
    let (revision, _) = committed(store.txn(txn).await);
    let batch = one.next().await.expect("not compacted");
    assert_eq!(batch.events.len(), 1);
    assert_eq!((&batch.events[0].kv.key, batch.events[0].revision()), (&key("a"), revision));
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(all.next().await.expect("not compacted").events);
    }
    assert!(
        seen.iter().skip(1).all(|event| event.revision() == revision),
        "a transaction comes in one piece"
    );
}

async fn watches_tell_progress(store: &dyn Store) {
    let mut watch = store.watch(KeyRange::prefix("/registry/others/"), None).await.expect("watches");
    let revision = put(store, "a", "1").await;
    watch.progress().request();
    let batch = watch.next().await.expect("not compacted");
    assert!(batch.events.is_empty() && batch.revision >= revision, "{batch:?}");
    if let Some(fresh) = watch.progress().fresh_through(batch.revision) {
        assert!(fresh >= revision);
    }
    committed(store.create(Put::new("/registry/others/a", "1")).await);
    assert_eq!(watch.progress().fresh_through(batch.revision), None);
}

async fn leases_take_their_keys_along(store: &dyn Store) {
    let lease = store.grant_lease(Duration::from_secs(3600)).await.expect("grants");
    let other = store.grant_lease(Duration::from_secs(3600)).await.expect("grants");
    assert!(lease != other && lease != NO_LEASE);
    let leased = |name: &str, lease| Put { lease, ..Put::new(key(name), "1") };
    for name in ["a", "b", "c", "d"] {
        committed(store.create(leased(name, lease)).await);
    }
    let kv = store.get(&key("a"), None).await.expect("readable").kv.expect("there");
    assert_eq!(kv.lease, lease);
    // The last put decides on the lease, and a deleted key has none.
    let replace = |name: &'static str, lease| Op::Put(leased(name, lease));
    let ops = vec![replace("b", NO_LEASE), replace("c", other), Op::Delete(key("d"))];
    committed(store.txn(Txn { compare: Vec::new(), ops }).await);
    let mut watch = store.watch(KeyRange::prefix("/registry/things/"), None).await.expect("watches");
    store.revoke_lease(lease).await.expect("there");
    let batch = watch.next().await.expect("not compacted");
    assert_eq!(batch.events.len(), 1);
    assert_eq!((batch.events[0].kind, &batch.events[0].kv.key), (EventKind::Delete, &key("a")));
    assert_eq!(values(store, None).await, ["b=1", "c=1"]);
    assert!(matches!(store.create(leased("e", lease)).await, Err(StoreError::LeaseNotFound { .. })));
    // A lease of a moment ends by itself; the watch is how one learns of it.
    let short = store.grant_lease(Duration::from_secs(1)).await.expect("grants");
    committed(store.create(leased("f", short)).await);
    loop {
        let batch = watch.next().await.expect("not compacted");
        if batch.events.iter().any(|event| event.kind == EventKind::Delete && event.kv.key == key("f")) {
            break;
        }
    }
}
