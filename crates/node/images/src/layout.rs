//! Building images: an OCI layout from directories or tar files, with nothing but this crate.
//!
//! The result is reproducible: the same files give the same digests, because names are sorted and times are zero.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::blobs::{Blobs, HashingReader, write_atomically};
use crate::document::*;
use crate::error::{Error, Result};
use crate::image::ImageConfig;
use crate::reference::Reference;

/// What a layer of a new image is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerSource {
    /// All files below a directory. Owners and modes are kept, times become zero.
    Dir(PathBuf),
    /// A tar file, plain or compressed, taken as it is.
    Tar(PathBuf),
}

/// A new image.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// Its name, such as `hello:latest`.
    pub name: String,
    /// Its layers, lowest first.
    pub layers: Vec<LayerSource>,
    /// What containers take from it.
    pub config: ImageConfig,
    /// Compress layers made from directories.
    pub gzip: bool,
}

/// Adds an image to the OCI layout in `dest`, which is made if missing. An image of the same name is replaced.
/// Returns the digest of the manifest. Blocking.
pub fn build_layout(dest: &Path, build: &Build) -> Result<String> {
    let reference = Reference::parse(&build.name)?;
    let dir = dest.join("blobs/sha256");
    fs::create_dir_all(&dir).map_err(Error::io(format!("cannot create {}", dir.display())))?;
    let blobs = Blobs::new(dir.clone(), dir);
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for source in &build.layers {
        let (descriptor, diff_id) = add_layer(&blobs, source, build.gzip)?;
        layers.push(descriptor);
        diff_ids.push(diff_id);
    }
    let config = to_json(&config_file(&build.config, diff_ids));
    let config = Descriptor {
        media_type: MEDIA_CONFIG.into(),
        size: config.len() as u64,
        digest: blobs.put(&config)?,
        ..Descriptor::default()
    };
    let manifest = Manifest { schema_version: 2, media_type: MEDIA_MANIFEST.into(), config, layers };
    let bytes = to_json(&manifest);
    let digest = blobs.put(&bytes)?;
    add_to_index(dest, &reference, &digest, bytes.len() as u64)?;
    Ok(digest)
}

fn add_to_index(dest: &Path, reference: &Reference, digest: &str, size: u64) -> Result<()> {
    let path = dest.join("index.json");
    let mut index = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::malformed("index.json", e))?,
        Err(_) => Index { schema_version: 2, media_type: MEDIA_INDEX.into(), manifests: vec![] },
    };
    let name = reference.to_string();
    index.manifests.retain(|d| d.annotations.get(ANNOTATION_NAME) != Some(&name));
    let mut annotations = std::collections::BTreeMap::from([(ANNOTATION_NAME.to_owned(), name)]);
    if let Some(tag) = &reference.tag {
        annotations.insert(ANNOTATION_REF.to_owned(), tag.clone());
    }
    let platform =
        Platform { architecture: machine_architecture().into(), os: "linux".into(), variant: None };
    index.manifests.push(Descriptor {
        media_type: MEDIA_MANIFEST.into(),
        digest: digest.into(),
        size,
        platform: Some(platform),
        annotations,
    });
    write_atomically(&path, &to_json(&index))?;
    write_atomically(&dest.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
}

fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("these documents have string keys only")
}

fn add_layer(blobs: &Blobs, source: &LayerSource, gzip: bool) -> Result<(Descriptor, String)> {
    let (digest, size, media_type) = match source {
        LayerSource::Dir(dir) => {
            let writer = BufWriter::with_capacity(1 << 20, blobs.writer()?);
            let fail = Error::io(format!("cannot archive {}", dir.display()));
            let inner = if gzip {
                let mut encoder = flate2::write::GzEncoder::new(writer, flate2::Compression::fast());
                archive(dir, &mut encoder).and_then(|()| encoder.finish())
            } else {
                let mut writer = writer;
                archive(dir, &mut writer).map(|()| writer)
            };
            let writer =
                inner.and_then(|w| w.into_inner().map_err(io::IntoInnerError::into_error)).map_err(fail)?;
            let (digest, size) = writer.commit("layer", None)?;
            (digest, size, if gzip { MEDIA_LAYER_GZIP } else { MEDIA_LAYER })
        }
        LayerSource::Tar(path) => {
            let mut file = File::open(path).map_err(Error::io(format!("cannot open {}", path.display())))?;
            let mut writer = blobs.writer()?;
            io::copy(&mut file, &mut writer).map_err(Error::io(format!("cannot copy {}", path.display())))?;
            let (digest, size) = writer.commit("layer", None)?;
            (digest, size, MEDIA_LAYER)
        }
    };
    let path = blobs.path(&digest);
    let (diff_id, plain) = diff_id(&path).map_err(Error::io(format!("cannot read {}", path.display())))?;
    let media_type = if plain {
        MEDIA_LAYER
    } else if media_type == MEDIA_LAYER {
        MEDIA_LAYER_GZIP
    } else {
        media_type
    };
    Ok((Descriptor { media_type: media_type.into(), digest, size, ..Descriptor::default() }, diff_id))
}

/// Digest of the uncompressed content, and whether the file was plain.
fn diff_id(path: &Path) -> io::Result<(String, bool)> {
    let mut head = [0; 2];
    let read = File::open(path)?.read(&mut head)?;
    let plain = !(read == 2 && (head == [0x1f, 0x8b] || head == [0x28, 0xb5]));
    let reader = crate::compression::decompress(File::open(path)?)?;
    Ok((HashingReader::new(reader).finish()?, plain))
}

fn archive(root: &Path, out: &mut impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    tar.follow_symlinks(false);
    let mut links = std::collections::BTreeMap::new();
    add_dir(&mut tar, root, Path::new(""), &mut links)?;
    tar.finish()
}

type Links = std::collections::BTreeMap<(u64, u64), PathBuf>;

fn add_dir(tar: &mut tar::Builder<impl Write>, root: &Path, rel: &Path, links: &mut Links) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(root.join(rel))?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        let rel = rel.join(name);
        let path = root.join(&rel);
        let meta = fs::symlink_metadata(&path)?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
        header.set_mtime(0);
        header.set_size(0);
        let kind = meta.file_type();
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, &rel, io::empty())?;
            add_dir(tar, root, &rel, links)?;
        } else if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, &rel, fs::read_link(&path)?)?;
        } else if kind.is_file() {
            if meta.nlink() > 1 {
                if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
                    header.set_entry_type(tar::EntryType::Link);
                    tar.append_link(&mut header, &rel, first)?;
                    continue;
                }
                links.insert((meta.dev(), meta.ino()), rel.clone());
            }
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(meta.len());
            tar.append_data(&mut header, &rel, BufReader::new(File::open(&path)?).take(meta.len()))?;
        } else if kind.is_char_device() || kind.is_block_device() {
            header.set_entry_type(if kind.is_char_device() {
                tar::EntryType::Char
            } else {
                tar::EntryType::Block
            });
            header.set_device_major(nix::sys::stat::major(meta.rdev()) as u32)?;
            header.set_device_minor(nix::sys::stat::minor(meta.rdev()) as u32)?;
            tar.append_data(&mut header, &rel, io::empty())?;
        } else if kind.is_fifo() {
            header.set_entry_type(tar::EntryType::Fifo);
            tar.append_data(&mut header, &rel, io::empty())?;
        }
        // Sockets mean nothing without the process that made them.
    }
    Ok(())
}
