//! The versions of one key.
//!
//! Worked example: a key is put at 5, put at 7, deleted at 9 and put at 12. Its history is `5 7 x9 12`. Reading at 8
//! finds 7, at 9 to 11 nothing, at 4 nothing. Compacting at 7 drops 5; compacting at 9, 10 or 11 drops `5 7 x9`.

use crate::types::{KeyValue, Revision};
use std::sync::Arc;

/// A version: a value, or the fact that there is none since a revision.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    Live(Arc<KeyValue>),
    Tombstone(Revision),
}

impl Version {
    pub(crate) fn revision(&self) -> Revision {
        match self {
            Version::Live(kv) => kv.mod_revision,
            Version::Tombstone(revision) => *revision,
        }
    }

    pub(crate) fn live(&self) -> Option<&Arc<KeyValue>> {
        match self {
            Version::Live(kv) => Some(kv),
            Version::Tombstone(_) => None,
        }
    }
}

/// All versions of a key that can still be read. Most keys have one only, which needs no allocation.
#[derive(Clone, Debug)]
pub(crate) struct History {
    latest: Version,
    /// Ascending by revision.
    older: Vec<Version>,
}

impl History {
    pub(crate) fn new(first: Version) -> History {
        History { latest: first, older: Vec::new() }
    }

    /// Adds a version, which must be later than all others.
    pub(crate) fn push(&mut self, version: Version) {
        debug_assert!(version.revision() > self.latest.revision(), "versions of a key come in order");
        self.older.push(std::mem::replace(&mut self.latest, version));
    }

    pub(crate) fn latest(&self) -> &Version {
        &self.latest
    }

    /// The value as of `revision`.
    pub(crate) fn at(&self, revision: Revision) -> Option<&Arc<KeyValue>> {
        if self.latest.revision() <= revision {
            return self.latest.live();
        }
        let after = self.older.partition_point(|version| version.revision() <= revision);
        after.checked_sub(1).and_then(|index| self.older[index].live())
    }

    /// All versions, ascending.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.older.iter().chain([&self.latest])
    }

    /// Drops the versions that no read at `revision` or later can see, into `dropped`. True when nothing is left.
    pub(crate) fn compact(&mut self, revision: Revision, dropped: &mut Vec<Version>) -> bool {
        if self.latest.revision() <= revision {
            dropped.append(&mut self.older);
            return self.latest.live().is_none();
        }
        let after = self.older.partition_point(|version| version.revision() <= revision);
        if let Some(visible) = after.checked_sub(1) {
            // A tombstone says the same as no version at all, once nothing lies before it.
            let first = if self.older[visible].live().is_some() { visible } else { after };
            dropped.extend(self.older.drain(..first));
            if self.older.is_empty() {
                self.older.shrink_to_fit();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn live(revision: Revision) -> Version {
        Version::Live(Arc::new(KeyValue {
            key: Bytes::from_static(b"k"),
            value: Bytes::new(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
            payload: None,
        }))
    }

    fn example() -> History {
        let mut history = History::new(live(5));
        [live(7), Version::Tombstone(9), live(12)].into_iter().for_each(|version| history.push(version));
        history
    }

    fn revisions(history: &History) -> Vec<Revision> {
        history.versions().map(Version::revision).collect()
    }

    #[test]
    fn reads_see_the_version_of_their_time() {
        let history = example();
        let seen: Vec<_> = (4..14).map(|at| history.at(at).map_or(0, |kv| kv.mod_revision)).collect();
        assert_eq!(seen, [0, 5, 5, 7, 7, 0, 0, 0, 12, 12]);
    }

    #[test]
    fn compaction_keeps_what_can_be_read() {
        for (at, left) in [
            (4, vec![5, 7, 9, 12]),
            (6, vec![5, 7, 9, 12]),
            (7, vec![7, 9, 12]),
            (9, vec![12]),
            (11, vec![12]),
            (20, vec![12]),
        ] {
            let mut history = example();
            assert!(!history.compact(at, &mut Vec::new()));
            assert_eq!(revisions(&history), left, "compacted at {at}");
        }
        let mut deleted = History::new(live(5));
        deleted.push(Version::Tombstone(6));
        assert!(!deleted.compact(5, &mut Vec::new()));
        assert!(deleted.compact(6, &mut Vec::new()));
    }
}
