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
            let promised = Promised(Some(&self.bucket));
            tokio::time::sleep(pause).await;
            promised.taken();
        }
        pause
    }
}

/// A token that somebody waits for. Who gives up leaves it to others.
struct Promised<'a>(Option<&'a Mutex<Bucket>>);

impl Promised<'_> {
    fn taken(mut self) {
        self.0 = None;
    }
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        if let Some(bucket) = self.0 {
            bucket.lock().give_back();
        }
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

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_holds_nobody_back() {
        let limiter = Limiter::new(Rate { per_second: 1.0, burst: 1 });
        limiter.wait().await;
        for _ in 0..100 {
            let late = tokio::time::timeout(Duration::from_millis(1), limiter.wait()).await;
            assert!(late.is_err());
        }
        let began = Instant::now();
        limiter.wait().await;
        assert!(began.elapsed() <= Duration::from_secs(1));
    }
}
