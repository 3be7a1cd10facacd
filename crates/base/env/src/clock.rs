//! Time as a value that one holds: the real clock, and one that only moves when it is told to.

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// A timer: completes once its time has come by the clock that made it.
pub type Sleep = BoxFuture<'static, ()>;

/// A source of time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall-clock time, which may jump when an administrator sets it.
    fn now(&self) -> SystemTime;

    /// Time since an origin of the clock's own choosing. Never goes back.
    fn monotonic(&self) -> Duration;

    /// Completes when `monotonic()` has grown by `duration`.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Wall-clock milliseconds since the Unix epoch; negative before 1970.
    fn unix_ms(&self) -> i64 {
        match self.now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// The operating system's clock, with tokio's timers.
#[derive(Debug)]
pub struct RealClock {
    origin: Instant,
}

impl RealClock {
    /// A clock whose monotonic origin is now.
    pub fn new() -> RealClock {
        RealClock { origin: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> RealClock {
        RealClock::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        // The timer is made inside the future, so that a sleep may be created outside a tokio runtime.
        async move { tokio::time::sleep(duration).await }.boxed()
    }
}

/// A clock for tests and simulations: it stands still until [`ManualClock::advance`] moves it.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<Manual>,
}

#[derive(Debug)]
struct Manual {
    wall: SystemTime,
    monotonic: Duration,
    /// Pending timers by deadline; the counter keeps timers of one deadline in the order they were made.
    timers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    timers_made: u64,
}

impl ManualClock {
    /// A clock that stands at 2026-01-01T00:00:00Z.
    pub fn new() -> ManualClock {
        ManualClock::at(UNIX_EPOCH + Duration::from_secs(1_767_225_600))
    }

    /// A clock that stands at `wall`.
    pub fn at(wall: SystemTime) -> ManualClock {
        let timers = BTreeMap::new();
        ManualClock { state: Mutex::new(Manual { wall, monotonic: Duration::ZERO, timers, timers_made: 0 }) }
    }

    /// Moves both times forward and fires the timers that became due, earliest first.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.state.lock();
            state.wall += by;
            state.monotonic += by;
            let after = (state.monotonic + Duration::from_nanos(1), 0);
            let later = state.timers.split_off(&after);
            std::mem::replace(&mut state.timers, later)
        };
        for timer in due.into_values() {
            // The sleeper may have been dropped meanwhile, which is its right.
            let _ = timer.send(());
        }
    }

    /// How long until the earliest pending timer, or `None` when nobody sleeps: a simulation jumps there.
    pub fn next_timer(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        state.timers.retain(|_, timer| !timer.is_closed());
        let now = state.monotonic;
        state.timers.keys().next().map(|(deadline, _)| deadline.saturating_sub(now))
    }
}

impl Default for ManualClock {
    fn default() -> ManualClock {
        ManualClock::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.state.lock().wall
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().monotonic
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let (fire, fired) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if duration.is_zero() {
                return futures::future::ready(()).boxed();
            }
            state.timers_made += 1;
            let deadline = (state.monotonic + duration, state.timers_made);
            state.timers.insert(deadline, fire);
        }
        async move {
            if fired.await.is_err() {
                // The clock is gone, so this time never comes.
                futures::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_timers_fire_in_order_and_only_when_due() {
        let clock = ManualClock::new();
        let start = clock.unix_ms();
        let (early, late) = (clock.sleep(Duration::from_secs(1)), clock.sleep(Duration::from_secs(5)));
        assert_eq!(clock.next_timer(), Some(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(2));
        early.await;
        assert!(late.now_or_never().is_none());
        assert_eq!(clock.next_timer(), None, "a dropped sleeper is forgotten");
        assert_eq!(clock.unix_ms() - start, 2000);
        clock.sleep(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn real_clock_moves_on() {
        let clock = RealClock::default();
        let before = clock.monotonic();
        clock.sleep(Duration::from_millis(1)).await;
        assert!(clock.monotonic() - before >= Duration::from_millis(1));
        assert!(clock.unix_ms() > 1_700_000_000_000);
    }
}
