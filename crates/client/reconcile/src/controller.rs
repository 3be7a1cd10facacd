//! A controller: caches tell which keys may need work, workers decide and act on one key at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use env::{Env, Task};
use futures::FutureExt;
use futures::future::BoxFuture;
use informer::{Cache, Change, Informers, Key};
use meta::Kind;

use crate::{Executor, Plan, Queue, Recorder, World};

/// How to go on with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more until something changes.
    Done,
    /// Look again after this long.
    After(Duration),
    /// It failed: try again, with a pause that grows from failure to failure.
    Retry,
}

/// The decisions of a controller.
pub trait Reconciler: Send + Sync + 'static {
    /// Compares what is wanted with what is, for the object of `key`, and appends to `plan` what has to be done. Reads
    /// nothing but `world` and changes nothing but `plan`, so that the same world always gives the same plan.
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next;
}

/// What controllers of one process share, and as whom this one acts.
#[derive(Clone)]
pub struct Context {
    /// The way to write, as the controller's own user.
    pub client: Client,
    /// The process's caches.
    pub informers: Arc<Informers>,
    /// Clock and randomness.
    pub env: Env,
}

/// A controller that is being put together; [`Controller::start`] sets it going.
pub struct Controller {
    name: &'static str,
    context: Context,
    queue: Arc<Queue<Key>>,
    executor: Executor,
    reconciler: Arc<dyn Reconciler>,
    workers: usize,
    /// Waits for the caches that the decisions read.
    synced: Vec<BoxFuture<'static, ()>>,
}

/// A controller at work. Dropping it ends the workers at their next await.
pub struct Running {
    queue: Arc<Queue<Key>>,
    _tasks: Vec<Task>,
}

impl Running {
    /// The queue, to add keys from elsewhere or to see whether there is work.
    pub fn queue(&self) -> &Arc<Queue<Key>> {
        &self.queue
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Controller {
    /// A controller named `name` (for metrics and logs) whose events come from `component`.
    pub fn new(
        name: &'static str,
        component: &'static str,
        context: Context,
        reconciler: impl Reconciler,
    ) -> Self {
        let queue = Arc::new(Queue::new(name, context.env.clone()));
        let recorder = Recorder::start(context.client.clone(), component, context.env.clone());
        let executor =
            Executor::new(context.client.clone(), context.informers.clone(), recorder, context.env.clone());
        Controller {
            name,
            context,
            queue,
            executor,
            reconciler: Arc::new(reconciler),
            workers: 5,
            synced: Vec::new(),
        }
    }

    /// The queue, for whatever else wakes keys.
    pub fn queue(&self) -> &Arc<Queue<Key>> {
        &self.queue
    }

    /// How many keys are worked on at once.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Declares that decisions read kind `K`, without being woken by it.
    pub fn reads<K: Kind>(mut self) -> Self {
        self.cache::<K>();
        self
    }

    fn cache<K: Kind>(&mut self) -> Arc<Cache<K>> {
        let cache = self.context.informers.cache::<K>();
        let waiting = cache.clone();
        self.synced.push(Box::pin(async move { waiting.synced().await }));
        cache
    }

    /// Makes an index over kind `K`, see [`Cache::index`].
    pub fn index<K: Kind>(
        mut self,
        name: &'static str,
        extract: impl Fn(&K) -> Vec<meta::Str> + Send + Sync + 'static,
    ) -> Self {
        self.cache::<K>().index(name, extract);
        self
    }

    /// Wakes the key of every object of kind `K` that changes.
    pub fn of<K: Kind>(self) -> Self {
        self.on::<K>(|object, _| vec![Key::of(object)])
    }

    /// Wakes the keys that `keys` names for every object of kind `K` that changes: for its state before and after.
    pub fn on<K: Kind>(self, keys: impl Fn(&K, &World) -> Vec<Key> + Send + Sync + 'static) -> Self {
        self.on_change::<K>(move |change, world| {
            let mut woken = keys(change.object(), world);
            if let Some(old) = change.old() {
                for key in keys(old, world) {
                    if !woken.contains(&key) {
                        woken.push(key);
                    }
                }
            }
            woken
        })
    }

    /// Wakes the keys that `keys` names for a change of kind `K`.
    pub fn on_change<K: Kind>(
        mut self,
        keys: impl Fn(&Change<K>, &World) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        let cache = self.cache::<K>();
        let queue = Arc::downgrade(&self.queue);
        let (informers, env) = (Arc::downgrade(&self.context.informers), self.context.env.clone());
        cache.subscribe(move |change| {
            let (Some(queue), Some(informers)) = (queue.upgrade(), informers.upgrade()) else { return };
            for key in keys(change, &World::new(informers, env.unix_ms())) {
                queue.add(key);
            }
        });
        self
    }

    /// Wakes one key at the start, for controllers that look at the whole.
    pub fn wake(self, key: Key) -> Self {
        self.queue.add(key);
        self
    }

    /// Starts the workers; they begin when all caches that the controller declared are in sync. Others may lag or never
    /// come: a kind that the server does not serve stops only who reads it.
    pub fn start(self) -> Running {
        let synced = futures::future::join_all(self.synced).map(|_| ()).boxed().shared();
        let worker = Arc::new(Worker {
            name: self.name,
            informers: self.context.informers,
            env: self.context.env,
            queue: self.queue.clone(),
            executor: self.executor,
            reconciler: self.reconciler,
        });
        let tasks = (0..self.workers.max(1))
            .map(|_| env::spawn(self.name, worker.clone().run(synced.clone())))
            .collect();
        Running { queue: self.queue, _tasks: tasks }
    }
}

struct Worker {
    name: &'static str,
    informers: Arc<Informers>,
    env: Env,
    queue: Arc<Queue<Key>>,
    executor: Executor,
    reconciler: Arc<dyn Reconciler>,
}

impl Worker {
    async fn run(self: Arc<Self>, synced: impl Future<Output = ()>) {
        synced.await;
        while let Some(key) = self.queue.next().await {
            let verdict = self.work(&key).await;
            match verdict {
                Next::Done => self.queue.forget(&key),
                Next::After(pause) => {
                    self.queue.forget(&key);
                    self.queue.add_after(key.clone(), pause);
                }
                Next::Retry => self.queue.retry(key.clone()),
            }
            self.queue.done(&key);
        }
    }

    async fn work(&self, key: &Key) -> Next {
        let world = World::new(self.informers.clone(), self.env.unix_ms());
        let mut plan = Plan::new();
        // A bug in one decision must not end the worker and with it every other key.
        let decided = catch_unwind(AssertUnwindSafe(|| self.reconciler.reconcile(key, &world, &mut plan)));
        match decided {
            Ok(next) => self.executor.perform(plan, next).await,
            Err(_) => {
                tracing::error!(controller = self.name, %key, "decision panicked");
                Next::Retry
            }
        }
    }
}
