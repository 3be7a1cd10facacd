//! A token bucket: so many things at once, and so many a second after that.

use std::time::Duration;

/// Tokens that come back with time. Each thing that is done takes one.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    /// Less than nothing while promised tokens ([`Bucket::reserve`]) are yet to come.
    tokens: f64,
    filled: Duration,
}

impl Bucket {
    /// A full bucket; `now` is a clock's monotonic time. The rate must be above zero.
    pub fn full(per_second: f64, burst: u32, now: Duration) -> Bucket {
        let burst = f64::from(burst);
        Bucket { per_second, burst, tokens: burst, filled: now }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        self.fill(now);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    /// Promises the next token, and says how long to wait for it. Who asks first is served first.
    pub fn reserve(&mut self, now: Duration) -> Duration {
        self.fill(now);
        self.tokens -= 1.0;
        let lacking = (-self.tokens).max(0.0) / self.per_second;
        Duration::try_from_secs_f64(lacking).unwrap_or(Duration::MAX)
    }

    /// Gives a promised token back: whoever waited for it does not any more.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_fills_with_time_and_no_further() {
        let mut bucket = Bucket::full(2.0, 3, Duration::ZERO);
        let mut taken = |times: usize, now| (0..times).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(5, Duration::ZERO), 3);
        assert_eq!(taken(5, S), 2);
        assert_eq!(taken(5, 60 * S), 3);
        assert_eq!(taken(1, 50 * S), 0, "a time that was before fills nothing");
    }

    #[test]
    fn promised_tokens_come_one_after_the_other() {
        let mut bucket = Bucket::full(10.0, 1, S);
        let waits = [S, S, S, 2 * S].map(|now| bucket.reserve(now).as_millis());
        assert_eq!(waits, [0, 100, 200, 0]);
        bucket.give_back();
        assert_eq!(bucket.reserve(2 * S).as_millis(), 0);
        assert_eq!(Bucket::full(1e-300, 0, S).reserve(S), Duration::MAX);
    }
}
