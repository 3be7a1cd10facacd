//! The program as its user runs it: a cluster comes up, keeps what it acknowledged, runs a workload, survives being killed,
//! and leaves nothing behind. The parts that need root say so without it.

mod machine;

use std::time::{Duration, Instant};

use machine::{Machine, get};

const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\ndata: {a: '1'}\n";

#[test]
fn a_control_plane_keeps_what_it_acknowledged() {
    let machine = Machine::new("plane");
    let mut server = machine.start(&["--no-node", "--bind-address", "127.0.0.1"]);
    machine.write("kept.yaml", MANIFEST);
    assert_eq!(machine.run(&["apply", "-f", "kept.yaml"]).trim(), "configmap/kept created");
    server.kill();

    let second = machine.start(&["--no-node", "--bind-address", "127.0.0.1"]);
    assert_eq!(
        machine.run(&["apply", "-f", "kept.yaml"]).trim(),
        "configmap/kept configured",
        "the object is still there"
    );
    assert!(machine.run(&["status"]).contains("running"), "status tells that it runs");
    let twice = machine.fails(&["up", "--foreground", "--no-node", "--port", &machine.port.to_string()]);
    assert!(twice.contains("already runs"), "{twice}");
    machine.run(&["down"]);
    second.ended(Duration::from_secs(15));
    assert!(machine.run(&["status"]).contains("stopped"));
}

#[test]
fn a_taken_port_is_named() {
    let machine = Machine::new("port");
    let taken = std::net::TcpListener::bind(("127.0.0.1", machine.port)).unwrap();
    let refused = machine.fails(&[
        "up",
        "--foreground",
        "--no-node",
        "--bind-address",
        "127.0.0.1",
        "--port",
        &machine.port.to_string(),
    ]);
    assert!(
        refused.contains(&format!("process {}", std::process::id())) && refused.contains("--port"),
        "{refused}"
    );
    drop(taken);
}

#[test]
fn a_workload_runs_and_outlives_the_server() {
    let Some(root) = machine::workload_root() else { return };
    let machine = Machine::new("workload");
    let mut server = machine.start(&[]);
    machine.run(&[
        "images",
        "build",
        "localhost/web:1",
        "--rootfs",
        root.path().to_str().unwrap(),
        "--cmd",
        "/bin/web",
    ]);
    let node_port = machine.node_port;
    machine.write("web.yaml", &include_str!("web.yaml").replace("NODEPORT", &node_port.to_string()));
    machine.run(&["apply", "--wait", "-f", "web.yaml"]);
    let first = get(node_port);
    assert!(first.starts_with("web-"), "a pod answers with its name: {first:?}");
    let before = machine.processes("httpd");
    assert_eq!(before.len(), 2, "two pods run: {before:?}");

    server.kill();
    assert!(get(node_port).starts_with("web-"), "pods answer while the server is down");
    let _second = machine.start(&[]);
    machine.run(&["apply", "--wait", "-f", "web.yaml"]);
    assert_eq!(machine.processes("httpd"), before, "the same processes run on");

    machine.run(&["reset"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !machine.processes("httpd").is_empty() {
        assert!(Instant::now() < deadline, "processes are left behind");
        std::thread::yield_now();
    }
    let left = machine.leftovers();
    assert!(left.is_empty(), "left behind: {left:?}");
}
