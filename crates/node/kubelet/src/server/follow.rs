//! Reads a container's log in CRI format (`time stream F|P content`) and follows it through rotation.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::sync::mpsc;

use env::DirWatch;

const CHUNK: usize = 64 * 1024;

/// Which lines, and how.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines at or after this time, as the log writes times.
    pub since: Option<String>,
    /// No more than this many bytes.
    pub limit_bytes: Option<u64>,
    /// With times.
    pub timestamps: bool,
    /// Only `Stdout` or `Stderr`.
    pub stream: Option<String>,
}

impl Selection {
    /// What to send of one line of the log; a partial line has no line feed.
    fn line(&self, line: &[u8]) -> Option<Vec<u8>> {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let content = parts.next().unwrap_or_default();
        // Times are of fixed width in UTC, so they compare as text; another zone's are converted.
        if let Some(since) = &self.since
            && !at_or_after(time, since)
        {
            return None;
        }
        if self.stream.as_ref().is_some_and(|want| !want.as_bytes().eq_ignore_ascii_case(stream)) {
            return None;
        }
        let mut out = Vec::with_capacity(content.len() + 40);
        if self.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(content);
        let partial = tag.split(|b| *b == b':').next() == Some(b"P");
        if !partial {
            out.push(b'\n');
        }
        Some(out)
    }
}

fn at_or_after(time: &[u8], since: &str) -> bool {
    let parse = |t: &str| t.parse::<jiff::Timestamp>().ok();
    match (std::str::from_utf8(time).ok().and_then(parse), parse(since)) {
        (Some(time), Some(since)) => time >= since,
        _ => true,
    }
}

/// A log to be sent.
pub struct Follow {
    /// The log.
    pub path: PathBuf,
    /// What of it.
    pub selection: Selection,
    /// Where to.
    pub out: mpsc::Sender<Bytes>,
}

impl Follow {
    /// Sends what there is, and what comes until `ended` resolves.
    pub async fn run(self, ended: impl Future<Output = ()>) {
        let mut file = match File::open(&self.path).await {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "cannot open a log");
                return;
            }
        };
        // Before the first read, so that nothing is missed between reading and watching.
        let watch = self.path.parent().and_then(|dir| DirWatch::new(dir).ok());
        if let Some(lines) = self.selection.tail_lines
            && let Ok(from) = tail_offset(&mut file, lines).await
        {
            let _ = file.seek(SeekFrom::Start(from)).await;
        }
        let mut left = self.selection.limit_bytes;
        let mut buffer = BytesMut::new();
        tokio::pin!(ended);
        let mut over = false;
        loop {
            if !self.drain(&mut file, &mut buffer, &mut left).await {
                return;
            }
            if replaced(&file, &self.path).await {
                // What was written between the last read and the rotation.
                if !self.drain(&mut file, &mut buffer, &mut left).await {
                    return;
                }
                match File::open(&self.path).await {
                    Ok(fresh) => {
                        file = fresh;
                        continue;
                    }
                    Err(_) if over => return,
                    Err(_) => {}
                }
            }
            if over {
                return;
            }
            tokio::select! {
                () = &mut ended => over = true,
                () = changed(watch.as_ref()) => {}
                () = self.out.closed() => return,
            }
        }
    }

    /// Sends all complete lines up to the end of the file; false when nobody wants more.
    async fn drain(&self, file: &mut File, buffer: &mut BytesMut, left: &mut Option<u64>) -> bool {
        loop {
            buffer.reserve(CHUNK);
            match file.read_buf(buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
            let mut out = Vec::new();
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line = buffer.split_to(end + 1);
                out.extend(self.selection.line(&line[..end]).unwrap_or_default());
            }
            if let Some(left) = left {
                out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= out.len() as u64;
            }
            if !out.is_empty() && self.out.send(Bytes::from(out)).await.is_err() {
                return false;
            }
            if *left == Some(0) {
                return false;
            }
        }
    }
}

async fn changed(watch: Option<&DirWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn replaced(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata().await, tokio::fs::metadata(path).await) else {
        return false;
    };
    open.ino() != named.ino()
}

/// Where the last `lines` lines begin.
async fn tail_offset(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let len = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(len);
    }
    let mut at = len;
    let mut seen = 0;
    let mut chunk = vec![0; CHUNK];
    while at > 0 {
        let from = at.saturating_sub(CHUNK as u64);
        let size = (at - from) as usize;
        file.seek(SeekFrom::Start(from)).await?;
        file.read_exact(&mut chunk[..size]).await?;
        for i in (0..size).rev() {
            // The line feed at the very end closes the last line.
            if chunk[i] == b'\n' && from + i as u64 + 1 != len {
                seen += 1;
                if seen == lines {
                    return Ok(from + i as u64 + 1);
                }
            }
        }
        at = from;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::sync::oneshot;

    const LOG: &str = "2026-01-01T00:00:01.000000000Z stdout F one\n\
                       2026-01-01T00:00:02.000000000Z stderr F two\n\
                       2026-01-01T00:00:03.000000000Z stdout P thr\n\
                       2026-01-01T00:00:03.500000000Z stdout F ee\n";

    async fn read(selection: Selection) -> String {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, mut parts) = mpsc::channel(16);
        Follow { path, selection, out }.run(async {}).await;
        let mut all = vec![];
        while let Some(part) = parts.recv().await {
            all.extend_from_slice(&part);
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn selections() {
        assert_eq!(read(Selection::default()).await, "one\ntwo\nthree\n");
        assert_eq!(read(Selection { tail_lines: Some(2), ..Default::default() }).await, "three\n");
        assert_eq!(read(Selection { tail_lines: Some(0), ..Default::default() }).await, "");
        assert_eq!(read(Selection { tail_lines: Some(99), ..Default::default() }).await, "one\ntwo\nthree\n");
        assert_eq!(read(Selection { limit_bytes: Some(5), ..Default::default() }).await, "one\nt");
        assert_eq!(read(Selection { stream: Some("Stderr".into()), ..Default::default() }).await, "two\n");
        let since = Some("2026-01-01T01:00:02.5+01:00".to_owned());
        assert_eq!(read(Selection { since, ..Default::default() }).await, "three\n");
        let timed = read(Selection { timestamps: true, tail_lines: Some(4), ..Default::default() }).await;
        assert!(timed.starts_with("2026-01-01T00:00:01.000000000Z one\n"), "{timed}");
    }

    #[tokio::test]
    async fn follows_through_rotation() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("0.log");
        std::fs::write(&path, "t stdout F a\n").unwrap();
        let (out, mut parts) = mpsc::channel(16);
        let (end, ended) = oneshot::channel::<()>();
        let job = Follow { path: path.clone(), selection: Selection::default(), out };
        let task = tokio::spawn(job.run(async {
            let _ = ended.await;
        }));
        assert_eq!(parts.recv().await.unwrap(), "a\n");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"t stdout F b\n").unwrap();
        assert_eq!(parts.recv().await.unwrap(), "b\n");
        std::fs::rename(&path, tmp.path().join("0.log.1")).unwrap();
        std::fs::write(&path, "t stdout F c\n").unwrap();
        assert_eq!(parts.recv().await.unwrap(), "c\n");
        end.send(()).unwrap();
        task.await.unwrap();
        assert!(parts.recv().await.is_none());
    }
}
