//! Making, starting, stopping and removing containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::adopt::STARTING;
use super::devices::devices;
use super::namespace::{pinned, unmount};
use super::records::{ContainerRecord, SandboxRecord, create_dir, new_id, remove_dir, save};
use super::rootfs::{make_cwd, mount_root};
use super::shims::Connection;
use super::signals::{signal_name, signal_number};
use super::{ContainerEntry, Inner, Runtime, blocking};
use crate::cgroup::{self, now_ns};
use crate::config::{ContainerConfig, PidMode, Resources, SeccompProfile};
use crate::error::{Error, Result};
use crate::filter;
use crate::privileges::{self, Privileges};
use crate::shim::protocol::{Request, ShimConfig, Started};
use crate::shim::{EXIT, LAUNCH};
use crate::spec::{self, HostDevice, capabilities, seccomp};
use crate::status::{ContainerState, Exit, RuntimeEvent};
use crate::user::Database;

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
        // As other runtimes do for a host path of no type.
        for volume in config.mounts.iter().filter(|m| m.tmpfs_size_bytes.is_none() && !m.host_path.exists()) {
            create_dir(&volume.host_path)?;
        }
        let devices = devices(&config)?;
        if !config.security.privileged {
            let own = devices.iter().map(HostDevice::rule);
            let rules: Vec<_> = cgroup::devices::ALWAYS.iter().copied().chain(own).collect();
            self.cgroups.restrict_devices(&cgroup, &rules).map_err(Error::io("cannot restrict devices"))?;
        }
        let capabilities = capabilities::names(&config.security)?;
        let profile = match &config.security.seccomp {
            _ if config.security.privileged => None,
            SeccompProfile::Unconfined => None,
            SeccompProfile::RuntimeDefault => Some(seccomp::runtime_default(&capabilities)),
            SeccompProfile::Localhost(name) => {
                Some(seccomp::localhost(&self.config.seccomp_dir, name, &capabilities)?)
            }
        };
        let filters = self.config.root.join("seccomp");
        save(
            &bundle.join(privileges::FILE),
            &Privileges {
                capabilities,
                no_new_privs: config.security.no_new_privs,
                filter_flags: profile.as_ref().map_or(0, filter::flags),
                filter: profile.as_ref().map(|p| filter::compiled(p, &filters)).transpose()?,
            },
        )?;
        let files = self.sandbox_state(&sandbox.id);
        let mut namespaces = pinned(&sandbox.config, &files);
        namespaces.extend(Inner::pause_namespace(sandbox));
        let mut own_pid_namespace = sandbox.config.pid == PidMode::Container;
        if let Some(target) = config.pid_of.as_ref().filter(|_| own_pid_namespace) {
            let pid = self.container(target)?.pid("share the processes of")?;
            namespaces.push(("pid", PathBuf::from(format!("/proc/{pid}/ns/pid"))));
            own_pid_namespace = false;
        }
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
        let mut propagation: Vec<_> =
            config.mounts.iter().map(|m| (m.container_path.clone(), m.propagation)).collect();
        // What is set for a mount is set for all below it, so the deeper ones come later.
        propagation.sort_by_key(|(path, _)| path.components().count());
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
                propagation,
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
    async fn launch(&self, entry: &ContainerEntry) -> Result<(ContainerState, Option<Connection>)> {
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
        let running = match serde_json::from_str(&text) {
            Ok(Started::Running { pid, started_at_ns }) => ContainerState::Running { pid, started_at_ns },
            Ok(Started::Failed(why)) => return Err(Error::Start(why)),
            Err(_) => {
                let log = fs::read_to_string(&shim_log).unwrap_or_default();
                return Err(Error::Start(format!("the shim ended before the container ran: {}", log.trim())));
            }
        };
        // A container that ends at once may have taken its shim along; then the shim's record tells the rest.
        let watching = async {
            let connection = Connection::open(&run).await?;
            connection.send(&Request::Watch, &[]).await.map(|()| connection)
        };
        Ok((running, watching.await.ok()))
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
        self.remove_cgroup(cgroup)?;
        let run = self.run_dir(id);
        unmount(&run.join("rootfs"))?;
        remove_dir(&run)?;
        remove_dir(&self.bundle(id))?;
        Ok(self.config.images.release(id)?)
    }
}
