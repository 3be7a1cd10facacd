//! Namespaces of sandboxes: made in a thread that ends afterwards, pinned by bind mounts, entered the same way.
//!
//! Network, IPC and UTS namespaces belong to a thread, so no helper process is needed; the thread must not be one that is
//! used for anything else later.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::oneshot;

use crate::config::{NetworkMode, SandboxConfig};
use crate::error::{Error, Result};
use crate::status::InterfaceStats;

const CONNECT_MAX: Duration = Duration::from_secs(10);
const NSFS_MAGIC: i64 = 0x6e73_6673;
const NONE: Option<&str> = None;

/// Runs work in a thread of its own.
pub(super) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = oneshot::channel();
    std::thread::Builder::new()
        .name("namespace".into())
        .spawn(move || drop(send.send(work())))
        .map_err(Error::io("cannot start a thread"))?;
    receive.await.map_err(|_| Error::Interrupted)?
}

/// The namespaces that a sandbox has of its own: OCI's name and where each is pinned.
pub(super) fn pinned(config: &SandboxConfig, dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut all = Vec::new();
    match &config.network {
        NetworkMode::Pod => all.push(("network", dir.join("net"))),
        NetworkMode::Path(path) => all.push(("network", path.clone())),
        NetworkMode::Node => {}
    }
    if !config.host_ipc {
        all.push(("ipc", dir.join("ipc")));
    }
    if config.network != NetworkMode::Node {
        all.push(("uts", dir.join("uts")));
    }
    all
}

/// Makes and pins the namespaces of a sandbox. Runs in a thread made for it.
pub(super) fn create(config: &SandboxConfig, dir: &Path) -> Result<()> {
    let step = |what: &str| Error::io::<nix::Error>(format!("cannot make the sandbox's namespaces: {what}"));
    let mut flags = CloneFlags::empty();
    match &config.network {
        NetworkMode::Pod => flags |= CloneFlags::CLONE_NEWNET,
        NetworkMode::Path(path) => {
            let file = File::open(path).map_err(Error::io(format!("cannot open {}", path.display())))?;
            setns(&file, CloneFlags::CLONE_NEWNET).map_err(step("setns"))?;
        }
        NetworkMode::Node => {}
    }
    if config.network != NetworkMode::Node {
        flags |= CloneFlags::CLONE_NEWUTS;
    }
    if !config.host_ipc {
        flags |= CloneFlags::CLONE_NEWIPC;
    }
    unshare(flags).map_err(step("unshare"))?;
    if config.network == NetworkMode::Pod {
        loopback_up().map_err(Error::io("cannot bring up the loopback interface"))?;
        // As containerd: ports below 1024 and ping need no privileges in a network of one's own.
        for (name, value) in
            [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")]
        {
            let _ = fs::write(sysctl_path(name)?, value);
        }
    }
    if flags.contains(CloneFlags::CLONE_NEWUTS) && !config.hostname.is_empty() {
        nix::unistd::sethostname(&config.hostname).map_err(step("sethostname"))?;
    }
    for (name, value) in &config.sysctls {
        let path = sysctl_path(name)?;
        fs::write(&path, value).map_err(Error::io(format!("cannot set sysctl {name}={value}")))?;
    }
    let pins = [
        (CloneFlags::CLONE_NEWNET, "net"),
        (CloneFlags::CLONE_NEWIPC, "ipc"),
        (CloneFlags::CLONE_NEWUTS, "uts"),
    ];
    for (_, kind) in pins.iter().filter(|(flag, _)| flags.contains(*flag)) {
        let target = dir.join(kind);
        File::create(&target).map_err(Error::io(format!("cannot create {}", target.display())))?;
        let source = format!("/proc/thread-self/ns/{kind}");
        mount(Some(source.as_str()), &target, NONE, MsFlags::MS_BIND, NONE).map_err(step("bind mount"))?;
    }
    Ok(())
}

/// The file of a kernel setting in dot form; slashes stand for dots within a part.
fn sysctl_path(name: &str) -> Result<PathBuf> {
    let dots_first = name.find(['.', '/']).is_none_or(|at| name.as_bytes()[at] == b'.');
    let swap = |c: char| match c {
        '.' if dots_first => '/',
        '/' if dots_first => '.',
        other => other,
    };
    let relative: String = name.chars().map(swap).collect();
    if relative.is_empty()
        || relative.starts_with('/')
        || relative.split('/').any(|part| part.is_empty() || part == "..")
    {
        return Err(Error::InvalidConfig(format!("invalid sysctl name {name:?}")));
    }
    Ok(Path::new("/proc/sys").join(relative))
}

/// Gives up pinned namespaces and mounts of a sandbox; what is missing is no error.
pub(super) fn unpin(dir: &Path) -> Result<()> {
    for name in ["net", "ipc", "uts", "pid", "shm"] {
        unmount(&dir.join(name))?;
    }
    Ok(())
}

/// Unmounts a path, however often it is mounted over; one that is no mount point is no error.
pub(super) fn unmount(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(e) => return Err(Error::io(format!("cannot unmount {}", path.display()))(e)),
        }
    }
}

/// Whether a path is a pinned namespace.
pub(super) fn is_pinned(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|s| s.filesystem_type().0 == NSFS_MAGIC)
}

/// Mounts the shared memory of a sandbox.
pub(super) fn mount_shm(target: &Path, size_bytes: u64) -> Result<()> {
    let options = format!("mode=1777,size={size_bytes}");
    let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("shm"), target, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(Error::io(format!("cannot mount {}", target.display())))
}

fn enter(netns: &Path) -> Result<()> {
    let file = File::open(netns).map_err(Error::io(format!("cannot open {}", netns.display())))?;
    setns(&file, CloneFlags::CLONE_NEWNET).map_err(Error::io("cannot enter the network namespace"))
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: a socket of our own, and a zeroed request structure filled in as the call wants it.
    unsafe {
        let fd =
            nix::errno::Errno::result(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        let fd = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        nix::errno::Errno::result(libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &request))?;
    }
    Ok(())
}

/// Connects to a port of the pod's own loopback address. Runs in a thread made for it.
pub(super) fn dial(netns: Option<&Path>, port: u16) -> Result<TcpStream> {
    if let Some(netns) = netns {
        enter(netns)?;
    }
    let attempt = |ip: std::net::IpAddr| TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT_MAX);
    let stream = attempt(Ipv4Addr::LOCALHOST.into())
        .or_else(|first| attempt(Ipv6Addr::LOCALHOST.into()).map_err(|_| first))
        .map_err(|error| {
            let why = match error.kind() {
                // As Go words it, since clients look for that.
                std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
                _ => error.to_string(),
            };
            Error::Forward { port, why }
        })?;
    stream.set_nonblocking(true).map_err(Error::io("cannot use the connection"))?;
    Ok(stream)
}

/// Counters of the interfaces of a network namespace. Runs in a thread made for it.
pub(super) fn interfaces(netns: &Path) -> Result<Vec<InterfaceStats>> {
    enter(netns)?;
    let text = fs::read_to_string("/proc/thread-self/net/dev")
        .map_err(Error::io("cannot read interface counters"))?;
    Ok(parse_interfaces(&text))
}

fn parse_interfaces(text: &str) -> Vec<InterfaceStats> {
    let parse = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let n: Vec<u64> = rest.split_whitespace().map_while(|v| v.parse().ok()).collect();
        let name = name.trim();
        (name != "lo" && n.len() >= 11).then(|| InterfaceStats {
            name: name.into(),
            rx_bytes: n[0],
            rx_errors: n[2],
            tx_bytes: n[8],
            tx_errors: n[10],
        })
    };
    text.lines().skip(2).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_stay_below_proc_sys() {
        for (name, want) in [
            ("net.ipv4.ip_forward", Some("/proc/sys/net/ipv4/ip_forward")),
            ("net/ipv4/conf/eth0.100/forwarding", Some("/proc/sys/net/ipv4/conf/eth0.100/forwarding")),
            ("net.ipv4.conf.eth0/100.forwarding", Some("/proc/sys/net/ipv4/conf/eth0.100/forwarding")),
            ("", None),
            ("/etc/passwd", None),
            ("kernel...x", None),
            ("a/../../b", None),
        ] {
            assert_eq!(sysctl_path(name).ok(), want.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn interface_counters_are_read() {
        let text = "Inter-|   Receive\n face |bytes\n    lo:  1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:  10 2 3 0 0 0 0 0 20 4 5 0 0 0 0 0\n";
        let want =
            InterfaceStats { name: "eth0".into(), rx_bytes: 10, rx_errors: 3, tx_bytes: 20, tx_errors: 5 };
        assert_eq!(parse_interfaces(text), [want]);
    }
}
