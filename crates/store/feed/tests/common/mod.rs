//! Things: small objects behind a trait, as the API server's are, with a codec and helpers to write them.

use bytes::Bytes;
use engine::MemoryDisk;
use env::{Env, ManualClock};
use feed::{Codec, Entry, EventKind, Feed, FeedOptions, Item, Scope};
use mvcc::{
    Embedded, KeyRange, KeyValue, Op, Options, Put, PutPayload, RangeOptions, Store, Txn, TxnResponse,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub trait Thing: Send + Sync {
    fn name(&self) -> &str;
    fn node(&self) -> &str;
    fn value(&self) -> &str;
    fn revision(&self) -> i64;
}

#[derive(Clone)]
struct Plain {
    name: String,
    node: String,
    value: String,
    revision: i64,
}

impl Thing for Plain {
    fn name(&self) -> &str {
        &self.name
    }
    fn node(&self) -> &str {
        &self.node
    }
    fn value(&self) -> &str {
        &self.value
    }
    fn revision(&self) -> i64 {
        self.revision
    }
}

/// JSON with the offset at which the revision goes in.
fn json(thing: &dyn Thing) -> (String, usize) {
    let head =
        format!(r#"{{"name":"{}","node":"{}","value":"{}","rv":"#, thing.name(), thing.node(), thing.value());
    let at = head.len();
    (head + "}", at)
}

struct ThingCodec;

impl Codec<dyn Thing> for ThingCodec {
    fn decode(&self, kv: &KeyValue) -> Result<Arc<dyn Thing>, String> {
        let text = std::str::from_utf8(&kv.value).map_err(|error| error.to_string())?;
        let parts: Vec<_> = text.split('"').collect();
        let [_, "name", _, name, _, "node", _, node, _, "value", _, value, ..] = parts[..] else {
            return Err(format!("not a thing: {text}"));
        };
        Ok(Arc::new(Plain {
            name: name.into(),
            node: node.into(),
            value: value.into(),
            revision: kv.mod_revision,
        }))
    }

    fn restamp(&self, object: &dyn Thing, revision: i64) -> Arc<dyn Thing> {
        let (name, node, value) = (object.name().into(), object.node().into(), object.value().into());
        Arc::new(Plain { name, node, value, revision })
    }

    fn json(&self, object: &dyn Thing, stored: Option<&Bytes>) -> Bytes {
        stored.cloned().unwrap_or_else(|| {
            let (mut text, at) = json(object);
            text.insert_str(at, &object.revision().to_string());
            text.into()
        })
    }

    fn protobuf(&self, object: &dyn Thing) -> Bytes {
        object.name().to_owned().into()
    }

    fn indexes(&self) -> &'static [&'static str] {
        &["node"]
    }

    fn index_value<'a>(&self, object: &'a dyn Thing, _index: &str) -> Option<&'a str> {
        Some(object.node()).filter(|node| !node.is_empty())
    }
}

pub fn codec() -> Arc<dyn Codec<dyn Thing>> {
    Arc::new(ThingCodec)
}

pub fn key(name: &str) -> Bytes {
    format!("/registry/things/{name}").into()
}

pub fn open_store(options: &Options) -> (Arc<Embedded>, Env, Arc<ManualClock>) {
    let (env, clock) = Env::simulated(1);
    let store = Embedded::in_memory(&MemoryDisk::new(), &env, options).unwrap();
    (Arc::new(store), env, clock)
}

pub async fn open_feed(store: &Arc<Embedded>, env: &Env) -> Feed<dyn Thing> {
    Feed::open(store.clone(), codec(), env, FeedOptions::new("/registry/things/", "example.com", "things"))
        .await
        .unwrap()
}

/// Writes a thing as the API server does: value with the revision's place, object stamped at the commit.
pub async fn put(store: &dyn Store, name: &str, node: &str, value: &str) -> i64 {
    let mut thing = Plain { name: name.into(), node: node.into(), value: value.into(), revision: 0 };
    let (text, at) = json(&thing);
    let stamp = move |revision| {
        thing.revision = revision;
        feed::payload::<dyn Thing>(Arc::new(thing))
    };
    let put = Put {
        stamp_at: Some(at),
        payload: PutPayload::Stamped(Box::new(stamp)),
        ..Put::new(key(name), text)
    };
    committed(store.txn(Txn { compare: Vec::new(), ops: vec![Op::Put(put)] }).await.unwrap())
}

pub async fn create(store: &dyn Store, name: &str, value: &str) -> i64 {
    put(store, name, "", value).await
}

pub async fn delete(store: &dyn Store, name: &str) -> i64 {
    committed(store.delete(key(name), None).await.unwrap())
}

fn committed(response: TxnResponse) -> i64 {
    match response {
        TxnResponse::Committed { revision, .. } => revision,
        TxnResponse::Conflict { .. } => panic!("no condition was given"),
    }
}

fn state(entry: &Entry<dyn Thing>) -> String {
    assert_eq!(entry.revision(), entry.object().revision(), "an object carries its resource version");
    format!("{}@{}", entry.object().value(), entry.revision())
}

pub fn describe(item: &Item<dyn Thing>) -> String {
    match item {
        Item::Initial(entry) => format!("Initial {}={}", entry.object().name(), state(entry)),
        Item::Event(event) => {
            let prev = event.prev.as_ref().map_or(String::new(), |prev| format!(" after {}", state(prev)));
            format!("{:?} {}={}{prev}", event.kind, event.entry.object().name(), state(&event.entry))
        }
        Item::Bookmark { revision, initial_end } => {
            format!("Bookmark @{revision}{}", if *initial_end { " end" } else { "" })
        }
    }
}

/// What a client knows: values by name.
pub type Replica = BTreeMap<String, String>;

fn selects(scope: &Scope, thing: &dyn Thing) -> bool {
    match scope {
        Scope::All => true,
        Scope::Namespace(name) => thing.name().starts_with(&format!("{name}/")),
        Scope::Key(only) => key(thing.name()) == only,
        Scope::Index { value, .. } => thing.node() == value,
    }
}

/// Does to a replica what an item says.
pub fn replay(replica: &mut Replica, item: &Item<dyn Thing>, scope: &Scope) {
    let told = match item {
        Item::Initial(entry) => Some((EventKind::Added, entry)),
        Item::Event(event) => event.selected(|thing| selects(scope, thing)),
        Item::Bookmark { .. } => None,
    };
    let Some((kind, entry)) = told else { return };
    let name = entry.object().name().to_owned();
    match kind {
        EventKind::Deleted => assert!(replica.remove(&name).is_some(), "{name} was not there"),
        EventKind::Added => assert!(replica.insert(name, state(entry)).is_none(), "{entry:?} was there"),
        EventKind::Modified => {
            assert!(replica.insert(name, state(entry)).is_some(), "{entry:?} was not there")
        }
    }
}

/// What the store itself says was there.
pub async fn state_at(store: &dyn Store, revision: i64, scope: &Scope) -> Replica {
    let options = RangeOptions { at: Some(revision), ..RangeOptions::default() };
    let found = store.range(&KeyRange::prefix("/registry/things/"), options).await.unwrap();
    let things = found.kvs.iter().map(|kv| ThingCodec.decode(kv).unwrap());
    things
        .filter(|thing| selects(scope, &**thing))
        .map(|thing| (thing.name().to_owned(), format!("{}@{}", thing.value(), thing.revision())))
        .collect()
}
