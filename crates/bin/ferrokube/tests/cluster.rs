//! The program as its user runs it: a cluster comes up, keeps what it acknowledged, runs a workload, survives being killed,
//! and leaves nothing behind. The parts that need root say so without it.

#[allow(dead_code)]
mod machine;

use std::time::Duration;

use machine::Machine;

const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\ndata: {a: '1'}\n";

#[test]
fn a_control_plane_keeps_what_it_acknowledged() {
    let machine = Machine::new("plane");
    let mut server = machine.start(&["--no-node", "--bind-address", "127.0.0.1"]);
    machine.write("kept.yaml", MANIFEST);
    assert_eq!(machine.run(&["apply", "-f", "kept.yaml"]).trim(), "configmap/kept created");
    server.kill();

    let second = machine.start(&["--no-node", "--bind-address", "127.0.0.1"]);
    assert_eq!(machine.run(&["apply", "-f", "kept.yaml"]).trim(), "configmap/kept configured", "the object is still there");
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
    assert!(refused.contains(&format!("process {}", std::process::id())) && refused.contains("--port"), "{refused}");
    drop(taken);
}
