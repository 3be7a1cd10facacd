//! How many events a second reach how many watchers.
//!
//! `cargo bench -p ferrokube-feed`. Writers commit to a store in memory, so that the feed and not the disk is measured;
//! watchers take their events and their encoded JSON, as a connection would.

use bytes::Bytes;
use engine::MemoryDisk;
use env::Env;
use feed::{Codec, Feed, FeedOptions, Item, ReadAt, Scope, Start, WatchOptions};
use mvcc::{Embedded, KeyValue, Options, Put, PutPayload, Store};
use std::sync::Arc;
use std::time::Instant;

struct Raw;

/// An object that is its own encoding.
struct Object {
    json: Bytes,
    node: String,
}

impl Codec<Object> for Raw {
    fn decode(&self, kv: &KeyValue) -> Result<Arc<Object>, String> {
        Ok(Arc::new(Object { json: kv.value.clone(), node: String::new() }))
    }
    fn restamp(&self, object: &Object, _revision: i64) -> Arc<Object> {
        Arc::new(Object { json: object.json.clone(), node: object.node.clone() })
    }
    fn json(&self, object: &Object, stored: Option<&Bytes>) -> Bytes {
        stored.cloned().unwrap_or_else(|| Bytes::copy_from_slice(&object.json))
    }
    fn protobuf(&self, object: &Object) -> Bytes {
        object.json.clone()
    }
    fn indexes(&self) -> &'static [&'static str] {
        &["spec.nodeName"]
    }
    fn index_value<'a>(&self, object: &'a Object, _index: &str) -> Option<&'a str> {
        Some(&object.node)
    }
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(async {
        fan_out("every object", 500, 4_000, |_| Scope::All).await;
        let by_node = |number| Scope::Index { index: "spec.nodeName", value: format!("node-{number}") };
        fan_out("one of 10000 nodes", 10_000, 40_000, by_node).await;
        lists().await;
    });
}

async fn open() -> (Arc<Embedded>, Arc<Feed<Object>>) {
    let env = Env::real();
    let store = Embedded::in_memory(&MemoryDisk::new(), &env, &Options::default()).expect("memory opens");
    let store = Arc::new(store);
    let feed =
        Feed::open(store.clone(), Arc::new(Raw), &env, FeedOptions::new("/registry/pods/", "", "pods")).await;
    (store, Arc::new(feed.expect("the store is readable")))
}

async fn write(store: Arc<Embedded>, first: usize, last: usize, nodes: usize) {
    let value = Bytes::from(vec![b'x'; 1500]);
    let tasks: Vec<_> = (0..32)
        .map(|client| {
            let (store, value) = (store.clone(), value.clone());
            tokio::spawn(async move {
                for number in (first..last).filter(|number| number % 32 == client) {
                    let object = Object { json: value.clone(), node: format!("node-{}", number % nodes) };
                    let payload = PutPayload::Ready(feed::payload(Arc::new(object)));
                    let put = Put {
                        payload,
                        ..Put::new(format!("/registry/pods/bench/{number:06}"), value.clone())
                    };
                    store.create(put).await.expect("memory has space");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no writer panics");
    }
}

async fn fan_out(what: &str, watchers: usize, events: usize, scope: impl Fn(usize) -> Scope) {
    let (store, feed) = open().await;
    let each = if matches!(scope(0), Scope::All) { events } else { events / watchers };
    let mut tasks = Vec::new();
    for number in 0..watchers {
        let options = WatchOptions { capacity: events, ..WatchOptions::new(scope(number), Start::After(1)) };
        let mut watcher = feed.watch(options).await.expect("nothing was compacted");
        tasks.push(tokio::spawn(async move {
            let (mut seen, mut bytes) = (0, 0);
            while seen < each {
                for item in watcher.next().await.expect("the queue is large enough") {
                    if let Item::Event(event) = item {
                        seen += 1;
                        bytes += event.entry.json().len();
                    }
                }
            }
            bytes
        }));
    }
    let start = Instant::now();
    write(store, 0, events, watchers).await;
    let written = start.elapsed();
    let mut bytes = 0;
    for task in tasks {
        bytes += task.await.expect("no watcher panics");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{watchers} watchers of {what}: {events} writes in {:.2} s, {:.0} events/s delivered, {:.0} MB/s",
        written.as_secs_f64(),
        (each * watchers) as f64 / seconds,
        bytes as f64 / seconds / 1e6
    );
}

async fn lists() {
    let (store, feed) = open().await;
    write(store, 0, 6_000, 1).await;
    let start = Instant::now();
    let mut bytes = 0;
    for _ in 0..100 {
        let snapshot = feed.snapshot(ReadAt::Latest).await.expect("the store is there");
        bytes += snapshot.iter().map(|entry| entry.json().len()).sum::<usize>();
    }
    let each = start.elapsed() / 100;
    println!("list of 6000: {:.3} ms, {} MB", each.as_secs_f64() * 1e3, (bytes / 100) >> 20);
}
