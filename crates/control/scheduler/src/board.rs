//! What a class of pods knows of every node: columns in the order in which nodes are looked at, so that a search reads them
//! from one place to the next.
//!
//! A place that nobody looked at yet, or whose row changed since, is unknown; whoever reads asks for it first.

use crate::node_set::NodeSet;

/// Verdict that a node fits.
pub const FITS: u32 = 0;

/// Answers about one node that depend on its row alone.
pub struct Answer<'a> {
    /// [`FITS`] or the number of a rejection.
    pub verdict: u32,
    /// The sum of the weighted scores that are final as they are.
    pub sum: i64,
    /// Raw scores that are to be normalised, one a column.
    pub raws: &'a [i64],
}

/// One column of raw scores.
struct Raws {
    scores: Vec<i64>,
    /// How many are not 0.
    nonzero: usize,
}

/// The columns. Sets and columns are by position, not by node.
#[derive(Default)]
pub struct Board {
    known: NodeSet,
    fits: NodeSet,
    verdicts: Vec<u32>,
    sums: Vec<i64>,
    raws: Vec<Raws>,
}

impl Board {
    /// A board on which nothing is known, for `nodes` nodes and `raws` columns of raw scores.
    pub fn new(nodes: usize, raws: usize) -> Self {
        Board {
            known: NodeSet::none(nodes),
            fits: NodeSet::none(nodes),
            verdicts: vec![FITS; nodes],
            sums: vec![0; nodes],
            raws: (0..raws).map(|_| Raws { scores: vec![0; nodes], nonzero: 0 }).collect(),
        }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.verdicts.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// The row at this place changed.
    pub fn forget(&mut self, position: usize) {
        self.known.remove(position);
    }

    /// Every row may have changed.
    pub fn forget_all(&mut self) {
        self.known.clear();
    }

    /// Whether the answer is known.
    pub fn knows(&self, position: usize) -> bool {
        self.known.contains(position)
    }

    /// The unknown places among the 64 from `64 * word` on, as bits.
    pub fn unknown(&self, word: usize) -> u64 {
        let left = self.len().saturating_sub(word * 64);
        let all = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
        all & !self.known.word(word)
    }

    /// The places among the 64 from `64 * word` on whose nodes fit, as far as known.
    pub fn fitting(&self, word: usize) -> u64 {
        self.fits.word(word)
    }

    /// Notes an answer.
    pub fn put(&mut self, position: usize, answer: &Answer<'_>) {
        self.known.insert(position);
        match answer.verdict {
            FITS => self.fits.insert(position),
            _ => self.fits.remove(position),
        }
        self.verdicts[position] = answer.verdict;
        self.sums[position] = answer.sum;
        for (column, raw) in self.raws.iter_mut().zip(answer.raws) {
            let old = std::mem::replace(&mut column.scores[position], *raw);
            column.nonzero = column.nonzero + usize::from(*raw != 0) - usize::from(old != 0);
        }
    }

    /// A known verdict.
    pub fn verdict(&self, position: usize) -> u32 {
        self.verdicts[position]
    }

    /// Sums of final scores, by position.
    pub fn sums(&self) -> &[i64] {
        &self.sums
    }

    /// A column of raw scores by position; `None` when they are all 0.
    pub fn raws(&self, column: usize) -> Option<&[i64]> {
        self.raws.get(column).filter(|column| column.nonzero > 0).map(|column| &column.scores[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_unknown() {
        let mut board = Board::new(70, 1);
        assert_eq!((board.unknown(0), board.unknown(1), board.unknown(2)), (u64::MAX, 63, 0));
        board.put(65, &Answer { verdict: FITS, sum: 7, raws: &[3] });
        board.put(66, &Answer { verdict: 2, sum: 0, raws: &[0] });
        assert_eq!((board.unknown(1), board.fitting(1), board.verdict(66)), (0b11_1001, 2, 2));
        assert_eq!(board.raws(0).map(|raws| raws[65]), Some(3));
        board.forget(65);
        assert_eq!((board.knows(65), board.knows(66)), (false, true));
        board.put(65, &Answer { verdict: 1, sum: 0, raws: &[0] });
        assert_eq!((board.fitting(1), board.raws(0)), (0, None));
    }
}
