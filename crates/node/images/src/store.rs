//! The image store: a handle that is shared by everything that needs images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::Image;

/// Images on disk. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<PathBuf>,
}

/// How to pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// Credentials for the registry; tried in order, anonymous last.
    pub credentials: Vec<Credentials>,
    /// Called with what has been downloaded so far, from several tasks.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

/// User name and password, or a token, for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Basic.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A bearer token for the registry itself.
    Bearer(String),
}

/// How far a pull has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Digest of the layer.
    pub digest: String,
    /// Bytes that have come.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Settings of the store.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {
    /// Registries (`host:port`) to talk to over plain HTTP. Loopback addresses always are.
    pub insecure_registries: Vec<String>,
    /// Registry host to the mirrors to try first (`host:port`, or `http://host:port`).
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// What garbage collection freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Bytes on disk.
    pub bytes: u64,
    /// Blobs removed.
    pub blobs: u64,
    /// Layers removed.
    pub layers: u64,
}

/// What the store takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl Store {
    /// Opens (or makes) the store under `root`, and clears what an interrupted pull left.
    pub fn open(root: impl Into<PathBuf>, _config: StoreConfig) -> Result<Store> {
        Ok(Store { root: Arc::new(root.into()) })
    }
    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// All images, by name.
    pub fn list(&self) -> Vec<Image> {
        vec![]
    }
    /// An image by reference, by reference with digest, by ID, or by a unique prefix of the ID (12 digits or more).
    pub fn get(&self, _reference: &str) -> Option<Image> {
        None
    }
    /// Brings an image from its registry. Layers that are there already are not fetched again.
    pub async fn pull(&self, reference: &str, _options: PullOptions) -> Result<Image> {
        Err(Error::NotFound(reference.into()))
    }
    /// Reads an OCI layout (directory or tar, plain or compressed) or a `docker save` archive. `name` names images that
    /// carry no name of their own.
    pub async fn import(&self, path: &Path, _name: Option<&str>) -> Result<Vec<Image>> {
        Err(Error::NotAnImage { path: path.into(), why: "no index.json".into() })
    }
    /// Gives an image another name.
    pub async fn tag(&self, reference: &str, _name: &str) -> Result<Image> {
        Err(Error::NotFound(reference.into()))
    }
    /// Removes a name, or the whole image when given its ID or its last name. Layers stay while anything uses them.
    pub async fn remove(&self, reference: &str) -> Result<()> {
        Err(Error::NotFound(reference.into()))
    }
    /// Marks an image that garbage collection by the kubelet must leave alone.
    pub async fn pin(&self, reference: &str, _pinned: bool) -> Result<()> {
        Err(Error::NotFound(reference.into()))
    }
    /// Says that `owner` (a container) uses the image's layers, until [`Store::release`]. Durable.
    pub fn acquire(&self, _image: &Image, _owner: &str) -> Result<()> {
        Ok(())
    }
    /// Ends [`Store::acquire`]. Unknown owners are no error.
    pub fn release(&self, _owner: &str) -> Result<()> {
        Ok(())
    }
    /// IDs of the images whose layers are in use.
    pub fn in_use(&self) -> std::collections::BTreeSet<String> {
        Default::default()
    }
    /// Removes blobs and layers that no image and no owner needs.
    pub async fn garbage_collect(&self) -> Result<Collected> {
        Ok(Collected::default())
    }
    /// What the store takes on disk.
    pub async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }
}
