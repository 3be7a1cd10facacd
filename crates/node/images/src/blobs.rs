//! Blobs: files named by the SHA-256 of their content. A blob appears only when it is complete and verified.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Directory of blobs, and the directory for unfinished files on the same file system.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
    tmp: PathBuf,
}

impl Blobs {
    pub(crate) fn new(dir: PathBuf, tmp: PathBuf) -> Blobs {
        Blobs { dir, tmp }
    }

    /// Where a blob is or would be. The digest must have been checked with `is_digest`.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(digest.trim_start_matches("sha256:"))
    }

    pub(crate) fn has(&self, digest: &str) -> bool {
        self.path(digest).exists()
    }

    /// A new file that becomes a blob when [`Writer::commit`] finds its digest right.
    pub(crate) fn writer(&self) -> Result<Writer> {
        let path = self.tmp.join(unique());
        let file = File::create(&path).map_err(Error::io(format!("cannot create {}", path.display())))?;
        Ok(Writer { file, path, hash: Sha256::new(), size: 0, dir: self.dir.clone(), done: false })
    }

    /// Stores bytes that are at hand; returns their digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<String> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(Error::io("cannot write a blob"))?;
        Ok(writer.commit("blob", None)?.0)
    }

    /// Reads a small blob (manifest, config) and checks it once more against its name.
    pub(crate) fn read(&self, what: &'static str, digest: &str) -> Result<Vec<u8>> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(Error::io(format!("cannot read {what} {}", path.display())))?;
        verify(what, &bytes, digest)?;
        Ok(bytes)
    }
}

/// Names that do not collide between tasks, processes or restarts.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos());
    format!("{}-{nanos}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `sha256:` and the digest of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Compares bytes with the digest they should have.
pub(crate) fn verify(what: &'static str, bytes: &[u8], expected: &str) -> Result<()> {
    let actual = digest_of(bytes);
    if actual == expected {
        Ok(())
    } else {
        Err(Error::DigestMismatch { what, expected: expected.into(), actual })
    }
}

/// An unfinished blob. Dropped without `commit`, it disappears.
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    hash: Sha256,
    size: u64,
    dir: PathBuf,
    done: bool,
}

impl Writer {
    /// Makes the blob durable and visible. Returns its digest and size.
    pub(crate) fn commit(mut self, what: &'static str, expected: Option<&str>) -> Result<(String, u64)> {
        let actual = format!("sha256:{}", hex::encode(std::mem::take(&mut self.hash).finalize()));
        if let Some(expected) = expected.filter(|e| *e != actual) {
            return Err(Error::DigestMismatch { what, expected: expected.into(), actual });
        }
        let to = self.dir.join(actual.trim_start_matches("sha256:"));
        self.file.sync_data().map_err(Error::io(format!("cannot sync {}", self.path.display())))?;
        fs::rename(&self.path, &to).map_err(Error::io(format!("cannot rename to {}", to.display())))?;
        self.done = true;
        Ok((actual, self.size))
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hash.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Passes bytes through and hashes them.
pub(crate) struct HashingReader<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        HashingReader { inner, hash: Sha256::new() }
    }

    /// Reads what is left (tar readers stop before the padding) and gives the digest of everything.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format!("sha256:{}", hex::encode(self.hash.finalize())))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}

/// Writes a file so that a crash leaves either the old or the new content.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let tmp = path.with_extension(format!("tmp-{}", unique()));
    let write = || -> io::Result<()> {
        let mut file = File::create(&tmp)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&tmp, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&tmp);
        Error::Io { what: format!("cannot write {}", path.display()), source }
    })
}
