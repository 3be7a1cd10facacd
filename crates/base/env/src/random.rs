//! Randomness: fast numbers that a seed replays, and secrets that only the operating system gives.

use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

/// The letters that Kubernetes appends to `generateName`: no vowels and no look-alikes.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A source of random values. Clones share one stream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Random {
    stream: Arc<Mutex<fastrand::Rng>>,
    seeded: bool,
}

impl Random {
    /// Seeded by the operating system.
    pub fn real() -> Random {
        Random { stream: Arc::new(Mutex::new(fastrand::Rng::new())), seeded: false }
    }

    /// The same seed gives the same values: for tests and simulations.
    pub fn seeded(seed: u64) -> Random {
        Random { stream: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))), seeded: true }
    }

    /// A number from the whole range.
    pub fn u64(&self) -> u64 {
        self.stream.lock().u64(..)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.stream.lock().usize(..bound) }
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&self) -> f64 {
        self.stream.lock().f64()
    }

    /// A duration between `base` and `base * (1 + factor)`, so that many timers do not fire at once.
    pub fn jitter(&self, base: Duration, factor: f64) -> Duration {
        base.mul_f64(1.0 + self.fraction() * factor.max(0.0))
    }

    /// `length` characters as Kubernetes appends to `metadata.generateName`.
    pub fn name_suffix(&self, length: usize) -> String {
        let mut stream = self.stream.lock();
        (0..length).map(|_| char::from(NAME_ALPHABET[stream.usize(..NAME_ALPHABET.len())])).collect()
    }

    /// A version 4 UUID in its usual spelling, as used for `metadata.uid`.
    pub fn uuid(&self) -> String {
        let bits = {
            let mut stream = self.stream.lock();
            stream.u128(..)
        };
        let bits = bits & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            bits >> 96,
            (bits >> 80) & 0xffff,
            (bits >> 64) & 0xffff,
            (bits >> 48) & 0xffff,
            bits & 0xffff_ffff_ffff
        )
    }

    /// Fills `secret` with bytes that nobody can guess: tokens and keys. A seeded source stays reproducible,
    /// so it must not meet real secrets.
    ///
    /// # Errors
    /// When the operating system's random device cannot be read.
    pub fn fill_secret(&self, secret: &mut [u8]) -> io::Result<()> {
        if self.seeded {
            self.stream.lock().fill(secret);
            return Ok(());
        }
        File::open("/dev/urandom")?.read_exact(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        let (one, two) = (Random::seeded(7), Random::seeded(7));
        assert_eq!(one.uuid(), two.uuid());
        assert_eq!(one.name_suffix(5), two.name_suffix(5));
        let (mut a, mut b) = ([0; 8], [0; 8]);
        one.fill_secret(&mut a).unwrap();
        two.fill_secret(&mut b).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn values_have_the_shapes_that_kubernetes_expects() {
        let random = Random::real();
        let uuid = random.uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        assert!(random.name_suffix(200).bytes().all(|letter| NAME_ALPHABET.contains(&letter)));
        assert_eq!(random.below(0), 0);
        let jittered = random.jitter(Duration::from_secs(10), 0.5);
        assert!(jittered >= Duration::from_secs(10) && jittered <= Duration::from_secs(15));
        let (mut a, mut b) = ([0; 16], [0; 16]);
        random.fill_secret(&mut a).unwrap();
        random.fill_secret(&mut b).unwrap();
        assert_ne!(a, b);
    }
}
