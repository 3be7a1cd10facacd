//! What a process keeps of the shim's powers when it becomes a container's program.
//!
//! Not in the specification that libcontainer executes, but in a record beside it, for two reasons: a compiled filter is
//! loaded in no time (see [`crate::filter`]), and commands run by exec, for which libcontainer has no filter at all, are
//! treated exactly like the container's first process.

use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::LinuxCapabilities;
use libcontainer::syscall::syscall::create_syscall;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::filter;

/// The record's name in a container's bundle.
pub(crate) const FILE: &str = "privileges.json";

/// Privileges of a container, on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Privileges {
    /// By name, `CAP_…`.
    pub capabilities: Vec<String>,
    pub no_new_privs: bool,
    /// Compiled seccomp filter.
    pub filter: Option<PathBuf>,
    /// Flags for loading it.
    pub filter_flags: u32,
}

/// Privileges with everything read that cannot be reached from inside a container.
#[derive(Clone)]
pub(crate) struct Ready {
    capabilities: LinuxCapabilities,
    no_new_privs: bool,
    program: Option<Vec<u8>>,
    flags: u32,
}

impl Privileges {
    /// Reads the record in a bundle, and the filter that it names.
    pub(crate) fn ready(bundle: &Path) -> Result<Ready, String> {
        let path = bundle.join(FILE);
        let read = |path: &Path| fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
        let bad = |e: serde_json::Error| format!("cannot read {}: {e}", path.display());
        let record: Privileges = serde_json::from_slice(&read(&path)?).map_err(bad)?;
        let set = json!(record.capabilities);
        // Inheritable and ambient ones would outlive a change of user.
        let sets =
            json!({ "bounding": set, "effective": set, "permitted": set, "inheritable": [], "ambient": [] });
        Ok(Ready {
            capabilities: serde_json::from_value(sets).map_err(bad)?,
            no_new_privs: record.no_new_privs,
            program: record.filter.as_deref().map(read).transpose()?,
            flags: record.filter_flags,
        })
    }
}

impl Ready {
    /// Gives up everything else. The last thing that a process does before it becomes the program.
    pub(crate) fn apply(&self) -> Result<(), String> {
        let syscall = create_syscall();
        let load = || match &self.program {
            Some(program) => {
                filter::load(program, self.flags).map_err(|e| format!("cannot load seccomp filter: {e}"))
            }
            None => Ok(()),
        };
        let failed = |e: libcontainer::syscall::SyscallError| format!("cannot set capabilities: {e}");
        // A change of user has cleared the effective set, which loading a filter needs.
        reset_effective(syscall.as_ref()).map_err(failed)?;
        if !self.no_new_privs {
            load()?;
        }
        drop_privileges(&self.capabilities, syscall.as_ref()).map_err(failed)?;
        if self.no_new_privs {
            nix::sys::prctl::set_no_new_privs().map_err(|e| format!("cannot set no_new_privs: {e}"))?;
            load()?;
        }
        Ok(())
    }
}
