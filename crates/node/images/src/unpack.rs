//! Unpacking one layer into a directory that overlayfs can use as a lower directory.
//!
//! The archive is hostile until proven otherwise: every path is resolved component by component inside the root, seen
//! through the parents' layers as a container would see it (a layer may write `bin/x` where a parent has
//! `bin -> usr/bin`). Names with `..` are refused, symlinks never lead outside, and the last component is never
//! followed. Whiteouts become overlayfs whiteouts (character device 0/0) and opaque directories.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use tar::EntryType;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// As the kernel: more links than this in one path are a loop.
const LINKS_MAX: u32 = 40;

const EPERM: i32 = nix::errno::Errno::EPERM as i32;
const ENOTSUP: i32 = nix::errno::Errno::EOPNOTSUPP as i32;

/// Where a layer goes and what lies below it.
pub(crate) struct Unpacker {
    root: PathBuf,
    /// Uppermost first.
    parents: Vec<PathBuf>,
    /// Bytes of file content that may still be written.
    budget: u64,
    /// Directory times, set last because writing into a directory changes them.
    times: BTreeMap<PathBuf, (i64, i64)>,
    bytes: u64,
    inodes: u64,
    /// Without root, owners, devices and trusted attributes are left out.
    root_user: bool,
}

/// What an unpacked layer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub bytes: u64,
    pub inodes: u64,
}

fn refuse(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl Unpacker {
    /// `root` exists and is empty. No more than `budget` bytes of content are written.
    pub(crate) fn new(root: PathBuf, parents: Vec<PathBuf>, budget: u64) -> Unpacker {
        let root_user = nix::unistd::geteuid().is_root();
        Unpacker { root, parents, budget, times: BTreeMap::new(), bytes: 0, inodes: 0, root_user }
    }

    /// Unpacks a whole archive. Errors of kind `InvalidData` are the archive's fault.
    pub(crate) fn run(mut self, archive: impl Read) -> io::Result<Unpacked> {
        let mut archive = tar::Archive::new(archive);
        archive.set_ignore_zeros(false);
        for entry in archive.entries()? {
            let mut entry = entry.map_err(|e| refuse(format!("broken tar: {e}")))?;
            let path = entry.path_bytes().into_owned();
            self.entry(&path, &mut entry).map_err(|e| {
                io::Error::new(e.kind(), format!("entry {:?}: {e}", String::from_utf8_lossy(&path)))
            })?;
        }
        for (path, time) in std::mem::take(&mut self.times) {
            set_time(&path, time)?;
        }
        Ok(Unpacked { bytes: self.bytes, inodes: self.inodes })
    }

    fn entry(&mut self, raw: &[u8], entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(
            kind,
            EntryType::XGlobalHeader | EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink
        ) {
            return Ok(());
        }
        let parts = components(raw)?;
        let Some((name, parents)) = parts.split_last() else {
            // The root itself: only its attributes matter.
            return if kind == EntryType::Directory {
                self.attributes(&self.root.clone(), entry, true)
            } else {
                Ok(())
            };
        };
        let dir = self.directory(parents)?;
        if name.as_bytes() == WHITEOUT_OPAQUE {
            return self.opaque(&dir);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX) {
            return self.whiteout(&dir, OsStr::from_bytes(hidden));
        }
        let target = dir.join(name);
        let was_whiteout = self.clear(&target, kind == EntryType::Directory)?;
        match kind {
            EntryType::Directory => {
                if !target.is_dir() {
                    fs::create_dir(&target)?;
                    self.inodes += 1;
                    if was_whiteout {
                        self.opaque(&target)?;
                    }
                }
                return self.attributes(&target, entry, true);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(&target, entry)?,
            EntryType::Link => return self.hard_link(&target, entry),
            EntryType::Symlink => {
                let link = entry.link_name_bytes().ok_or_else(|| refuse("symlink without a target"))?;
                std::os::unix::fs::symlink(OsStr::from_bytes(&link), &target)?;
                self.inodes += 1;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                if !self.node(&target, kind, entry)? {
                    return Ok(());
                }
            }
            other => return Err(refuse(format!("unsupported entry type {other:?}"))),
        }
        self.attributes(&target, entry, false)
    }

    fn file(&mut self, target: &Path, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).open(target)?;
        let copied = io::copy(&mut entry.take(self.budget.saturating_add(1)), &mut file)?;
        if copied > self.budget {
            return Err(refuse("the layer is far larger than its compressed size allows"));
        }
        self.budget -= copied;
        self.bytes += copied;
        self.inodes += 1;
        Ok(())
    }

    fn hard_link(&mut self, target: &Path, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        let link = entry.link_name_bytes().ok_or_else(|| refuse("hard link without a target"))?;
        let parts = components(&link)?;
        let (name, parents) = parts.split_last().ok_or_else(|| refuse("hard link to the root"))?;
        let source = self.directory(parents)?.join(name);
        if fs::symlink_metadata(&source).is_err() {
            let lower = self
                .lower(source.strip_prefix(&self.root).map_err(|_| refuse("hard link out of the root"))?)
                .ok_or_else(|| {
                    refuse(format!("hard link to missing {:?}", String::from_utf8_lossy(&link)))
                })?;
            self.copy_up(&lower, &source)?;
        }
        let meta = fs::symlink_metadata(&source)?;
        if meta.is_dir() || is_whiteout(&meta) {
            return Err(refuse("hard link to a directory or a removed file"));
        }
        fs::hard_link(&source, target)
    }

    /// Makes a device or pipe; says whether it did (without privileges, devices are left out).
    fn node(
        &mut self,
        target: &Path,
        kind: EntryType,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> io::Result<bool> {
        let header = entry.header();
        let major = header.device_major()?.unwrap_or(0);
        let minor = header.device_minor()?.unwrap_or(0);
        let flag = match kind {
            EntryType::Char => SFlag::S_IFCHR,
            EntryType::Block => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        if kind != EntryType::Fifo && !self.root_user {
            return Ok(false);
        }
        mknod(target, flag, Mode::from_bits_truncate(0o600), makedev(major.into(), minor.into()))?;
        self.inodes += 1;
        Ok(true)
    }

    /// Owner, mode, extended attributes and time, in the order that keeps setuid bits and file capabilities.
    fn attributes(
        &mut self,
        target: &Path,
        entry: &mut tar::Entry<'_, impl Read>,
        is_dir: bool,
    ) -> io::Result<()> {
        let header = entry.header();
        let old = header.as_old();
        let mut uid = number(header.uid(), &old.uid)?;
        let mut gid = number(header.gid(), &old.gid)?;
        let mode = number(header.mode().map(u64::from), &old.mode)? as u32;
        let mut time = (number(header.mtime(), &old.mtime)? as i64, 0);
        let is_link = header.entry_type() == EntryType::Symlink;
        let mut attributes = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let (key, value) = (extension.key_bytes(), extension.value_bytes());
            let text = std::str::from_utf8(value).unwrap_or_default();
            match key {
                b"uid" => uid = text.parse().map_err(|_| refuse("bad owner"))?,
                b"gid" => gid = text.parse().map_err(|_| refuse("bad group"))?,
                b"mtime" => time = pax_time(text).ok_or_else(|| refuse("bad time"))?,
                _ => attributes
                    .extend(key.strip_prefix(b"SCHILY.xattr.").map(|n| (n.to_vec(), value.to_vec()))),
            }
        }
        if self.root_user {
            let id = |v: u64| u32::try_from(v).map_err(|_| refuse("owner out of range"));
            std::os::unix::fs::lchown(target, Some(id(uid)?), Some(id(gid)?))?;
        }
        if !is_link {
            fs::set_permissions(target, fs::Permissions::from_mode(mode & 0o7777))?;
        }
        for (name, value) in attributes {
            self.xattr(target, OsStr::from_bytes(&name), &value)?;
        }
        if is_dir {
            self.times.insert(target.to_path_buf(), time);
            Ok(())
        } else {
            set_time(target, time)
        }
    }

    fn xattr(&self, target: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
        // An archive must not speak overlayfs's own language: it could fake opaque directories or redirects.
        if name.as_bytes().starts_with(b"trusted.") {
            return Ok(());
        }
        match xattr::set(target, name, value) {
            Err(e) if matches!(e.raw_os_error(), Some(ENOTSUP | EPERM)) => Ok(()),
            done => done,
        }
    }

    fn opaque(&mut self, dir: &Path) -> io::Result<()> {
        if self.root_user { xattr::set(dir, OPAQUE_XATTR, b"y") } else { Ok(()) }
    }

    fn whiteout(&mut self, dir: &Path, name: &OsStr) -> io::Result<()> {
        if name.is_empty() || name == "." || name == ".." {
            return Err(refuse("whiteout of nothing"));
        }
        // `.wh..wh.plnk` and its kin are bookkeeping of aufs.
        if name.as_bytes().starts_with(WHITEOUT_PREFIX) {
            return Ok(());
        }
        let target = dir.join(name);
        match fs::symlink_metadata(&target) {
            // The layer itself brings it, so only what lies below is hidden.
            Ok(meta) if meta.is_dir() => self.opaque(&target),
            Ok(_) => Ok(()),
            Err(_) if !self.root_user => Ok(()),
            Err(_) => {
                self.inodes += 1;
                Ok(mknod(&target, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?)
            }
        }
    }

    /// Makes room for an entry; says whether a whiteout was there. A directory stays if a directory comes.
    fn clear(&mut self, target: &Path, directory_comes: bool) -> io::Result<bool> {
        let Ok(meta) = fs::symlink_metadata(target) else { return Ok(false) };
        if meta.is_dir() {
            if directory_comes {
                return Ok(false);
            }
            fs::remove_dir_all(target)?;
            self.times.retain(|path, _| !path.starts_with(target));
            return Ok(false);
        }
        fs::remove_file(target)?;
        Ok(is_whiteout(&meta))
    }

    /// The real directory in this layer for a path in the container, following symlinks inside the root and making what
    /// is missing with the attributes that it has in the parents.
    fn directory(&mut self, parts: &[OsString]) -> io::Result<PathBuf> {
        let mut rel = PathBuf::new();
        let mut todo: Vec<OsString> = parts.iter().rev().cloned().collect();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                rel.pop();
                continue;
            }
            let next = rel.join(&part);
            let here = self.root.join(&next);
            let meta = fs::symlink_metadata(&here).ok().filter(|m| !is_whiteout(m));
            let hidden = meta.is_none() && fs::symlink_metadata(&here).is_ok();
            let lower = if meta.is_some() || hidden { None } else { self.lower(&next) };
            let lower_meta = lower.as_ref().and_then(|p| fs::symlink_metadata(p).ok());
            let link = match (&meta, &lower_meta) {
                (Some(m), _) if m.is_symlink() => Some(fs::read_link(&here)?),
                (None, Some(m)) if m.is_symlink() => lower.as_ref().map(fs::read_link).transpose()?,
                _ => None,
            };
            if let Some(link) = link {
                links += 1;
                if links > LINKS_MAX {
                    return Err(refuse("too many levels of symbolic links"));
                }
                if link.is_absolute() {
                    rel = PathBuf::new();
                }
                todo.extend(link_parts(&link).into_iter().rev());
                continue;
            }
            match (meta, lower_meta) {
                (Some(m), _) if m.is_dir() => {}
                (Some(_), _) => return Err(refuse("a parent is not a directory")),
                (None, below) => {
                    if hidden {
                        fs::remove_file(&here)?;
                    }
                    fs::create_dir(&here)?;
                    self.inodes += 1;
                    if hidden {
                        self.opaque(&here)?;
                    }
                    if let Some(below) = below.filter(Metadata::is_dir) {
                        if self.root_user {
                            std::os::unix::fs::lchown(&here, Some(below.uid()), Some(below.gid()))?;
                        }
                        fs::set_permissions(&here, below.permissions())?;
                        self.times.insert(here, (below.mtime(), below.mtime_nsec()));
                    }
                }
            }
            rel = next;
        }
        Ok(self.root.join(rel))
    }

    /// What the parents show at a path without symlinks, if they show anything.
    fn lower(&self, rel: &Path) -> Option<PathBuf> {
        for parent in &self.parents {
            let mut path = parent.clone();
            let mut opaque = false;
            let mut found = true;
            for component in rel.components() {
                opaque |= xattr::get(&path, OPAQUE_XATTR).ok().flatten().is_some_and(|v| v == b"y");
                path.push(component);
                match fs::symlink_metadata(&path) {
                    Ok(meta) if is_whiteout(&meta) => return None,
                    Ok(_) => {}
                    Err(_) => {
                        found = false;
                        break;
                    }
                }
            }
            if found {
                return Some(path);
            }
            if opaque {
                return None;
            }
        }
        None
    }

    fn copy_up(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(from)?;
        if meta.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
        } else if meta.is_file() {
            if meta.len() > self.budget {
                return Err(refuse("the layer is far larger than its compressed size allows"));
            }
            self.budget -= meta.len();
            self.bytes += fs::copy(from, to)?;
        } else {
            return Err(refuse("hard link to something that is no file"));
        }
        self.inodes += 1;
        if self.root_user {
            std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid()))?;
        }
        if !meta.is_symlink() {
            fs::set_permissions(to, meta.permissions())?;
            for name in xattr::list(from)? {
                if let Some(value) = xattr::get(from, &name)? {
                    self.xattr(to, &name, &value)?;
                }
            }
        }
        set_time(to, (meta.mtime(), meta.mtime_nsec()))
    }
}

/// The components of an archive's path, without leading slashes and dots. `..` is refused.
fn components(raw: &[u8]) -> io::Result<Vec<OsString>> {
    if raw.contains(&0) {
        return Err(refuse("name with a NUL byte"));
    }
    let mut parts = Vec::new();
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::ParentDir => return Err(refuse("name leaves the root")),
            _ => {}
        }
    }
    Ok(parts)
}

/// The components of a symlink's target; here `..` is legal and clamped at the root by the caller.
fn link_parts(link: &Path) -> Vec<OsString> {
    link.components()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// A numeric field of a header; one that was left blank is zero.
fn number(value: io::Result<u64>, field: &[u8]) -> io::Result<u64> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) { Ok(0) } else { value.map_err(|e| refuse(e.to_string())) }
}

fn pax_time(text: &str) -> Option<(i64, i64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

fn set_time(path: &Path, (seconds, nanos): (i64, i64)) -> io::Result<()> {
    let time = TimeSpec::new(seconds, nanos);
    Ok(utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}
