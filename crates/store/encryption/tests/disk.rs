//! What reaches the disk of a store whose values are encrypted: never a secret, in whatever file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use encryption::Encryption;
use env::{Env, FileWatch};
use mvcc::{Embedded, Options, Put, Store, Unreadable};

const SECRET: &[u8] = b"the password is swordfish";
const PLACE: &str = "/registry/secrets/default/s";

fn configuration(folder: &Path, providers: &[(&str, u8)]) -> std::path::PathBuf {
    let entry = |(name, byte): &(&str, u8)| {
        let key = base64::engine::general_purpose::STANDARD.encode([*byte; 32]);
        format!("{{aescbc: {{keys: [{{name: {name}, secret: '{key}'}}]}}}}")
    };
    let providers: Vec<String> = providers.iter().map(entry).collect();
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{{resources: [secrets], providers: [{}, {{identity: {{}}}}]}}]",
        providers.join(", ")
    );
    let path = folder.join("encryption.yaml");
    std::fs::write(&path, text).expect("written");
    path
}

async fn open(folder: &Path, encryption: Option<&Arc<Encryption>>) -> Embedded {
    let (directory, seal) = (folder.join("store"), encryption.cloned());
    let opened = tokio::task::spawn_blocking(move || match seal {
        Some(seal) => Embedded::open_sealed(&directory, &Env::real(), &Options::default(), seal),
        None => Embedded::open(&directory, &Env::real(), &Options::default()),
    });
    opened.await.expect("a thread").expect("a store")
}

fn put(place: &str, value: &[u8]) -> Put {
    Put { key: place.to_owned().into(), value: value.to_vec().into(), ..Put::default() }
}

/// The files that hold some bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("store")).expect("a folder");
    let holds = |path: &Path| {
        // A file may have been replaced meanwhile.
        std::fs::read(path).is_ok_and(|content| content.windows(bytes.len()).any(|part| part == bytes))
    };
    files
        .map(|file| file.expect("a file").path())
        .filter(|path| holds(path))
        .map(|path| path.display().to_string())
        .collect()
}

/// Waits until no file holds the bytes.
async fn gone(folder: &Path, bytes: &[u8]) {
    let mut watch = FileWatch::of(&[folder.join("store").join("any")]).expect("a watch");
    while !holding(folder, bytes).is_empty() {
        let changed = tokio::time::timeout(Duration::from_secs(20), watch.changed()).await;
        changed.expect("the store is written anew").expect("a watch");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = configuration(folder.path(), &[("k1", 1)]);
    let encryption = Encryption::load(&path, &Env::real()).await.expect("a configuration");
    let store = open(folder.path(), Some(&encryption)).await;
    store.create(put(PLACE, SECRET)).await.expect("created");
    store.create(put("/registry/configmaps/default/c", b"in plain sight")).await.expect("created");
    assert_eq!(holding(folder.path(), SECRET), [""; 0], "not in the log");
    assert!(!holding(folder.path(), b"in plain sight").is_empty(), "the search finds what is there");
    store.rewrite();
    let old = std::fs::read_dir(folder.path().join("store")).expect("a folder").count();
    assert!(old > 0);
    drop(store);
    assert_eq!(holding(folder.path(), SECRET), [""; 0], "not in a checkpoint");

    let store = open(folder.path(), Some(&encryption)).await;
    let found = store.get(PLACE.as_bytes(), None).await.expect("read").kv.expect("there");
    assert_eq!(found.value, SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_writes_everything_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).await;
    store.create(put(PLACE, SECRET)).await.expect("created");
    assert!(!holding(folder.path(), SECRET).is_empty(), "nothing is encrypted unless asked for");
    drop(store);

    let path = configuration(folder.path(), &[("k1", 1)]);
    let encryption = Encryption::load(&path, &Env::real()).await.expect("a configuration");
    let store = open(folder.path(), Some(&encryption)).await;
    gone(folder.path(), SECRET).await;

    configuration(folder.path(), &[("k2", 2), ("k1", 1)]);
    encryption.reload().await.expect("a configuration");
    store.rewrite();
    gone(folder.path(), b"k8s:enc:aescbc:v1:k1:").await;
    drop(store);

    configuration(folder.path(), &[("k2", 2)]);
    let encryption = Encryption::load(&path, &Env::real()).await.expect("a configuration");
    let store = open(folder.path(), Some(&encryption)).await;
    let found = store.get(PLACE.as_bytes(), None).await.expect("read").kv.expect("there");
    assert_eq!(found.value, SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_kept_until_the_key_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = configuration(folder.path(), &[("k1", 1)]);
    let encryption = Encryption::load(&path, &Env::real()).await.expect("a configuration");
    let store = open(folder.path(), Some(&encryption)).await;
    store.create(put(PLACE, SECRET)).await.expect("created");
    drop(store);
    configuration(folder.path(), &[("k2", 2)]);
    let other = Encryption::load(&path, &Env::real()).await.expect("a configuration");
    for (seal, says) in [
        (None, "identity transformer tried to read encrypted data"),
        (Some(&other), "no matching key was found for the provided AES transformer"),
    ] {
        let store = open(folder.path(), seal).await;
        let found = store.get(PLACE.as_bytes(), None).await.expect("read").kv.expect("there");
        let why = found.payload.as_ref().and_then(|payload| payload.downcast_ref::<Unreadable>());
        assert_eq!(why.map(|why| why.0.as_str()), Some(says));
        store.rewrite();
        drop(store);
    }
    let store = open(folder.path(), Some(&encryption)).await;
    let found = store.get(PLACE.as_bytes(), None).await.expect("read").kv.expect("there");
    assert_eq!(found.value, SECRET);
}
