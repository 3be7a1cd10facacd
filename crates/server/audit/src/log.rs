//! The log backend: one JSON document a line, in a file that is rotated by size, or on standard output.
//!
//! One thread owns the file. Requests hand it lines over a bounded channel; in the blocking modes they wait until their
//! line is written, in batch mode a full channel drops the line and says so.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use env::Env;
use meta::Time;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::policy::Stage;

/// Lines that may wait to be written (`--audit-log-batch-buffer-size`).
const WAITING_MAX: usize = 10_000;
const MEGABYTE: u64 = 1 << 20;
const DAY_S: i64 = 24 * 3600;
/// Name of the backend that is standard output.
const STDOUT: &str = "-";

/// When a request goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// At once.
    Batch,
    /// When its line is written, or could not be.
    #[default]
    Blocking,
    /// When its line is written; a request whose first line cannot be written is refused.
    BlockingStrict,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "batch" => Ok(Mode::Batch),
            "blocking" => Ok(Mode::Blocking),
            "blocking-strict" => Ok(Mode::BlockingStrict),
            other => Err(format!(
                "invalid audit mode {other}, allowed modes are \"batch,blocking,blocking-strict\""
            )),
        }
    }
}

/// Where lines go, and how long they are kept. Zero is no limit.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The file, or `-` for standard output.
    pub path: PathBuf,
    /// When requests go on.
    pub mode: Mode,
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

struct Line {
    bytes: Vec<u8>,
    written: Option<oneshot::Sender<bool>>,
}

/// The way to the writing thread. The thread ends when this is dropped.
pub struct Log {
    mode: Mode,
    lines: mpsc::Sender<Line>,
}

impl Log {
    /// Opens the file, and starts the thread that writes it.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread be started.
    pub fn open(options: LogOptions, env: Env) -> Result<Log, LogError> {
        let (path, mode) = (options.path.clone(), options.mode);
        let failed = |source| LogError { path: path.clone(), source };
        let mut writer = Writer::open(options, env).map_err(failed)?;
        let (lines, mut waiting) = mpsc::channel::<Line>(WAITING_MAX);
        let run = move || {
            while let Some(line) = waiting.blocking_recv() {
                let result = writer.write(&line.bytes);
                if let Err(error) = &result {
                    tracing::error!(%error, "the audit log cannot be written");
                }
                if let Some(written) = line.written {
                    // A request that was given up waits no more.
                    let _ = written.send(result.is_ok());
                }
            }
        };
        std::thread::Builder::new().name("audit-log".into()).spawn(run).map_err(failed)?;
        Ok(Log { mode, lines })
    }

    pub(crate) async fn write(&self, bytes: Vec<u8>, stage: Stage) -> bool {
        if self.mode == Mode::Batch {
            self.write_soon(bytes);
            return true;
        }
        let (written, done) = oneshot::channel();
        let sent = self.lines.send(Line { bytes, written: Some(written) }).await.is_ok();
        let fine = sent && done.await.unwrap_or(false);
        fine || self.mode != Mode::BlockingStrict || stage != Stage::RequestReceived
    }

    pub(crate) fn write_soon(&self, bytes: Vec<u8>) {
        if self.lines.try_send(Line { bytes, written: None }).is_err() {
            tracing::error!("the audit log lags behind: an event was dropped");
        }
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
        std::fs::rename(&self.options.path, self.options.backup(now_ms))?;
        self.out = Box::new(append(&self.options.path)?);
        self.bytes = 0;
        for old in self.options.outdated(now_ms.div_euclid(1000)) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }
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
                let time = name.strip_prefix(&prefix)?.strip_suffix(&suffix)?;
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
            mode: Mode::Blocking,
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
