//! One API call as a value: what a client asks and what a server answers.
//!
//! Both sides of every transport speak these types. The remote transport turns a [`Call`] into HTTP and back, the
//! in-process transport hands it to the API server's pipeline as it is, so that an in-process component meets the
//! same authorization, admission and conflicts as everybody else and saves only sockets and encoding.
//!
//! Start at [`Call`], then [`Reply`] and [`Transport`].

mod options;
mod reply;

use bytes::Bytes;
use meta::{Object, Status, Str};

pub use options::{
    DeleteOptions, DryRun, FieldValidation, ListOptions, Precondition, VersionMatch, WriteOptions,
};
pub use reply::{EventType, Reply, WatchEvent, WatchStream};

/// Group, version and plural name of the resource that a call is about, as in the request path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// API group, empty for the core group.
    pub group: Str,
    /// API version, for example `v1`.
    pub version: Str,
    /// Plural resource name, for example `pods`.
    pub resource: Str,
    /// Namespace, empty for cluster-scoped resources and for calls across all namespaces.
    pub namespace: Str,
    /// Object name, empty for collections.
    pub name: Str,
    /// Subresource such as `status` or `scale`, empty for the object itself.
    pub subresource: Str,
}

impl Target {
    /// The collection of the resource that stores kind `K`, in `namespace` (empty: all of them, or cluster scope).
    pub fn of<K: meta::Kind>(namespace: &str) -> Self {
        Target {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            resource: K::PLURAL.into(),
            namespace: namespace.into(),
            name: Str::new(),
            subresource: Str::new(),
        }
    }

    /// The same target, for one object.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// The same target, for one subresource.
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    /// The request path, as in `/apis/apps/v1/namespaces/default/deployments/web/status`.
    pub fn path(&self) -> String {
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if !self.namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&self.namespace);
        }
        for part in [&self.resource, &self.name, &self.subresource] {
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
        path
    }
}

/// The four patch formats of `PATCH`, by their content types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902, `application/json-patch+json`.
    Json,
    /// RFC 7386, `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// Server-side apply, `application/apply-patch+yaml`.
    Apply,
}

impl PatchKind {
    /// The media type that names this format.
    pub fn content_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Apply => "application/apply-patch+yaml",
        }
    }
}

/// What the caller wants done.
#[derive(Debug)]
pub enum Action {
    /// Read one object.
    Get {
        /// `resourceVersion` of the query: empty reads the newest, `0` anything cached.
        resource_version: Str,
    },
    /// Read a collection.
    List(ListOptions),
    /// Follow a collection, or one object by name.
    Watch(ListOptions),
    /// Create an object, or act through a subresource such as `binding` or `token`.
    Create(Box<dyn Object>, WriteOptions),
    /// Replace an object or one of its subresources.
    Update(Box<dyn Object>, WriteOptions),
    /// Change an object by a patch document.
    Patch(PatchKind, Bytes, WriteOptions),
    /// Delete one object.
    Delete(DeleteOptions),
    /// Delete every object that the list options select.
    DeleteCollection(ListOptions, DeleteOptions),
}

/// One call: where, and what.
#[derive(Debug)]
pub struct Call {
    /// The resource, object or subresource.
    pub target: Target,
    /// The verb with its options and body.
    pub action: Action,
}

/// Carries calls to an API server and brings its replies back, as one authenticated user.
#[async_trait::async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Performs one call. Every refusal and every failure on the way is a [`Status`]; a transport that cannot reach
    /// the server answers `ServiceUnavailable`, which may be retried.
    async fn call(&self, call: Call) -> Result<Reply, Status>;
}
