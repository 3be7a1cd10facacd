//! Random operations against a naive model that keeps every state that ever was.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::Bytes;
use engine::MemoryDisk;
use env::Env;
use mvcc::{
    Compare, Embedded, EventKind, KeyRange, Op, Options, Put, RangeOptions, Store, StoreError, Txn,
    TxnResponse,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 7] = [
    "/registry/pods/a/1",
    "/registry/pods/a/2",
    "/registry/pods/b/1",
    "/registry/x.io/things/a",
    "/registry/x.io/others/a",
    "/registry/nodes/n",
    "plain",
];

const RANGES: [&str; 6] =
    ["/registry/pods/", "/registry/pods/a/", "/registry/x.io/", "/registry/nodes/n", "/registry/", ""];

#[derive(Clone, Debug)]
enum Step {
    /// Keys with `Some(length)` to put and `None` to delete; guarded by the first key's revision, right or wrong.
    Txn {
        ops: Vec<(usize, Option<usize>)>,
        guard: Option<bool>,
    },
    Compact {
        back: i64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let op = (0..KEYS.len(), prop::option::weighted(0.7, 0usize..40));
    prop_oneof![
        12 => (prop::collection::vec(op, 1..4), prop::option::of(any::<bool>()))
            .prop_map(|(ops, guard)| Step::Txn { ops, guard }),
        1 => (0i64..10).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Restart),
    ]
}

type State = BTreeMap<Bytes, (Bytes, i64, i64, i64)>;

/// Every state by revision, and every event.
struct Model {
    states: Vec<State>,
    compacted: i64,
    events: Vec<(i64, Bytes, EventKind, Option<Bytes>)>,
}

impl Model {
    fn revision(&self) -> i64 {
        self.states.len() as i64
    }

    fn at(&self, revision: i64) -> &State {
        &self.states[revision as usize - 1]
    }

    fn commit(&mut self, ops: &[Op]) -> i64 {
        let revision = self.revision() + 1;
        let mut state = self.states.last().unwrap().clone();
        let mut changed = false;
        for op in ops {
            let prev = state.get(op.key()).map(|(value, ..)| value.clone());
            match op {
                Op::Put(put) => {
                    let (create, version) = state
                        .get(&put.key)
                        .map_or((revision, 1), |(_, create, _, version)| (*create, version + 1));
                    state.insert(put.key.clone(), (put.value.clone(), create, revision, version));
                    self.events.push((revision, put.key.clone(), EventKind::Put, prev));
                }
                Op::Delete(key) if state.remove(key).is_some() => {
                    self.events.push((revision, key.clone(), EventKind::Delete, prev));
                }
                Op::Delete(_) => continue,
            }
            changed = true;
        }
        if changed {
            self.states.push(state);
        }
        self.revision()
    }
}

async fn run(steps: Vec<Step>) {
    let disk = MemoryDisk::new();
    let (env, _) = Env::simulated(1);
    // So little log that checkpoints are written all the time.
    let options = Options { log_slack_bytes: 200, ..Options::default() };
    let open = || Embedded::in_memory(&disk, &env, &options).unwrap();
    let mut store = open();
    let mut model = Model { states: vec![State::new()], compacted: 0, events: Vec::new() };
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Txn { ops, guard } => {
                let value = |length: usize| format!("{number}{}", "v".repeat(length));
                let op = |(key, length): (usize, Option<usize>)| match length {
                    Some(length) => Op::Put(Put::new(KEYS[key], value(length))),
                    None => Op::Delete(Bytes::from(KEYS[key])),
                };
                // A key may occur once only, so the last of its operations is taken.
                let by_key: BTreeMap<_, _> = ops.into_iter().collect();
                let ops: Vec<Op> = by_key.into_iter().map(op).collect();
                let first = ops[0].key().clone();
                let actual = model
                    .states
                    .last()
                    .unwrap()
                    .get(&first)
                    .map_or(0, |(_, _, mod_revision, _)| *mod_revision);
                let compare =
                    guard.map(|right| Compare { key: first, mod_revision: actual + i64::from(!right) });
                let expected = if guard == Some(false) { None } else { Some(model.commit(&ops)) };
                match store.txn(Txn { compare: compare.into_iter().collect(), ops }).await.unwrap() {
                    TxnResponse::Committed { revision, .. } => assert_eq!(Some(revision), expected),
                    TxnResponse::Conflict { current, .. } => {
                        assert_eq!(expected, None);
                        assert_eq!(current[0].as_ref().map_or(0, |kv| kv.mod_revision), actual);
                    }
                }
            }
            Step::Compact { back } => {
                let revision = model.revision() - back;
                let outcome = store.compact(revision).await;
                assert_eq!(outcome.is_ok(), revision > model.compacted, "{outcome:?}");
                model.compacted = model.compacted.max(revision);
            }
            Step::Restart => {
                drop(store);
                store = open();
            }
        }
        compare(&store, &model).await;
    }
}

/// The store must look like the model at every revision, in every range, and tell the same events.
async fn compare(store: &Embedded, model: &Model) {
    assert_eq!(store.revision_now(), model.revision());
    let status = store.status().await.unwrap();
    assert_eq!(status.keys, model.states.last().unwrap().len() as u64);
    for revision in 1..=model.revision() {
        let options = RangeOptions { limit: 2, at: Some(revision), count: true };
        for prefix in RANGES {
            let range = KeyRange::prefix(prefix);
            let answer = store.range_now(&range, options);
            if revision < model.compacted {
                assert!(matches!(answer, Err(StoreError::Compacted { .. })));
                continue;
            }
            let answer = answer.unwrap();
            let expected: Vec<_> = model.at(revision).iter().filter(|(key, _)| range.contains(key)).collect();
            assert_eq!(
                answer.kvs.len() + answer.remaining as usize,
                expected.len(),
                "{prefix} at {revision}"
            );
            assert_eq!(answer.more, expected.len() > 2);
            for (kv, (key, (value, create, mod_revision, version))) in answer.kvs.iter().zip(expected) {
                assert_eq!((&kv.key, &kv.value), (key, value));
                assert_eq!(
                    (kv.create_revision, kv.mod_revision, kv.version),
                    (*create, *mod_revision, *version)
                );
            }
        }
    }
    for prefix in RANGES {
        let range = KeyRange::prefix(prefix);
        let from = model.compacted + 1;
        let mut watch = store.watch(range.clone(), Some(from)).await.unwrap();
        watch.progress().request();
        let batch = watch.next().await.unwrap();
        assert_eq!(batch.revision, model.revision().max(batch.revision));
        let mut told: Vec<_> = batch
            .events
            .iter()
            .map(|event| {
                (
                    event.revision(),
                    event.kv.key.clone(),
                    event.kind,
                    event.prev.as_ref().map(|kv| kv.value.clone()),
                )
            })
            .collect();
        let mut expected: Vec<_> = model
            .events
            .iter()
            .filter(|event| event.0 >= from && range.contains(&event.1))
            .cloned()
            .collect();
        // Within one transaction the order is not promised.
        let order = |event: &(i64, Bytes, EventKind, Option<Bytes>)| (event.0, event.1.clone());
        told.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(told, expected, "events of {prefix} from {from}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_its_model(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
