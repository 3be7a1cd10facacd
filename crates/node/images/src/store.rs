//! The image store: a handle that is shared by everything that needs images.
//!
//! On disk: `blobs/` by digest, `layers/` unpacked by chain ID, `leases/` one file for each user of layers, `index.json`
//! with all images, `tmp/` for what is unfinished (emptied when the store opens), `lock` held while it is open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::blobs::{Blobs, HashingReader, digest_of, unique, write_atomically};
use crate::credentials::Credentials;
use crate::document::ConfigFile;
use crate::error::{Error, Result};
use crate::image::{Image, Layer};
use crate::import::{Staged, stage};
use crate::pull::{Report, blocking};
use crate::reference::{Reference, is_hex64};
use crate::unpack::{Unpacked, Unpacker};

/// Images on disk. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) blobs: Blobs,
    config: StoreConfig,
    /// Held only for memory accesses, never while files are written.
    pub(crate) state: Mutex<State>,
    /// Whoever changes `index.json` or leases on disk holds this; readers do not.
    pub(crate) writing: Mutex<()>,
    /// Held shared while images are added, exclusively by garbage collection.
    pub(crate) adding: tokio::sync::RwLock<()>,
    /// One image unpacks a given layer while others wait for it.
    unpacking: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    _lock: Flock<File>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) images: Vec<Image>,
    /// Owner to what it uses.
    pub(crate) leases: BTreeMap<String, Lease>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) image: String,
    pub(crate) chain_ids: Vec<String>,
}

/// How to pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// Credentials for the registry; tried in order, anonymous last.
    pub credentials: Vec<Credentials>,
    /// Called with what has been downloaded so far, from several tasks.
    pub progress: Option<Report>,
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

/// What an unpacked layer is recorded to take, beside its files.
#[derive(Serialize, Deserialize)]
struct LayerRecord {
    digest: String,
    diff_id: String,
    bytes: u64,
    inodes: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.inner.root).finish()
    }
}

impl Store {
    /// Opens (or makes) the store under `root`, and clears what an interrupted pull left. Blocking. Only one process can
    /// have it open.
    pub fn open(root: impl Into<PathBuf>, config: StoreConfig) -> Result<Store> {
        let root: PathBuf = root.into();
        for dir in ["blobs", "layers", "leases", "tmp"] {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).map_err(Error::io(format!("cannot create {}", dir.display())))?;
        }
        let root = root.canonicalize().map_err(Error::io(format!("cannot open {}", root.display())))?;
        let lock = lock(&root)?;
        let tmp = root.join("tmp");
        for left in fs::read_dir(&tmp).into_iter().flatten().flatten() {
            let path = left.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io(format!("cannot remove {}", path.display())))?;
        }
        let state = State { images: read_index(&root)?, leases: read_leases(&root) };
        let inner = Inner {
            blobs: Blobs::new(root.join("blobs"), tmp),
            root,
            config,
            state: Mutex::new(state),
            writing: Mutex::new(()),
            adding: tokio::sync::RwLock::new(()),
            unpacking: Mutex::default(),
            _lock: lock,
        };
        // A layer without a record may not have reached the disk whole when the machine went down.
        inner.collect(false)?;
        Ok(Store { inner: Arc::new(inner) })
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// All images, by name.
    pub fn list(&self) -> Vec<Image> {
        let mut images = self.inner.state.lock().images.clone();
        images.sort_by(|a, b| (&a.repo_tags, &a.id).cmp(&(&b.repo_tags, &b.id)));
        images
    }

    /// An image by reference, by reference with digest, by ID, or by a unique prefix of the ID (12 digits or more).
    pub fn get(&self, reference: &str) -> Option<Image> {
        let state = self.inner.state.lock();
        find(&state.images, reference).map(|at| state.images[at].clone())
    }

    /// Brings an image from its registry. Layers that are there already are not fetched again.
    pub async fn pull(&self, reference: &str, options: PullOptions) -> Result<Image> {
        let reference = Reference::parse(reference)?;
        let _adding = self.inner.adding.read().await;
        let (staged, top) =
            crate::pull::pull(&reference, &options, &self.inner.config, &self.inner.blobs).await?;
        let by_digest = vec![reference.with_digest(&top)];
        let inner = self.inner.clone();
        blocking(move || inner.add(staged, by_digest)).await
    }

    /// Reads an OCI layout (directory or tar, plain or compressed) or a `docker save` archive. `name` names images that
    /// carry no name of their own.
    pub async fn import(&self, path: &Path, name: Option<&str>) -> Result<Vec<Image>> {
        let name = name.map(Reference::parse).transpose()?;
        let _adding = self.inner.adding.read().await;
        let (inner, path) = (self.inner.clone(), path.to_path_buf());
        blocking(move || {
            let staged = stage(&path, name.as_ref(), &inner.blobs, &inner.root.join("tmp"))?;
            staged.into_iter().map(|s| inner.add(s, vec![])).collect()
        })
        .await
    }

    /// Gives an image another name.
    pub async fn tag(&self, reference: &str, name: &str) -> Result<Image> {
        let tagged = Reference::parse(name)?.tagged().ok_or_else(|| Error::InvalidReference {
            reference: name.into(),
            why: "a tag is needed".into(),
        })?;
        let (inner, reference) = (self.inner.clone(), reference.to_owned());
        blocking(move || {
            inner.change(|images| {
                let at = find(images, &reference).ok_or_else(|| Error::NotFound(reference.clone()))?;
                images.iter_mut().for_each(|i| i.repo_tags.retain(|t| *t != tagged));
                images[at].repo_tags.push(tagged);
                Ok(images[at].clone())
            })
        })
        .await
    }

    /// Removes a name, or the whole image when given its ID or its last name. Layers stay while anything uses them.
    pub async fn remove(&self, reference: &str) -> Result<()> {
        let (inner, reference) = (self.inner.clone(), reference.to_owned());
        blocking(move || {
            inner.change(|images| {
                let at = find(images, &reference).ok_or_else(|| Error::NotFound(reference.clone()))?;
                let image = &mut images[at];
                if let Ok(parsed) = Reference::parse(&reference)
                    && let Some(tagged) = parsed.tagged().filter(|t| image.repo_tags.contains(t))
                {
                    image.repo_tags.retain(|t| *t != tagged);
                    let others =
                        image.repo_tags.iter().any(|t| t.starts_with(&format!("{}:", parsed.name())));
                    if !others {
                        image.repo_digests.retain(|d| !d.starts_with(&format!("{}@", parsed.name())));
                    }
                } else {
                    image.repo_tags.clear();
                    image.repo_digests.clear();
                }
                if image.repo_tags.is_empty() && image.repo_digests.is_empty() {
                    images.remove(at);
                }
                Ok(())
            })
        })
        .await
    }

    /// Marks an image that garbage collection by the kubelet must leave alone.
    pub async fn pin(&self, reference: &str, pinned: bool) -> Result<()> {
        let (inner, reference) = (self.inner.clone(), reference.to_owned());
        blocking(move || {
            inner.change(|images| {
                let at = find(images, &reference).ok_or_else(|| Error::NotFound(reference.clone()))?;
                images[at].pinned = pinned;
                Ok(())
            })
        })
        .await
    }
}

impl Inner {
    /// Unpacks a staged image's layers and records it under its names. Blocking.
    fn add(&self, staged: Staged, repo_digests: Vec<String>) -> Result<Image> {
        let config = ConfigFile::parse(&self.blobs.read("config", &staged.manifest.config.digest)?)?;
        if config.rootfs.diff_ids.len() != staged.manifest.layers.len() {
            let (want, have) = (config.rootfs.diff_ids.len(), staged.manifest.layers.len());
            return Err(Error::malformed(
                "image",
                format!("the config names {want} layers, the manifest {have}"),
            ));
        }
        let mut layers: Vec<Layer> = Vec::new();
        let mut fresh = !self.state.lock().images.iter().any(|i| i.id == staged.manifest.config.digest);
        for (blob, diff_id) in staged.manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let chain_id = match layers.last() {
                Some(below) => digest_of(format!("{} {diff_id}", below.chain_id).as_bytes()),
                None => diff_id.clone(),
            };
            let layer = Layer {
                digest: blob.digest.clone(),
                diff_id: diff_id.clone(),
                path: layer_path(&self.root, &chain_id).join("fs"),
                size_bytes: blob.size,
                chain_id,
            };
            fresh |= self.unpack(&layer, &layers)?;
            layers.push(layer);
        }
        if fresh {
            // The files must be on disk before a record promises them; without a record they do not survive `open`.
            let dir =
                File::open(&self.root).map_err(Error::io(format!("cannot open {}", self.root.display())))?;
            nix::unistd::syncfs(&dir).map_err(|e| Error::io("cannot sync the layers")(e.into()))?;
        }
        let blob_bytes: u64 = layers.iter().map(|l| l.size_bytes).sum();
        let image = Image {
            id: staged.manifest.config.digest.clone(),
            repo_tags: staged.names.iter().filter_map(Reference::tagged).collect(),
            repo_digests,
            manifest_digest: staged.manifest_digest,
            size_bytes: blob_bytes + staged.manifest.config.size,
            layers,
            config: config.summary(),
            pinned: false,
        };
        self.change(|images| Ok(merge(images, image)))
    }

    /// Says whether the layer was not there before.
    fn unpack(&self, layer: &Layer, below: &[Layer]) -> Result<bool> {
        let turn = self.unpacking.lock().entry(layer.chain_id.clone()).or_default().clone();
        let unpacked = {
            let _turn = turn.lock();
            if layer.path.exists() { Ok(false) } else { self.unpack_now(layer, below).map(|()| true) }
        };
        drop(turn);
        self.unpacking.lock().retain(|_, turn| Arc::strong_count(turn) > 1);
        unpacked
    }

    fn unpack_now(&self, layer: &Layer, below: &[Layer]) -> Result<()> {
        let tmp = self.root.join("tmp").join(unique());
        let done = self.unpack_into(&tmp, layer, below);
        if done.is_err() {
            let _ = fs::remove_dir_all(&tmp);
        }
        done
    }

    fn unpack_into(&self, tmp: &Path, layer: &Layer, below: &[Layer]) -> Result<()> {
        let fail = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::InvalidInput => {
                Error::CorruptLayer { digest: layer.digest.clone(), why: source.to_string() }
            }
            _ => Error::Io { what: format!("cannot unpack layer {}", layer.digest), source },
        };
        let files = tmp.join("fs");
        fs::create_dir_all(&files).map_err(Error::io(format!("cannot create {}", files.display())))?;
        let blob = self.blobs.path(&layer.digest);
        let file = File::open(&blob).map_err(Error::io(format!("cannot open {}", blob.display())))?;
        let size = file.metadata().map_err(Error::io(format!("cannot read {}", blob.display())))?.len();
        // gzip reaches about 1030:1; anything beyond this is a bomb.
        let budget = (1 << 30) + size.saturating_mul(1100);
        let mut hashing = HashingReader::new(crate::compression::decompress(file).map_err(fail)?);
        let parents = below.iter().rev().map(|l| l.path.clone()).collect();
        let Unpacked { bytes, inodes } =
            Unpacker::new(files, parents, budget).run(&mut hashing).map_err(fail)?;
        let actual = hashing.finish().map_err(fail)?;
        if actual != layer.diff_id {
            return Err(Error::DigestMismatch { what: "layer", expected: layer.diff_id.clone(), actual });
        }
        let record =
            LayerRecord { digest: layer.digest.clone(), diff_id: layer.diff_id.clone(), bytes, inodes };
        let json = serde_json::to_vec(&record).expect("a record has string keys only");
        fs::write(tmp.join("layer.json"), json).map_err(Error::io("cannot write layer.json"))?;
        let to = layer_path(&self.root, &layer.chain_id);
        fs::rename(tmp, &to).map_err(Error::io(format!("cannot rename to {}", to.display())))
    }

    /// Changes the list of images, in memory and on disk together.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Vec<Image>) -> Result<T>) -> Result<T> {
        let _writing = self.writing.lock();
        let mut images = self.state.lock().images.clone();
        let result = change(&mut images)?;
        let json = serde_json::to_vec(&images).expect("images have string keys only");
        write_atomically(&self.root.join("index.json"), &json)?;
        self.state.lock().images = images;
        Ok(result)
    }
}

/// Adds an image, or its names to the one that is there; a name that moves leaves its old image.
fn merge(images: &mut Vec<Image>, new: Image) -> Image {
    for image in images.iter_mut() {
        image.repo_tags.retain(|t| !new.repo_tags.contains(t));
    }
    match images.iter_mut().find(|i| i.id == new.id) {
        Some(old) => {
            old.repo_tags.extend(new.repo_tags);
            for digest in new.repo_digests {
                if !old.repo_digests.contains(&digest) {
                    old.repo_digests.push(digest);
                }
            }
            old.clone()
        }
        None => {
            images.push(new.clone());
            new
        }
    }
}

fn find(images: &[Image], reference: &str) -> Option<usize> {
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    if hex.len() >= 12 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut matching =
            images.iter().enumerate().filter(|(_, i)| i.id["sha256:".len()..].starts_with(hex));
        if let Some((at, _)) = matching.next() {
            return (is_hex64(hex) || matching.next().is_none()).then_some(at);
        }
    }
    let parsed = Reference::parse(reference).ok()?;
    match &parsed.digest {
        Some(digest) => {
            let name = parsed.with_digest(digest);
            images.iter().position(|i| i.repo_digests.contains(&name))
        }
        None => parsed.tagged().and_then(|t| images.iter().position(|i| i.repo_tags.contains(&t))),
    }
}

pub(crate) fn layer_path(root: &Path, chain_id: &str) -> PathBuf {
    root.join("layers").join(chain_id.trim_start_matches("sha256:"))
}

fn lock(root: &Path) -> Result<Flock<File>> {
    let path = root.join("lock");
    let file = File::create(&path).map_err(Error::io(format!("cannot open {}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| Error::Io {
        what: format!("the image store {} is in use by another process", root.display()),
        source: errno.into(),
    })
}

fn read_index(root: &Path) -> Result<Vec<Image>> {
    let path = root.join("index.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(Error::io(format!("cannot read {}", path.display()))(e)),
    };
    let mut images: Vec<Image> =
        serde_json::from_slice(&bytes).map_err(|e| Error::malformed(path.display().to_string(), e))?;
    for layer in images.iter_mut().flat_map(|i| &mut i.layers) {
        layer.path = layer_path(root, &layer.chain_id).join("fs");
    }
    Ok(images)
}

fn read_leases(root: &Path) -> BTreeMap<String, Lease> {
    let read = |entry: fs::DirEntry| {
        let owner = entry.file_name().into_string().ok()?;
        Some((owner, serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?))
    };
    fs::read_dir(root.join("leases")).into_iter().flatten().flatten().filter_map(read).collect()
}
