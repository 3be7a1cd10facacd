//! An engine without files: for simulations and tests, with failures on demand.

use crate::batch::{self, Batch};
use crate::{Checkpoint, Engine, EngineError, Visit};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// What outlives a [`MemoryEngine`], as a disk outlives a process. Clones share the content.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    checkpoint: Vec<Vec<u8>>,
    /// Bodies of the appended batches; a checkpoint under way remembers how many it replaces.
    batches: Vec<Vec<u8>>,
    full: bool,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// While true, every append and checkpoint answers [`EngineError::NoSpace`].
    pub fn set_full(&self, full: bool) {
        self.content.lock().full = full;
    }

    fn check(content: &Content) -> Result<(), EngineError> {
        if content.full { Err(EngineError::NoSpace { path: PathBuf::from("memory") }) } else { Ok(()) }
    }
}

/// Keeps frames in memory for as long as its [`MemoryDisk`] lives.
#[derive(Debug)]
pub struct MemoryEngine {
    disk: MemoryDisk,
    log_bytes: u64,
}

impl MemoryEngine {
    /// Opens what is on `disk`, as a restarted process would.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] when `visit` refuses a frame.
    pub fn open(disk: &MemoryDisk, visit: &mut Visit<'_>) -> Result<MemoryEngine, EngineError> {
        let content = disk.content.lock();
        let appended = content.batches.iter().flat_map(|body| batch::frames(body)).flatten();
        for frame in content.checkpoint.iter().map(Vec::as_slice).chain(appended) {
            visit(frame).map_err(|reason| EngineError::corrupt(&PathBuf::from("memory"), 0, reason))?;
        }
        let log_bytes = content.batches.iter().map(|body| body.len() as u64).sum();
        Ok(MemoryEngine { disk: disk.clone(), log_bytes })
    }
}

impl Engine for MemoryEngine {
    fn append(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        let mut content = self.disk.content.lock();
        MemoryDisk::check(&content)?;
        content.batches.push(batch.body().to_vec());
        self.log_bytes += batch.bytes() as u64;
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    fn disk_bytes(&self) -> u64 {
        let content = self.disk.content.lock();
        let sizes = content.checkpoint.iter().chain(&content.batches).map(|bytes| bytes.len() as u64);
        sizes.sum()
    }

    fn begin_checkpoint(&mut self) -> Result<Box<dyn Checkpoint>, EngineError> {
        let content = self.disk.content.lock();
        MemoryDisk::check(&content)?;
        self.log_bytes = 0;
        let replaces = content.batches.len();
        Ok(Box::new(MemoryCheckpoint { disk: self.disk.clone(), frames: Vec::new(), replaces }))
    }
}

struct MemoryCheckpoint {
    disk: MemoryDisk,
    frames: Vec<Vec<u8>>,
    replaces: usize,
}

impl Checkpoint for MemoryCheckpoint {
    fn frame(&mut self, frame: &[u8]) -> Result<(), EngineError> {
        self.frames.push(frame.to_vec());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64, EngineError> {
        let mut content = self.disk.content.lock();
        MemoryDisk::check(&content)?;
        content.batches.drain(..self.replaces);
        content.checkpoint = self.frames;
        Ok(content.checkpoint.iter().map(|frame| frame.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(disk: &MemoryDisk) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        MemoryEngine::open(disk, &mut |frame| {
            seen.push(frame.to_vec());
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn keeps_what_was_acknowledged_across_reopening_and_checkpoints() {
        let disk = MemoryDisk::new();
        let mut engine = MemoryEngine::open(&disk, &mut |_| Ok(())).unwrap();
        let mut batch = Batch::new();
        batch.frame(|buffer| buffer.push(1));
        engine.append(&mut batch).unwrap();
        disk.set_full(true);
        assert!(matches!(engine.append(&mut batch), Err(EngineError::NoSpace { .. })));
        disk.set_full(false);
        let mut checkpoint = engine.begin_checkpoint().unwrap();
        batch.clear();
        batch.frame(|buffer| buffer.push(2));
        engine.append(&mut batch).unwrap();
        checkpoint.frame(&[9]).unwrap();
        assert_eq!(frames(&disk), [[1], [2]], "an unfinished checkpoint replaces nothing");
        checkpoint.finish().unwrap();
        assert_eq!(frames(&disk), [[9], [2]]);
        assert_eq!(engine.disk_bytes(), 6);
        assert!(MemoryEngine::open(&disk, &mut |_| Err("bad".into())).is_err());
    }
}
