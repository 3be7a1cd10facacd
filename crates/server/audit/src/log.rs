//! The log backend: one event a line, in a file that is rotated by size, or on standard output.
//!
//! One thread owns the file. Whoever has lines hands them over a bounded channel and waits until they are written; another
//! thread compresses what was rotated, if that is wanted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use env::Env;
use meta::Time;
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait; further ones wait to wait.
const WAITING_MAX: usize = 1_000;
const MEGABYTE: u64 = 1 << 20;
const DAY_S: i64 = 24 * 3600;
/// Name of the backend that is standard output.
const STDOUT: &str = "-";
/// Ending of compressed files.
const COMPRESSED: &str = ".gz";

/// Where lines go, and how long they are kept. Zero is no limit.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The file, or `-` for standard output.
    pub path: PathBuf,
    /// Whether rotated files are compressed (gzip).
    pub compress: bool,
    /// Days that rotated files are kept.
    pub days_max: u32,
    /// How many rotated files are kept.
    pub backups_max: usize,
    /// Megabytes at which the file is rotated.
    pub megabytes_max: u64,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {path}: {source}")]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

struct Lines {
    bytes: Vec<u8>,
    written: oneshot::Sender<io::Result<()>>,
}

/// The way to the writing thread. The thread ends when this is dropped.
pub struct Log {
    lines: mpsc::Sender<Lines>,
}

impl Log {
    /// Opens the file, and starts the thread that writes it.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread be started.
    pub fn open(options: LogOptions, env: Env) -> Result<Log, LogError> {
        let path = options.path.clone();
        let failed = |source| LogError { path: path.clone(), source };
        let mut writer = Writer::open(options, env).map_err(failed)?;
        let (lines, mut waiting) = mpsc::channel::<Lines>(WAITING_MAX);
        let run = move || {
            while let Some(lines) = waiting.blocking_recv() {
                // A request that was given up waits no more.
                let _ = lines.written.send(writer.write(&lines.bytes));
            }
        };
        std::thread::Builder::new().name("audit-log".into()).spawn(run).map_err(failed)?;
        Ok(Log { lines })
    }

    /// Writes events, one a line.
    pub(crate) async fn write(&self, events: &[Bytes]) -> Result<(), String> {
        let mut bytes = Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum());
        for event in events {
            bytes.extend_from_slice(event);
            bytes.push(b'\n');
        }
        let (written, done) = oneshot::channel();
        let gone = || "the audit log's thread has ended".to_owned();
        self.lines.send(Lines { bytes, written }).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?.map_err(|error| error.to_string())
    }
}

/// The file, and what is known of it.
struct Writer {
    options: LogOptions,
    env: Env,
    out: Box<dyn io::Write + Send>,
    bytes: u64,
}

impl Writer {
    fn open(options: LogOptions, env: Env) -> io::Result<Writer> {
        if options.path == Path::new(STDOUT) {
            return Ok(Writer { options, env, out: Box::new(io::stdout()), bytes: 0 });
        }
        let file = append(&options.path)?;
        let bytes = file.metadata()?.len();
        Ok(Writer { options, env, out: Box::new(file), bytes })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let limit = self.options.megabytes_max * MEGABYTE;
        let rotates = limit > 0 && self.options.path != Path::new(STDOUT);
        if rotates && self.bytes > 0 && self.bytes + line.len() as u64 > limit {
            self.rotate()?;
        }
        self.out.write_all(line)?;
        self.out.flush()?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let now_ms = self.env.unix_ms();
        let backup = self.options.backup(now_ms);
        std::fs::rename(&self.options.path, &backup)?;
        self.out = Box::new(append(&self.options.path)?);
        self.bytes = 0;
        for old in self.options.outdated(now_ms.div_euclid(1000)) {
            std::fs::remove_file(old)?;
        }
        if self.options.compress && backup.exists() {
            // Requests do not wait for it.
            let work = move || {
                if let Err(error) = compress(&backup) {
                    tracing::error!(%error, file = %backup.display(), "a rotated audit log is not compressed");
                }
            };
            std::thread::Builder::new().name("audit-compress".into()).spawn(work)?;
        }
        Ok(())
    }
}

/// Puts the compressed file in the place of the file.
fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(COMPRESSED);
    let done = PathBuf::from(name);
    let packed = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&done)?;
    let mut packer = flate2::write::GzEncoder::new(packed, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut packer)?;
    packer.finish()?.sync_all()?;
    std::fs::remove_file(path)
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl LogOptions {
    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = text(self.path.extension());
        let extension = if extension.is_empty() { extension } else { format!(".{extension}") };
        (format!("{}-", text(self.path.file_stem())), extension)
    }

    /// The name of a rotated file: `audit-2026-01-01T00-00-00.000.log`.
    fn backup(&self, now_ms: i64) -> PathBuf {
        let time = Time::from_unix(now_ms.div_euclid(1000)).to_string();
        let time = time.trim_end_matches('Z').replace(':', "-");
        let (prefix, suffix) = self.parts();
        self.path.with_file_name(format!("{prefix}{time}.{:03}{suffix}", now_ms.rem_euclid(1000)))
    }

    /// Rotated files that are too many or too old.
    fn outdated(&self, now_s: i64) -> Vec<PathBuf> {
        let (prefix, suffix) = self.parts();
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut backups: Vec<(i64, PathBuf)> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let plain = name.strip_suffix(COMPRESSED).unwrap_or(&name);
                let time = plain.strip_prefix(&prefix)?.strip_suffix(&suffix)?;
                Some((rotated_at(time)?, entry.path()))
            })
            .collect();
        // Newest first.
        backups.sort_by(|a, b| b.cmp(a));
        let oldest_ms = now_s.saturating_sub(i64::from(self.days_max) * DAY_S).saturating_mul(1000);
        let keeps = |index: usize, time_ms: i64| {
            (self.backups_max == 0 || index < self.backups_max)
                && (self.days_max == 0 || time_ms >= oldest_ms)
        };
        backups
            .into_iter()
            .enumerate()
            .filter(|(index, (time, _))| !keeps(*index, *time))
            .map(|(_, (_, path))| path)
            .collect()
    }
}

/// Milliseconds since 1970 of a rotated file's `2026-01-01T00-00-00.000`.
fn rotated_at(text: &str) -> Option<i64> {
    let (seconds, millis) = text.split_once('.')?;
    let (day, time) = seconds.split_once('T')?;
    let time = Time::parse(&format!("{day}T{}Z", time.replace('-', ":"))).ok()?;
    let millis: i64 = millis.parse().ok().filter(|_| millis.len() == 3)?;
    Some(time.seconds * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path, backups_max: usize, days_max: u32) -> LogOptions {
        LogOptions {
            path: folder.join("audit.log"),
            compress: false,
            days_max,
            backups_max,
            megabytes_max: 1,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_rotated_by_size_and_kept_by_number() {
        let folder = tempfile::tempdir().expect("a folder");
        for day in ["01", "02", "03"] {
            let name = format!("audit-2026-01-{day}T00-00-00.000.log");
            std::fs::write(folder.path().join(name), "old").expect("written");
        }
        std::fs::write(folder.path().join("audit-notes.log"), "not a backup").expect("written");
        let mut writer = Writer::open(options(folder.path(), 2, 0), Env::real()).expect("open");
        writer.write(&vec![b'a'; 800 << 10]).expect("written");
        assert_eq!(names(folder.path()).len(), 5);
        writer.write(&vec![b'b'; 800 << 10]).expect("written");
        let left = names(folder.path());
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(left.contains(&"audit-2026-01-03T00-00-00.000.log".to_owned()), "{left:?}");
        assert!(left.contains(&"audit-notes.log".to_owned()), "{left:?}");
        let log = std::fs::metadata(folder.path().join("audit.log")).expect("the log");
        assert_eq!(log.len(), 800 << 10);
    }

    #[test]
    fn rotated_files_are_compressed_and_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("audit-2026-01-01T00-00-00.000.log");
        std::fs::write(&file, "event").expect("written");
        compress(&file).expect("compressed");
        let packed = folder.path().join("audit-2026-01-01T00-00-00.000.log.gz");
        let mut text = String::new();
        let mut unpacker = flate2::read::GzDecoder::new(File::open(&packed).expect("a file"));
        io::Read::read_to_string(&mut unpacker, &mut text).expect("gzip");
        assert_eq!((text.as_str(), file.exists()), ("event", false));
        let now_s = 1_767_225_600 + 2 * DAY_S;
        assert_eq!(options(folder.path(), 0, 1).outdated(now_s), [packed]);
    }

    #[test]
    fn files_are_kept_by_age() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options(folder.path(), 0, 1);
        let now_s = 1_767_225_600;
        for age_s in [3600, 2 * DAY_S] {
            std::fs::write(options.backup((now_s - age_s) * 1000), "").expect("written");
        }
        assert_eq!(options.outdated(now_s), [options.backup((now_s - 2 * DAY_S) * 1000)]);
    }

    #[test]
    fn backups_are_named_by_time() {
        let options = options(Path::new("/var/log"), 0, 0);
        let path = options.backup(1_767_225_600_042);
        assert_eq!(path, Path::new("/var/log/audit-2026-01-01T00-00-00.042.log"));
        assert_eq!(rotated_at("2026-01-01T00-00-00.042"), Some(1_767_225_600_042));
        assert_eq!(rotated_at("notes"), None);
    }
}
