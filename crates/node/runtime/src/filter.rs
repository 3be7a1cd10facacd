//! Seccomp filters as the kernel takes them: compiled once by the server, loaded by each process with one system call.
//!
//! libseccomp needs tens of milliseconds for a profile of 400 system calls on three architectures. Doing that in every
//! container start and every exec probe, as libcontainer does, would cost more than all the rest. So the server compiles
//! a profile when a container is made, and keeps the result in a file named after its content.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use serde_json::Value;

use crate::error::{Error, Result};

/// Bytes of one instruction of a classic BPF program.
const INSTRUCTION_BYTES: usize = 8;
const EPERM: i32 = 1;

/// The compiled form of a profile under `directory`, made if it is not there. Blocking.
pub(crate) fn compiled(profile: &Value, directory: &Path) -> Result<PathBuf> {
    let text = profile.to_string();
    // Two hashes over different beginnings make one of 128 bits; the file is only a cache of what this program made.
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, env!("CARGO_PKG_VERSION"), &text).hash(&mut hasher);
        hasher.finish()
    };
    let path = directory.join(format!("{:016x}{:016x}.bpf", half(0), half(1)));
    if path.exists() {
        return Ok(path);
    }
    let bad = |why: String| Error::InvalidConfig(format!("invalid seccomp profile: {why}"));
    let profile: LinuxSeccomp = serde_json::from_value(profile.clone()).map_err(|e| bad(e.to_string()))?;
    let program = compile(&profile).map_err(bad)?;
    fs::create_dir_all(directory).map_err(Error::io(format!("cannot create {}", directory.display())))?;
    // Several containers may be made at once.
    let tmp = directory.join(format!(".{:?}", std::thread::current().id()));
    fs::write(&tmp, program)
        .and_then(|()| fs::rename(&tmp, &path))
        .map_err(Error::io(format!("cannot write {}", path.display())))?;
    Ok(path)
}

fn compile(profile: &LinuxSeccomp) -> std::result::Result<Vec<u8>, String> {
    let text = |e: libseccomp::error::SeccompError| e.to_string();
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).map_err(text)?;
    for arch in profile.architectures().iter().flatten() {
        filter.add_arch(architecture(*arch)?).map_err(text)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        if action == default {
            continue;
        }
        for name in rule.names() {
            // A call that this libseccomp does not know cannot be allowed; the rest of the profile still holds.
            let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
            for comparisons in comparisons(rule) {
                let added = match comparisons.as_slice() {
                    [] => filter.add_rule(action, syscall).map(drop),
                    all => filter.add_rule_conditional(action, syscall, all).map(drop),
                };
                added.map_err(|e| format!("{name}: {e}"))?;
            }
        }
    }
    let mut file = memory_file()?;
    filter.export_bpf(&file).map_err(text)?;
    let mut program = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut program)).map_err(|e| e.to_string())?;
    Ok(program)
}

fn memory_file() -> std::result::Result<File, String> {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    nix::sys::memfd::memfd_create(c"seccomp", flags).map(File::from).map_err(|e| e.to_string())
}

/// The conditions of a rule. Several on the same argument are alternatives, since a filter compares each argument once.
fn comparisons(rule: &LinuxSyscall) -> Vec<Vec<ScmpArgCompare>> {
    let Some(args) = rule.args().as_ref().filter(|a| !a.is_empty()) else { return vec![vec![]] };
    let compare = |a: &libcontainer::oci_spec::runtime::LinuxSeccompArg| {
        let (operator, value) = match a.op() {
            LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, a.value()),
            LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, a.value()),
            LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, a.value()),
            LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, a.value()),
            LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, a.value()),
            LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, a.value()),
            // The profile's value is the mask, its second value what must come out.
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (ScmpCompareOp::MaskedEqual(a.value()), a.value_two().unwrap_or(0))
            }
        };
        ScmpArgCompare::new(a.index() as u32, operator, value)
    };
    let mut indexes: Vec<_> = args.iter().map(|a| a.index()).collect();
    indexes.sort_unstable();
    indexes.dedup();
    if indexes.len() == args.len() {
        vec![args.iter().map(compare).collect()]
    } else {
        args.iter().map(|a| vec![compare(a)]).collect()
    }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> std::result::Result<ScmpAction, String> {
    let errno = errno.map_or(EPERM, |e| e as i32);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActNotify => {
            return Err("SCMP_ACT_NOTIFY needs a listener, which is not supported".into());
        }
    })
}

fn architecture(arch: Arch) -> std::result::Result<ScmpArch, String> {
    Ok(match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        other => return Err(format!("architecture {other:?} is not supported")),
    })
}

/// The flags of a profile as the system call takes them.
pub(crate) fn flags(profile: &Value) -> u32 {
    let Ok(profile) = serde_json::from_value::<LinuxSeccomp>(profile.clone()) else { return 0 };
    let bit = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        // Means something only together with a listener.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    };
    profile.flags().iter().flatten().map(bit).fold(0, |all, flag| all | flag as u32)
}

/// Loads a compiled filter into this thread. Needs CAP_SYS_ADMIN or no-new-privileges.
pub(crate) fn load(program: &[u8], flags: u32) -> std::io::Result<()> {
    let instructions: Vec<libc::sock_filter> = program
        .chunks_exact(INSTRUCTION_BYTES)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    let length = u16::try_from(instructions.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program and its instructions live through the call, which copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    nix::errno::Errno::result(result).map(drop).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_compiled_once() {
        let dir = tempfile::tempdir().unwrap();
        let profile = crate::spec::seccomp::runtime_default(&["CAP_SYS_ADMIN".into()]);
        let path = compiled(&profile, dir.path()).unwrap();
        let program = fs::read(&path).unwrap();
        assert!(program.len() > 100 * INSTRUCTION_BYTES && program.len().is_multiple_of(INSTRUCTION_BYTES));
        fs::write(&path, b"as it was").unwrap();
        assert_eq!(compiled(&profile, dir.path()).unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"as it was");
        let other = crate::spec::seccomp::runtime_default(&[]);
        assert_ne!(compiled(&other, dir.path()).unwrap(), path);
        let notify = serde_json::json!({ "defaultAction": "SCMP_ACT_NOTIFY" });
        assert!(compiled(&notify, dir.path()).is_err());
    }
}
