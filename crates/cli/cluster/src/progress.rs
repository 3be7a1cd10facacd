//! Progress of long work: one line a step, with the time it took, on standard output.
//!
//! The background server inherits a pipe as its standard output until it is up; its parent shows the same lines.

use std::io::Write;
use std::time::Instant;

/// The last line of a start that went well; the parent of a background server waits for it.
pub const DONE: &str = "The cluster is up";

/// Prints steps with the time since the start.
pub struct Progress {
    start: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Progress {
    /// The clock of the first step starts now.
    pub fn new() -> Self {
        Progress { start: Instant::now() }
    }

    /// A step is done.
    pub fn step(&self, what: &str) {
        print_line(&format!("  ✓ {what}  ({:.2} s)", self.start.elapsed().as_secs_f64()));
    }

    /// Everything is done.
    pub fn done(&self, hint: &str) {
        print_line(&format!("{DONE}  ({:.2} s). {hint}", self.start.elapsed().as_secs_f64()));
    }
}

/// Prints a line; a reader that has gone away is no error for a server.
pub fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
