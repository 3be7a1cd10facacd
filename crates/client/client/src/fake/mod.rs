//! A small API server in memory, for tests of whatever acts through a client.
//!
//! It keeps what controllers depend on: resourceVersions and conflicts, uids and generated names, generations, the split
//! between an object and its status, finalizers, watches with resume, streamed lists and 410. It does not default,
//! validate, authorize or admit. [`Fake::fault`] makes calls fail, before or after they took effect, and
//! [`Fake::hold`] lets watches lag behind.

mod clock;
mod store;
mod watch;

use std::sync::Arc;

use call::{Action, Call, Reply, Target, Transport};
use env::Env;
use meta::{Kind, Status};
use parking_lot::Mutex;

use crate::{Client, Resource};
pub use clock::{eventually, paused_env};
use store::State;

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is performed.
    None,
    /// It is refused and has no effect.
    Refuse(Status),
    /// It is performed, and its answer is lost on the way.
    LoseAnswer,
}

type Faults = Box<dyn FnMut(&Call) -> Fault + Send>;

/// The server. Share it with [`Arc`].
pub struct Fake {
    env: Env,
    state: Mutex<State>,
    faults: Mutex<Option<Faults>>,
    writes: Mutex<Vec<String>>,
    progress: tokio::sync::watch::Sender<u64>,
}

impl Fake {
    /// An empty server.
    pub fn new(env: Env) -> Arc<Self> {
        Arc::new(Fake {
            env,
            state: Mutex::default(),
            faults: Mutex::default(),
            writes: Mutex::default(),
            progress: tokio::sync::watch::Sender::new(0),
        })
    }

    /// A client of this server.
    pub fn client(self: &Arc<Self>) -> Client {
        Client::new(self.transport())
    }

    /// A transport to this server.
    pub fn transport(self: &Arc<Self>) -> Arc<dyn Transport> {
        Arc::new(Connection(self.clone()))
    }

    /// Stores `object` as it is, status included, as if somebody else had written it. Gives back what is stored.
    pub fn put<K: Kind>(&self, object: K) -> Arc<K> {
        let stored = self.state.lock().put(&Resource::of::<K>(), Box::new(object), &self.env);
        self.tell();
        meta::downcast(stored).expect("what was stored is of the kind that was put")
    }

    /// Changes a stored object in place, as somebody else's write.
    pub fn change<K: Kind>(&self, namespace: &str, name: &str, change: impl FnOnce(&mut K)) {
        if let Some(object) = self.get::<K>(namespace, name) {
            let mut object = (*object).clone();
            change(&mut object);
            self.put(object);
        }
    }

    /// Removes an object at once, whatever its finalizers.
    pub fn remove<K: Kind>(&self, namespace: &str, name: &str) {
        self.state.lock().remove(&Resource::of::<K>(), namespace, name);
        self.tell();
    }

    /// A stored object.
    pub fn get<K: Kind>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        meta::downcast(self.state.lock().get(&Resource::of::<K>(), namespace, name)?)
    }

    /// The stored objects of a kind, in key order.
    pub fn list<K: Kind>(&self) -> Vec<Arc<K>> {
        let (objects, _) = self.state.lock().list(&Resource::of::<K>(), "");
        objects.into_iter().filter_map(meta::downcast).collect()
    }

    /// From now on `faults` decides what happens to each call.
    pub fn fault(&self, faults: impl FnMut(&Call) -> Fault + Send + 'static) {
        *self.faults.lock() = Some(Box::new(faults));
    }

    /// From now on every call is performed.
    pub fn heal(&self) {
        *self.faults.lock() = None;
    }

    /// While held, watches tell nothing new: caches go stale.
    pub fn hold(&self, held: bool) {
        self.state.lock().hold(held);
        self.tell();
    }

    /// Forgets the history: watches that resume from before get a 410.
    pub fn compact(&self) {
        self.state.lock().compact();
        self.tell();
    }

    /// The writes so far that came over the transport, as `verb path`.
    pub fn writes(&self) -> Vec<String> {
        self.writes.lock().clone()
    }

    fn tell(&self) {
        self.progress.send_modify(|revision| *revision += 1);
    }

    fn perform(self: &Arc<Self>, call: Call) -> Result<Reply, Status> {
        let Call { target, action } = call;
        let resource = Resource::new(&target.group, &target.version, &target.resource);
        let mut state = self.state.lock();
        let reply = match action {
            Action::Get { .. } => return state.read(&resource, &target).map(Reply::Object),
            Action::List(options) => {
                let (mut items, resource_version) = state.list(&resource, &target.namespace);
                let selector = meta::Selector::parse(&options.label_selector)
                    .map_err(|error| Status::bad_request(error.to_string()))?;
                items.retain(|item| selector.matches(&item.meta().labels));
                if let Some(name) = options.field_selector.strip_prefix("metadata.name=") {
                    items.retain(|item| item.meta().name == name);
                }
                return Ok(Reply::List {
                    items,
                    resource_version,
                    continue_token: meta::Str::new(),
                    remaining: None,
                });
            }
            Action::Watch(options) => {
                drop(state);
                return Ok(Reply::Watch(watch::start(self.clone(), resource, &target.namespace, &options)));
            }
            Action::Create(object, _) if target.subresource.is_empty() => {
                state.create(&resource, &target, object, &self.env).map(Reply::Object)
            }
            Action::Create(object, _) => Ok(Reply::Object(Arc::from(object))),
            Action::Update(object, _) => state.update(&resource, &target, object).map(Reply::Object),
            Action::Patch(kind, document, _) => {
                state.patch(&resource, &target, kind, &document).map(Reply::Object)
            }
            Action::Delete(options) => state.delete(&resource, &target, &options, &self.env),
            Action::DeleteCollection(_, options) => {
                let (items, _) = state.list(&resource, &target.namespace);
                for item in items {
                    let target = Target { namespace: item.meta().namespace.clone(), ..target.clone() };
                    state.delete(&resource, &target.named(&item.meta().name), &options, &self.env)?;
                }
                Ok(Reply::Done(Status::success()))
            }
        };
        drop(state);
        self.tell();
        reply
    }

    async fn answer(self: &Arc<Self>, call: Call) -> Result<Reply, Status> {
        let fault = match self.faults.lock().as_mut() {
            Some(faults) => faults(&call),
            None => Fault::None,
        };
        let verb = match &call.action {
            Action::Create(..) => Some("create"),
            Action::Update(..) => Some("update"),
            Action::Patch(..) => Some("patch"),
            Action::Delete(_) => Some("delete"),
            Action::DeleteCollection(..) => Some("deletecollection"),
            _ => None,
        };
        if let Some(verb) = verb {
            self.writes.lock().push(format!("{verb} {}", call.target.path()));
        }
        // Other tasks run between the request and its effect, as they do over a network.
        tokio::task::yield_now().await;
        if let Fault::Refuse(status) = fault {
            return Err(status);
        }
        let reply = self.perform(call);
        tokio::task::yield_now().await;
        match (fault, reply) {
            (Fault::LoseAnswer, Ok(_)) => Err(Status::service_unavailable("the answer was lost")),
            (_, reply) => reply,
        }
    }
}

struct Connection(Arc<Fake>);

#[async_trait::async_trait]
impl Transport for Connection {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        self.0.answer(call).await
    }
}
