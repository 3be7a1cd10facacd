//! Streams of real pods as people's programs open them: kubectl over WebSocket and over SPDY, and the clients for Python and
//! JavaScript. Needs root; says so without it, and skips what is not installed.

mod machine;

use std::process::{Command, Output};

use machine::{Machine, Server};

/// A web server, one that gives back what it gets, and one that counts.
const PODS: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
                    containers: [{name: main, image: 'localhost/web:1', command: [web], ports: [{containerPort: 8080}]}]\n\
                    ---\napiVersion: v1\nkind: Pod\nmetadata: {name: echo}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
                    containers: [{name: main, image: 'localhost/web:1', command: [cat], stdin: true}]\n\
                    ---\napiVersion: v1\nkind: Pod\nmetadata: {name: count}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
                    containers: [{name: main, image: 'localhost/web:1', command: [sh, -c, 'for i in 1 2 3; do echo $i; \
                    done; exec sleep 1000']}]\n";

/// A cluster with the pods; none where no containers can run.
fn cluster(name: &str) -> Option<(Machine, Server)> {
    let root = machine::workload_root()?;
    std::fs::create_dir(root.path().join("tmp")).unwrap();
    let machine = Machine::new(name);
    let tokens = machine.token_file();
    let server = machine.start(&[&tokens]);
    machine.write("kubeconfig", machine.kubeconfig());
    let root = root.path().to_str().unwrap();
    machine.run(&["images", "build", "localhost/web:1", "--rootfs", root, "--cmd", "/bin/web"]);
    machine.write("pods.yaml", PODS);
    machine.run(&["apply", "--wait", "-f", "pods.yaml"]);
    Some((machine, server))
}

/// Whether `program` runs with these arguments.
fn installed(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} {} does not run here", arguments.join(" "));
    }
    found
}

/// Runs a client for at most a minute.
fn run(
    machine: &Machine,
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let mut command = machine.client("timeout");
    command.args(["60", program]).args(arguments).envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn kubectl_streams_over_both_protocols() {
    if !installed("kubectl", &["version", "--client"]) {
        return;
    }
    let Some((machine, _server)) = cluster("kubectl-streams") else { return };
    for websockets in ["true", "false"] {
        let variables = [
            ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets),
            ("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets),
        ];
        let kubectl = |arguments: &[&str]| run(&machine, "kubectl", arguments, &variables);
        let done = kubectl(&["exec", "web", "--", "sh", "-c", "echo out; exit 4"]);
        assert_eq!(done, (Some(4), "out\ncommand terminated with exit code 4\n".to_owned()), "{websockets}");
        let (code, said) = kubectl(&["exec", "web", "--", "/no/such/program"]);
        assert_eq!(code, Some(1), "{websockets}: {said}");
        assert!(said.contains("error executing command in container: "), "{websockets}: {said}");
    }
    let logs = run(&machine, "kubectl", &["logs", "count", "--previous"], &[]);
    let why =
        "Error from server (BadRequest): previous terminated container \"main\" in pod \"count\" not found\n";
    assert_eq!(logs, (Some(1), why.to_owned()));
}

#[test]
fn the_python_client_streams() {
    if !installed("python3", &["-c", "import kubernetes"]) {
        return;
    }
    let Some((machine, _server)) = cluster("python-streams") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/streams.py");
    let said = run(&machine, "python3", &[script], &[]);
    assert_eq!(said, (Some(0), "executes\nrefuses\nattaches\nforwards\nreads\n".to_owned()));
}

#[test]
fn the_javascript_client_streams() {
    if !installed("node", &["-e", "require('@kubernetes/client-node')"]) {
        return;
    }
    let Some((machine, _server)) = cluster("node-streams") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/streams.mjs");
    let said = run(&machine, "node", &[script], &[]);
    assert_eq!(said, (Some(0), "executes\nattaches\nforwards\nreads\ncopies\n".to_owned()));
}
