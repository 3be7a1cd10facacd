//! The container's log: one line for each line of output, as CRI wants it, with rotation.
//!
//! `2026-01-01T00:00:00.000000000Z stdout F text`: `F` ends a line, `P` is a part of a line longer than 16 KiB.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::LogLimits;

/// Longer lines are split into parts of this many bytes.
const PART_BYTES: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Stream::Stdout => b"stdout",
            Stream::Stderr => b"stderr",
        }
    }
}

/// Splits a stream into entries; keeps the unfinished line between reads.
pub(crate) struct Splitter {
    stream: Stream,
    pending: Vec<u8>,
}

impl Splitter {
    pub(crate) fn new(stream: Stream) -> Splitter {
        Splitter { stream, pending: Vec::new() }
    }

    /// Appends the entries for `data`, all with the same time, to `out`.
    pub(crate) fn feed(&mut self, data: &[u8], time: &[u8], out: &mut Vec<u8>) {
        for piece in data.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let mut text = text;
            while self.pending.len() + text.len() > PART_BYTES {
                let (now, later) = text.split_at(PART_BYTES - self.pending.len());
                self.entry(now, b"P", time, out);
                text = later;
            }
            if ended { self.entry(text, b"F", time, out) } else { self.pending.extend_from_slice(text) }
        }
    }

    /// What is left when the stream ends without a newline: a part, for a reader of the log must not get a newline that
    /// the container never wrote.
    pub(crate) fn finish(&mut self, time: &[u8], out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.entry(b"", b"P", time, out);
        }
    }

    fn entry(&mut self, text: &[u8], tag: &[u8], time: &[u8], out: &mut Vec<u8>) {
        for part in [time, b" ", self.stream.name(), b" ", tag, b" ", &self.pending, text, b"\n"] {
            out.extend_from_slice(part);
        }
        self.pending.clear();
    }
}

/// The file, with rotation.
pub(crate) struct LogFile {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    size: u64,
}

impl LogFile {
    /// Opens the file for appending. A container whose log cannot be opened runs without one.
    pub(crate) fn open(path: PathBuf, limits: LogLimits) -> LogFile {
        let mut log = LogFile { path, limits, file: None, size: 0 };
        log.reopen();
        log
    }

    /// Opens the file anew, after somebody moved it away.
    pub(crate) fn reopen(&mut self) {
        self.file = (!self.path.as_os_str().is_empty())
            .then(|| File::options().create(true).append(true).open(&self.path))
            .and_then(Result::ok);
        self.size = self.file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
    }

    /// Appends whole entries. On a full disk they are lost; the container is not held up.
    pub(crate) fn write(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        let limit = self.limits.size_bytes_max;
        if limit > 0 && self.size > 0 && self.size + entries.len() as u64 > limit {
            // A failed rotation must not stop the log.
            let _ = self.rotate();
        }
        if self.file.is_none() {
            self.reopen();
        }
        if let Some(file) = &mut self.file
            && file.write_all(entries).is_ok()
        {
            self.size += entries.len() as u64;
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let (seconds, nanos) = now();
        let stamp = rotation_stamp(seconds);
        let mut to = with_suffix(&self.path, &stamp);
        if to.exists() {
            to = with_suffix(&self.path, &format!("{stamp}.{nanos:09}"));
        }
        fs::rename(&self.path, to)?;
        self.reopen();
        let mut old = rotated(&self.path);
        let keep = self.limits.files_max.max(1) as usize - 1;
        old.sort();
        let surplus = old.len().saturating_sub(keep);
        for path in &old[..surplus] {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// Older files of a log: its name with anything behind.
pub(crate) fn rotated(path: &Path) -> Vec<PathBuf> {
    let mut prefix = path.file_name().unwrap_or_default().to_os_string();
    prefix.push(".");
    let prefix = prefix.to_string_lossy().into_owned();
    let entries = fs::read_dir(path.parent().unwrap_or(Path::new("/"))).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().starts_with(&prefix)).map(|e| e.path()).collect()
}

/// Unix time in seconds and nanoseconds.
pub(crate) fn now() -> (i64, u32) {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    (now.as_secs() as i64, now.subsec_nanos())
}

/// RFC 3339 in UTC with nine digits of fraction.
pub(crate) fn timestamp((seconds, nanos): (i64, u32)) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// `20260101-000000`, as the kubelet names rotated logs.
fn rotation_stamp(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Date and time of a Unix time. Days are counted in eras of 400 years that begin on the first of March, so that the
/// leap day comes last.
fn civil(seconds: i64) -> (i64, i64, i64, i64, i64, i64) {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> String {
        let mut splitter = Splitter::new(Stream::Stdout);
        let mut out = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk, b"T", &mut out);
        }
        splitter.finish(b"T", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let want = "T stdout F one\nT stdout F \nT stdout F two\n";
        assert_eq!(split(&[b"one\n\ntwo\n"]), want);
        assert_eq!(split(&[b"one\ntwo"]), "T stdout F one\nT stdout P two\n");
        assert_eq!(split(&[b"o", b"ne", b"\n", b"\ntw", b"o\n"]), want);
        assert_eq!(split(&[]), "");
    }

    #[test]
    fn long_lines_come_in_parts() {
        let long = vec![b'x'; PART_BYTES * 2 + 5];
        let out = split(&[&long, b"\n"]);
        let parts: Vec<(&str, usize)> = out.lines().map(|l| (&l[..11], l.len() - 11)).collect();
        assert_eq!(parts, [("T stdout P ", PART_BYTES), ("T stdout P ", PART_BYTES), ("T stdout F ", 5)]);
    }

    #[test]
    fn times_are_civil() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_827_696, "2000-02-29T12:34:56.000000007Z"),
            (1_767_225_600, "2026-01-01T00:00:00.000000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000007Z"),
        ] {
            assert_eq!(timestamp((seconds, 7)), want);
        }
    }

    #[test]
    fn rotation_keeps_the_newest_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogFile::open(path.clone(), LogLimits { size_bytes_max: 100, files_max: 3 });
        for n in 0..20 {
            log.write(format!("{n:059}\n").as_bytes());
        }
        assert_eq!(rotated(&path).len(), 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{:059}\n", 19));
        fs::rename(&path, dir.path().join("moved")).unwrap();
        log.reopen();
        log.write(b"new\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    }
}
