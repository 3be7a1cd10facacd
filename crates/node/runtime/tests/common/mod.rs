//! A node for one test: its own directories, its own cgroups, an image made from busybox.

#![allow(clippy::unwrap_used)]
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use images::{Build, Image, ImageConfig, LayerSource, Store, StoreConfig, build_layout};
use runtime::*;

/// Waits that only fail when something is wrong.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Node {
    pub dir: tempfile::TempDir,
    pub runtime: Runtime,
    pub image: Image,
    prefix: PathBuf,
}

/// Tests with containers need root and busybox; says so where they cannot run.
pub fn possible() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    if busybox().is_none() {
        println!("skipped: needs busybox-static");
        return false;
    }
    true
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|p| p.exists())
}

/// An image layout with busybox, its applets, and the usual directories.
pub fn busybox_layout(dir: &Path) -> PathBuf {
    let root = dir.join("busybox-root");
    for sub in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::copy(busybox().unwrap(), root.join("bin/busybox")).unwrap();
    fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    for applet in [
        "sh", "cat", "echo", "sleep", "id", "hostname", "kill", "ps", "dd", "mount", "ls", "nc", "stty",
        "env", "touch", "mkdir", "grep", "tail", "seq", "pwd", "mknod", "test", "head", "wc", "true",
        "unshare",
    ] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\nextra:x:50:app\n").unwrap();
    let layout = dir.join("layout");
    build_layout(
        &layout,
        &Build {
            name: "test/busybox:1".into(),
            layers: vec![LayerSource::Dir(root)],
            config: ImageConfig {
                cmd: vec!["sh".into()],
                env: vec!["IMAGE=yes".into()],
                ..Default::default()
            },
            gzip: false,
        },
    )
    .unwrap();
    layout
}

impl Node {
    pub async fn new() -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("frt").tempdir().unwrap();
        let prefix = PathBuf::from(format!(
            "/frt-{}-{}/kubepods",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let store = Store::open(dir.path().join("images"), StoreConfig::default()).unwrap();
        let image = store.import(&busybox_layout(dir.path()), None).await.unwrap().remove(0);
        let runtime = Node::open(dir.path(), &prefix, store);
        Node { dir, runtime, image, prefix }
    }

    fn open(dir: &Path, prefix: &Path, images: Store) -> Runtime {
        Runtime::open(RuntimeConfig {
            root: dir.join("root"),
            state: dir.join("state"),
            cgroup_prefix: prefix.into(),
            self_exe: env!("CARGO_BIN_EXE_ferrokube-runtime-agent").into(),
            images,
            seccomp_dir: dir.join("seccomp"),
        })
        .unwrap()
    }

    /// As after a restart of the server.
    pub fn reopen(&mut self) {
        let store = self.runtime.config().images.clone();
        self.runtime = Node::open(self.dir.path(), &self.prefix, store);
    }

    pub async fn pod(&self, change: impl FnOnce(&mut SandboxConfig)) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let uid = format!("uid-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut config = SandboxConfig {
            name: "pod".into(),
            namespace: "default".into(),
            hostname: "pod".into(),
            log_directory: self.dir.path().join("logs").join(&uid),
            uid,
            ..Default::default()
        };
        change(&mut config);
        self.runtime.run_sandbox(config).await.unwrap()
    }

    pub fn container(&self, command: &[&str]) -> ContainerConfig {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ContainerConfig {
            name: "c".into(),
            image: "test/busybox:1".into(),
            command: command.iter().map(|s| (*s).to_owned()).collect(),
            log_path: format!("c{}/0.log", NEXT.fetch_add(1, Ordering::Relaxed)).into(),
            ..Default::default()
        }
    }

    pub async fn create(&self, pod: &str, config: ContainerConfig) -> String {
        self.runtime.create_container(pod, config, &self.image).await.unwrap()
    }

    /// Creates and starts.
    pub async fn start(&self, pod: &str, config: ContainerConfig) -> String {
        let id = self.create(pod, config).await;
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    /// Runs a script to its end in a container of its own; gives the exit and the log's text without the prefixes.
    pub async fn run(
        &self,
        pod: &str,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> (Exit, String) {
        let mut config = self.container(&["sh", "-c", script]);
        change(&mut config);
        let id = self.start(pod, config).await;
        let exit = self.ended(&id).await;
        (exit, self.output(&id))
    }

    pub async fn ended(&self, id: &str) -> Exit {
        tokio::time::timeout(SOON, self.runtime.wait_container(id))
            .await
            .expect("the container ends")
            .unwrap()
    }

    /// The log's text without times, streams and tags.
    pub fn output(&self, id: &str) -> String {
        let log = fs::read_to_string(self.runtime.container_status(id).unwrap().log_path).unwrap_or_default();
        log.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n").collect()
    }

    pub fn pid(&self, id: &str) -> i32 {
        match self.runtime.container_status(id).unwrap().state {
            ContainerState::Running { pid, .. } => pid,
            other => panic!("not running: {other:?}"),
        }
    }

    /// Removes everything and checks that nothing is left.
    pub async fn finish(self) {
        self.runtime.cleanup_all().await.unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let dir = self.dir.path().to_str().unwrap();
        assert!(!mounts.contains(dir), "mounts are left: {mounts}");
        for controller in ["memory", "cpu", "pids"] {
            let left = self.runtime.cgroup_dir(controller, self.prefix.parent().unwrap());
            assert_eq!(left, None, "cgroups are left");
        }
        let shims = processes_with(dir);
        assert!(shims.is_empty(), "processes are left: {shims:?}");
        for sub in ["sandboxes", "containers"] {
            assert_eq!(fs::read_dir(self.dir.path().join("root").join(sub)).unwrap().count(), 0);
        }
        assert!(self.runtime.config().images.in_use().is_empty());
    }
}

/// Processes that have a text in their command line and are not zombies.
pub fn processes_with(text: &str) -> BTreeMap<i32, String> {
    let mut found = BTreeMap::new();
    // A shim says that its container has ended shortly before it ends itself.
    for _ in 0..200 {
        found.clear();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(text) && pid != std::process::id() as i32 {
                found.insert(pid, line);
            }
        }
        if found.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    found
}
