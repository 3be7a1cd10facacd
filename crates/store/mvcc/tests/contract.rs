//! The contract over the embedded store, on files and in memory.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use engine::MemoryDisk;
use env::Env;
use mvcc::{Embedded, Options, Store, contract};
use std::sync::Arc;

/// A store and the directory that it lives in.
struct Held {
    store: Arc<dyn Store>,
    _directory: Option<tempfile::TempDir>,
}

impl AsRef<dyn Store> for Held {
    fn as_ref(&self) -> &(dyn Store + 'static) {
        &*self.store
    }
}

#[tokio::test]
async fn embedded_on_files() {
    contract::run(async || {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Env::real(), &Options::default()).unwrap();
        Held { store: Arc::new(store), _directory: Some(directory) }
    })
    .await;
}

#[tokio::test]
async fn embedded_in_memory() {
    contract::run(async || {
        let store = Embedded::in_memory(&MemoryDisk::new(), &Env::real(), &Options::default()).unwrap();
        Held { store: Arc::new(store), _directory: None }
    })
    .await;
}
