//! A client of the Kubernetes API, the same for every way to reach a server.
//!
//! A [`Client`] wraps a [`call::Transport`], which stands for one authenticated user of one server. [`Client::all`] and
//! [`Client::namespaced`] give the typed verbs of a kind ([`Api`]), [`Client::dynamic`] the same verbs for a resource that
//! is only known at run time. Transports: [`remote::Remote`] speaks HTTPS with a kubeconfig's credentials,
//! and the in-process one belongs to whoever runs the API server.

#![expect(clippy::result_large_err, reason = "Status is the error of the API, as the transports pass it")]

mod api;
mod dynamic;
pub mod fake;
mod list;
pub mod remote;

use std::fmt;
use std::sync::Arc;

use call::{Call, Reply, Transport};
use meta::{Kind, Status};

pub use api::{Api, TypedEvent, TypedStream};
pub use call::{
    DeleteOptions, EventType, ListOptions, PatchKind, Precondition, WatchEvent, WatchStream, WriteOptions,
};
pub use dynamic::{Dynamic, Resource};
pub use list::{ObjectList, list_all};

/// One user's way to one API server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

impl Client {
    /// A client that sends its calls through `transport`.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Client { transport }
    }

    /// The verbs of kind `K` across all namespaces, or of a cluster-scoped kind.
    pub fn all<K: Kind>(&self) -> Api<K> {
        Api::new(self.clone(), "")
    }

    /// The verbs of kind `K` in one namespace.
    pub fn namespaced<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::new(self.clone(), namespace)
    }

    /// The verbs of a resource that is known by name only, in `namespace` (empty: all of them, or cluster scope).
    pub fn dynamic(&self, resource: &Resource, namespace: &str) -> Dynamic {
        Dynamic::new(self.clone(), resource.clone(), namespace)
    }

    /// Sends one call.
    ///
    /// # Errors
    /// The server's refusal, or `ServiceUnavailable` when it cannot be reached.
    pub async fn call(&self, call: Call) -> Result<Reply, Status> {
        self.transport.call(call).await
    }

    /// The transport underneath.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}
