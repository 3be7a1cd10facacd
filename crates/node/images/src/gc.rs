//! What is in use, and removing what is not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::blobs::{unique, write_atomically};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::pull::blocking;
use crate::store::{Inner, Lease, Store};

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
    /// Says that `owner` (a container) uses the image's layers, until [`Store::release`]. Durable. Blocking, but short.
    pub fn acquire(&self, image: &Image, owner: &str) -> Result<()> {
        let inner = self.inner();
        let lease = Lease {
            image: image.id.clone(),
            chain_ids: image.layers.iter().map(|l| l.chain_id.clone()).collect(),
        };
        let _writing = inner.writing.lock();
        if let Some(gone) = image.layers.iter().find(|l| !l.path.exists()) {
            return Err(Error::NotFound(format!("layer {} of {}", gone.digest, image.id)));
        }
        let json = serde_json::to_vec(&lease).expect("a lease has string keys only");
        write_atomically(&inner.root.join("leases").join(owner), &json)?;
        inner.state.lock().leases.insert(owner.to_owned(), lease);
        Ok(())
    }

    /// Ends [`Store::acquire`]. Unknown owners are no error.
    pub fn release(&self, owner: &str) -> Result<()> {
        let inner = self.inner();
        let _writing = inner.writing.lock();
        let known = inner.state.lock().leases.remove(owner).is_some();
        if known {
            let path = inner.root.join("leases").join(owner);
            fs::remove_file(&path).map_err(Error::io(format!("cannot remove {}", path.display())))?;
        }
        Ok(())
    }

    /// Owners of leases, so that those of vanished containers can be released.
    pub fn owners(&self) -> Vec<String> {
        self.inner().state.lock().leases.keys().cloned().collect()
    }

    /// IDs of the images whose layers are in use.
    pub fn in_use(&self) -> BTreeSet<String> {
        self.inner().state.lock().leases.values().map(|l| l.image.clone()).collect()
    }

    /// Removes blobs and layers that no image and no owner needs. Does nothing while an image is being added.
    pub async fn garbage_collect(&self) -> Result<Collected> {
        let inner = self.inner().clone();
        blocking(move || {
            let Ok(_alone) = inner.adding.try_write() else { return Ok(Collected::default()) };
            inner.collect(true)
        })
        .await
    }

    /// What the store takes on disk.
    pub async fn usage(&self) -> Result<Usage> {
        let root = self.root().to_path_buf();
        blocking(move || {
            let mut usage = Usage::default();
            measure(&root, &mut usage);
            Ok(usage)
        })
        .await
    }
}

impl Inner {
    /// Removes layers, and blobs if asked, that nothing refers to.
    pub(crate) fn collect(&self, with_blobs: bool) -> Result<Collected> {
        let trash = self.root.join("tmp").join(unique());
        fs::create_dir(&trash).map_err(Error::io(format!("cannot create {}", trash.display())))?;
        let mut collected = Collected::default();
        {
            // Leases are written under the same lock, so that none slips in between; only renames happen here.
            let _writing = self.writing.lock();
            let state = self.state.lock();
            let bare = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
            let blobs: BTreeSet<String> = state
                .images
                .iter()
                .flat_map(|i| {
                    [&i.id, &i.manifest_digest].into_iter().chain(i.layers.iter().map(|l| &l.digest))
                })
                .map(|d| bare(d))
                .collect();
            let in_images = state.images.iter().flat_map(|i| i.layers.iter().map(|l| &l.chain_id));
            let leased = state.leases.values().flat_map(|l| &l.chain_ids);
            let layers: BTreeSet<String> = in_images.chain(leased).map(|d| bare(d)).collect();
            drop(state);
            if with_blobs {
                collected.blobs = sweep(&self.root.join("blobs"), &blobs, &trash, "b")?;
            }
            collected.layers = sweep(&self.root.join("layers"), &layers, &trash, "l")?;
        }
        let mut usage = Usage::default();
        measure(&trash, &mut usage);
        collected.bytes = usage.bytes;
        fs::remove_dir_all(&trash).map_err(Error::io(format!("cannot remove {}", trash.display())))?;
        Ok(collected)
    }
}

fn sweep(dir: &Path, keep: &BTreeSet<String>, trash: &Path, prefix: &str) -> Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(Error::io(format!("cannot read {}", dir.display())))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !keep.contains(&name) {
            let to = trash.join(format!("{prefix}-{name}"));
            fs::rename(entry.path(), &to)
                .map_err(Error::io(format!("cannot remove {}", entry.path().display())))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn measure(dir: &Path, usage: &mut Usage) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        usage.bytes += meta.blocks() * 512;
        usage.inodes += 1;
        if meta.is_dir() {
            measure(&entry.path(), usage);
        }
    }
}
