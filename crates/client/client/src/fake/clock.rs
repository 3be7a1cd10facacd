//! A clock that follows tokio's timers: under a paused runtime, time jumps to the next timer when nothing else can run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use env::{Clock, Env, Random, Sleep};
use futures::FutureExt;
use tokio::time::Instant;

#[derive(Debug)]
struct TokioClock {
    origin: Instant,
}

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        // 2026-01-01T00:00:00Z
        UNIX_EPOCH + Duration::from_secs(1_767_225_600) + self.origin.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        async move { tokio::time::sleep(duration).await }.boxed()
    }
}

/// An environment for tests under `#[tokio::test(start_paused = true)]`: its time is tokio's, its randomness comes from
/// `seed`.
pub fn paused_env(seed: u64) -> Env {
    Env { clock: std::sync::Arc::new(TokioClock { origin: Instant::now() }), random: Random::seeded(seed) }
}

/// Waits, in the time of a paused runtime, until `condition` holds; `false` after ten minutes of it.
pub async fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..60_000 {
        if condition() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}
