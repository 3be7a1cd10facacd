//! Randomness as a value that one holds.

use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

/// A source of random numbers. Clones share one sequence. Not for keys or tokens: take those from the TLS library.
#[derive(Clone, Debug)]
pub struct Random {
    source: Arc<Mutex<fastrand::Rng>>,
}

impl Random {
    /// Seeded from the system.
    pub fn system() -> Self {
        Random { source: Arc::new(Mutex::new(fastrand::Rng::new())) }
    }

    /// The sequence that belongs to `seed`, the same on every machine.
    pub fn seeded(seed: u64) -> Self {
        Random { source: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))) }
    }

    fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.source.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Any 64 bits.
    pub fn u64(&self) -> u64 {
        self.with(|rng| rng.u64(..))
    }

    /// A whole number from 0 up to, not including, `end`; 0 when `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.with(|rng| rng.u64(..end)) }
    }

    /// A fraction from 0 up to, not including, 1.
    pub fn fraction(&self) -> f64 {
        self.with(fastrand::Rng::f64)
    }

    /// `len` characters from the alphabet of generated names: no vowels and no digits that could spell words.
    pub fn suffix(&self, len: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        self.with(|rng| (0..len).map(|_| ALPHABET[rng.usize(..ALPHABET.len())] as char).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_sequence() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert_eq!((a.u64(), a.suffix(5)), (b.u64(), b.suffix(5)));
        assert!(a.below(3) < 3 && a.fraction() < 1.0 && a.below(0) == 0);
    }
}
