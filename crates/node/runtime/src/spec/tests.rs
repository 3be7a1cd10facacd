//! What containers get, as tables.

use super::*;
use crate::config::{Mount, SandboxConfig};
use crate::status::User;

fn with(config: &ContainerConfig, image: &images::ImageConfig) -> Result<Value> {
    let user = Resolved { user: User { uid: 0, gid: 0, supplemental_groups: vec![0] }, home: "/root".into() };
    build(&Inputs {
        config,
        sandbox: &SandboxConfig { hosts: Some("127.0.0.1 localhost".into()), ..Default::default() },
        image,
        user: &user,
        rootfs: Path::new("/r"),
        cgroup: Path::new("/k/pod/c"),
        cgroup_dirs: None,
        namespaces: &[("network", "/run/net".into())],
        sandbox_files: Path::new("/s"),
        devices: &[],
        apparmor: false,
        hostname: "pod-1",
    })
}

fn image() -> images::ImageConfig {
    images::ImageConfig {
        entrypoint: vec!["/entry".into()],
        cmd: vec!["default".into()],
        env: vec!["A=image".into(), "B=image".into()],
        working_dir: "/work".into(),
        ..Default::default()
    }
}

#[test]
fn command_and_args_follow_kubernetes_table() {
    for (command, args, want) in [
        (vec![], vec![], vec!["/entry", "default"]),
        (vec![], vec!["x"], vec!["/entry", "x"]),
        (vec!["/c"], vec![], vec!["/c"]),
        (vec!["/c"], vec!["x"], vec!["/c", "x"]),
    ] {
        let own = |v: Vec<&str>| v.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let config = ContainerConfig { command: own(command), args: own(args), ..Default::default() };
        assert_eq!(arguments(&config, &image()).unwrap(), own(want));
    }
    assert!(arguments(&ContainerConfig::default(), &images::ImageConfig::default()).is_err());
}

#[test]
fn the_pods_environment_replaces_the_images() {
    let config = ContainerConfig {
        env: vec![("B".into(), "pod".into()), ("data-1".into(), "x=y".into())],
        ..Default::default()
    };
    let spec = with(&config, &image()).unwrap();
    let env: Vec<&str> =
        spec["process"]["env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(env[1..], ["HOSTNAME=pod-1", "HOME=/root", "A=image", "B=pod", "data-1=x=y"]);
    assert_eq!(spec["process"]["cwd"], "/work");
}

#[test]
fn privileged_containers_see_everything() {
    let mut config = ContainerConfig::default();
    let spec = with(&config, &image()).unwrap();
    assert!(spec["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    assert!(spec["process"].get("noNewPrivileges").is_none());
    config.security.privileged = true;
    let spec = with(&config, &image()).unwrap();
    assert_eq!(spec["linux"]["maskedPaths"], json!([]));
    assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], true);
}

#[test]
fn mounts_are_ordered_and_replace_the_default_ones() {
    let m = |path: &str| Mount { host_path: "/h".into(), container_path: path.into(), ..Default::default() };
    let mut config = ContainerConfig {
        mounts: vec![m("/a/b/c"), m("/a"), m("/etc/hosts"), m("/dev/shm")],
        ..Default::default()
    };
    config.mounts[1].readonly = true;
    config.mounts[1].propagation = Propagation::Bidirectional;
    let spec = with(&config, &image()).unwrap();
    let list = spec["mounts"].as_array().unwrap();
    let at = |path: &str| list.iter().position(|m| m["destination"] == path).unwrap();
    assert!(at("/a") < at("/a/b/c"));
    assert_eq!(list.iter().filter(|m| m["destination"] == "/etc/hosts").count(), 1);
    assert_eq!(list[at("/etc/hosts")]["source"], "/h");
    assert_eq!(list[at("/dev/shm")]["source"], "/h");
    assert_eq!(list[at("/a")]["options"], json!(["rbind", "rshared", "ro"]));
    assert_eq!(spec["linux"]["rootfsPropagation"], "shared");
}
