//! A pod with the real runtime and the real pod network, in a network and mount namespace of its own. Needs root.
//!
//! Without libtest's harness: this program is also the runtime's helper, which must be single-threaded from the start.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use images::{Build, ImageConfig, LayerSource, Store, StoreConfig, build_layout};
use kubelet::Native;
use kubelet::backend::ContainerRuntime;
use kubelet::network::BuiltIn;
use meta::IntOrString;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use runtime::{Runtime, RuntimeConfig};
use support::{Api, config, is, pod};
use types::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, HTTPGetAction, Pod, Probe, Volume,
    VolumeMount,
};

fn main() {
    if let Some(code) = runtime::dispatch() {
        std::process::exit(code);
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    if !Path::new("/usr/bin/busybox").exists() {
        println!("skipped: needs busybox-static");
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("root may have namespaces of its own");
    let shared = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, shared, None::<&str>).expect("mounts here stay here");
    let up = std::process::Command::new("/usr/bin/busybox").args(["ip", "link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|s| s.success()), "loopback comes up");
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test());
    println!("test a_real_pod ... ok");
}

fn layout(dir: &Path) -> PathBuf {
    let root = dir.join("image-root");
    for sub in ["bin", "etc", "tmp", "www"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
    fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    for applet in ["sh", "cat", "echo", "sleep", "httpd", "ls", "env", "hostname"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("www/index.html"), "hello\n").unwrap();
    let layout = dir.join("layout");
    let config = ImageConfig { cmd: vec!["sh".into()], ..Default::default() };
    let build = Build { name: "busybox:1".into(), layers: vec![LayerSource::Dir(root)], config, gzip: false };
    build_layout(&layout, &build).unwrap();
    layout
}

fn web(pod: &mut Pod) {
    let script = "echo started; cat /etc/settings/color; echo said > /dev/termination-log; exec httpd -f -p 8080 -h /www";
    let get = HTTPGetAction {
        path: "/".into(),
        port: IntOrString::Int(8080),
        scheme: "HTTP".into(),
        ..Default::default()
    };
    let container = &mut pod.spec.containers[0];
    container.command = ["sh", "-c", script].into_iter().map(Into::into).collect();
    container.readiness_probe = Some(Box::new(Probe {
        http_get: Some(Box::new(get)),
        period_seconds: 10,
        timeout_seconds: 1,
        success_threshold: 1,
        failure_threshold: 3,
        ..Default::default()
    }));
    let at = |name: &str, path: &str| VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        ..Default::default()
    };
    container.volume_mounts.push(at("settings", "/etc/settings"));
    container.volume_mounts.push(at("scratch", "/scratch"));
    let map = ConfigMapVolumeSource { name: "settings".into(), ..Default::default() };
    pod.spec.volumes.push(Volume {
        name: "settings".into(),
        config_map: Some(Box::new(map)),
        ..Default::default()
    });
    let empty = EmptyDirVolumeSource { medium: "Memory".into(), ..Default::default() };
    pod.spec.volumes.push(Volume {
        name: "scratch".into(),
        empty_dir: Some(Box::new(empty)),
        ..Default::default()
    });
}

async fn test() {
    let dir = tempfile::Builder::new().prefix("fkl").tempdir().unwrap();
    let images = Store::open(dir.path().join("images"), StoreConfig::default()).unwrap();
    images.import(&layout(dir.path()), None).await.unwrap();
    let prefix = PathBuf::from(format!("/fkl-{}/kubepods", std::process::id()));
    let open = || {
        Runtime::open(RuntimeConfig {
            root: dir.path().join("root"),
            state: dir.path().join("state"),
            cgroup_prefix: prefix.clone(),
            self_exe: std::env::current_exe().unwrap(),
            images: images.clone(),
            seccomp_dir: dir.path().join("seccomp"),
        })
        .unwrap()
    };
    let runtime = open();
    let network = Arc::new(BuiltIn::default());
    let settings = cni::Config {
        pod_cidrs: vec!["10.244.9.0/24".parse().unwrap()],
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        state_dir: dir.path().join("net"),
        link_prefix: "fkl".into(),
        table: "fkl-pods".into(),
        ..Default::default()
    };
    network.set(Arc::new(cni::Network::open(settings, Box::new(cni::HostGateway)).unwrap()));
    let api = Api::new();
    let native: Arc<dyn ContainerRuntime> = Arc::new(Native::new(runtime.clone(), images.clone()));
    let mut first = config(&api, native, dir.path());
    first.network = network.clone();
    let handle = kubelet::run(first).unwrap();
    handle.ready().await;

    let mut map = ConfigMap::default();
    map.metadata.name = "settings".into();
    map.metadata.namespace = "default".into();
    map.data.insert("color", "blue\n".into());
    api.create(map);
    let began = Instant::now();
    api.create(pod("web", web));
    let ready = api.pod("web", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await.unwrap();
    println!("pod created to Ready: {:?}", began.elapsed());
    assert!(ready.status.pod_ip.starts_with("10.244.9."), "{:?}", ready.status);
    let id = ready.status.container_statuses[0].container_id.trim_start_matches("ferrokube://").to_owned();
    logged(&runtime, &id).await;
    live_update(&api, &runtime, &id).await;
    restart(&api, &runtime, &network, handle, dir.path(), &images, &id).await;
    // Other clusters of this machine have volumes of their own.
    let own = dir.path().join("kubelet/pods").display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let left: Vec<&str> = mounts.lines().filter(|mount| mount.contains(&own)).collect();
    assert!(left.is_empty(), "volumes are left: {left:?}");
    runtime.cleanup_all().await.unwrap();
}

/// The log is written beside the container, so its lines may come a moment after the pod is ready.
async fn logged(runtime: &Runtime, id: &str) {
    let path = runtime.container_status(id).unwrap().log_path;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let log = fs::read_to_string(&path).unwrap();
        if log.contains(" stdout F started\n") && log.contains(" stdout F blue\n") {
            return;
        }
        assert!(Instant::now() < deadline, "the log is not complete: {log}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn live_update(api: &Arc<Api>, runtime: &Runtime, id: &str) {
    api.change::<ConfigMap>("default", "settings", |map| {
        map.data.insert("color", "green\n".into());
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let args = vec!["cat".to_owned(), "/etc/settings/color".to_owned()];
        let output = runtime.exec_sync(id, args, Duration::from_secs(5)).await.unwrap();
        if output.stdout == b"green\n" {
            return;
        }
        assert!(Instant::now() < deadline, "the change never arrived: {output:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The next kubelet finds the pod as it is, sees a crash, and ends the pod when it is deleted.
async fn restart(
    api: &Arc<Api>,
    runtime: &Runtime,
    network: &Arc<BuiltIn>,
    handle: kubelet::KubeletHandle,
    dir: &Path,
    images: &Store,
    id: &str,
) {
    handle.shutdown().await;
    let mut second = config(api, Arc::new(Native::new(runtime.clone(), images.clone())), dir);
    second.network = network.clone();
    let handle = kubelet::run(second).unwrap();
    handle.ready().await;
    runtime.kill_container(id, 9).await.unwrap();
    let restarted = api.pod("web", "restarted", |p| {
        p.is_some_and(|p| is(p, "Ready") && p.status.container_statuses[0].restart_count == 1)
    });
    let status = restarted.await.unwrap().status.container_statuses[0].clone();
    let last = status.last_state.terminated.unwrap();
    assert_eq!((last.exit_code, last.message.as_str()), (137, "said\n"));

    api.create(pod("job", |p| {
        p.spec.restart_policy = "Never".into();
        p.spec.containers[0].command = ["sh", "-c", "exit 3"].into_iter().map(Into::into).collect();
        let side = Container {
            name: "side".into(),
            image: "busybox:1".into(),
            restart_policy: Some("Always".into()),
            command: ["sleep", "1000"].into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        p.spec.init_containers.push(side);
    }));
    let failed = api.pod("job", "failed", |p| p.is_some_and(|p| p.status.phase == "Failed")).await.unwrap();
    assert_eq!(failed.status.container_statuses[0].state.terminated.as_ref().unwrap().exit_code, 3);
    for name in ["web", "job"] {
        api.delete_pod(name, 1);
        api.pod(name, "gone", |p| p.is_none()).await;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !runtime.sandboxes().is_empty() {
        assert!(Instant::now() < deadline, "sandboxes are left: {:?}", runtime.sandboxes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    handle.shutdown().await;
}
