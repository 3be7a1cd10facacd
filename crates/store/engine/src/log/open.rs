//! Reads a store back: the newest checkpoint, then every block after it, up to the first that does not count.

use super::{checkpoint, segment};
use crate::batch::{self, HEADER_BYTES, Header};
use crate::{EngineError, Visit};
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

/// What opening learned.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The next block's number.
    pub(super) sequence: u64,
    /// The first segment after the checkpoint; 1 in an empty store.
    pub(super) first_segment: u64,
    /// The last segment and where its last good block ends.
    pub(super) last_segment: Option<(u64, u64)>,
    /// True when bytes that do not count follow that end.
    pub(super) torn: bool,
    pub(super) log_bytes: u64,
    pub(super) checkpoint_bytes: u64,
}

/// The numbers of the files in a store, ascending.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) segments: Vec<u64>,
    pub(super) checkpoints: Vec<u64>,
}

pub(super) fn list(directory: &Path) -> Result<Files, EngineError> {
    let io = |error| EngineError::io(directory, error);
    let mut files = Files::default();
    for entry in fs::read_dir(directory).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let Some((stem, extension)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let Ok(number) = u64::from_str_radix(stem, 16) else { continue };
        match extension {
            "log" => files.segments.push(number),
            "checkpoint" => files.checkpoints.push(number),
            _ => {}
        }
    }
    files.segments.sort_unstable();
    files.checkpoints.sort_unstable();
    Ok(files)
}

pub(super) fn replay(directory: &Path, visit: &mut Visit<'_>) -> Result<Opened, EngineError> {
    let files = list(directory)?;
    let mut opened = Opened { first_segment: 1, ..Opened::default() };
    if let Some(newest) = files.checkpoints.last() {
        opened.first_segment = *newest;
        opened.checkpoint_bytes = replay_checkpoint(directory, *newest, visit)?;
    }
    let mut segments = Vec::new();
    for number in files.segments.into_iter().filter(|number| *number >= opened.first_segment) {
        let path = segment::path(directory, number);
        match Reader::open(&path)?.segment_header()? {
            Some((named, first_block)) if named == number => segments.push((number, first_block)),
            Some(_) => {
                return Err(EngineError::corrupt(&path, 8, "the file has the name of another segment"));
            }
            // A crash while the segment was made; whether it was the last is known below.
            None => segments.push((number, u64::MAX)),
        }
    }
    if segments.last().is_some_and(|(_, first)| *first == u64::MAX) {
        segments.pop();
    }
    for (index, (number, first_block)) in segments.iter().enumerate() {
        let path = segment::path(directory, *number);
        let expected = opened.first_segment + index as u64;
        if *number != expected {
            let missing = segment::path(directory, expected);
            return Err(EngineError::corrupt(&missing, 0, "the segment is missing and later ones are there"));
        }
        if *first_block == u64::MAX {
            return Err(EngineError::corrupt(&path, 0, "the header is damaged and later segments are there"));
        }
        if index == 0 {
            opened.sequence = *first_block;
        }
        let limit = segments.get(index + 1).map(|(_, first)| *first);
        replay_segment(&path, *number, limit, &mut opened, visit)?;
    }
    if opened.first_segment > 1 && segments.is_empty() {
        let missing = segment::path(directory, opened.first_segment);
        return Err(EngineError::corrupt(&missing, 0, "the checkpoint's first segment is missing"));
    }
    checkpoint::remove_replaced(directory, opened.first_segment);
    Ok(opened)
}

/// Replays one segment. `limit` is the first block of the next segment, below which every block must be good.
fn replay_segment(
    path: &Path,
    number: u64,
    limit: Option<u64>,
    opened: &mut Opened,
    visit: &mut Visit<'_>,
) -> Result<(), EngineError> {
    let mut reader = Reader::open(path)?;
    reader.segment_header()?;
    opened.torn = false;
    loop {
        opened.last_segment = Some((number, reader.offset));
        if limit == Some(opened.sequence) {
            break;
        }
        let (at, sequence) = (reader.offset, opened.sequence);
        match reader.block(number, sequence)? {
            Block::Good => reader.visit(at, visit)?,
            Block::Bad { .. } if limit.is_some() => {
                return Err(EngineError::corrupt(path, at, "an acknowledged block is damaged"));
            }
            Block::Bad { zero: true } => break,
            Block::Bad { zero: false } => {
                // Was this block acknowledged? Only then can its successor have been written.
                if matches!(reader.block(number, sequence + 1)?, Block::Good) {
                    return Err(EngineError::corrupt(path, at, "an acknowledged block is damaged"));
                }
                tracing::warn!(path = %path.display(), offset = at, "dropping an unfinished write");
                opened.torn = true;
                break;
            }
        }
        opened.sequence += 1;
    }
    opened.log_bytes += opened.last_segment.map_or(0, |(_, end)| end);
    Ok(())
}

fn replay_checkpoint(directory: &Path, number: u64, visit: &mut Visit<'_>) -> Result<u64, EngineError> {
    let path = checkpoint::path(directory, number);
    let mut reader = Reader::open(&path)?;
    let mut header = [0; checkpoint::HEADER_BYTES];
    let whole = reader.fill(&mut header)? == header.len();
    if !whole || header[..8] != *checkpoint::MAGIC || header[8..] != number.to_le_bytes() {
        return Err(EngineError::corrupt(&path, 0, "this is not a checkpoint of the store"));
    }
    for sequence in 0.. {
        let at = reader.offset;
        match reader.block(number, sequence)? {
            Block::Good if reader.body.is_empty() => break,
            Block::Good => reader.visit(at, visit)?,
            Block::Bad { .. } => return Err(EngineError::corrupt(&path, at, "the checkpoint is damaged")),
        }
    }
    Ok(reader.offset)
}

enum Block {
    /// The block's frames are in the reader's body.
    Good,
    /// There is no good block here; `zero` when there is nothing at all, as at an untouched end.
    Bad { zero: bool },
}

struct Reader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    length: u64,
    offset: u64,
    body: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Reader<'a>, EngineError> {
        let io = |error| EngineError::io(path, error);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        Ok(Reader {
            path,
            file: BufReader::with_capacity(1 << 16, file),
            length,
            offset: 0,
            body: Vec::new(),
        })
    }

    /// Reads as much of `buffer` as the file has.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, EngineError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(EngineError::io(self.path, error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn segment_header(&mut self) -> Result<Option<(u64, u64)>, EngineError> {
        let mut header = [0; segment::HEADER_BYTES];
        let whole = self.fill(&mut header)? == header.len();
        Ok(if whole { segment::parse_header(&header) } else { None })
    }

    /// Reads the block at the present offset and moves behind it as far as its length can be believed.
    fn block(&mut self, file: u64, sequence: u64) -> Result<Block, EngineError> {
        let mut bytes = [0; HEADER_BYTES];
        let read = self.fill(&mut bytes)?;
        if read < HEADER_BYTES || bytes == [0; HEADER_BYTES] {
            return Ok(Block::Bad { zero: bytes[..read].iter().all(|byte| *byte == 0) });
        }
        let header = Header::parse(&bytes);
        if u64::from(header.length) > self.length - self.offset {
            return Ok(Block::Bad { zero: false });
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(header.length as usize, 0);
        let read = self.fill(&mut body)?;
        self.body = body;
        let good = read == self.body.len()
            && header.sequence == sequence
            && header.checksum == batch::checksum(file, sequence, &self.body);
        Ok(if good { Block::Good } else { Block::Bad { zero: false } })
    }

    fn visit(&self, at: u64, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        for frame in batch::frames(&self.body) {
            let frame = frame.ok_or_else(|| "a frame reaches beyond its block".to_owned());
            frame.and_then(&mut *visit).map_err(|reason| EngineError::corrupt(self.path, at, reason))?;
        }
        Ok(())
    }
}
