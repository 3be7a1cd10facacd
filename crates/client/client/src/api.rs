//! The typed verbs of one kind.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use call::{Action, Call, DeleteOptions, EventType, ListOptions, PatchKind, Reply, Target, WriteOptions};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use meta::{Kind, Object, Status, Str};

use crate::{Client, ObjectList};

/// Events of a typed watch. `Err` is the last item.
pub type TypedStream<K> = BoxStream<'static, Result<TypedEvent<K>, Status>>;

/// One event of a typed watch.
#[derive(Clone, Debug)]
pub enum TypedEvent<K> {
    /// The object appeared, or began to match the selectors.
    Added(Arc<K>),
    /// The object changed.
    Modified(Arc<K>),
    /// The object is gone, or ceased to match; this is its last state.
    Deleted(Arc<K>),
    /// Nothing changed up to this revision.
    Bookmark(Str),
}

/// The verbs of kind `K`, in one namespace or in all.
pub struct Api<K> {
    client: Client,
    namespace: Str,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Api { client: self.client.clone(), namespace: self.namespace.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl<K: Kind> Api<K> {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Api { client, namespace: namespace.into(), kind: PhantomData }
    }

    /// The collection that these verbs work on.
    pub fn target(&self) -> Target {
        Target::of::<K>(&self.namespace)
    }

    /// Reads one object, the newest state.
    ///
    /// # Errors
    /// The server's refusal, `NotFound` among them.
    pub async fn get(&self, name: &str) -> Result<Arc<K>, Status> {
        self.object(self.target().named(name), Action::Get { resource_version: Str::new() }).await
    }

    /// Reads one object; `None` when there is none.
    ///
    /// # Errors
    /// The server's refusal other than `NotFound`.
    pub async fn get_optional(&self, name: &str) -> Result<Option<Arc<K>>, Status> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Reads a page of the collection.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn list(&self, options: &ListOptions) -> Result<ObjectList<K>, Status> {
        match self.client.call(Call { target: self.target(), action: Action::List(options.clone()) }).await? {
            Reply::List { items, resource_version, continue_token, remaining } => {
                let items = items.into_iter().map(typed).collect::<Result<_, _>>()?;
                Ok(ObjectList { items, resource_version, continue_token, remaining })
            }
            _ => Err(unexpected("list")),
        }
    }

    /// Follows the collection.
    ///
    /// # Errors
    /// The server's refusal to start; later errors are the stream's last item.
    pub async fn watch(&self, options: &ListOptions) -> Result<TypedStream<K>, Status> {
        let call = Call { target: self.target(), action: Action::Watch(options.clone()) };
        let Reply::Watch(events) = self.client.call(call).await? else { return Err(unexpected("watch")) };
        Ok(events
            .and_then(|event| async move {
                Ok(match event.event_type {
                    EventType::Bookmark => TypedEvent::Bookmark(event.object.meta().resource_version.clone()),
                    EventType::Added => TypedEvent::Added(typed(event.object)?),
                    EventType::Modified => TypedEvent::Modified(typed(event.object)?),
                    EventType::Deleted => TypedEvent::Deleted(typed(event.object)?),
                })
            })
            .boxed())
    }

    /// Creates an object; its name may be left to the server by `generateName`.
    ///
    /// # Errors
    /// The server's refusal, `AlreadyExists` among them.
    pub async fn create(&self, object: K) -> Result<Arc<K>, Status> {
        self.object(self.target(), Action::Create(Box::new(object), WriteOptions::default())).await
    }

    /// Replaces an object; its `resourceVersion`, when set, must be the stored one.
    ///
    /// # Errors
    /// The server's refusal, `Conflict` among them.
    pub async fn update(&self, object: K) -> Result<Arc<K>, Status> {
        let target = self.target_of(&object);
        self.object(target, Action::Update(Box::new(object), WriteOptions::default())).await
    }

    /// Replaces the status of an object.
    ///
    /// # Errors
    /// The server's refusal, `Conflict` among them.
    pub async fn update_status(&self, object: K) -> Result<Arc<K>, Status> {
        let target = self.target_of(&object).subresource("status");
        self.object(target, Action::Update(Box::new(object), WriteOptions::default())).await
    }

    /// Changes an object by a patch document.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn patch(
        &self,
        name: &str,
        kind: PatchKind,
        document: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<K>, Status> {
        self.object(self.target().named(name), Action::Patch(kind, document, options.clone())).await
    }

    /// Changes the status of an object by a patch document.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn patch_status(
        &self,
        name: &str,
        kind: PatchKind,
        document: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<K>, Status> {
        let target = self.target().named(name).subresource("status");
        self.object(target, Action::Patch(kind, document, options.clone())).await
    }

    /// Deletes an object. `Some` is the object while finalizers or a grace period hold it, `None` that it is gone.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Option<Arc<K>>, Status> {
        let call = Call { target: self.target().named(name), action: Action::Delete(options.clone()) };
        match self.client.call(call).await? {
            Reply::Object(object) => Ok(meta::downcast::<K>(object)),
            Reply::Done(_) => Ok(None),
            _ => Err(unexpected("delete")),
        }
    }

    /// Deletes every object of the collection that `select` selects.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn delete_collection(
        &self,
        select: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        let action = Action::DeleteCollection(select.clone(), options.clone());
        self.client.call(Call { target: self.target(), action }).await.map(|_| ())
    }

    /// Posts `body` to a subresource such as `binding`, `eviction` or `token`. The answer's kind is the subresource's own.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn create_subresource(
        &self,
        name: &str,
        subresource: &str,
        body: Box<dyn Object>,
    ) -> Result<Option<Arc<dyn Object>>, Status> {
        let target = self.target().named(name).subresource(subresource);
        match self.client.call(Call { target, action: Action::Create(body, WriteOptions::default()) }).await?
        {
            Reply::Object(object) => Ok(Some(object)),
            Reply::Done(_) => Ok(None),
            _ => Err(unexpected(subresource)),
        }
    }

    fn target_of(&self, object: &K) -> Target {
        let mut target = self.target().named(&object.meta().name);
        if target.namespace.is_empty() {
            target.namespace = object.meta().namespace.clone();
        }
        target
    }

    async fn object(&self, target: Target, action: Action) -> Result<Arc<K>, Status> {
        match self.client.call(Call { target, action }).await? {
            Reply::Object(object) => typed(object),
            _ => Err(unexpected(K::KIND)),
        }
    }
}

fn typed<K: Kind>(object: Arc<dyn Object>) -> Result<Arc<K>, Status> {
    meta::downcast::<K>(object).ok_or_else(|| unexpected(K::KIND))
}

/// The server answered with something of another shape than the verb's.
pub(crate) fn unexpected(wanted: &str) -> Status {
    Status::internal_error(format!("the server's answer is no {wanted}"))
}
