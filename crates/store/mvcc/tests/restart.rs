//! What the embedded store keeps over a restart, what it does on a full disk, and how it meets damage.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use engine::{EngineError, MemoryDisk};
use env::{Env, ManualClock};
use mvcc::{
    Embedded, EventKind, KeyRange, KeyValue, LeasePool, NO_LEASE, Op, Options, Put, RangeOptions, Store,
    StoreError, Txn, TxnResponse,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn open(directory: &Path, env: &Env) -> Embedded {
    Embedded::open(directory, env, &Options::default()).unwrap()
}

async fn put(store: &dyn Store, key: &str, value: impl Into<String>) -> i64 {
    let put = Put::new(key.to_owned(), value.into());
    match store.txn(Txn { compare: Vec::new(), ops: vec![Op::Put(put)] }).await.unwrap() {
        TxnResponse::Committed { revision, .. } => revision,
        TxnResponse::Conflict { .. } => panic!("no condition was given"),
    }
}

/// Everything that can be told from outside: the state at each readable revision, and all events.
async fn whole_story(store: &Embedded) -> (Vec<Vec<Arc<KeyValue>>>, Vec<mvcc::Event>) {
    let status = store.status().await.unwrap();
    let first = status.compact_revision.max(1);
    let at = |revision| RangeOptions { at: Some(revision), ..RangeOptions::default() };
    let state = |revision| store.range_now(&KeyRange::all(), at(revision)).unwrap().kvs;
    let states = (first..=status.revision).map(state).collect();
    let mut watch = store.watch(KeyRange::all(), Some(status.compact_revision + 1)).await.unwrap();
    let (mut events, mut through) = (Vec::new(), status.compact_revision);
    while through < status.revision {
        watch.progress().request();
        let batch = watch.next().await.unwrap();
        through = batch.revision;
        events.extend(batch.events);
    }
    (states, events)
}

#[tokio::test]
async fn history_leases_and_compaction_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (env, _) = Env::simulated(1);
    let random = env.random.clone();
    let mut store = open(directory.path(), &env);
    for round in 0..4 {
        let lease = store.grant_lease(Duration::from_secs(100)).await.unwrap();
        for step in 0..60 {
            let key =
                format!("/registry/{}/{}", ["pods", "example.com/things"][random.below(2)], random.below(9));
            let lease = if random.below(4) == 0 { lease } else { NO_LEASE };
            let ops = match random.below(4) {
                0 => vec![Op::Delete(key.into())],
                _ => vec![Op::Put(Put { lease, ..Put::new(key, format!("{round}-{step}")) })],
            };
            store.txn(Txn { compare: Vec::new(), ops }).await.unwrap();
        }
        let revision = store.revision_now();
        store.compact(revision - 30).await.unwrap();
        let before = whole_story(&store).await;
        let keys = store.status().await.unwrap().keys;
        drop(store);
        store = open(directory.path(), &env);
        let after = whole_story(&store).await;
        assert_eq!(before.0, after.0, "round {round}");
        assert_eq!(before.1, after.1, "round {round}");
        let status = store.status().await.unwrap();
        assert_eq!((status.revision, status.compact_revision, status.keys), (revision, revision - 30, keys));
        store.revoke_lease(lease).await.unwrap();
    }
}

#[tokio::test]
async fn checkpoints_say_the_same_as_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::real();
    let store = open(directory.path(), &env);
    let lease = store.grant_lease(Duration::from_secs(1000)).await.unwrap();
    let padding = "x".repeat(100_000);
    let mut last = 0;
    for step in 0..450 {
        let key = format!("/registry/pods/{}", step % 12);
        let leased = Put { lease, ..Put::new(key, format!("{step}{padding}")) };
        let op = if step % 10 == 9 { Op::Delete(leased.key) } else { Op::Put(leased) };
        if let TxnResponse::Committed { revision, .. } =
            store.txn(Txn { compare: Vec::new(), ops: vec![op] }).await.unwrap()
        {
            last = revision;
        }
        if step % 50 == 49 {
            store.compact(last - 5).await.unwrap();
        }
    }
    let before = whole_story(&store).await;
    drop(store);
    let checkpoints = fs::read_dir(directory.path()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "checkpoint")
    });
    assert_eq!(checkpoints.count(), 1, "45 MB of log for 1 MB of objects call for a checkpoint");
    let store = open(directory.path(), &env);
    let after = whole_story(&store).await;
    assert!(before.0 == after.0 && before.1 == after.1, "states or events differ");
    let bytes = store.status().await.unwrap().disk_bytes;
    assert!(bytes < 30_000_000, "{bytes} bytes on disk");
    store.revoke_lease(lease).await.unwrap();
    assert!(store.range_now(&KeyRange::all(), RangeOptions::default()).unwrap().kvs.is_empty());
}

#[tokio::test]
async fn a_torn_tail_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::real();
    let store = open(directory.path(), &env);
    for step in 0..20 {
        put(&store, &format!("/registry/pods/{step}"), "value").await;
    }
    drop(store);
    let log = directory.path().join("0000000000000001.log");
    let content = fs::read(&log).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // The start of a write that the power cut short.
    for garbage in [&b"\x40\0\0\0garbage"[..], &[0xff; 5000], b"\x01"] {
        let mut torn = content[..end].to_vec();
        torn.extend_from_slice(garbage);
        fs::write(&log, &torn).unwrap();
        let _ = fs::remove_file(directory.path().join("0000000000000002.log"));
        let store = open(directory.path(), &env);
        assert_eq!(store.revision_now(), 21);
        assert_eq!(store.range_now(&KeyRange::all(), RangeOptions::default()).unwrap().kvs.len(), 20);
        assert_eq!(put(&store, "/registry/pods/new", "value").await, 22);
        drop(store);
        assert_eq!(open(directory.path(), &env).revision_now(), 22);
    }
    // A bit that flipped in the middle is another matter.
    let mut flipped = content.clone();
    flipped[end / 2] ^= 1;
    fs::write(&log, &flipped).unwrap();
    let refused = Embedded::open(directory.path(), &env, &Options::default()).unwrap_err();
    assert!(matches!(refused, EngineError::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().starts_with("the store is damaged: "), "{refused}");
}

#[tokio::test]
async fn only_one_process_has_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path(), &Env::real());
    let refused = Embedded::open(directory.path(), &Env::real(), &Options::default()).unwrap_err();
    assert!(
        refused.to_string().ends_with(&format!("is in use by process {}", std::process::id())),
        "{refused}"
    );
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_nothing_else() {
    let disk = MemoryDisk::new();
    let (env, _) = Env::simulated(1);
    let store = Embedded::in_memory(&disk, &env, &Options::default()).unwrap();
    let before = put(&store, "/registry/pods/a", "1").await;
    disk.set_full(true);
    let refused = store.create(Put::new("/registry/pods/b", "1")).await;
    assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
    assert!(matches!(store.grant_lease(Duration::from_secs(1)).await, Err(StoreError::NoSpace)));
    assert_eq!(store.revision_now(), before);
    assert_eq!(store.get_now(b"/registry/pods/b", None).unwrap().kv, None);
    assert!(store.get_now(b"/registry/pods/a", None).unwrap().kv.is_some());
    disk.set_full(false);
    assert_eq!(put(&store, "/registry/pods/b", "2").await, before + 1);
    drop(store);
    let store = Embedded::in_memory(&disk, &env, &Options::default()).unwrap();
    assert_eq!(store.revision_now(), before + 1);
}

/// A small file system, gone when dropped, however the test ends.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> nix::Result<Small> {
        let directory = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), directory.path(), Some("tmpfs"), flags, Some("size=3m"))?;
        Ok(Small(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The test has its verdict; a mount that stays would only be untidy.
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// The same on a real file system of 3 MiB.
#[tokio::test]
async fn a_full_file_system_refuses_writes_and_recovers() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to mount a small file system");
        return;
    }
    let small = match Small::mount() {
        Ok(small) => small,
        Err(errno) => {
            println!("skipped: cannot mount a tmpfs here: {errno}");
            return;
        }
    };
    let directory = &small.0;
    let env = Env::real();
    let store_directory = directory.path().join("store");
    let ballast = directory.path().join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let store = open(&store_directory, &env);
    let mut acknowledged = 0;
    let refused = loop {
        let key = format!("/registry/pods/{acknowledged}");
        match store.create(Put::new(key, "x".repeat(50_000))).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::NoSpace), "{refused}");
    let count =
        |store: &Embedded| store.range_now(&KeyRange::all(), RangeOptions::default()).unwrap().kvs.len();
    assert_eq!(count(&store), acknowledged, "reads go on, and what was refused is not there");
    fs::remove_file(&ballast).unwrap();
    put(&store, "/registry/pods/after", "x".repeat(50_000)).await;
    drop(store);
    let store = open(&store_directory, &env);
    assert_eq!(count(&store), acknowledged + 1);
}

async fn until_gone(store: &Embedded, key: &'static str) {
    let mut watch = store.watch(KeyRange::single(key), Some(1)).await.unwrap();
    loop {
        let batch = watch.next().await.unwrap();
        if batch.events.iter().any(|event| event.kind == EventKind::Delete) {
            return;
        }
    }
}

#[tokio::test]
async fn leases_end_by_the_clock_also_after_a_restart() {
    let disk = MemoryDisk::new();
    let (env, clock) = Env::simulated(1);
    let open = || Embedded::in_memory(&disk, &env, &Options::default()).unwrap();
    let store = open();
    let pool = LeasePool::new(env.clone());
    let hour = Duration::from_secs(3600);
    let lease = pool.lease(&store, hour).await.unwrap();
    assert_eq!(pool.lease(&store, hour).await.unwrap(), lease, "events share a lease");
    assert_ne!(pool.lease(&store, hour * 2).await.unwrap(), lease);
    store.create(Put { lease, ..Put::new("/registry/events/a", "1") }).await.unwrap();
    clock.advance(Duration::from_secs(61));
    assert_ne!(pool.lease(&store, hour).await.unwrap(), lease, "after a minute it is another one");
    drop(store);
    clock.advance(Duration::from_secs(3590));
    let store = open();
    assert!(store.get_now(b"/registry/events/a", None).unwrap().kv.is_some(), "ten seconds are left");
    advance_when_asked(&clock, Duration::from_secs(10)).await;
    until_gone(&store, "/registry/events/a").await;
}

/// Moves the clock once the store's own timer waits for it.
async fn advance_when_asked(clock: &ManualClock, by: Duration) {
    while clock.next_timer().is_none() {
        tokio::task::yield_now().await;
    }
    clock.advance(by);
}

#[tokio::test]
async fn old_history_is_compacted_by_time_and_by_size() {
    let (env, clock) = Env::simulated(1);
    let options = Options { history_bytes: 100_000, ..Options::default() };
    let store = Embedded::in_memory(&MemoryDisk::new(), &env, &options).unwrap();
    let first = put(&store, "/registry/pods/a", "1").await;
    for minute in 0..7 {
        put(&store, "/registry/pods/a", minute.to_string()).await;
        advance_when_asked(&clock, Duration::from_secs(61)).await;
        // The tick goes through the same queue as this write, and so before it.
        tokio::task::yield_now().await;
        put(&store, "/registry/pods/b", minute.to_string()).await;
    }
    let compacted = store.status().await.unwrap().compact_revision;
    assert!(compacted > first && compacted < store.revision_now() - 6, "{compacted}");
    assert!(matches!(store.get_now(b"/registry/pods/a", Some(first)), Err(StoreError::Compacted { .. })));
    for _ in 0..100 {
        put(&store, "/registry/pods/a", "x".repeat(10_000)).await;
    }
    let later = store.status().await.unwrap().compact_revision;
    assert!(later > store.revision_now() - 20, "a storm cuts history to its budget: {later}");
}

#[tokio::test]
async fn values_are_stamped_and_payloads_delivered() {
    let (env, _) = Env::simulated(1);
    let store = Embedded::in_memory(&MemoryDisk::new(), &env, &Options::default()).unwrap();
    let mut watch = store.watch(KeyRange::all(), None).await.unwrap();
    let put = Put {
        stamp_at: Some(7),
        payload: mvcc::PutPayload::Stamped(Box::new(|revision| Arc::new(revision * 10))),
        ..Put::new("/registry/pods/a", r#"{"rv":""}"#)
    };
    store.create(put).await.unwrap();
    let batch = watch.next().await.unwrap();
    let kv = &batch.events[0].kv;
    assert_eq!(&kv.value[..], br#"{"rv":"2"}"#);
    assert_eq!(kv.payload.as_ref().unwrap().downcast_ref::<i64>(), Some(&20));
    let panics = Put {
        payload: mvcc::PutPayload::Stamped(Box::new(|_| panic!("expected by the test"))),
        ..Put::new("/registry/pods/b", "")
    };
    assert!(matches!(store.create(panics).await, Err(StoreError::InvalidTxn(_))));
    let outside = Put { stamp_at: Some(3), ..Put::new("/registry/pods/b", "") };
    assert!(matches!(store.create(outside).await, Err(StoreError::InvalidTxn(_))));
    assert_eq!(store.revision_now(), 2);
}

#[tokio::test]
async fn watches_end_when_the_store_closes() {
    let (env, _) = Env::simulated(1);
    let store = Embedded::in_memory(&MemoryDisk::new(), &env, &Options::default()).unwrap();
    let mut one = store.watch(KeyRange::prefix("/registry/pods/"), None).await.unwrap();
    let mut all = store.watch(KeyRange::all(), None).await.unwrap();
    drop(store);
    assert!(matches!(one.next().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(all.next().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_watch_that_fell_behind_compaction_is_told() {
    let (env, _) = Env::simulated(1);
    let store = Embedded::in_memory(&MemoryDisk::new(), &env, &Options::default()).unwrap();
    let mut slow = store.watch(KeyRange::prefix("/registry/pods/"), None).await.unwrap();
    let mut idle = store.watch(KeyRange::prefix("/registry/nodes/"), None).await.unwrap();
    for step in 0..5 {
        put(&store, "/registry/pods/a", step.to_string()).await;
    }
    store.compact(4).await.unwrap();
    let pruned = || store.get_now(b"/registry/pods/a", Some(3)).is_err();
    assert!(pruned());
    put(&store, "/registry/nodes/a", "1").await;
    assert_eq!(idle.next().await.unwrap().events.len(), 1, "nothing of its range was forgotten");
    // Forgetting happens a little later, on another thread; until then the events are still there.
    match slow.next().await {
        Ok(batch) => assert_eq!(batch.events.len(), 5),
        Err(error) => assert!(matches!(error, StoreError::Compacted { .. }), "{error}"),
    }
}
