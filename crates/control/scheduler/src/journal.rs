//! Logs of what changed, so that whoever derives something from the snapshot follows by increments.

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

/// The latest entries, numbered from the first one ever.
pub struct Log<T> {
    entries: VecDeque<T>,
    first: u64,
}

/// Which pods came to which nodes and left them.
pub type Journal = Log<Moved>;

/// Indices of the rows that changed.
pub type Touches = Log<u32>;

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log { entries: VecDeque::new(), first: 0 }
    }
}

impl<T> Log<T> {
    /// Notes an entry.
    pub fn push(&mut self, entry: T) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
    }

    /// The number of the next entry.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The entries from number `from` on; `None` when some of them are forgotten.
    pub fn since(&self, from: u64) -> Option<impl Iterator<Item = &T>> {
        let skip = from.checked_sub(self.first)?;
        Some(self.entries.range((skip as usize).min(self.entries.len())..))
    }
}
