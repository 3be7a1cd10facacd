//! Termination messages: what a container wrote to its message file, or the end of its log.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use runtime::Container;

use super::Worker;
use crate::pod::config::{TERMINATION_FILE, TERMINATION_POLICY};
use crate::pod::view::exit;

/// Most bytes of a message.
const MAX_MESSAGE: u64 = 4096;
/// Most bytes and lines that are taken from a log.
const MAX_LOG: u64 = 2048;
const MAX_LINES: usize = 80;

impl Worker {
    /// Reads messages of containers that have ended since the last time.
    pub(super) fn read_last_words(&mut self) {
        for container in &self.view.containers {
            if exit(container).is_some() && !self.messages.contains_key(&container.id) {
                self.messages.insert(container.id.clone(), message(container));
            }
        }
        let view = &self.view;
        self.messages.retain(|id, _| view.containers.iter().any(|c| c.id == *id));
    }
}

fn message(container: &Container) -> String {
    let annotation = |key: &str| container.config.annotations.get(key).map(String::as_str);
    let mut text = annotation(TERMINATION_FILE).map(|f| head(Path::new(f), MAX_MESSAGE)).unwrap_or_default();
    let failed = exit(container).is_some_and(|e| e.exit_code != 0);
    if text.is_empty() && failed && annotation(TERMINATION_POLICY) == Some("FallbackToLogsOnError") {
        text = tail(&container.log_path);
    }
    text
}

fn head(path: &Path, max: u64) -> String {
    let mut bytes = vec![];
    if let Ok(file) = std::fs::File::open(path) {
        // An unreadable message is no message.
        let _ = file.take(max).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a log in CRI format, without times and stream names.
fn tail(path: &Path) -> String {
    let mut bytes = vec![];
    let read = std::fs::File::open(path).and_then(|mut file| {
        let len = file.seek(SeekFrom::End(0))?;
        // Each line carries some 45 bytes of its own.
        file.seek(SeekFrom::Start(len.saturating_sub(MAX_LOG + 64 * MAX_LINES as u64)))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = vec![String::new()];
    for line in text.lines() {
        let mut words = line.splitn(4, ' ').skip(2);
        let (Some(tag), Some(text)) = (words.next(), words.next()) else { continue };
        let last = lines.len() - 1;
        lines[last].push_str(text);
        // A part of a line ends without a newline: the container wrote none there.
        if !tag.starts_with('P') {
            lines[last].push('\n');
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.is_empty());
    let mut out = lines[lines.len().saturating_sub(MAX_LINES)..].concat();
    if out.len() as u64 > MAX_LOG {
        let cut = out.len() - MAX_LOG as usize;
        let cut = (cut..out.len()).find(|i| out.is_char_boundary(*i)).unwrap_or(out.len());
        out = out.split_off(cut);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("0.log");
        let lines: String =
            (0..100).map(|i| format!("2026-01-01T00:00:00.000000000Z stdout F line {i}\n")).collect();
        std::fs::write(&path, lines).unwrap();
        let text = tail(&path);
        assert!(text.starts_with("line 20\n") && text.ends_with("line 99\n"), "{text}");
        assert_eq!(tail(&tmp.path().join("none")), "");
        std::fs::write(&path, "t stdout F one\nt stdout P tw\nt stdout P o\n").unwrap();
        assert_eq!(tail(&path), "one\ntwo", "a last line without an end has none here either");
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert_eq!(head(&path, MAX_MESSAGE).len(), 4096);
    }
}
