//! Time as a value that one holds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the time and waits for it. Cheap to clone; every clone shows the same time.
///
/// Waiting always goes through tokio's timers. That makes a paused tokio runtime the virtual clock of tests and of the
/// simulator: [`Clock::simulated`] derives its calendar time from the same timers, so both move together.
#[derive(Clone, Debug)]
pub struct Clock {
    calendar: Calendar,
}

#[derive(Clone, Debug)]
enum Calendar {
    System,
    Simulated { epoch: SystemTime, origin: Instant },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Clock { calendar: Calendar::System }
    }

    /// A clock that shows `epoch` now and advances with tokio's (possibly paused) time. Needs a tokio runtime.
    pub fn simulated(epoch: SystemTime) -> Self {
        Clock { calendar: Calendar::Simulated { epoch, origin: Instant::now() } }
    }

    /// Calendar time.
    pub fn now(&self) -> SystemTime {
        match &self.calendar {
            Calendar::System => SystemTime::now(),
            Calendar::Simulated { epoch, origin } => *epoch + origin.elapsed(),
        }
    }

    /// Calendar time as the span since 1970-01-01T00:00:00Z; zero for a machine clock that stands before it.
    pub fn since_epoch(&self) -> Duration {
        self.now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Calendar time in whole seconds since 1970.
    pub fn unix_seconds(&self) -> i64 {
        self.since_epoch().as_secs() as i64
    }

    /// Monotonic time, for measuring spans and setting deadlines.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits for `span`.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Waits until `deadline`.
    pub async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_calendar_follows_the_timers() {
        let clock = Clock::simulated(UNIX_EPOCH + Duration::from_secs(1_000));
        clock.sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.unix_seconds(), 4_600);
    }
}
