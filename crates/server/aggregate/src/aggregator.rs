//! The table of APIServices.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use meta::Str;
use parking_lot::RwLock;
use types::apiregistration::v1::APIService;
use webhook::Identity;

use crate::documents::Documents;
use crate::remote::Remote;

/// See the module.
pub struct Aggregator {
    identity: RwLock<Option<Identity>>,
    endpoints_only: bool,
    /// There is any extension API server: what each request asks first.
    any: AtomicBool,
    generation: AtomicU64,
    table: RwLock<HashMap<Str, Registered>>,
}

struct Registered {
    api: Arc<APIService>,
    remote: Option<Arc<Remote>>,
}

impl Aggregator {
    /// An empty table. `identity` is the front proxy's; `endpoints_only` is `--enable-aggregator-routing`.
    pub fn new(identity: Option<Identity>, endpoints_only: bool) -> Self {
        Aggregator {
            identity: RwLock::new(identity),
            endpoints_only,
            any: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            table: RwLock::default(),
        }
    }

    /// Whether only endpoints are routed to.
    pub fn endpoints_only(&self) -> bool {
        self.endpoints_only
    }

    /// Grows with every change that discovery or OpenAPI shows.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Takes over the state of an APIService. A server that is new comes back: somebody must look after it.
    pub fn apply(&self, api: &Arc<APIService>) -> Option<Arc<Remote>> {
        let name = &api.metadata.name;
        let identity = self.identity.read().clone();
        let old = self.table.read().get(name).and_then(|registered| registered.remote.clone());
        let (remote, new) = match (&api.spec.service, old) {
            (Some(_), Some(remote)) => {
                remote.update(api, identity.as_ref());
                (Some(remote), None)
            }
            (Some(_), None) => {
                let remote = Arc::new(Remote::new(api, identity.as_ref()));
                (Some(remote.clone()), Some(remote))
            }
            (None, old) => {
                old.iter().for_each(|remote| remote.end());
                (None, None)
            }
        };
        let mut table = self.table.write();
        table.insert(name.clone(), Registered { api: api.clone(), remote });
        self.changed(&table);
        new
    }

    /// Shows another certificate on connections from now on.
    pub fn set_identity(&self, identity: Option<Identity>) {
        self.identity.write().clone_from(&identity);
        let table = self.table.read();
        let known = table.values().filter_map(|known| Some((known.api.clone(), known.remote.clone()?)));
        let known: Vec<_> = known.collect();
        drop(table);
        for (api, remote) in known {
            remote.relink(&api, identity.as_ref());
        }
    }

    /// Forgets an APIService.
    pub fn remove(&self, name: &str) {
        let mut table = self.table.write();
        if let Some(remote) = table.remove(name).and_then(|registered| registered.remote) {
            remote.end();
        }
        self.changed(&table);
    }

    fn changed(&self, table: &HashMap<Str, Registered>) {
        let any = table.values().any(|registered| registered.remote.is_some());
        self.any.store(any, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Keeps what a server said about itself.
    pub fn learn(&self, remote: &Remote, documents: Documents) {
        if remote.set_documents(documents) {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The extension API server of a group and version.
    pub fn find(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.table.read().get(format!("{version}.{group}").as_str())?.remote.clone()
    }

    /// All extension API servers, by name.
    pub fn remotes(&self) -> Vec<Arc<Remote>> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut found: Vec<Arc<Remote>> =
            self.table.read().values().filter_map(|registered| registered.remote.clone()).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// The names of all APIServices.
    pub fn names(&self) -> Vec<Str> {
        self.table.read().keys().cloned().collect()
    }

    /// Every APIService.
    pub fn all(&self) -> Vec<Arc<APIService>> {
        self.table.read().values().map(|registered| registered.api.clone()).collect()
    }
}
