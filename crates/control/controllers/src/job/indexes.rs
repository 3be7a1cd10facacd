//! Sets of completion indexes, written as `0-2,5`.

use std::fmt;

use types::core::v1::Pod;

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How many pods of the index failed before this one.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How many pods of the index failed before this one without counting.
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// A set of indexes: ranges in order, with at least one index missing between any two. A Job may have two thousand million
/// indexes, but no more ranges than its pods left.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads the written form; what is malformed is left out.
    pub(super) fn parse(text: &str) -> Self {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse::<i32>().ok()?, last.parse::<i32>().ok()?);
            (0 <= first && first <= last).then_some((first, last))
        };
        let mut ranges: Vec<(i32, i32)> = text.split(',').filter_map(range).collect();
        ranges.sort_unstable();
        let mut set: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match set.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => set.push((first, last)),
            }
        }
        Indexes(set)
    }

    /// Where the first range is that ends at or after `index`.
    fn at(&self, index: i32) -> usize {
        self.0.partition_point(|(_, last)| *last < index)
    }

    pub(super) fn contains(&self, index: i32) -> bool {
        self.0.get(self.at(index)).is_some_and(|(first, _)| *first <= index)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|range| size(*range)).sum()
    }

    /// Of how many of `others` it has.
    pub(super) fn in_common(&self, others: &Indexes) -> usize {
        let (mut own, mut theirs, mut common) = (self.0.iter().peekable(), others.0.iter().peekable(), 0);
        while let (Some(one), Some(other)) = (own.peek(), theirs.peek()) {
            let both = (one.0.max(other.0), one.1.min(other.1));
            if both.0 <= both.1 {
                common += size(both);
            }
            if one.1 < other.1 {
                own.next()
            } else {
                theirs.next()
            };
        }
        common
    }

    /// Those at or beyond `completions` are none of the Job's any more.
    pub(super) fn below(mut self, completions: i32) -> Indexes {
        self.0.retain(|(first, _)| *first < completions);
        if let Some((_, last)) = self.0.last_mut() {
            *last = (*last).min(completions - 1);
        }
        self
    }

    /// Takes one more, unless it is negative.
    pub(super) fn extend(&mut self, index: Option<i32>) {
        let Some(index) = index.filter(|index| *index >= 0 && !self.contains(*index)) else { return };
        let at = self.at(index);
        let meets_next = self.0.get(at).is_some_and(|(first, _)| *first - 1 == index);
        let meets_last = at > 0 && self.0[at - 1].1 + 1 == index;
        match (meets_last, meets_next) {
            (true, true) => {
                let (_, last) = self.0.remove(at);
                self.0[at - 1].1 = last;
            }
            (true, false) => self.0[at - 1].1 = index,
            (false, true) => self.0[at].0 = index,
            (false, false) => self.0.insert(at, (index, index)),
        }
    }
}

fn size((first, last): (i32, i32)) -> usize {
    (i64::from(last) - i64::from(first) + 1) as usize
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Two neighbours are written one by one, as upstream does.
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The completion index of a pod.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.get(INDEX)?.parse().ok()
}

/// A number that was written on the pod when it was made.
pub(super) fn failures(pod: &Pod, annotation: &str) -> i32 {
    pod.metadata.annotations.get(annotation).and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_ranges() {
        for text in ["", "0", "0,1", "0-2,5,7-9"] {
            assert_eq!(Indexes::parse(text).to_string(), text);
        }
        assert_eq!(Indexes::parse("3,1,2,x,5-4,-1,1-2").to_string(), "1-3");
    }

    #[test]
    fn the_largest_set_is_small() {
        let all = Indexes::parse("0-2147483646");
        assert_eq!((all.len(), all.in_common(&Indexes::parse("1,5-7,9"))), (2_147_483_647, 5));
        assert_eq!(all.below(3).to_string(), "0-2");
    }

    /// Beside a plain set of numbers, one index after the other in any order.
    #[test]
    fn sets_hold_what_was_put_in() {
        let random = env::Random::seeded(7);
        for _ in 0..200 {
            let (mut set, mut plain) = (Indexes::default(), std::collections::BTreeSet::new());
            for _ in 0..random.below(60) {
                let index = random.below(40) as i32;
                set.extend(Some(index));
                plain.insert(index);
                assert_eq!(Indexes::parse(&set.to_string()), set);
            }
            assert_eq!(set.len(), plain.len());
            assert!((-1..42).all(|index| set.contains(index) == plain.contains(&index)), "{set}");
            let limit = random.below(42) as i32;
            assert_eq!(set.clone().below(limit).len(), plain.range(..limit).count());
            let other = Indexes::parse("3-9,20,30-50");
            let known = |index: &&i32| other.contains(**index);
            assert_eq!(set.in_common(&other), plain.iter().filter(known).count());
        }
    }
}
