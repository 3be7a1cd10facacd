//! Growing pauses between attempts.

use std::time::Duration;

use env::Env;

/// Doubles from a base to a maximum, each pause lengthened by up to its own length so that many clients spread, and
/// starts over after a quiet time.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    reset_after: Duration,
    next: Duration,
    last: Option<Duration>,
}

impl Backoff {
    /// Pauses from `base` to `max`, starting over when the last one lies more than `reset_after` back.
    pub fn new(base: Duration, max: Duration, reset_after: Duration) -> Self {
        Backoff { base, max, reset_after, next: base, last: None }
    }

    /// The next pause.
    pub fn pause(&mut self, env: &Env) -> Duration {
        let now = env.clock.monotonic();
        if self.last.is_some_and(|last| now.saturating_sub(last) > self.reset_after) {
            self.next = self.base;
        }
        self.last = Some(now);
        let pause = env.random.jitter(self.next, 1.0);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    /// Starts over, after success.
    pub fn reset(&mut self) {
        self.next = self.base;
    }
}
