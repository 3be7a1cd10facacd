//! The seccomp profile `RuntimeDefault`: an allow-list with the meaning that docker and containerd gave it, and the
//! reading of `Localhost` profiles.
//!
//! Everything not listed fails with EPERM, except what the C library probes for, which fails with ENOSYS so that it falls
//! back. Some calls are allowed only with a capability, or only with certain arguments.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// System calls that need no capability.
const ALLOWED: &str = "
accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr
getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents
io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create
memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl
msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2
pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat
renameat2 restart_syscall riscv_flush_icache riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity
sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select
semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32
setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area
set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
sync_file_range sync_file_range2 arm_sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev ptrace
process_vm_readv process_vm_writev arm_fadvise64_64 breakpoint cacheflush set_tls";

/// System calls that come with a capability.
const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Flags of clone(2) that make namespaces (mount, cgroup, UTS, IPC, user, PID, network).
const CLONE_NEW: u64 = 0x7e02_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Address family of hypervisor sockets, which know nothing of network namespaces.
const AF_VSOCK: u64 = 40;

/// The profile for a container with these capabilities.
pub(crate) fn runtime_default(capabilities: &[String]) -> Value {
    let has = |c: &str| capabilities.iter().any(|h| h == c);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let allow = |names: Vec<String>| json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
    let mut rules = vec![allow(words(ALLOWED))];
    rules.push(json!({
        "names": ["socket"], "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE" }],
    }));
    // Linux, Linux with short inodes, UNAME26, both, and the query.
    for personality in [0x0u64, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        rules.push(json!({
            "names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": personality, "op": "SCMP_CMP_EQ" }],
        }));
    }
    for (capability, names) in BY_CAPABILITY {
        if has(capability) {
            rules.push(allow(words(names)));
        }
    }
    if !has("CAP_SYS_ADMIN") {
        rules.push(json!({
            "names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
        }));
        // Its flags lie in memory, where a filter cannot look; ENOSYS makes the C library use clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}

/// Reads a `Localhost` profile, in docker's or in OCI's form (docker's conditional parts are resolved here).
pub(crate) fn localhost(directory: &Path, name: &str, capabilities: &[String]) -> Result<Value> {
    let relative = Path::new(name);
    if relative.is_absolute() || relative.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(Error::InvalidConfig(format!("invalid seccomp profile name {name:?}")));
    }
    let path = directory.join(relative);
    let bytes = std::fs::read(&path).map_err(|e| {
        Error::InvalidConfig(format!("failed to load seccomp profile {}: {e}", path.display()))
    })?;
    let bad =
        |why: String| Error::InvalidConfig(format!("invalid seccomp profile {}: {why}", path.display()));
    let mut profile: Value = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    resolve(&mut profile, capabilities);
    serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(profile.clone())
        .map_err(|e| bad(e.to_string()))?;
    Ok(profile)
}

fn resolve(profile: &mut Value, capabilities: &[String]) {
    let Some(fields) = profile.as_object_mut() else { return };
    if fields.remove("archMap").is_some() {
        fields.insert("architectures".into(), json!(architectures()));
    }
    let Some(Value::Array(rules)) = fields.get_mut("syscalls") else { return };
    let listed = |condition: &Value, list: &str, have: &dyn Fn(&str) -> bool| {
        condition[list].as_array().map(|l| l.iter().filter_map(Value::as_str).any(have))
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let has_cap = |c: &str| capabilities.iter().any(|h| h == c);
    let has_arch = |a: &str| a == arch;
    rules.retain(|rule| {
        let (include, exclude) = (&rule["includes"], &rule["excludes"]);
        listed(include, "caps", &has_cap).unwrap_or(true)
            && listed(include, "arches", &has_arch).unwrap_or(true)
            && !listed(exclude, "caps", &has_cap).unwrap_or(false)
            && !listed(exclude, "arches", &has_arch).unwrap_or(false)
    });
    for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
        if let Some(name) = rule.remove("name") {
            rule.insert("names".into(), json!([name]));
        }
        for extra in ["includes", "excludes", "comment"] {
            rule.remove(extra);
        }
        if rule.get("args").is_some_and(Value::is_null) {
            rule.remove("args");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(profile: &Value, name: &str) -> bool {
        profile["syscalls"].as_array().unwrap().iter().any(|r| {
            r["action"] == "SCMP_ACT_ALLOW"
                && r.get("args").is_none()
                && r["names"].as_array().unwrap().contains(&json!(name))
        })
    }

    #[test]
    fn capabilities_open_calls() {
        let plain = runtime_default(&[]);
        let admin = runtime_default(&["CAP_SYS_ADMIN".into()]);
        for (name, without, with) in [
            ("read", true, true),
            ("mount", false, true),
            ("clone", false, true),
            ("reboot", false, false),
            ("keyctl", false, false),
        ] {
            assert_eq!((allows(&plain, name), allows(&admin, name)), (without, with), "{name}");
        }
        serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(plain).unwrap();
    }

    #[test]
    fn dockers_form_is_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[],"syscalls":[
            {"name":"mkdir","action":"SCMP_ACT_ERRNO","args":null},
            {"names":["chmod"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_BPF"]},"excludes":{}}]}"#;
        std::fs::write(dir.path().join("p.json"), text).unwrap();
        let profile = localhost(dir.path(), "p.json", &[]).unwrap();
        assert_eq!(profile["syscalls"], json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]));
        assert!(localhost(dir.path(), "../p.json", &[]).is_err());
        assert!(localhost(dir.path(), "none.json", &[]).unwrap_err().to_string().contains("none.json"));
    }
}
