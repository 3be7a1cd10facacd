//! Containers from start to end, as the kubelet uses them.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Node, possible};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_logs_and_ends() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let mut events = node.runtime.subscribe();
    let begun = Instant::now();
    let pod = node.pod(|_| {}).await;
    let made = begun.elapsed();
    let id =
        node.create(&pod, node.container(&["sh", "-c", "echo out; echo err >&2; printf tail; exit 3"])).await;
    assert_eq!(node.runtime.container_status(&id).unwrap().state, ContainerState::Created);
    node.runtime.start_container(&id).await.unwrap();
    println!("sandbox {made:?}, sandbox and container {:?}", begun.elapsed());
    let exit = node.ended(&id).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (3, "Error"));
    assert!(exit.started_at_ns > 0 && exit.finished_at_ns >= exit.started_at_ns);
    let log = std::fs::read_to_string(node.runtime.container_status(&id).unwrap().log_path).unwrap();
    let mut lines: Vec<&str> = log.lines().map(|l| l.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    // A last line without its end is partial, so that whoever prints it adds none.
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P tail"]);
    assert!(matches!(node.runtime.start_container(&id).await, Err(Error::WrongState { .. })));
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(RuntimeEvent::ContainerExited { .. })) {
        seen.push(tokio::time::timeout(common::SOON, events.recv()).await.expect("an event comes").unwrap());
    }
    assert!(matches!(seen[0], RuntimeEvent::SandboxStarted { .. }), "{seen:?}");
    assert!(
        matches!(seen.last(), Some(RuntimeEvent::ContainerExited { exit, .. }) if exit.exit_code == 3),
        "{seen:?}"
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_finds_the_same_processes() {
    if !possible() {
        return;
    }
    let mut node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let id = node
        .start(&pod, node.container(&["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]))
        .await;
    let short = node.start(&pod, node.container(&["sleep", "0.3"])).await;
    let created = node.create(&pod, node.container(&["true"])).await;
    node.runtime.set_sandbox_ips(&pod, vec!["10.1.2.3".parse().unwrap()]).await.unwrap();
    let pid = node.pid(&id);
    node.reopen();
    assert_eq!(node.pid(&id), pid);
    let sandbox = node.runtime.sandbox(&pod).unwrap();
    assert!(sandbox.ready);
    assert_eq!(sandbox.ips, ["10.1.2.3".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(node.runtime.container_status(&created).unwrap().state, ContainerState::Created);
    assert_eq!(node.ended(&short).await.exit_code, 0);
    node.reopen();
    assert!(
        matches!(node.runtime.container_status(&short).unwrap().state, ContainerState::Exited(e) if e.exit_code == 0)
    );
    node.runtime.stop_container(&id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(node.ended(&id).await.exit_code, 7);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_is_noticed() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let id = node.start(&pod, node.container(&["sleep", "1000"])).await;
    kill(Pid::from_raw(node.pid(&id)), Signal::SIGKILL).unwrap();
    let exit = node.ended(&id).await;
    assert_eq!((exit.exit_code, exit.signal, exit.reason.as_str()), (137, 9, "Error"));
    // PID 1 ignores SIGTERM, so the grace period runs out.
    let deaf = node.start(&pod, node.container(&["sleep", "1000"])).await;
    node.runtime.stop_container(&deaf, Duration::from_millis(50)).await.unwrap();
    assert_eq!(node.ended(&deaf).await.exit_code, 137);
    // A shim that is killed takes its container along.
    let orphan = node.start(&pod, node.container(&["sleep", "1000"])).await;
    let pid = node.pid(&orphan);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let shim: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    let exit = node.ended(&orphan).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (255, "Unknown"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_memory_is_told_apart() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let mut config = node.container(&["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=200M count=1"]);
    config.resources.memory_limit_bytes = Some(32 << 20);
    config.resources.memory_swap_limit_bytes = Some(32 << 20);
    let id = node.start(&pod, config).await;
    let exit = node.ended(&id).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (137, "OOMKilled"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    for (command, want) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let id = node.create(&pod, node.container(&[command])).await;
        let error = node.runtime.start_container(&id).await.unwrap_err().to_string();
        assert!(error.ends_with(want), "{error}");
        let ContainerState::Exited(exit) = node.runtime.container_status(&id).unwrap().state else {
            panic!()
        };
        assert_eq!((exit.exit_code, exit.reason.as_str(), exit.message), (128, "StartError", error));
    }
    let mut config = node.container(&["true"]);
    config.security.run_as_username = Some("nobody-here".into());
    let error = node.runtime.create_container(&pod, config, &node.image).await.unwrap_err();
    assert!(error.to_string().contains("unable to find user nobody-here"), "{error}");
    assert_eq!(node.runtime.config().images.owners().len(), 3);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_change_in_place() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|p| p.qos = QosClass::Burstable).await;
    let mut config = node.container(&["sh", "-c", "echo x > /big; while :; do sleep 1; done"]);
    config.resources = Resources {
        cpu_shares: Some(512),
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(100_000),
        memory_limit_bytes: Some(64 << 20),
        pids_limit: Some(100),
        ..Default::default()
    };
    let id = node.start(&pod, config).await;
    let pid = node.pid(&id);
    let change = Resources {
        cpu_quota_us: Some(80_000),
        cpu_burst_us: Some(20_000),
        memory_limit_bytes: Some(96 << 20),
        ..Default::default()
    };
    node.runtime.update_resources(&id, &change).await.unwrap();
    let now = node.runtime.actual_resources(&id).await.unwrap();
    assert_eq!(
        (now.cpu_quota_us, now.memory_limit_bytes, now.pids_limit),
        (Some(80_000), Some(96 << 20), Some(100))
    );
    assert_eq!(node.pid(&id), pid);
    let stats = node.runtime.sandbox_stats(&pod).await.unwrap();
    let own = stats.containers[0].cgroup.clone().unwrap();
    assert!(own.cpu_usage_ns > 0 && own.memory_working_set_bytes > 0 && own.pids >= 1, "{own:?}");
    assert_eq!(own.memory_limit_bytes, Some(96 << 20));
    assert!(stats.cgroup.unwrap().memory_usage_bytes >= own.memory_rss_bytes);
    let cgroup = node.runtime.container_status(&id).unwrap().cgroup;
    assert!(cgroup.to_str().unwrap().contains("/burstable/poduid-"), "{cgroup:?}");
    node.finish().await;
}
