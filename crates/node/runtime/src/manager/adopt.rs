//! Finding sandboxes and containers again after a restart, and watching the ones that run.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::namespace::{is_pinned, unmount, unpin};
use super::records::{ContainerRecord, SandboxRecord, load, remove_dir, save};
use super::shims::Connection;
use super::{ContainerEntry, Inner, SandboxEntry};
use crate::cgroup::{self, now_ns};
use crate::config::NetworkMode;
use crate::error::{Error, Result};
use crate::shim::protocol::{Reply, Request, line};
use crate::shim::{EXIT, SOCKET};
use crate::status::{ContainerState, Exit, RuntimeEvent};

/// A shim that is busy starting its container answers when it is done.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Marks that a start was attempted.
pub(super) const STARTING: &str = "starting";

impl Inner {
    /// Reads the records, connects to the shims and clears what belongs to no record.
    pub(super) fn adopt(self: &Arc<Self>) -> Result<()> {
        for (id, path) in listed(&self.config.root.join("sandboxes"))? {
            match load::<SandboxRecord>(&path.join("sandbox.json")) {
                Ok(record) => self.adopt_sandbox(id, record)?,
                Err(_) => self.clear_sandbox(&id)?,
            }
        }
        for (id, path) in listed(&self.config.root.join("containers"))? {
            match load::<ContainerRecord>(&path.join("container.json")) {
                Ok(record) => self.adopt_container(record)?,
                Err(_) => self.clear_container(&id)?,
            }
        }
        for (id, _) in listed(&self.config.state.join("s"))? {
            if !self.sandboxes.lock().contains_key(&id) {
                self.clear_sandbox(&id)?;
            }
        }
        for (id, _) in listed(&self.config.state.join("c"))? {
            if !self.containers.lock().contains_key(&id) {
                self.clear_container(&id)?;
            }
        }
        for owner in self.config.images.owners() {
            if !self.containers.lock().contains_key(&owner) {
                self.config.images.release(&owner)?;
            }
        }
        Ok(())
    }

    fn adopt_sandbox(&self, id: String, mut record: SandboxRecord) -> Result<()> {
        let pinned =
            record.config.network != NetworkMode::Pod || is_pinned(&self.sandbox_state(&id).join("net"));
        let paused = record.pause.is_none_or(|p| p.alive());
        if record.ready && !(pinned && paused && record.boot_id == self.boot_id) {
            record.ready = false;
            save(&self.sandbox_root(&id).join("sandbox.json"), &record)?;
        }
        let entry = SandboxEntry { record: Mutex::new(record), turn: tokio::sync::Mutex::default() };
        self.sandboxes.lock().insert(id, Arc::new(entry));
        Ok(())
    }

    fn adopt_container(self: &Arc<Self>, record: ContainerRecord) -> Result<()> {
        let id = record.id.clone();
        let bundle = self.bundle(&id);
        let (state, connection) = if let Ok(exit) = load::<Exit>(&bundle.join(EXIT)) {
            (ContainerState::Exited(exit), None)
        } else if !bundle.join(STARTING).exists() {
            (ContainerState::Created, None)
        } else {
            match greet(&self.run_dir(&id)) {
                Some((state, socket)) => (state, Some(socket)),
                None => (ContainerState::Exited(self.lost(&record)?), None),
            }
        };
        let entry = ContainerEntry::new(record, state);
        self.containers.lock().insert(id, entry.clone());
        if let Some(socket) = connection {
            socket.set_nonblocking(true).map_err(Error::io("cannot use the shim's socket"))?;
            let socket = tokio::net::UnixStream::from_std(socket)
                .map_err(Error::io("cannot use the shim's socket"))?;
            self.watch(entry, Some(Connection::over(socket)));
        }
        Ok(())
    }

    /// The record of a container whose shim is gone: the shim's, if it wrote one, else "unknown". Its processes are
    /// killed, since nobody reaps them or reads what they write.
    pub(super) fn lost(&self, record: &ContainerRecord) -> Result<Exit> {
        let path = self.bundle(&record.id).join(EXIT);
        if let Ok(exit) = load::<Exit>(&path) {
            return Ok(exit);
        }
        self.remove_cgroup(&record.cgroup)?;
        let exit =
            Exit { exit_code: 255, reason: "Unknown".into(), finished_at_ns: now_ns(), ..Exit::default() };
        save(&path, &exit)?;
        Ok(exit)
    }

    /// Waits in a task for the end of a running container, on a connection that has asked for it; without one, the shim
    /// is gone already.
    pub(super) fn watch(self: &Arc<Self>, entry: Arc<ContainerEntry>, mut connection: Option<Connection>) {
        let inner = self.clone();
        tokio::spawn(async move {
            let exit = loop {
                let Some(connection) = &mut connection else { break None };
                match connection.next::<Reply>().await {
                    Ok(Some(Reply::Exited(exit))) => break Some(exit),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break None,
                }
            };
            let exit = match exit {
                Some(exit) => {
                    // What ended holds no limits any more that its pod's could not fall below.
                    let (inner, entry) = (inner.clone(), entry.clone());
                    let removed = super::blocking(move || inner.remove_cgroup(&entry.record.cgroup)).await;
                    if let Err(error) = removed {
                        tracing::warn!(%error, "the cgroup of a container that has ended is left for now");
                    }
                    exit
                }
                None => {
                    let (inner, entry) = (inner.clone(), entry.clone());
                    let found = super::blocking(move || inner.lost(&entry.record)).await;
                    found.unwrap_or_else(|e| {
                        tracing::warn!(error = %e, "cannot record the end of a container whose shim is gone");
                        Exit {
                            exit_code: 255,
                            reason: "Unknown".into(),
                            finished_at_ns: now_ns(),
                            ..Exit::default()
                        }
                    })
                }
            };
            inner.ended(&entry, exit);
        });
    }

    /// Removes a container's cgroup, and ends what runs in it.
    pub(super) fn remove_cgroup(&self, cgroup: &Path) -> Result<()> {
        cgroup::remove(&*self.cgroups, cgroup)
            .map_err(Error::io(format!("cannot remove cgroup {}", cgroup.display())))
    }

    /// Makes an end known.
    pub(super) fn ended(&self, entry: &ContainerEntry, exit: Exit) {
        entry.state.send_replace(ContainerState::Exited(exit.clone()));
        self.tell(RuntimeEvent::ContainerExited {
            container_id: entry.record.id.clone(),
            sandbox_id: entry.record.sandbox_id.clone(),
            exit,
        });
    }

    fn clear_sandbox(&self, id: &str) -> Result<()> {
        let dir = self.sandbox_state(id);
        unpin(&dir)?;
        remove_dir(&dir)?;
        remove_dir(&self.sandbox_root(id))
    }

    fn clear_container(&self, id: &str) -> Result<()> {
        let run = self.run_dir(id);
        unmount(&run.join("rootfs"))?;
        remove_dir(&run)?;
        remove_dir(&self.bundle(id))
    }
}

/// Entries of a directory by name.
fn listed(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let entries = fs::read_dir(dir).map_err(Error::io(format!("cannot read {}", dir.display())))?;
    Ok(entries.flatten().map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect())
}

/// Connects to a shim and asks it to tell the end. `None` if there is no shim any more.
fn greet(run: &Path) -> Option<(ContainerState, UnixStream)> {
    let dir = fs::File::open(run).ok()?;
    let mut socket = UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())).ok()?;
    socket.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    socket.write_all(&line(&Request::Watch)).ok()?;
    let mut text = String::new();
    // One byte at a time, so that nothing after the first line is taken from the socket.
    BufReader::with_capacity(1, &socket).read_line(&mut text).ok()?;
    match serde_json::from_str(&text).ok()? {
        Reply::Running { pid, started_at_ns } => {
            Some((ContainerState::Running { pid, started_at_ns }, socket))
        }
        _ => None,
    }
}
