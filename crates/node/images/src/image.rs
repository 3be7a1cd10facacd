//! What the store knows about an image: names, identity, layers and the part of the config that a container needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An image in the store. Cheap enough to clone; its layers are unpacked and ready to be mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the config blob (`sha256:…`): the image ID that CRI and docker show.
    pub id: String,
    /// Names by tag, normalised: `docker.io/library/nginx:latest`.
    pub repo_tags: Vec<String>,
    /// Names by digest: `docker.io/library/nginx@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Digest of the manifest.
    pub manifest_digest: String,
    /// Bytes of config and compressed layers, as `crictl images` shows.
    pub size_bytes: u64,
    /// Unpacked layers, lowest first.
    pub layers: Vec<Layer>,
    /// What containers take from the image.
    pub config: ImageConfig,
    /// Never removed by garbage collection.
    pub pinned: bool,
}

/// One unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of the blob as it came (compressed or not).
    pub digest: String,
    /// Digest of the uncompressed tar.
    pub diff_id: String,
    /// Digest over this layer's and all lower layers' `diff_id`: the key under which it is unpacked.
    pub chain_id: String,
    /// Size of the blob in bytes.
    pub size_bytes: u64,
    /// Directory with the files, to be used as an overlayfs lower directory.
    #[serde(skip)]
    pub path: PathBuf,
}

/// The `config` object of an OCI image configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `KEY=value` pairs.
    pub env: Vec<String>,
    /// Prepended to the arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    pub user: String,
    /// Empty is `/`.
    pub working_dir: String,
    /// Mount points that want a volume.
    pub volumes: Vec<String>,
    /// `SIGTERM`, `15`; empty is `SIGTERM`.
    pub stop_signal: String,
    /// `80/tcp` and so on.
    pub exposed_ports: Vec<String>,
    /// Free-form labels.
    pub labels: BTreeMap<String, String>,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// When it was built (RFC 3339), if the image says so.
    pub created: Option<String>,
}

impl Image {
    /// Lower directories for overlayfs, uppermost first as its `lowerdir=` option wants them.
    pub fn lower_dirs(&self) -> Vec<PathBuf> {
        self.layers.iter().rev().map(|l| l.path.clone()).collect()
    }

    /// The name to show as `imageID` in a container's status: by digest where there is one, else the ID.
    pub fn image_ref(&self) -> &str {
        self.repo_digests.first().map_or(&self.id, |d| d)
    }
}
