//! A runtime whose containers do what the test says.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubelet::backend::{BackendError, ContainerRuntime, Credential, ImageInfo, Result};
use parking_lot::Mutex;
use runtime::*;
use tokio::sync::{broadcast, watch};

pub struct FakeRuntime {
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
    /// Changes whenever a sandbox is removed.
    pub removed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    sandboxes: Vec<Sandbox>,
    containers: Vec<Container>,
    images: Vec<String>,
    pulls: usize,
    pull_error: Option<String>,
    exec: HashMap<String, i32>,
    log: Vec<String>,
    made: u64,
}

fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64
}

fn missing(id: &str) -> BackendError {
    BackendError::NotFound(format!("{id}: not found"))
}

impl FakeRuntime {
    pub fn new() -> Arc<FakeRuntime> {
        let state = State { images: vec!["busybox:1".into()], ..State::default() };
        Arc::new(FakeRuntime {
            state: Mutex::new(state),
            events: broadcast::channel(1024).0,
            removed: watch::Sender::new(()),
        })
    }

    /// What was asked of the runtime: `start main#0`, `stop main#0`, ...
    pub fn log(&self) -> Vec<String> {
        self.state.lock().log.clone()
    }

    /// The exit code of every command that begins with this word.
    pub fn set_exec(&self, command: &str, code: i32) {
        self.state.lock().exec.insert(command.to_owned(), code);
    }

    pub fn fail_pulls(&self, why: Option<&str>) {
        self.state.lock().pull_error = why.map(str::to_owned);
    }

    /// Lets the newest container of that name end.
    pub fn exit(&self, name: &str, code: i32) {
        let id = self.newest(name).expect("the container exists").id;
        self.end(&id, code);
    }

    pub fn newest(&self, name: &str) -> Option<Container> {
        self.state.lock().containers.iter().rev().find(|c| c.config.name == name).cloned()
    }

    fn end(&self, id: &str, code: i32) {
        let mut state = self.state.lock();
        let Some(container) = state.containers.iter_mut().find(|c| c.id == id) else { return };
        let ContainerState::Running { started_at_ns, .. } = container.state else { return };
        let exit = Exit {
            exit_code: code,
            signal: 0,
            reason: if code == 0 { "Completed" } else { "Error" }.into(),
            message: String::new(),
            started_at_ns,
            finished_at_ns: now(),
        };
        container.state = ContainerState::Exited(exit.clone());
        let event = RuntimeEvent::ContainerExited {
            container_id: id.into(),
            sandbox_id: container.sandbox_id.clone(),
            exit,
        };
        drop(state);
        let _ = self.events.send(event);
    }
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    fn name(&self) -> &str {
        "fake"
    }
    fn version(&self) -> String {
        "fake://1".into()
    }
    fn subscribe(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
    fn sandboxes(&self) -> Vec<Sandbox> {
        self.state.lock().sandboxes.clone()
    }
    fn containers(&self) -> Vec<Container> {
        self.state.lock().containers.clone()
    }
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String> {
        let mut state = self.state.lock();
        state.made += 1;
        let id = format!("sb{}", state.made);
        let netns = (config.network == NetworkMode::Pod).then(|| PathBuf::from("/proc/self/ns/net"));
        state.sandboxes.push(Sandbox {
            id: id.clone(),
            config: Arc::new(config),
            ready: true,
            created_at_ns: now(),
            netns,
            ips: vec![],
            cgroup: PathBuf::new(),
        });
        let _ = self.events.send(RuntimeEvent::SandboxStarted { sandbox_id: id.clone() });
        Ok(id)
    }
    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let running: Vec<String> =
            self.containers().into_iter().filter(|c| c.sandbox_id == id).map(|c| c.id).collect();
        running.iter().for_each(|c| self.end(c, 137));
        let mut state = self.state.lock();
        state.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.ready = false);
        let _ = self.events.send(RuntimeEvent::SandboxStopped { sandbox_id: id.into() });
        Ok(())
    }
    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.sandboxes.retain(|s| s.id != id);
        state.containers.retain(|c| c.sandbox_id != id);
        drop(state);
        self.removed.send_replace(());
        Ok(())
    }
    async fn set_sandbox_ips(&self, id: &str, ips: Vec<IpAddr>) -> Result<()> {
        let mut state = self.state.lock();
        state.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.ips = ips.clone());
        Ok(())
    }
    async fn set_hosts(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
    async fn update_sandbox_resources(&self, _: &str, _: &Resources) -> Result<()> {
        Ok(())
    }
    async fn create_container(&self, sandbox: &str, config: ContainerConfig, image: &str) -> Result<String> {
        let mut state = self.state.lock();
        state.made += 1;
        let id = format!("c{}", state.made);
        state.containers.push(Container {
            id: id.clone(),
            sandbox_id: sandbox.into(),
            log_path: PathBuf::from("/nonexistent").join(&config.log_path),
            config: Arc::new(config),
            image_id: image.into(),
            image_ref: image.into(),
            state: ContainerState::Created,
            created_at_ns: now(),
            user: User::default(),
            cgroup: PathBuf::new(),
            stop_signal: "SIGTERM".into(),
        });
        Ok(id)
    }
    async fn start_container(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock();
        let container = state.containers.iter_mut().find(|c| c.id == id).ok_or_else(|| missing(id))?;
        container.state = ContainerState::Running { pid: 1, started_at_ns: now() };
        let sandbox_id = container.sandbox_id.clone();
        let line = format!("start {}#{}", container.config.name, container.config.attempt);
        state.log.push(line);
        let _ = self.events.send(RuntimeEvent::ContainerStarted { container_id: id.into(), sandbox_id });
        Ok(())
    }
    async fn stop_container(&self, id: &str, _: Duration) -> Result<()> {
        let container = self.container(id)?;
        self.state.lock().log.push(format!("stop {}#{}", container.config.name, container.config.attempt));
        self.end(id, 143);
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state.lock().containers.retain(|c| c.id != id);
        Ok(())
    }
    fn container(&self, id: &str) -> Result<Container> {
        self.state.lock().containers.iter().find(|c| c.id == id).cloned().ok_or_else(|| missing(id))
    }
    async fn wait_container(&self, id: &str) -> Result<Exit> {
        let mut events = self.events.subscribe();
        loop {
            if let ContainerState::Exited(exit) = self.container(id)?.state {
                return Ok(exit);
            }
            let _ = events.recv().await;
        }
    }
    async fn update_resources(&self, id: &str, _: &Resources) -> Result<()> {
        let name = self.container(id)?.config.name.clone();
        self.state.lock().log.push(format!("resize {name}"));
        Ok(())
    }
    async fn actual_resources(&self, _: &str) -> Result<Resources> {
        Ok(Resources::default())
    }
    async fn exec(&self, _: &str, _: ExecRequest) -> Result<Session> {
        Err(BackendError::Failed("no exec here".into()))
    }
    async fn exec_sync(&self, _: &str, args: Vec<String>, _: Duration) -> Result<ExecOutput> {
        let mut state = self.state.lock();
        state.log.push(format!("exec {}", args.join(" ")));
        let exit_code = state.exec.get(&args[0]).copied().unwrap_or(0);
        Ok(ExecOutput { exit_code, ..ExecOutput::default() })
    }
    async fn attach(&self, _: &str, _: AttachRequest) -> Result<Session> {
        Err(BackendError::Failed("no attach here".into()))
    }
    async fn port_forward(&self, _: &str, port: u16) -> Result<tokio::net::TcpStream> {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|e| BackendError::Failed(e.to_string()))
    }
    async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats> {
        Ok(SandboxStats { sandbox_id: id.into(), ..SandboxStats::default() })
    }
    async fn pods_stats(&self) -> Result<CgroupStats> {
        Ok(CgroupStats::default())
    }
    fn image(&self, reference: &str) -> Option<ImageInfo> {
        let state = self.state.lock();
        let name = reference.strip_prefix("id-").unwrap_or(reference);
        let found = state.images.iter().find(|i| *i == name)?;
        Some(ImageInfo {
            id: format!("id-{found}"),
            reference: found.clone(),
            size_bytes: 7,
            ..ImageInfo::default()
        })
    }
    fn images(&self) -> Vec<ImageInfo> {
        vec![]
    }
    async fn pull(&self, reference: &str, _: Vec<Credential>) -> Result<ImageInfo> {
        let mut state = self.state.lock();
        state.pulls += 1;
        if let Some(why) = &state.pull_error {
            return Err(BackendError::Failed(why.clone()));
        }
        state.images.push(reference.to_owned());
        drop(state);
        self.image(reference).ok_or_else(|| missing(reference))
    }
    async fn remove_image(&self, _: &str) -> Result<u64> {
        Ok(0)
    }
    fn image_root(&self) -> PathBuf {
        "/".into()
    }
    async fn image_usage(&self) -> Result<(u64, u64)> {
        Ok((0, 0))
    }
    fn images_in_use(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
    fn image_layers(&self, _: &str) -> Vec<PathBuf> {
        vec![]
    }
}
