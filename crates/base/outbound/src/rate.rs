//! Requests that wait their turn, as client-go's do behind its `QPS` and `Burst`.

use std::time::Duration;

use env::Bucket;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many requests may be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second in the long run; above zero.
    pub per_second: f64,
    /// Requests at once after a pause; at least one.
    pub burst: u32,
}

/// Makes requests wait.
pub(crate) struct Limiter {
    since: Instant,
    bucket: Mutex<Bucket>,
}

impl Limiter {
    pub(crate) fn new(rate: Rate) -> Limiter {
        let bucket = Bucket::full(rate.per_second, rate.burst.max(1), Duration::ZERO);
        Limiter { since: Instant::now(), bucket: Mutex::new(bucket) }
    }

    /// Waits for this request's turn, and says how long that took.
    pub(crate) async fn wait(&self) -> Duration {
        let pause = self.bucket.lock().reserve(self.since.elapsed());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_in_turn() {
        let limiter = Limiter::new(Rate { per_second: 10.0, burst: 2 });
        let began = Instant::now();
        for _ in 0..5 {
            limiter.wait().await;
        }
        let took = began.elapsed().as_millis();
        assert!((300..310).contains(&took), "{took} ms");
    }
}
