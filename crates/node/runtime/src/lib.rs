//! Sandboxes and containers: namespaces, cgroups v1 and v2, seccomp, shims, logs.
//!
//! [`Runtime`] is the server's side. It starts one shim process for each running container; the shim outlives the
//! server, reaps the container, writes its log and records how it ended, so that a restarted server finds the same
//! processes. Start reading at `manager/` (what can be asked), `spec/` (what a container gets) and `shim/` (what runs
//! beside it).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cgroup;
mod config;
mod error;
mod filter;
mod helper;
mod manager;
mod privileges;
mod session;
mod shim;
mod spec;
mod status;
mod terminal;
mod user;

pub use cgroup::version as cgroup_version;
pub use config::*;
pub use error::{Error, Result};
pub use manager::{Runtime, disk_usage};
pub use session::{Input, Output, Session};
pub use status::*;

/// Runs the shim or helper that this process was started as, and returns its exit code; `None` if the command line
/// is not one of theirs. Call it first in `main`, before any thread is started: these processes must be single-threaded.
pub fn dispatch() -> Option<i32> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = args.split_first()?;
    match (command.as_str(), rest) {
        (shim::LAUNCH, [config]) => Some(shim::launch(config)),
        (shim::SERVE, rest) => Some(shim::serve::main(rest)),
        (helper::EXEC, []) => Some(helper::exec::main()),
        (helper::PAUSE, rest) => Some(helper::pause::main(rest)),
        _ => None,
    }
}
