//! Sandboxes and containers: namespaces, cgroups v1 and v2, seccomp, shims, logs.
//!
//! [`Runtime`] is the server's side. It starts one shim process for each running container; the shim outlives the
//! server, reaps the container, writes its log and records how it ended, so that a restarted server finds the same
//! processes. Start reading at `manager.rs` (what can be asked) and `shim/` (what runs beside a container).

mod config;
mod error;
mod manager;
mod session;
mod status;

pub use config::*;
pub use error::{Error, Result};
pub use manager::Runtime;
pub use session::{Input, Output, Session};
pub use status::*;

/// Runs the shim or helper that this process was started as, and returns its exit code; `None` if the command line
/// is not one of theirs. Call it first in `main`, before any thread is started: these processes must be single-threaded.
pub fn dispatch() -> Option<i32> {
    None
}
