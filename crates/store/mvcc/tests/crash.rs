//! Killed in the middle of its work, again and again, the store keeps what it acknowledged.
//!
//! The test starts itself anew as a writer (`STORE_CRASH_DIR` set): several tasks write under load and report every
//! acknowledged transaction through a pipe. The parent kills it with SIGKILL at some moment, opens the store and
//! compares.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::Bytes;
use env::{Env, Random};
use mvcc::{Compare, Embedded, KeyRange, NO_LEASE, Op, Options, Put, RangeOptions, Store, Txn, TxnResponse};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const WRITERS: usize = 8;
const ROUNDS: usize = 20;

/// With checkpoints all the time, so that the kills meet them at work.
fn options() -> Options {
    Options { log_slack_bytes: 1 << 20, ..Options::default() }
}

/// Two keys that are always written together, and so must always agree.
fn pair(writer: usize, slot: u64) -> [Bytes; 2] {
    ["left", "right"].map(|side| format!("/registry/{side}/{writer}/{slot}").into())
}

/// Writes until killed; prints `writer slot value revision` after each acknowledgement.
async fn write_forever(directory: &Path) {
    let store = Arc::new(Embedded::open(directory, &Env::real(), &options()).unwrap());
    println!("ready {}", store.revision_now());
    let lease = store.grant_lease(std::time::Duration::from_secs(3600)).await.unwrap();
    let tasks = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let random = Random::real();
            for step in 0.. {
                let slot = random.u64() % 40;
                let value = format!("{}-{}", std::process::id(), step);
                let padded = format!("{value} {}", "x".repeat(random.below(3000)));
                let keys = pair(writer, slot);
                let mod_revision = store.get_now(&keys[0], None).unwrap().kv.map_or(0, |kv| kv.mod_revision);
                let delete = mod_revision != 0 && random.below(5) == 0;
                let ops = keys.map(|key| match delete {
                    true => Op::Delete(key),
                    false => {
                        let lease = if slot.is_multiple_of(7) { lease } else { NO_LEASE };
                        Op::Put(Put { lease, ..Put::new(key, padded.clone()) })
                    }
                });
                let compare = vec![Compare { key: pair(writer, slot)[0].clone(), mod_revision }];
                let TxnResponse::Committed { revision, .. } =
                    store.txn(Txn { compare, ops: ops.into() }).await.unwrap()
                else {
                    panic!("each writer has its own keys");
                };
                let told = if delete { "gone" } else { &value };
                // One write call a line, so that the parent never sees half an acknowledgement as a whole one.
                let line = format!("{writer} {slot} {told} {revision}\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
                if step % 200 == 199 && writer == 0 {
                    // A compaction may fall behind another's; only its durability matters here.
                    let _ = store.compact(revision - 100).await;
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[test]
fn acknowledged_writes_survive_being_killed() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(directory) = std::env::var("STORE_CRASH_DIR") {
        runtime().block_on(write_forever(Path::new(&directory)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let random = Random::real();
    let mut acknowledged: HashMap<(usize, u64), (String, i64)> = HashMap::new();
    let mut last_revision = 1;
    let mut total = 0;
    for round in 0..ROUNDS {
        let acknowledgements = 20 + random.below(800);
        for (writer, slot, value, revision) in run_and_kill(directory.path(), acknowledgements, last_revision)
        {
            total += 1;
            let entry = acknowledged.entry((writer, slot)).or_insert_with(|| (String::new(), 0));
            if entry.1 < revision {
                *entry = (value, revision);
            }
        }
        let newest = acknowledged.values().map(|(_, revision)| *revision).max().unwrap_or(1);
        last_revision = runtime().block_on(check(directory.path(), &acknowledged, round));
        assert!(
            last_revision >= newest,
            "round {round}: revision {last_revision} after {newest} was acknowledged"
        );
    }
    println!("{total} acknowledged transactions over {ROUNDS} kills, revision {last_revision}");
    assert!(total > ROUNDS * 20);
}

/// Runs a writer until it has acknowledged so many transactions, kills it, and returns all acknowledgements.
fn run_and_kill(directory: &Path, count: usize, at_least: i64) -> Vec<(usize, u64, String, i64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_writes_survive_being_killed", "--nocapture", "--test-threads=1"])
        .env("STORE_CRASH_DIR", directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let mut killed = false;
    while let Some(Ok(line)) = lines.next() {
        if let Some(revision) =
            line.rsplit_once("ready ").map(|(_, revision)| revision.parse::<i64>().unwrap())
        {
            assert!(revision >= at_least, "revisions never go back: {revision} after {at_least}");
            continue;
        }
        let parts: Vec<_> = line.split(' ').collect();
        let [writer, slot, value, revision] = parts[..] else { continue };
        let (Ok(writer), Ok(slot), Ok(revision)) = (writer.parse(), slot.parse(), revision.parse()) else {
            continue;
        };
        seen.push((writer, slot, value.to_owned(), revision));
        if seen.len() >= count && !killed {
            // What is still in the pipe was acknowledged before, so reading goes on to its end.
            kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the writer ended by itself after {} acknowledgements", seen.len());
    seen
}

/// Opens the store and compares it with what was acknowledged; returns its revision.
async fn check(directory: &Path, acknowledged: &HashMap<(usize, u64), (String, i64)>, round: usize) -> i64 {
    let store = Embedded::open(directory, &Env::real(), &options()).unwrap();
    for ((writer, slot), (value, revision)) in acknowledged {
        let [left, right] = pair(*writer, *slot).map(|key| store.get_now(&key, None).unwrap().kv);
        // A write that was durable but not yet acknowledged may have come after it.
        let newer = left.as_ref().is_some_and(|kv| kv.mod_revision > *revision)
            || (left.is_none()
                && store.revision_now() > *revision
                && value != "gone"
                && unacknowledged(&store, *writer, *slot, *revision).await);
        if !newer {
            let found =
                left.as_ref().map_or("gone".into(), |kv| String::from_utf8_lossy(&kv.value).into_owned());
            let found = found.split(' ').next().unwrap_or_default();
            assert_eq!(found, value, "round {round}: writer {writer}, slot {slot}, revision {revision}");
        }
        let halves = [left, right].map(|kv| kv.map(|kv| (kv.mod_revision, kv.value.clone())));
        assert_eq!(halves[0], halves[1], "round {round}: a transaction is whole or not there");
    }
    let all = store.range_now(&KeyRange::all(), RangeOptions::default()).unwrap();
    assert!(
        all.kvs.iter().all(|kv| kv.mod_revision <= all.revision && kv.create_revision <= kv.mod_revision)
    );
    all.revision
}

/// True when the key was deleted after `revision`: by a transaction whose acknowledgement was lost with the process.
async fn unacknowledged(store: &Embedded, writer: usize, slot: u64, revision: i64) -> bool {
    let [left, _] = pair(writer, slot);
    let before = store.get_now(&left, Some(revision));
    // Compacted: then only the state of now can be compared, and a deletion leaves none.
    before.map_or(true, |before| before.kv.is_some_and(|kv| kv.mod_revision == revision))
}
