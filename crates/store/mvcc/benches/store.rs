//! Rates and latencies of the embedded store on a real directory.
//!
//! `cargo bench -p ferrokube-mvcc [-- DIRECTORY]`; without one, a directory in the current one is used, since `/tmp` is often
//! no disk. Each line gives a rate and the latencies of single operations.

use env::Env;
use mvcc::{Embedded, KeyRange, Options, Put, RangeOptions, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const VALUE_BYTES: usize = 1500;

fn main() {
    let parent = std::env::args()
        .nth(1)
        .filter(|argument| !argument.starts_with('-'))
        .map_or(".".into(), PathBuf::from);
    let directory =
        tempfile::Builder::new().prefix("store-bench").tempdir_in(parent).expect("a writable directory");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(run(directory.path()));
}

async fn run(directory: &Path) {
    let start = Instant::now();
    let before = resident_kb();
    let store = open(&directory.join("store"));
    println!(
        "open an empty store: {:.1} ms, {} kB resident",
        millis(start.elapsed()),
        resident_kb() - before
    );
    for (clients, count) in [(1, 2_000), (32, 40_000), (64, 60_000), (256, 100_000)] {
        let done = measure(&store, clients, count, move |store, number| async move {
            let key = format!("/registry/configmaps/bench/{clients}-{number}");
            store.create(Put::new(key, vec![b'x'; VALUE_BYTES])).await.expect("the disk has space");
        });
        done.await.print(&format!("create {VALUE_BYTES} bytes, {clients} clients"));
    }
    let done = measure(&store, 64, 60_000, move |store, number| async move {
        let key = format!("/registry/configmaps/bench/1-{}", number % 2000);
        let kv = store.get(key.as_bytes(), None).await.expect("readable").kv.expect("there");
        // Two clients may meet on one key; a conflict costs the same sync.
        store.replace(Put::new(key, vec![b'y'; VALUE_BYTES]), kv.mod_revision).await.expect("space");
    });
    done.await.print("get and replace, 64 clients");
    let done = measure(&store, 32, 1_000_000, move |store, number| async move {
        let key = format!("/registry/configmaps/bench/64-{}", number % 60_000);
        assert!(store.get(key.as_bytes(), None).await.expect("readable").kv.is_some());
    });
    done.await.print("get, 32 clients");
    for limit in [500, 0] {
        let start = Instant::now();
        let range = KeyRange::prefix("/registry/configmaps/bench/32-");
        let mut keys = 0;
        for _ in 0..20 {
            let options = RangeOptions { limit, ..RangeOptions::default() };
            keys += store.range(&range, options).await.expect("readable").kvs.len();
        }
        let each = start.elapsed() / 20;
        println!("range of {} keys: {:.2} ms", keys / 20, millis(each));
    }
    let status = store.status().await.expect("open");
    println!(
        "{} keys, {} MB live, {} MB on disk",
        status.keys,
        status.live_bytes >> 20,
        status.disk_bytes >> 20
    );
    drop(store);
    let start = Instant::now();
    let store = open(&directory.join("store"));
    println!("open with {} keys: {:.0} ms", status.keys, millis(start.elapsed()));
    drop(store);
    let store = open(&directory.join("small"));
    let fill = measure(&store, 64, 10_000, move |store, number| async move {
        let put = Put::new(format!("/registry/pods/bench/{number}"), vec![b'x'; VALUE_BYTES]);
        store.create(put).await.expect("the disk has space");
    });
    fill.await;
    drop(store);
    let start = Instant::now();
    let _store = open(&directory.join("small"));
    println!("open with 10000 keys: {:.0} ms", millis(start.elapsed()));
}

fn open(directory: &Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(directory, &Env::real(), &Options::default()).expect("the store opens"))
}

struct Measured {
    elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Measured {
    fn print(mut self, what: &str) {
        self.latencies.sort_unstable();
        let at = |part: f64| {
            self.latencies[((self.latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6
        };
        let rate = self.latencies.len() as f64 / self.elapsed.as_secs_f64();
        println!("{what}: {rate:.0} /s, p50 {:.0} us, p99 {:.0} us", at(0.5), at(0.99));
    }
}

async fn measure<F: Future<Output = ()> + Send + 'static>(
    store: &Arc<Embedded>,
    clients: usize,
    count: usize,
    operation: impl Fn(Arc<Embedded>, usize) -> F + Clone + Send + Sync + 'static,
) -> Measured {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (next, store, operation) = (next.clone(), store.clone(), operation.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return latencies;
                    }
                    let start = Instant::now();
                    operation(store.clone(), number).await;
                    latencies.push(start.elapsed());
                }
            })
        })
        .collect();
    let mut latencies = Vec::with_capacity(count);
    for task in tasks {
        latencies.extend(task.await.expect("no operation panics"));
    }
    Measured { elapsed: start.elapsed(), latencies }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn resident_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
}
