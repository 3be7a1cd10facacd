//! What a container sees, and what it may not do.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Node, possible};
use runtime::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_containers_share_what_they_should() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node
        .pod(|p| {
            p.hostname = "web-0".into();
            p.hosts = Some("127.0.0.1 localhost\n".into());
            p.dns = Some(DnsConfig { servers: vec!["10.0.0.10".into()], ..Default::default() });
            p.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        })
        .await;
    let script = "hostname; cat /etc/resolv.conf /etc/hosts /proc/sys/net/ipv4/ip_forward; echo $$; echo shared > /dev/shm/x; echo 1 2>/dev/null > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo protected";
    let (exit, output) = node.run(&pod, script, |_| {}).await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(exit.exit_code, 0, "{output}");
    assert_eq!(lines, ["web-0", "nameserver 10.0.0.10", "127.0.0.1 localhost", "1", "1", "protected"]);
    let (_, output) =
        node.run(&pod, "cat /dev/shm/x; ls /proc/self/ns/net >/dev/null && echo ok", |_| {}).await;
    assert_eq!(output, "shared\nok\n");
    node.runtime.set_hosts(&pod, "1.2.3.4 new\n").await.unwrap();
    assert_eq!(node.run(&pod, "cat /etc/hosts", |_| {}).await.1, "1.2.3.4 new\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_capabilities_and_filters_hold() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let (_, output) = node
        .run(&pod, "id; pwd; echo $HOME $IMAGE $POD", |c| {
            c.security.run_as_user = Some(1000);
            c.security.supplemental_groups = vec![77];
            c.working_dir = "/made/here".into();
            c.env = vec![("POD".into(), "yes".into()), ("data-1".into(), "kept".into())];
        })
        .await;
    assert_eq!(
        output,
        "uid=1000(app) gid=1000(app) groups=50(extra),77,1000(app)\n/made/here\n/home/app yes yes\n"
    );
    let (exit, output) = node
        .run(&pod, "id -u", |c| {
            c.security.run_as_user = Some(1000);
            c.security.seccomp = SeccompProfile::RuntimeDefault;
        })
        .await;
    assert_eq!((exit.exit_code, output.as_str()), (0, "1000\n"), "{exit:?}");
    let caps = "grep -E 'CapEff|CapBnd|Seccomp:|NoNewPrivs' /proc/self/status";
    let seen = |text: String, name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(&format!("{name}:\t")).map(str::to_owned))
            .unwrap_or_default()
    };
    let (_, output) = node.run(&pod, caps, |c| c.security.seccomp = SeccompProfile::RuntimeDefault).await;
    assert_eq!(seen(output.clone(), "CapEff"), "00000000a80425fb", "{output}");
    assert_eq!(seen(output, "Seccomp"), "2");
    let (_, output) = node
        .run(&pod, caps, |c| {
            c.security.drop_capabilities = vec!["ALL".into()];
            c.security.no_new_privs = true;
            c.security.seccomp = SeccompProfile::RuntimeDefault;
        })
        .await;
    assert_eq!(
        (seen(output.clone(), "CapBnd").as_str(), seen(output.clone(), "NoNewPrivs").as_str()),
        ("0000000000000000", "1"),
        "{output}"
    );
    assert_eq!(seen(output, "Seccomp"), "2");
    let unshare = "unshare -n true 2>/dev/null; echo $?";
    let (_, output) = node
        .run(&pod, unshare, |c| {
            c.security.add_capabilities = vec!["SYS_ADMIN".into()];
            c.security.seccomp = SeccompProfile::RuntimeDefault;
        })
        .await;
    assert_eq!(output, "0\n");
    let (_, output) = node.run(&pod, unshare, |c| c.security.seccomp = SeccompProfile::RuntimeDefault).await;
    assert_eq!(output, "1\n");
    let (exit, output) = node
        .run(
            &pod,
            "touch /x 2>/dev/null; echo $?; mknod /dev/m b 8 0 2>/dev/null; head -c1 /dev/m 2>/dev/null; echo $?",
            |c| {
                c.security.readonly_rootfs = true;
            },
        )
        .await;
    assert_eq!((exit.exit_code, output.lines().last()), (0, Some("1")), "{output}");
    let (_, output) = node
        .run(&pod, "wc -c < /proc/interrupts; touch /proc/sys/kernel/x 2>/dev/null; echo $?", |_| {})
        .await;
    assert_eq!(output, "0\n1\n");
    let (exit, output) = node
        .run(&pod, "mount -t tmpfs t /tmp && echo mounted; ls /dev/kmsg", |c| c.security.privileged = true)
        .await;
    assert_eq!((exit.exit_code, output.as_str()), (0, "mounted\n/dev/kmsg\n"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_what_was_asked_for() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let host = node.dir.path().join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "content").unwrap();
    let mount = |path: &str, readonly: bool| Mount {
        host_path: host.clone(),
        container_path: path.into(),
        readonly,
        ..Default::default()
    };
    let (_, output) = node.run(&pod, "cat /data/file; echo; touch /data/x 2>/dev/null; echo $?; touch /rw/y; echo $?; cat /single/file; grep -c ' /mem tmpfs' /proc/mounts", |c| {
        c.mounts = vec![mount("/data", true), mount("/rw", false)];
        c.mounts.push(Mount { host_path: host.join("file"), container_path: "/single/file".into(), ..Default::default() });
        c.mounts.push(Mount { container_path: "/mem".into(), tmpfs_size_bytes: Some(1 << 20), ..Default::default() });
    })
    .await;
    assert_eq!(output, "content\n1\n0\ncontent1\n");
    assert!(host.join("y").exists());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_namespaces_are_shared_when_asked() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|p| p.pid = PidMode::Pod).await;
    let id = node.start(&pod, node.container(&["sleep", "1000"])).await;
    let (_, output) = node
        .run(
            &pod,
            "cat /proc/1/comm; ps -o args | grep -c '[s]leep 1000'; ls /proc/1/root/bin 2>&1 | wc -l",
            |_| {},
        )
        .await;
    assert_eq!(output.lines().take(2).collect::<Vec<_>>(), ["pause", "1"], "{output}");
    // Killing the first process kills the rest of the container too, though PID 1 lives on.
    let group = node.start(&pod, node.container(&["sh", "-c", "sleep 1001 & sleep 1001"])).await;
    node.runtime.stop_container(&group, std::time::Duration::ZERO).await.unwrap();
    let (_, output) = node.run(&pod, "ps -o args | grep -c '[s]leep 1001'", |_| {}).await;
    assert_eq!(output, "0\n");
    assert!(matches!(node.runtime.container_status(&id).unwrap().state, ContainerState::Running { .. }));
    let host = node
        .pod(|p| {
            p.pid = PidMode::Node;
            p.network = NetworkMode::Node;
            p.host_ipc = true;
        })
        .await;
    let (_, output) = node.run(&host, "cat /proc/1/comm", |_| {}).await;
    assert_eq!(output.trim(), std::fs::read_to_string("/proc/1/comm").unwrap().trim());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_spread_as_far_as_was_asked() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let host = node.dir.path().join("shared");
    std::fs::create_dir_all(host.join("sub")).unwrap();
    let none: Option<&str> = None;
    mount(Some(&host), &host, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &host, none, MsFlags::MS_SHARED, none).unwrap();
    let volume = |propagation| {
        let mut config =
            node.container(&["sh", "-c", "until test -e /v/go; do sleep 0.05; done; test -e /v/sub/marker"]);
        config.mounts = vec![Mount {
            host_path: host.clone(),
            container_path: "/v".into(),
            propagation,
            ..Default::default()
        }];
        config
    };
    let follower = node.start(&pod, volume(Propagation::HostToContainer)).await;
    let private = node.start(&pod, volume(Propagation::Private)).await;
    let mut config = volume(Propagation::Bidirectional);
    config.command[2] = "mount -t tmpfs t /v/sub && touch /v/sub/marker".into();
    config.security.privileged = true;
    let mounter = node.start(&pod, config).await;
    assert_eq!(node.ended(&mounter).await.exit_code, 0);
    let on_host = host.join("sub/marker").exists();
    std::fs::write(host.join("go"), "").unwrap();
    let (seen, unseen) = (node.ended(&follower).await.exit_code, node.ended(&private).await.exit_code);
    let _ = umount2(&host.join("sub"), MntFlags::MNT_DETACH);
    umount2(&host, MntFlags::MNT_DETACH).unwrap();
    assert_eq!((on_host, seen, unseen), (true, 0, 1));
    node.finish().await;
}
