//! Which pods came to which nodes and left them, so that counts over pods follow by increments.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::pod_info::PodInfo;

/// Entries kept. Whoever is further behind than this recomputes from the snapshot.
const ENTRIES_MAX: usize = 1 << 16;

/// A pod came to a node (`by` 1) or left it (`by` -1).
#[derive(Clone, Debug)]
pub struct Moved {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// Index of the node.
    pub node: usize,
    /// 1 or -1.
    pub by: i64,
}

/// The latest moves, numbered from the first one ever.
#[derive(Default)]
pub struct Journal {
    entries: VecDeque<Moved>,
    first: u64,
}

impl Journal {
    /// Notes a move.
    pub fn push(&mut self, moved: Moved) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(moved);
    }

    /// The number of the next move.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The moves from number `from` on; `None` when some of them are forgotten.
    pub fn since(&self, from: u64) -> Option<impl Iterator<Item = &Moved>> {
        let skip = from.checked_sub(self.first)?;
        Some(self.entries.iter().skip(skip as usize))
    }
}
