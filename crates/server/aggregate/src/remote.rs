//! One extension API server: the way to it, whether it can be used, and what it said about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use env::Random;
use meta::Str;
use parking_lot::RwLock;
use tokio::sync::Notify;
use types::apiregistration::v1::{APIService, APIServiceSpec, ServiceReference};
use webhook::Identity;

use crate::address::Address;
use crate::availability::is_available;
use crate::documents::Documents;
use crate::transport::Channel;

/// Why a request cannot be sent on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unroutable {
    /// The server is known to be unavailable, or has no address. Retrying helps once it is back.
    #[error("service unavailable")]
    Unavailable,
    /// The APIService cannot be understood. It must be corrected.
    #[error("{0}")]
    Broken(String),
}

/// The connections that one state of an APIService's spec leads to.
pub struct Link {
    /// The spec.
    pub spec: APIServiceSpec,
    channel: Result<Channel, String>,
}

impl Link {
    /// The connections, unless the spec is unusable.
    pub fn channel(&self) -> Result<&Channel, Unroutable> {
        self.channel.as_ref().map_err(|why| Unroutable::Broken(why.clone()))
    }

    /// The Service behind it.
    pub fn service(&self) -> ServiceReference {
        self.spec.service.as_deref().cloned().unwrap_or_default()
    }

    /// The Service's port.
    pub fn port(&self) -> i32 {
        self.spec.service.as_ref().and_then(|service| service.port).unwrap_or(443)
    }
}

/// See the module.
pub struct Remote {
    /// Name of the APIService.
    pub name: Str,
    /// The group that it serves.
    pub group: Str,
    /// The version that it serves.
    pub version: Str,
    /// Told when something about it changed.
    pub changed: Notify,
    /// Told when its documents should be read anew.
    pub reread: Notify,
    gone: AtomicBool,
    state: RwLock<State>,
}

struct State {
    link: Arc<Link>,
    available: bool,
    addresses: Result<Arc<[Address]>, String>,
    documents: Arc<Documents>,
}

impl Remote {
    pub(crate) fn new(api: &APIService, identity: Option<&Identity>) -> Self {
        let state = State {
            link: link(api, identity),
            available: is_available(api),
            addresses: Err("not resolved yet".to_owned()),
            documents: Arc::default(),
        };
        Remote {
            name: api.metadata.name.clone(),
            group: api.spec.group.clone(),
            version: api.spec.version.clone(),
            changed: Notify::new(),
            reread: Notify::new(),
            gone: AtomicBool::new(false),
            state: RwLock::new(state),
        }
    }

    /// Takes over a new state of the object.
    pub(crate) fn update(&self, api: &APIService, identity: Option<&Identity>) {
        let same = self.state.read().link.spec == api.spec;
        // Reading a bundle of certificates is nothing to do under the lock.
        let new = (!same).then(|| link(api, identity));
        let mut state = self.state.write();
        state.available = is_available(api);
        if let Some(new) = new {
            state.link = new;
            drop(state);
            self.changed.notify_one();
            self.reread.notify_one();
        }
    }

    /// Connects as somebody else from now on.
    pub(crate) fn relink(&self, api: &APIService, identity: Option<&Identity>) {
        let new = link(api, identity);
        self.state.write().link = new;
        self.changed.notify_one();
        self.reread.notify_one();
    }

    /// Says that the APIService is gone, or no longer names a Service.
    pub(crate) fn end(&self) {
        self.gone.store(true, Ordering::Release);
        self.changed.notify_one();
        self.reread.notify_one();
    }

    /// Whether it is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether the condition `Available` held when it was last seen.
    pub fn is_available(&self) -> bool {
        self.state.read().available
    }

    /// The present connections.
    pub fn link(&self) -> Arc<Link> {
        self.state.read().link.clone()
    }

    /// Where it is found from now on.
    pub fn set_addresses(&self, addresses: Result<Vec<Address>, String>) {
        self.state.write().addresses = addresses.map(Into::into);
    }

    /// All its addresses, or why there are none.
    pub fn addresses(&self) -> Result<Arc<[Address]>, String> {
        self.state.read().addresses.clone()
    }

    /// What it said about itself.
    pub fn documents(&self) -> Arc<Documents> {
        self.state.read().documents.clone()
    }

    /// Keeps what it says about itself. Answers whether that is news.
    pub(crate) fn set_documents(&self, documents: Documents) -> bool {
        let mut state = self.state.write();
        let news = *state.documents != documents;
        state.documents = Arc::new(documents);
        news
    }

    /// Where the next request goes.
    pub fn route(&self, random: &Random) -> Result<(Arc<Link>, Address), Unroutable> {
        let state = self.state.read();
        if !state.available {
            return Err(Unroutable::Unavailable);
        }
        state.link.channel()?;
        let addresses = state.addresses.as_ref().map_err(|_| Unroutable::Unavailable)?;
        let address = addresses.get(random.below(addresses.len().max(1))).ok_or(Unroutable::Unavailable)?;
        Ok((state.link.clone(), address.clone()))
    }
}

fn link(api: &APIService, identity: Option<&Identity>) -> Arc<Link> {
    let channel = Channel::new(&api.spec, identity);
    if let Err(error) = &channel {
        tracing::warn!(%error, name = %api.metadata.name, "an APIService cannot be used");
    }
    Arc::new(Link { spec: api.spec.clone(), channel })
}
