//! The verbs of a resource that is known by name only, such as a custom resource.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use call::{Action, Call, DeleteOptions, ListOptions, PatchKind, Reply, Target, WatchStream, WriteOptions};
use meta::{Kind, Object, Status, Str};

use crate::api::unexpected;
use crate::{Client, ObjectList};

/// Group, version and plural name: what a request path needs to know of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: Str,
    /// API version.
    pub version: Str,
    /// Plural resource name.
    pub plural: Str,
}

impl Resource {
    /// The resource of these names.
    pub fn new(group: &str, version: &str, plural: &str) -> Self {
        Resource { group: group.into(), version: version.into(), plural: plural.into() }
    }

    /// The resource that stores kind `K`.
    pub fn of<K: Kind>() -> Self {
        Resource::new(K::GROUP, K::VERSION, K::PLURAL)
    }

    /// The collection in `namespace` (empty: all of them, or cluster scope).
    pub fn target(&self, namespace: &str) -> Target {
        Target {
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.plural.clone(),
            namespace: namespace.into(),
            name: Str::new(),
            subresource: Str::new(),
        }
    }
}

impl fmt::Display for Resource {
    /// As in `deployments.v1.apps`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.plural, self.version)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// The verbs of a [`Resource`].
#[derive(Clone, Debug)]
pub struct Dynamic {
    client: Client,
    resource: Resource,
    namespace: Str,
}

impl Dynamic {
    pub(crate) fn new(client: Client, resource: Resource, namespace: &str) -> Self {
        Dynamic { client, resource, namespace: namespace.into() }
    }

    fn target(&self, name: &str, subresource: &str) -> Target {
        self.resource.target(&self.namespace).named(name).subresource(subresource)
    }

    /// Reads one object, the newest state.
    ///
    /// # Errors
    /// The server's refusal, `NotFound` among them.
    pub async fn get(&self, name: &str) -> Result<Arc<dyn Object>, Status> {
        self.object(name, "", Action::Get { resource_version: Str::new() }).await
    }

    /// Reads a page of the collection.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn list(&self, options: &ListOptions) -> Result<ObjectList<dyn Object>, Status> {
        match self
            .client
            .call(Call { target: self.target("", ""), action: Action::List(options.clone()) })
            .await?
        {
            Reply::List { items, resource_version, continue_token, remaining } => {
                Ok(ObjectList { items, resource_version, continue_token, remaining })
            }
            _ => Err(unexpected("list")),
        }
    }

    /// Follows the collection.
    ///
    /// # Errors
    /// The server's refusal to start; later errors are the stream's last item.
    pub async fn watch(&self, options: &ListOptions) -> Result<WatchStream, Status> {
        match self
            .client
            .call(Call { target: self.target("", ""), action: Action::Watch(options.clone()) })
            .await?
        {
            Reply::Watch(events) => Ok(events),
            _ => Err(unexpected("watch")),
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn create(&self, object: Box<dyn Object>) -> Result<Arc<dyn Object>, Status> {
        self.object("", "", Action::Create(object, WriteOptions::default())).await
    }

    /// Replaces an object, or with `subresource` a part of it.
    ///
    /// # Errors
    /// The server's refusal, `Conflict` among them.
    pub async fn update(
        &self,
        subresource: &str,
        object: Box<dyn Object>,
    ) -> Result<Arc<dyn Object>, Status> {
        let name = object.meta().name.clone();
        self.object(&name, subresource, Action::Update(object, WriteOptions::default())).await
    }

    /// Changes an object, or with `subresource` a part of it, by a patch document.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn patch(
        &self,
        name: &str,
        subresource: &str,
        kind: PatchKind,
        document: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<dyn Object>, Status> {
        self.object(name, subresource, Action::Patch(kind, document, options.clone())).await
    }

    /// Deletes an object. `Some` is the object while finalizers or a grace period hold it.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn delete(
        &self,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Option<Arc<dyn Object>>, Status> {
        let call = Call { target: self.target(name, ""), action: Action::Delete(options.clone()) };
        match self.client.call(call).await? {
            Reply::Object(object) => Ok(Some(object)),
            Reply::Done(_) => Ok(None),
            _ => Err(unexpected("delete")),
        }
    }

    async fn object(&self, name: &str, subresource: &str, action: Action) -> Result<Arc<dyn Object>, Status> {
        match self.client.call(Call { target: self.target(name, subresource), action }).await? {
            Reply::Object(object) => Ok(object),
            _ => Err(unexpected(&self.resource.plural)),
        }
    }
}
