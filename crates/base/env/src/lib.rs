//! The only door to clock, randomness, files and processes.
//!
//! Code that a simulation wants to control takes a [`Clock`] and a [`Random`] as values. Outside of tests both are the
//! system's; under a simulation the clock follows tokio's (which can be paused and then jumps from timer to timer) and
//! randomness comes from a seed, so that a run can be repeated exactly.

mod clock;
mod random;

pub use clock::Clock;
pub use random::Random;
