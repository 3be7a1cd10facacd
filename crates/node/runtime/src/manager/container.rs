//! Making, starting, stopping and removing containers.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::adopt::STARTING;
use super::namespace::{pinned, unmount};
use super::records::{ContainerRecord, SandboxRecord, create_dir, new_id, remove_dir, save};
use super::shims::Connection;
use super::{ContainerEntry, Inner, Runtime, blocking};
use crate::cgroup::{self, now_ns};
use crate::config::{ContainerConfig, PidMode, Resources, SeccompProfile};
use crate::error::{Error, Result};
use crate::shim::protocol::{Reply, Request, ShimConfig, Started};
use crate::shim::{EXIT, LAUNCH};
use crate::spec::{self, HostDevice, capabilities, seccomp};
use crate::status::{ContainerState, Exit, RuntimeEvent};
use crate::user::{Database, path_in_root};

/// How long a killed container may take to be gone.
const KILL_MAX: Duration = Duration::from_secs(30);

impl Runtime {
    /// Prepares a container from an image. Returns its id. Nothing runs yet.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        image: &images::Image,
    ) -> Result<String> {
        let entry = self.inner.sandbox(sandbox)?;
        let sandbox = entry.record.lock().clone();
        if !sandbox.ready {
            return Err(Error::SandboxNotReady(sandbox.id));
        }
        let (inner, image, id) = (self.inner.clone(), image.clone(), new_id()?);
        let record = blocking(move || {
            inner.prepare(&id, &sandbox, config, &image).inspect_err(|_| {
                // The first failure says more than one of cleaning up.
                let cgroup = sandbox.cgroup.join(&id);
                let _ = inner.dismantle(&id, &cgroup);
            })
        })
        .await?;
        let (id, sandbox_id) = (record.id.clone(), record.sandbox_id.clone());
        self.inner.containers.lock().insert(id.clone(), ContainerEntry::new(record, ContainerState::Created));
        self.inner.tell(RuntimeEvent::ContainerCreated { container_id: id.clone(), sandbox_id });
        Ok(id)
    }

    /// Starts it. After a failure the container is `Exited` with reason `StartError` and exit code 128.
    pub async fn start_container(&self, id: &str) -> Result<()> {
        let entry = self.inner.container(id)?;
        let _turn = entry.turn.lock().await;
        let state = entry.state.borrow().name();
        if state != "created" {
            return Err(Error::WrongState { id: id.into(), state, operation: "start" });
        }
        if !self.inner.sandbox(&entry.record.sandbox_id)?.record.lock().ready {
            return Err(Error::SandboxNotReady(entry.record.sandbox_id.clone()));
        }
        match self.inner.launch(&entry).await {
            Ok((running, connection)) => {
                entry.state.send_replace(running);
                self.inner.tell(RuntimeEvent::ContainerStarted {
                    container_id: id.to_owned(),
                    sandbox_id: entry.record.sandbox_id.clone(),
                });
                self.inner.watch(entry.clone(), connection);
                Ok(())
            }
            Err(e) => {
                let exit = Exit {
                    exit_code: 128,
                    reason: "StartError".into(),
                    message: e.to_string(),
                    finished_at_ns: now_ns(),
                    ..Exit::default()
                };
                let path = self.inner.bundle(id).join(EXIT);
                let exit = blocking(move || save(&path, &exit).map(|()| exit)).await?;
                self.inner.ended(&entry, exit);
                Err(e)
            }
        }
    }

    /// Sends the stop signal, waits for at most `grace`, then kills. Returns when it has ended.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let entry = self.inner.container(id)?;
        if !matches!(*entry.state.borrow(), ContainerState::Running { .. }) {
            return Ok(());
        }
        if !grace.is_zero() {
            let signal = signal_number(&entry.record.stop_signal).unwrap_or(Signal::SIGTERM as i32);
            self.inner.signal(&entry, signal).await?;
            if let Ok(ended) = tokio::time::timeout(grace, entry.ended()).await {
                return ended.map(drop);
            }
        }
        self.inner.signal(&entry, Signal::SIGKILL as i32).await?;
        match tokio::time::timeout(KILL_MAX, entry.ended()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => Err(Error::WrongState {
                id: id.into(),
                state: "running",
                operation: "kill it: it does not end",
            }),
        }
    }

    /// Sends a signal to the container's first process.
    pub async fn kill_container(&self, id: &str, signal: i32) -> Result<()> {
        let entry = self.inner.container(id)?;
        entry.pid("kill")?;
        self.inner.signal(&entry, signal).await
    }

    /// Kills it if it runs and removes all of it but its log. A missing container is no error.
    pub async fn remove_container(&self, id: &str) -> Result<()> {
        let Ok(entry) = self.inner.container(id) else { return Ok(()) };
        let _turn = entry.turn.lock().await;
        self.stop_container(id, Duration::ZERO).await?;
        let (inner, record) = (self.inner.clone(), entry.record.clone());
        blocking(move || inner.dismantle(&record.id, &record.cgroup)).await?;
        if self.inner.containers.lock().remove(id).is_some() {
            let sandbox_id = entry.record.sandbox_id.clone();
            self.inner.tell(RuntimeEvent::ContainerRemoved { container_id: id.to_owned(), sandbox_id });
        }
        Ok(())
    }

    /// Changes limits of a running (or created) container in place.
    pub async fn update_resources(&self, id: &str, resources: &Resources) -> Result<()> {
        let cgroup = self.inner.container(id)?.record.cgroup.clone();
        self.inner.set_cgroup(cgroup, resources.clone()).await
    }

    /// The limits that the container's cgroup has now, read from the kernel.
    pub async fn actual_resources(&self, id: &str) -> Result<Resources> {
        let (inner, cgroup) = (self.inner.clone(), self.inner.container(id)?.record.cgroup.clone());
        blocking(move || {
            inner
                .cgroups
                .get(&cgroup)
                .map_err(Error::io(format!("cannot read limits of {}", cgroup.display())))
        })
        .await
    }

    /// Makes the shim open its log file anew, after somebody moved it.
    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        self.inner.container(id)?.pid("reopen the log of")?;
        Connection::open(&self.inner.run_dir(id)).await?.ask(&Request::ReopenLog, &[]).await
    }
}

impl Inner {
    /// Everything that can be done before a process exists.
    fn prepare(
        &self,
        id: &str,
        sandbox: &SandboxRecord,
        config: ContainerConfig,
        image: &images::Image,
    ) -> Result<ContainerRecord> {
        let (bundle, run) = (self.bundle(id), self.run_dir(id));
        create_dir(&bundle)?;
        create_dir(&run)?;
        self.config.images.acquire(image, id)?;
        let rootfs = mount_root(&bundle, &run, image)?;
        let user = Database::load(&rootfs).for_container(&image.config.user, &config.security)?;
        let cgroup = sandbox.cgroup.join(id);
        self.cgroups
            .create(&cgroup)
            .map_err(Error::io(format!("cannot create cgroup {}", cgroup.display())))?;
        self.cgroups
            .set(&cgroup, &config.resources)
            .map_err(Error::io(format!("cannot set limits of {}", cgroup.display())))?;
        let devices = devices(&config)?;
        let capabilities = capabilities::names(&config.security)?;
        let profile = match &config.security.seccomp {
            _ if config.security.privileged => None,
            SeccompProfile::Unconfined => None,
            SeccompProfile::RuntimeDefault => Some(seccomp::runtime_default(&capabilities)),
            SeccompProfile::Localhost(name) => {
                Some(seccomp::localhost(&self.config.seccomp_dir, name, &capabilities)?)
            }
        };
        let files = self.sandbox_state(&sandbox.id);
        let mut namespaces = pinned(&sandbox.config, &files);
        namespaces.extend(Inner::pause_namespace(sandbox));
        let hostname = fs::read_to_string(files.join("hostname")).unwrap_or_default();
        let cgroup_dirs = self.cgroups.visible(&cgroup);
        let specification = spec::build(&spec::Inputs {
            config: &config,
            sandbox: &sandbox.config,
            image: &image.config,
            user: &user,
            rootfs: &rootfs,
            cgroup: &cgroup,
            cgroup_dirs: cgroup_dirs.as_deref(),
            namespaces: &namespaces,
            sandbox_files: &files,
            devices: &devices,
            seccomp: profile,
            apparmor: self.apparmor,
            hostname: hostname.trim(),
        })?;
        let cwd = specification["process"]["cwd"].as_str().unwrap_or("/").to_owned();
        make_cwd(&rootfs, &cwd, user.user.uid, user.user.gid)?;
        save(&bundle.join("config.json"), &specification)?;
        let log_path = sandbox.config.log_directory.join(&config.log_path);
        if let Some(dir) = log_path.parent().filter(|_| !config.log_path.as_os_str().is_empty()) {
            create_dir(dir)?;
        }
        let own_pid_namespace = sandbox.config.pid == PidMode::Container;
        save(
            &bundle.join("shim.json"),
            &ShimConfig {
                id: id.to_owned(),
                bundle: bundle.clone(),
                run,
                log_path: if config.log_path.as_os_str().is_empty() {
                    PathBuf::new()
                } else {
                    log_path.clone()
                },
                log: config.log,
                stdin: config.stdin,
                stdin_once: config.stdin_once,
                tty: config.tty,
                oom_score_adj: config.oom_score_adj,
                oom_file: self.cgroups.oom_file(&cgroup),
                procs_files: if own_pid_namespace { vec![] } else { self.procs_files(&cgroup) },
            },
        )?;
        let stop_signal = config.stop_signal.as_deref().unwrap_or(&image.config.stop_signal);
        let record = ContainerRecord {
            id: id.to_owned(),
            sandbox_id: sandbox.id.clone(),
            image_id: image.id.clone(),
            image_ref: image.image_ref().to_owned(),
            created_at_ns: now_ns(),
            log_path,
            user: user.user,
            cgroup,
            stop_signal: signal_name(stop_signal)?,
            config: Arc::new(config),
        };
        save(&bundle.join("container.json"), &record)?;
        Ok(record)
    }

    /// Files that list, and take, the processes of a cgroup.
    pub(super) fn procs_files(&self, cgroup: &Path) -> Vec<PathBuf> {
        self.cgroups.dirs(cgroup).iter().map(|d| d.join("cgroup.procs")).collect()
    }

    /// Starts the shim, which starts the container.
    async fn launch(&self, entry: &ContainerEntry) -> Result<(ContainerState, Connection)> {
        let id = &entry.record.id;
        let (bundle, run) = (self.bundle(id), self.run_dir(id));
        let shim_log = run.join("shim.log");
        fs::write(bundle.join(STARTING), b"").map_err(Error::io("cannot mark the start"))?;
        let errors = fs::File::create(&shim_log)
            .map_err(Error::io(format!("cannot create {}", shim_log.display())))?;
        // Dropping the handle later leaves the shim running; tokio reaps it when it ends.
        let mut child = tokio::process::Command::new(&self.config.self_exe)
            .arg(LAUNCH)
            .arg(bundle.join("shim.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .current_dir("/")
            .env_clear()
            .spawn()
            .map_err(Error::io(format!("cannot start {}", self.config.self_exe.display())))?;
        let stdout = child.stdout.take().ok_or(Error::Interrupted)?;
        let mut text = String::new();
        BufReader::new(stdout).read_line(&mut text).await.map_err(Error::io("cannot read from the shim"))?;
        match serde_json::from_str(&text) {
            Ok(Started::Running { .. }) => {}
            Ok(Started::Failed(why)) => return Err(Error::Start(why)),
            Err(_) => {
                let log = fs::read_to_string(&shim_log).unwrap_or_default();
                return Err(Error::Start(format!("the shim ended before the container ran: {}", log.trim())));
            }
        }
        let mut connection = Connection::open(&run).await?;
        connection.send(&Request::Watch, &[]).await?;
        match connection.next().await? {
            Some(Reply::Running { pid, started_at_ns }) => {
                Ok((ContainerState::Running { pid, started_at_ns }, connection))
            }
            _ => Err(Error::Start("the shim ended at once".into())),
        }
    }

    /// Sends a signal through the shim, which alone knows that the process is not reaped yet. A container that has ended
    /// meanwhile is no error.
    async fn signal(&self, entry: &ContainerEntry, signal: i32) -> Result<()> {
        let sent = async {
            Connection::open(&self.run_dir(&entry.record.id)).await?.ask(&Request::Kill { signal }, &[]).await
        };
        match sent.await {
            Err(_) if entry.pid("kill").is_err() => Ok(()),
            // The shim is about to say that it has ended, or is gone, which its watcher notices.
            Err(Error::Malformed { .. } | Error::Io { .. }) => Ok(()),
            sent => sent,
        }
    }

    /// Removes what `prepare` and the container made.
    fn dismantle(&self, id: &str, cgroup: &Path) -> Result<()> {
        cgroup::remove(&*self.cgroups, cgroup)
            .map_err(Error::io(format!("cannot remove cgroup {}", cgroup.display())))?;
        let run = self.run_dir(id);
        unmount(&run.join("rootfs"))?;
        remove_dir(&run)?;
        remove_dir(&self.bundle(id))?;
        Ok(self.config.images.release(id)?)
    }
}

/// Mounts the image's layers with a writable one on top.
fn mount_root(bundle: &Path, run: &Path, image: &images::Image) -> Result<PathBuf> {
    let (upper, work, rootfs) = (bundle.join("upper"), bundle.join("work"), run.join("rootfs"));
    for dir in [&upper, &work, &rootfs] {
        create_dir(dir)?;
    }
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("cannot protect the root"))?;
    let lowers = image.lower_dirs();
    // The options of a mount fit into one page, so long layer paths are written relative to what they share.
    let quote =
        |p: &Path| p.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let mut lower: Vec<String> = lowers.iter().map(|l| quote(l)).collect();
    if lower.is_empty() {
        let empty = bundle.join("empty");
        create_dir(&empty)?;
        lower.push(quote(&empty));
    }
    let fail = Error::io::<nix::Error>(format!("cannot mount the root file system {}", rootfs.display()));
    overlay(&lower, &quote(&upper), &quote(&work), &rootfs).map_err(fail)?;
    Ok(rootfs)
}

/// Mounts an overlay by the file-descriptor interface where there are many layers (each layer its own call, so no limit of
/// one page), and by mount(2) otherwise.
fn overlay(lower: &[String], upper: &str, work: &str, target: &Path) -> nix::Result<()> {
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    if options.len() < 4000 {
        return mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    }
    fsmount::overlay(lower, upper, work, target)
}

mod fsmount {
    //! fsopen(2) and its kin, for overlays with more layers than fit into one page of options (Linux 6.5).

    use std::ffi::CString;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use nix::errno::Errno;

    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

    pub(super) fn overlay(lower: &[String], upper: &str, work: &str, target: &Path) -> nix::Result<()> {
        let text = |s: &[u8]| CString::new(s).map_err(|_| Errno::EINVAL);
        // SAFETY: every pointer is a NUL-terminated string that lives through its call; descriptors are owned at once.
        unsafe {
            let fs = owned(libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 1))?;
            let set = |key: &str, value: &str| {
                let (key, value) = (text(key.as_bytes())?, text(value.as_bytes())?);
                let (fd, set) = (fs.as_raw_fd(), FSCONFIG_SET_STRING);
                Errno::result(libc::syscall(libc::SYS_fsconfig, fd, set, key.as_ptr(), value.as_ptr(), 0))
                    .map(drop)
            };
            for layer in lower {
                set("lowerdir+", layer)?;
            }
            set("upperdir", upper)?;
            set("workdir", work)?;
            let none = std::ptr::null::<libc::c_char>();
            Errno::result(libc::syscall(
                libc::SYS_fsconfig,
                fs.as_raw_fd(),
                FSCONFIG_CMD_CREATE,
                none,
                none,
                0,
            ))?;
            let mounted = owned(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, 0))?;
            let (from, to) = (mounted.as_raw_fd(), text(target.as_os_str().as_bytes())?);
            let flags = MOVE_MOUNT_F_EMPTY_PATH;
            let at = libc::AT_FDCWD;
            Errno::result(libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), at, to.as_ptr(), flags))
                .map(drop)
        }
    }

    unsafe fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
        let fd = Errno::result(result)?;
        // SAFETY: the caller passes the result of a call that returns a new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }
}

/// Makes the working directory if the image lacks it, as docker does, owned by the container's user.
fn make_cwd(rootfs: &Path, cwd: &str, uid: u32, gid: u32) -> Result<()> {
    if !cwd.starts_with('/') {
        return Err(Error::InvalidConfig(format!(
            "the working directory {cwd:?} is invalid, it needs to be an absolute path"
        )));
    }
    let mut made = PathBuf::from("/");
    for part in Path::new(cwd).components().skip(1) {
        let parent =
            path_in_root(rootfs, &made).map_err(Error::io(format!("cannot find {}", made.display())))?;
        made.push(part);
        if path_in_root(rootfs, &made).is_ok() {
            continue;
        }
        let path = parent.join(part);
        let make =
            || fs::create_dir(&path).and_then(|()| std::os::unix::fs::lchown(&path, Some(uid), Some(gid)));
        match make() {
            // A dangling symlink or a plain file is the image's affair: the start will say so.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            made => made.map_err(Error::io(format!("cannot create the working directory {cwd}")))?,
        }
    }
    Ok(())
}

/// Looks at the devices that the container wants; a privileged one gets all of the host's.
fn devices(config: &ContainerConfig) -> Result<Vec<HostDevice>> {
    let mut found = Vec::new();
    if config.security.privileged {
        host_devices(Path::new("/dev"), &mut found);
    }
    for wanted in &config.devices {
        let device = look(&wanted.host_path, &wanted.container_path, &wanted.permissions).map_err(
            Error::io(format!("error gathering device information for {}", wanted.host_path.display())),
        )?;
        let device = device
            .ok_or_else(|| Error::InvalidConfig(format!("{} is not a device", wanted.host_path.display())))?;
        found.retain(|d: &HostDevice| d.path != device.path);
        found.push(device);
    }
    Ok(found)
}

fn host_devices(dir: &Path, found: &mut Vec<HostDevice>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        match entry.file_type() {
            // These are file systems of their own in every container.
            Ok(t) if t.is_dir() && !["pts", "shm", "mqueue", "fd"].iter().any(|n| name == *n) => {
                host_devices(&path, found)
            }
            Ok(t) if (t.is_char_device() || t.is_block_device()) && name != "console" && name != "ptmx" => {
                found.extend(look(&path, &path, "rwm").ok().flatten());
            }
            _ => {}
        }
    }
}

fn look(host: &Path, inside: &Path, permissions: &str) -> std::io::Result<Option<HostDevice>> {
    let meta = fs::metadata(host)?;
    let kind = match meta.file_type() {
        t if t.is_char_device() => 'c',
        t if t.is_block_device() => 'b',
        _ => return Ok(None),
    };
    Ok(Some(HostDevice {
        path: if inside.as_os_str().is_empty() { host.into() } else { inside.into() },
        kind,
        major: nix::sys::stat::major(meta.rdev()),
        minor: nix::sys::stat::minor(meta.rdev()),
        mode: meta.permissions().mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        permissions: if permissions.is_empty() { "rwm".into() } else { permissions.into() },
    }))
}

/// The number of a signal given by name (with or without `SIG`), real-time name or number.
fn signal_number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let real_time = |base: i32, rest: &str, sign: i32| match rest {
        "" => Some(base),
        _ => rest[1..].parse::<i32>().ok().map(|n| base + sign * n).filter(|n| (34..=64).contains(n)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN").filter(|r| r.is_empty() || r.starts_with('+')) {
        return real_time(34, rest, 1);
    }
    if let Some(rest) = name.strip_prefix("RTMAX").filter(|r| r.is_empty() || r.starts_with('-')) {
        return real_time(64, rest, -1);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|s| s as i32)
}

/// A stop signal by its full name; `SIGTERM` when none is given.
fn signal_name(text: &str) -> Result<String> {
    if text.is_empty() {
        return Ok("SIGTERM".into());
    }
    let number =
        signal_number(text).ok_or_else(|| Error::InvalidConfig(format!("invalid stop signal {text:?}")))?;
    Ok(Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_names() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMIN", Some(34)),
            ("0", None),
            ("99", None),
            ("SIGNOPE", None),
            ("RTMIN+99", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
        assert_eq!(signal_name("").unwrap(), "SIGTERM");
        assert_eq!(signal_name("3").unwrap(), "SIGQUIT");
        assert!(signal_name("x").is_err());
    }
}
