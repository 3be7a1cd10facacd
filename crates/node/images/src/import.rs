//! Reading images from files: OCI layouts (directory or tar) and `docker save` archives, old form and new.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::blobs::{Blobs, unique, verify};
use crate::document::*;
use crate::error::{Error, Result};
use crate::reference::Reference;

/// An image whose blobs are all in the store, before its layers are unpacked.
pub(crate) struct Staged {
    pub manifest: Manifest,
    pub manifest_digest: String,
    pub names: Vec<Reference>,
}

/// Files of a layout by path, from a directory or from a tar.
enum Source {
    Dir(PathBuf),
    Tar { file: PathBuf, members: BTreeMap<String, Member>, temporary: bool },
}

enum Member {
    Data { offset: u64, size: u64 },
    Link(String),
}

/// Documents larger than this are not image manifests.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// Copies everything a file or directory holds into the blob store. The caller keeps garbage collection away.
pub(crate) fn stage(path: &Path, name: Option<&Reference>, blobs: &Blobs, tmp: &Path) -> Result<Vec<Staged>> {
    let source = Source::open(path, tmp)?;
    if let Some(bytes) = source.read("index.json")? {
        let index = match Document::parse(&bytes)? {
            Document::Index(index) => index,
            Document::Manifest(_) => return Err(Error::malformed("index.json", "it is no index")),
        };
        return from_layout(&source, &index, name, blobs);
    }
    if let Some(bytes) = source.read("manifest.json")? {
        let images: Vec<DockerSaved> =
            serde_json::from_slice(&bytes).map_err(|e| Error::malformed("manifest.json", e))?;
        return images.iter().map(|image| from_docker(&source, image, name, blobs)).collect();
    }
    Err(Error::NotAnImage { path: path.into(), why: "it holds neither index.json nor manifest.json".into() })
}

fn from_layout(
    source: &Source,
    index: &Index,
    name: Option<&Reference>,
    blobs: &Blobs,
) -> Result<Vec<Staged>> {
    let mut staged: Vec<Staged> = Vec::new();
    for entry in &index.manifests {
        let names = names_of(entry, name)?;
        // A nested index means several platforms of one image.
        let mut digest = entry.digest.clone();
        let manifest = loop {
            let bytes = source
                .read(&blob_path(&digest))?
                .ok_or_else(|| Error::malformed("layout", format!("blob {digest} is missing")))?;
            verify("manifest", &bytes, &digest)?;
            blobs.put(&bytes)?;
            match Document::parse(&bytes)? {
                Document::Manifest(manifest) => break Some(manifest),
                Document::Index(inner) => match inner.for_machine() {
                    Some(next) => digest = next.digest.clone(),
                    None => break None,
                },
            }
        };
        let other = entry
            .platform
            .as_ref()
            .is_some_and(|p| p.os != "linux" || p.architecture != machine_architecture());
        let Some(manifest) = manifest.filter(|_| !other) else { continue };
        // The same image under a second name.
        if let Some(same) = staged.iter_mut().find(|s| s.manifest_digest == digest) {
            same.names.extend(names);
            continue;
        }
        for (what, blob) in
            std::iter::once(("config", &manifest.config)).chain(manifest.layers.iter().map(|l| ("layer", l)))
        {
            if !blobs.has(&blob.digest) {
                source.copy(&blob_path(&blob.digest), blobs, what, Some(&blob.digest))?;
            }
        }
        staged.push(Staged { manifest, manifest_digest: digest, names });
    }
    if staged.is_empty() {
        let platform = format!("linux/{}", machine_architecture());
        return Err(Error::NoPlatform { reference: "the layout".into(), platform });
    }
    Ok(staged)
}

/// Names from the annotations: a full name, or a tag to go with the caller's name.
fn names_of(entry: &Descriptor, given: Option<&Reference>) -> Result<Vec<Reference>> {
    let full = entry.annotations.get(ANNOTATION_NAME);
    let short = entry.annotations.get(ANNOTATION_REF);
    Ok(match (full, short, given) {
        (Some(full), _, _) => vec![Reference::parse(full)?],
        (None, Some(tag), Some(given)) if !tag.contains(['/', ':']) => {
            vec![Reference { tag: Some(tag.clone()), ..given.clone() }]
        }
        (None, Some(name), _) if name.contains(['/', ':']) => vec![Reference::parse(name)?],
        (None, _, Some(given)) => vec![given.clone()],
        _ => vec![],
    })
}

fn from_docker(
    source: &Source,
    image: &DockerSaved,
    name: Option<&Reference>,
    blobs: &Blobs,
) -> Result<Staged> {
    let missing = |path: &str| Error::malformed("docker archive", format!("{path} is missing"));
    let bytes = source.read(&image.config)?.ok_or_else(|| missing(&image.config))?;
    ConfigFile::parse(&bytes)?;
    let config = blobs.put(&bytes)?;
    // Older dockers name the file after its digest; a file that was changed since must not pass.
    let stem = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if crate::reference::is_hex64(stem) && format!("sha256:{stem}") != config {
        return Err(Error::DigestMismatch {
            what: "config",
            expected: format!("sha256:{stem}"),
            actual: config,
        });
    }
    let config = Descriptor {
        media_type: MEDIA_CONFIG.into(),
        digest: config,
        size: bytes.len() as u64,
        ..Default::default()
    };
    let mut layers = Vec::new();
    for path in &image.layers {
        let (digest, size) = source.copy(path, blobs, "layer", None)?;
        layers.push(Descriptor { media_type: MEDIA_LAYER.into(), digest, size, ..Default::default() });
    }
    let manifest = Manifest { schema_version: 2, media_type: MEDIA_MANIFEST.into(), config, layers };
    let bytes = serde_json::to_vec(&manifest).expect("a manifest has string keys only");
    let manifest_digest = blobs.put(&bytes)?;
    let mut names =
        image.repo_tags.iter().flatten().map(|t| Reference::parse(t)).collect::<Result<Vec<_>>>()?;
    if names.is_empty() {
        names.extend(name.cloned());
    }
    Ok(Staged { manifest, manifest_digest, names })
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

impl Source {
    fn open(path: &Path, tmp: &Path) -> Result<Source> {
        let meta = fs::metadata(path).map_err(Error::io(format!("cannot open {}", path.display())))?;
        if meta.is_dir() {
            return Ok(Source::Dir(path.into()));
        }
        let fail = |e: io::Error| Error::NotAnImage { path: path.into(), why: format!("broken tar: {e}") };
        // Members are read out of order, so a compressed archive is unpacked to a plain one first.
        let mut head = [0; 4];
        let read = File::open(path).and_then(|mut f| f.read(&mut head)).map_err(fail)?;
        let compressed = read == 4 && (head[..2] == [0x1f, 0x8b] || head == [0x28, 0xb5, 0x2f, 0xfd]);
        let mut source = Source::Tar { file: path.into(), members: BTreeMap::new(), temporary: false };
        if compressed {
            let plain = tmp.join(unique());
            source = Source::Tar { file: plain.clone(), members: BTreeMap::new(), temporary: true };
            let copy = || -> io::Result<u64> {
                let limit = (1 << 30) + meta.len().saturating_mul(1100);
                let mut reader = crate::compression::decompress(File::open(path)?)?.take(limit);
                io::copy(&mut reader, &mut File::create(&plain)?)
            };
            copy().map_err(fail)?;
        }
        if let Source::Tar { file, members, .. } = &mut source {
            *members = index_members(file).map_err(fail)?;
        }
        Ok(source)
    }

    fn reader(&self, path: &str) -> Result<Option<Box<dyn Read + Send>>> {
        match self {
            Source::Dir(dir) => {
                if !Path::new(path).components().all(|c| matches!(c, Component::Normal(_))) {
                    return Err(Error::malformed("layout", format!("bad path {path:?}")));
                }
                match File::open(dir.join(path)) {
                    Ok(file) => Ok(Some(Box::new(BufReader::new(file)))),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(Error::io(format!("cannot open {path}"))(e)),
                }
            }
            Source::Tar { file, members, .. } => {
                let mut name = path.to_owned();
                for _ in 0..8 {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Member::Link(to)) => name = to.clone(),
                        Some(&Member::Data { offset, size }) => {
                            let open = || {
                                let mut file = File::open(file)?;
                                file.seek(SeekFrom::Start(offset))?;
                                Ok(file)
                            };
                            let file =
                                open().map_err(Error::io(format!("cannot read {}", file.display())))?;
                            return Ok(Some(Box::new(BufReader::new(file.take(size)))));
                        }
                    }
                }
                Err(Error::malformed("docker archive", format!("too many links at {path:?}")))
            }
        }
    }

    /// A document, or `None` if there is no such file.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(reader) = self.reader(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        reader
            .take(DOCUMENT_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(Error::io(format!("cannot read {path}")))?;
        Ok(Some(bytes))
    }

    fn copy(
        &self,
        path: &str,
        blobs: &Blobs,
        what: &'static str,
        expected: Option<&str>,
    ) -> Result<(String, u64)> {
        let mut reader = self
            .reader(path)?
            .ok_or_else(|| Error::malformed("image archive", format!("{path} is missing")))?;
        let mut writer = blobs.writer()?;
        io::copy(&mut reader, &mut writer).map_err(Error::io(format!("cannot copy {path}")))?;
        writer.commit(what, expected)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Tar { file, temporary: true, .. } = self {
            let _ = fs::remove_file(file);
        }
    }
}

fn index_members(file: &Path) -> io::Result<BTreeMap<String, Member>> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(file)?));
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = clean(&entry.path()?);
        let kind = entry.header().entry_type();
        if kind.is_file() {
            members.insert(name, Member::Data { offset: entry.raw_file_position(), size: entry.size() });
        } else if let Some(link) = entry.link_name()?.filter(|_| kind.is_symlink() || kind.is_hard_link()) {
            let base = if kind.is_symlink() {
                Path::new(&name).parent().unwrap_or(Path::new("")).join(link)
            } else {
                link.into_owned()
            };
            members.insert(name, Member::Link(clean(&base)));
        }
    }
    Ok(members)
}

/// A member's name without `./` and with `..` resolved.
fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    parts.join("/")
}
