//! The first process of a pod whose containers share a PID namespace: it does nothing but reap.
//!
//! The helper makes the namespace, forks the pause process into it, prints its PID and goes. The pause process has an
//! empty root, no capabilities, no open files and a user of its own, because every container of the pod can see it.

use std::io::Write;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{
    ForkResult, Gid, Uid, chdir, chroot, fork, pivot_root, setgroups, setresgid, setresuid, setsid,
};

/// The user of the pause process, as in upstream's image.
const NOBODY: u32 = 65_535;

/// `args[0]` is an empty directory to become the root; `args[1..]` are pinned namespaces to join.
pub(crate) fn main(args: &[String]) -> i32 {
    match run(args) {
        Ok(pid) => {
            println!("{pid}");
            0
        }
        Err(why) => {
            eprintln!("{why}");
            1
        }
    }
}

fn run(args: &[String]) -> Result<i32, String> {
    let (root, namespaces) = args.split_first().ok_or("no root given")?;
    let step = |what: &'static str| move |e: nix::Error| format!("{what}: {e}");
    for path in namespaces {
        let file = std::fs::File::open(path).map_err(|e| format!("cannot open {path}: {e}"))?;
        nix::sched::setns(&file, CloneFlags::empty()).map_err(step("cannot join a namespace"))?;
    }
    let _ = setsid();
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).map_err(step("cannot make namespaces"))?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(step("cannot fork"))? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            if let Err(e) = confine(root) {
                let _ = writeln!(std::io::stderr(), "pause: {e}");
                std::process::exit(1);
            }
            pause()
        }
    }
}

fn confine(root: &str) -> Result<(), nix::Error> {
    let none: Option<&str> = None;
    nix::sys::prctl::set_name(c"pause")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some("tmpfs"),
        root,
        Some("tmpfs"),
        MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC,
        Some("size=0,mode=555"),
    )?;
    chdir(root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chroot(".")?;
    chdir("/")?;
    setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setresgid(gid, gid, gid)?;
    // Leaving user 0 drops all capabilities.
    setresuid(uid, uid, uid)?;
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: closes every descriptor; nothing of this process uses one from here on.
    nix::errno::Errno::result(unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) }).map(drop)
}

fn pause() -> ! {
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let _ = signals.thread_block();
    loop {
        match signals.wait() {
            Ok(Signal::SIGTERM | Signal::SIGINT) => std::process::exit(0),
            // One signal may stand for several children.
            _ => while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s.pid().is_some()) {},
        }
    }
}
