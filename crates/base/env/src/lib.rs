//! The only door to clock, randomness, files and processes.
