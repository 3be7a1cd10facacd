//! Programs that people use with Kubernetes, run against a server: kubectl, helm, and the clients for Python and
//! JavaScript. One that is not installed is skipped and says so; nothing is installed for these tests.

mod machine;

use std::process::{Command, Output};

use machine::{Machine, Server};

const MANIFEST: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n  \
                        selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
                        spec: {containers: [{name: main, image: 'registry.example/web:1'}]}\n";

/// A control plane for one client.
fn plane(name: &str) -> (Machine, Server) {
    let machine = Machine::new(name);
    let tokens = machine.token_file();
    let server = machine.start(&["--no-node", "--bind-address", "127.0.0.1", &tokens]);
    machine.write("kubeconfig", machine.kubeconfig());
    (machine, server)
}

/// Whether `program` runs with these arguments.
fn installed(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} {} does not run here", arguments.join(" "));
    }
    found
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a client, which must succeed, and gives what it prints.
fn run(machine: &Machine, program: &str, arguments: &[&str]) -> String {
    let output = machine.client(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a client, which must fail, and gives what it prints.
fn refused(machine: &Machine, program: &str, arguments: &[&str]) -> String {
    let output = machine.client(program).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{program} {arguments:?} did not fail: {}", text(&output));
    text(&output)
}

#[test]
fn kubectl_works() {
    if !installed("kubectl", &["version", "--client"]) {
        return;
    }
    let (machine, _server) = plane("kubectl");
    let kubectl = |arguments: &[&str]| run(&machine, "kubectl", arguments);
    machine.write("web.yaml", MANIFEST);
    assert_eq!(kubectl(&["apply", "-f", "web.yaml"]), "deployment.apps/web created\n");
    assert_eq!(
        kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "web.yaml"]),
        "deployment.apps/web serverside-applied\n"
    );
    assert_eq!(kubectl(&["diff", "-f", "web.yaml"]), "");
    kubectl(&["wait", "--for=create", "pod", "-l", "app=web", "--timeout=20s"]);
    assert_eq!(kubectl(&["scale", "deployment/web", "--replicas=3"]), "deployment.apps/web scaled\n");
    kubectl(&["wait", "--for=jsonpath={.status.replicas}=3", "deployment/web", "--timeout=20s"]);
    assert_eq!(kubectl(&["auth", "can-i", "delete", "pods"]), "yes\n");
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\n\
                rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n";
    machine.write("role.yaml", role);
    assert!(kubectl(&["auth", "reconcile", "-f", "role.yaml"]).contains("reader reconciled"));
    let raw = kubectl(&["get", "--raw", "/api/v1/namespaces/default"]);
    assert!(raw.contains("\"kind\":\"Namespace\""), "{raw}");
    let explained = kubectl(&["explain", "deployment.spec.replicas"]);
    assert!(explained.contains("FIELD: replicas <integer>"), "{explained}");
    let top = refused(&machine, "kubectl", &["top", "nodes"]);
    assert!(top.contains("Metrics API not available"), "{top}");
    kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=20s"]);
}

#[test]
fn helm_installs_upgrades_and_rolls_back() {
    if !installed("helm", &["version"]) {
        return;
    }
    let (machine, _server) = plane("helm");
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/chart");
    let helm = |arguments: &[&str]| run(&machine, "helm", arguments);
    let greeting = || {
        let (status, body) = machine.request("/api/v1/namespaces/default/configmaps/greeter", &[]);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        (status, body["data"]["greeting"].as_str().unwrap_or_default().to_owned())
    };
    assert!(helm(&["install", "greeter", chart]).contains("STATUS: deployed"));
    assert_eq!(greeting(), (200, "hello".to_owned()));
    helm(&["upgrade", "greeter", chart, "--set", "greeting=bye"]);
    assert_eq!(greeting(), (200, "bye".to_owned()));
    assert!(helm(&["rollback", "greeter", "1"]).contains("success"));
    assert_eq!(greeting(), (200, "hello".to_owned()));
    let history: serde_json::Value =
        serde_json::from_str(&helm(&["history", "greeter", "--output", "json"])).unwrap();
    let states: Vec<&str> =
        history.as_array().unwrap().iter().filter_map(|revision| revision["status"].as_str()).collect();
    assert_eq!(states, ["superseded", "superseded", "deployed"]);
    helm(&["uninstall", "greeter"]);
    assert_eq!(greeting().0, 404);
}

#[test]
fn the_python_client_works() {
    if !installed("python3", &["-c", "import kubernetes"]) {
        return;
    }
    let (machine, _server) = plane("python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/client.py");
    assert_eq!(run(&machine, "python3", &[script]), "verbs\nwatches\napplies\nelects\nreviews\n");
}

#[test]
fn the_javascript_client_works() {
    if !installed("node", &["-e", "require('@kubernetes/client-node')"]) {
        return;
    }
    let (machine, _server) = plane("node");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/client.mjs");
    assert_eq!(run(&machine, "node", &[script]), "verbs\ninforms\napplies\n");
}
