//! Shuffle sharding: each flow is dealt a hand of few queues out of many, so that two flows rarely share all of theirs.

/// The hand of a flow: `size` different numbers below `deck`, determined by the hash.
///
/// The hash is read as digits in the falling bases `deck`, `deck - 1`, ...; each digit picks among the cards that are
/// left. A hash that runs out of entropy repeats zeros, which is still a fair hand.
pub(crate) fn hand(mut hash: u64, deck: usize, size: usize) -> Vec<usize> {
    let mut dealt: Vec<usize> = Vec::with_capacity(size.min(deck));
    for step in 0..size.min(deck) {
        let left = (deck - step) as u64;
        let mut card = (hash % left) as usize;
        hash /= left;
        // The digit counts the cards that are still there: skip those that were dealt, lowest first.
        let mut sorted = dealt.clone();
        sorted.sort_unstable();
        for taken in sorted {
            if card >= taken {
                card += 1;
            }
        }
        dealt.push(card);
    }
    dealt
}

/// A hash of a flow's identity (FNV-1a with a final mix, so that similar names land far apart).
pub(crate) fn hash(parts: [&str; 2]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts[0].bytes().chain([0]).chain(parts[1].bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_have_no_card_twice_and_differ() {
        let mut seen = std::collections::HashSet::new();
        for n in 0..200 {
            let mut cards = hand(hash(["schema", &format!("user-{n}")]), 64, 6);
            assert_eq!(cards.len(), 6);
            assert!(cards.iter().all(|card| *card < 64));
            cards.sort_unstable();
            assert!(cards.windows(2).all(|pair| pair[0] != pair[1]), "{cards:?}");
            seen.insert(cards);
        }
        assert!(seen.len() > 195, "{} different hands", seen.len());
        assert_eq!(hand(7, 3, 9), [1, 0, 2]);
    }
}
