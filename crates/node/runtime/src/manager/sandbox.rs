//! Making, changing, stopping and removing sandboxes.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::namespace::{create, in_thread, mount_shm, pinned, unpin};
use super::records::{ProcessId, SandboxRecord, create_dir, new_id, remove_dir, save};
use super::{Inner, Runtime, SandboxEntry, blocking};
use crate::cgroup;
use crate::config::{DnsConfig, NetworkMode, PidMode, QosClass, Resources, SandboxConfig};
use crate::error::{Error, Result};
use crate::status::RuntimeEvent;

const SHM_DEFAULT_BYTES: u64 = 64 << 20;

impl Runtime {
    /// Makes namespaces, cgroup and files of a pod. Returns its id.
    pub async fn run_sandbox(&self, config: SandboxConfig) -> Result<String> {
        let id = new_id()?;
        let record = SandboxRecord {
            cgroup: cgroup::pod_path(&self.inner.config.cgroup_prefix, config.qos, &config.uid),
            id: id.clone(),
            config,
            ready: true,
            created_at_ns: cgroup::now_ns(),
            ips: vec![],
            pause: None,
            boot_id: self.inner.boot_id.clone(),
        };
        if record.config.uid.is_empty() || record.config.uid.contains('/') {
            return Err(Error::InvalidConfig("a sandbox needs the uid of its pod".into()));
        }
        let inner = self.inner.clone();
        let made = in_thread({
            let (inner, record) = (inner.clone(), record.clone());
            move || inner.make_sandbox(record)
        })
        .await;
        match made {
            Ok(record) => {
                let entry = SandboxEntry { record: Mutex::new(record), turn: tokio::sync::Mutex::default() };
                inner.sandboxes.lock().insert(id.clone(), Arc::new(entry));
                inner.tell(RuntimeEvent::SandboxStarted { sandbox_id: id.clone() });
                Ok(id)
            }
            Err(e) => {
                // What was made before the failure goes; a second failure would say nothing new.
                let _ = blocking(move || inner.unmake_sandbox(&record)).await;
                Err(e)
            }
        }
    }

    /// Kills its containers and gives up its namespaces. Done twice is done once.
    pub async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let entry = self.inner.sandbox(id)?;
        let _turn = entry.turn.lock().await;
        let containers = self.inner.containers_of(id);
        let kills = containers.iter().map(|c| self.stop_container(&c.record.id, std::time::Duration::ZERO));
        for killed in futures::future::join_all(kills).await {
            match killed {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        let mut record = entry.record.lock().clone();
        if !record.ready {
            return Ok(());
        }
        record.ready = false;
        let inner = self.inner.clone();
        let record = blocking(move || {
            if let Some(pause) = record.pause.take().filter(|p| p.alive()) {
                let _ = kill(Pid::from_raw(pause.pid), Signal::SIGKILL);
            }
            unpin(&inner.sandbox_state(&record.id))?;
            save(&inner.sandbox_root(&record.id).join("sandbox.json"), &record)?;
            Ok(record)
        })
        .await?;
        *entry.record.lock() = record;
        self.inner.tell(RuntimeEvent::SandboxStopped { sandbox_id: id.to_owned() });
        Ok(())
    }

    /// Stops it if need be and removes all of it, containers too. A missing sandbox is no error.
    pub async fn remove_sandbox(&self, id: &str) -> Result<()> {
        match self.stop_sandbox(id).await {
            Err(e) if e.is_not_found() => return Ok(()),
            stopped => stopped?,
        }
        for container in self.inner.containers_of(id) {
            self.remove_container(&container.record.id).await?;
        }
        let Ok(entry) = self.inner.sandbox(id) else { return Ok(()) };
        let _turn = entry.turn.lock().await;
        let record = entry.record.lock().clone();
        // The pod's next sandbox may live in the same cgroup already.
        let shared = self.inner.sandboxes.lock().values().any(|other| {
            let other = other.record.lock();
            other.id != record.id && other.cgroup == record.cgroup
        });
        let inner = self.inner.clone();
        blocking(move || if shared { inner.unmake_files(&record) } else { inner.unmake_sandbox(&record) })
            .await?;
        self.inner.sandboxes.lock().remove(id);
        self.inner.tell(RuntimeEvent::SandboxRemoved { sandbox_id: id.to_owned() });
        Ok(())
    }

    /// Records the pod's addresses, to be found again after a restart.
    pub async fn set_sandbox_ips(&self, id: &str, ips: Vec<IpAddr>) -> Result<()> {
        self.change_sandbox(id, move |record| record.ips = ips).await
    }

    /// Replaces the content of the pod's `/etc/hosts`, also in running containers.
    pub async fn set_hosts(&self, id: &str, content: &str) -> Result<()> {
        let path = self.inner.sandbox_state(id).join("hosts");
        let (hosts, content) = (content.to_owned(), content.to_owned());
        self.change_sandbox(id, move |record| record.config.hosts = Some(hosts)).await?;
        // Containers have the file itself mounted, so it is written in place.
        blocking(move || {
            fs::write(&path, content).map_err(Error::io(format!("cannot write {}", path.display())))
        })
        .await
    }

    /// Changes the limits of a pod's cgroup in place.
    pub async fn update_sandbox_resources(&self, id: &str, resources: &Resources) -> Result<()> {
        let cgroup = self.inner.sandbox(id)?.record.lock().cgroup.clone();
        self.inner.set_cgroup(cgroup, resources.clone()).await?;
        let resources = resources.clone();
        self.change_sandbox(id, move |record| record.config.resources = resources).await
    }

    /// Changes the limits of the cgroup of a whole QoS class.
    pub async fn update_qos_resources(&self, class: QosClass, resources: &Resources) -> Result<()> {
        let path = cgroup::qos_path(&self.inner.config.cgroup_prefix, class);
        self.inner.set_cgroup(path, resources.clone()).await
    }

    async fn change_sandbox(&self, id: &str, change: impl FnOnce(&mut SandboxRecord)) -> Result<()> {
        let entry = self.inner.sandbox(id)?;
        let _turn = entry.turn.lock().await;
        let mut record = entry.record.lock().clone();
        change(&mut record);
        let path = self.inner.sandbox_root(id).join("sandbox.json");
        let record = blocking(move || save(&path, &record).map(|()| record)).await?;
        *entry.record.lock() = record;
        Ok(())
    }
}

impl Inner {
    /// Makes the cgroups of all pods and of the QoS classes.
    pub(super) fn prepare_cgroups(&self) -> Result<()> {
        let prefix = &self.config.cgroup_prefix;
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            let path = cgroup::qos_path(prefix, class);
            self.cgroups
                .create(&path)
                .map_err(Error::io(format!("cannot create cgroup {}", path.display())))?;
        }
        let least = Resources { cpu_shares: Some(2), ..Resources::default() };
        let path = cgroup::qos_path(prefix, QosClass::BestEffort);
        self.cgroups.set(&path, &least).map_err(Error::io("cannot set up the cgroup of best-effort pods"))
    }

    pub(super) async fn set_cgroup(self: &Arc<Self>, path: PathBuf, resources: Resources) -> Result<()> {
        let inner = self.clone();
        blocking(move || {
            inner
                .cgroups
                .set(&path, &resources)
                .map_err(Error::io(format!("cannot set limits of {}", path.display())))
        })
        .await
    }

    /// Removes the cgroups of all pods, and the parents that were made for them.
    pub(super) async fn remove_all_cgroups(self: &Arc<Self>) -> Result<()> {
        let inner = self.clone();
        blocking(move || {
            let prefix = &inner.config.cgroup_prefix;
            cgroup::remove(&*inner.cgroups, prefix)
                .map_err(Error::io(format!("cannot remove cgroup {}", prefix.display())))?;
            for parent in prefix.ancestors().skip(1).filter(|p| p.parent().is_some()) {
                // A parent that others use is not empty, and stays.
                inner.cgroups.dirs(parent).iter().for_each(|dir| drop(fs::remove_dir(dir)));
            }
            Ok(())
        })
        .await
    }

    fn make_sandbox(&self, mut record: SandboxRecord) -> Result<SandboxRecord> {
        let (dir, config) = (self.sandbox_state(&record.id), &record.config);
        create_dir(&dir)?;
        create_dir(&self.sandbox_root(&record.id))?;
        let cgroup = &record.cgroup;
        self.cgroups
            .create(cgroup)
            .map_err(Error::io(format!("cannot create cgroup {}", cgroup.display())))?;
        self.cgroups
            .set(cgroup, &config.resources)
            .map_err(Error::io(format!("cannot set limits of {}", cgroup.display())))?;
        write_files(config, &dir)?;
        create_dir(&dir.join("shm"))?;
        mount_shm(
            &dir.join("shm"),
            if config.shm_size_bytes == 0 { SHM_DEFAULT_BYTES } else { config.shm_size_bytes },
        )?;
        create(config, &dir)?;
        if config.pid == PidMode::Pod {
            record.pause = Some(self.start_pause(&record, &dir)?);
        }
        save(&self.sandbox_root(&record.id).join("sandbox.json"), &record)?;
        Ok(record)
    }

    /// Starts the first process of a shared PID namespace, in a cgroup of its own below the pod's.
    fn start_pause(&self, record: &SandboxRecord, dir: &Path) -> Result<ProcessId> {
        let fail = |why: String| Error::InvalidConfig(format!("cannot start the pause process: {why}"));
        let root = dir.join("pause");
        create_dir(&root)?;
        let pins = pinned(&record.config, dir);
        let output = Command::new(&self.config.self_exe)
            .arg(crate::helper::PAUSE)
            .arg(&root)
            .args(pins.iter().map(|(_, path)| path))
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io(format!("cannot start {}", self.config.self_exe.display())))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let pid: i32 = text(&output.stdout).parse().map_err(|_| fail(text(&output.stderr)))?;
        let pause = ProcessId::of(pid).ok_or_else(|| fail("it ended at once".into()))?;
        let cgroup = record.cgroup.join("pause");
        self.cgroups.create(&cgroup).map_err(Error::io("cannot create the cgroup of the pause process"))?;
        for dir in self.cgroups.dirs(&cgroup) {
            fs::write(dir.join("cgroup.procs"), pid.to_string())
                .map_err(Error::io("cannot place the pause process"))?;
        }
        Ok(pause)
    }

    /// Namespace file of the sandbox's shared PID namespace.
    pub(super) fn pause_namespace(record: &SandboxRecord) -> Option<(&'static str, PathBuf)> {
        record.pause.map(|p| ("pid", PathBuf::from(format!("/proc/{}/ns/pid", p.pid))))
    }

    fn unmake_sandbox(&self, record: &SandboxRecord) -> Result<()> {
        cgroup::remove(&*self.cgroups, &record.cgroup)
            .map_err(Error::io(format!("cannot remove cgroup {}", record.cgroup.display())))?;
        self.unmake_files(record)
    }

    fn unmake_files(&self, record: &SandboxRecord) -> Result<()> {
        if let Some(pause) = record.pause.filter(|p| p.alive()) {
            let _ = kill(Pid::from_raw(pause.pid), Signal::SIGKILL);
            let cgroup = record.cgroup.join("pause");
            cgroup::remove(&*self.cgroups, &cgroup)
                .map_err(Error::io("cannot remove the cgroup of the pause process"))?;
        }
        let dir = self.sandbox_state(&record.id);
        unpin(&dir)?;
        remove_dir(&dir)?;
        // The record goes last: until then a restarted server knows that there is something to remove.
        remove_dir(&self.sandbox_root(&record.id))
    }
}

fn write_files(config: &SandboxConfig, dir: &Path) -> Result<()> {
    let host = match &config.network {
        NetworkMode::Node => {
            nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default()
        }
        _ => config.hostname.clone(),
    };
    let mut files = vec![("hostname", format!("{host}\n"))];
    files.extend(config.hosts.clone().map(|h| ("hosts", h)));
    files.extend(config.dns.as_ref().map(|d| ("resolv.conf", resolv_conf(d))));
    for (name, content) in files {
        let path = dir.join(name);
        fs::write(&path, content).map_err(Error::io(format!("cannot write {}", path.display())))?;
    }
    Ok(())
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_written_as_cri_does() {
        let own = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect();
        let dns = DnsConfig {
            servers: own(&["10.0.0.10"]),
            searches: own(&["a.svc", "svc"]),
            options: own(&["ndots:5"]),
        };
        assert_eq!(resolv_conf(&dns), "search a.svc svc\nnameserver 10.0.0.10\noptions ndots:5\n");
        assert_eq!(resolv_conf(&DnsConfig::default()), "");
    }
}
