//! The only door to clock, randomness, files and processes.
//!
//! Code that a simulation wants to control takes an [`Env`] instead of asking the operating system: a
//! [`ManualClock`] and a seeded [`Random`] then replay the same run from the same seed. Start at [`Env`].

mod bucket;
mod clock;
mod dir_watch;
mod files;
mod host;
mod lock;
mod memory;
mod random;
mod task;
mod watch;

pub use bucket::Bucket;
pub use clock::{Clock, ManualClock, RealClock, Sleep};
pub use dir_watch::DirWatch;
pub use files::{create_private_dir, read_optional, remove_optional, sync_dir, write_atomic};
pub use host::hostname;
pub use lock::{LockError, LockFile};
pub use memory::prepare_for_caches;
pub use random::Random;
pub use task::{Task, spawn, spawn_detached};
pub use watch::FileWatch;

use std::sync::Arc;
use std::time::Duration;

/// Clock and randomness, held together because nearly everything that needs one needs the other. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    /// Wall time, monotonic time and timers.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, names and identifiers.
    pub random: Random,
}

impl Env {
    /// The operating system's clock, and randomness seeded by it.
    pub fn real() -> Env {
        Env { clock: Arc::new(RealClock::new()), random: Random::real() }
    }

    /// A simulated world: time stands still until the returned clock is moved, and the same seed gives the
    /// same random numbers.
    pub fn simulated(seed: u64) -> (Env, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        (Env { clock: clock.clone(), random: Random::seeded(seed) }, clock)
    }

    /// Milliseconds since the Unix epoch by this environment's clock.
    pub fn unix_ms(&self) -> i64 {
        self.clock.unix_ms()
    }

    /// Waits for `duration` by this environment's clock.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.clock.sleep(duration)
    }
}
