//! A node as a process of its own: it joins a control plane by a bootstrap token, runs a workload, and leaves nothing behind.
//! Needs root, and says so without it.

mod machine;

use std::os::unix::fs::PermissionsExt;

use machine::{Machine, get};
use serde_json::Value;

const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// The items of a list.
fn items(machine: &Machine, path: &str) -> Vec<Value> {
    let (status, body) = machine.request(path, &[]);
    assert_eq!(status, 200, "{body}");
    let list: Value = serde_json::from_str(&body).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Watches the requests of serving certificates until there is one without a verdict, and approves it.
fn approve_serving(machine: &Machine) {
    let path = format!(
        "{CSRS}?watch=true&timeoutSeconds=15&fieldSelector=spec.signerName%3Dkubernetes.io%2Fkubelet-serving"
    );
    let request = machine.first_event(&path);
    let mut object: Value = serde_json::from_str(&request).unwrap();
    let object = object["object"].take();
    assert_eq!(object["spec"]["username"], "system:node:joined", "{object}");
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let mut approved = object;
    approved["status"] = serde_json::json!({"conditions": [
        {"type": "Approved", "status": "True", "reason": "Test", "message": "it is ours"},
    ]});
    machine.write("approved.json", approved.to_string());
    let arguments = ["-X", "PUT", "-H", "Content-Type: application/json", "--data-binary", "@approved.json"];
    let (status, body) = machine.request(&format!("{CSRS}/{name}/approval"), &arguments);
    assert_eq!(status, 200, "{body}");
}

#[test]
fn a_node_joins_by_a_token_and_runs_a_workload() {
    let Some(root) = machine::workload_root() else { return };
    let machine = Machine::new("plane");
    let tokens = machine.token_file();
    let _plane = machine.start(&["--no-node", &tokens]);
    machine.write(
        "bootstrap.kubeconfig",
        machine.run(&["token", "create", "--print-kubeconfig", "--ttl", "1h"]),
    );
    let listed = machine.run(&["token", "list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("authentication,signing"), "{listed}");

    let node = machine.beside("joined");
    let ca = machine.path("data/pki/ca.crt");
    let options = [
        "--bootstrap-kubeconfig=bootstrap.kubeconfig",
        "--hostname-override=joined",
        "--rotate-certificates",
        "--rotate-server-certificates",
        "--node-labels=example.com/rack=7",
        "--register-with-taints=example.com/new=yes:PreferNoSchedule",
        &format!("--client-ca-file={}", ca.display()),
    ];
    let running = node.start_kubelet(&options);
    let nodes = items(&machine, "/api/v1/nodes");
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0]["metadata"]["labels"]["example.com/rack"], "7");
    assert_eq!(nodes[0]["spec"]["taints"][0]["key"], "example.com/new");
    let issued = items(&machine, CSRS);
    let client =
        issued.iter().find(|one| one["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client-kubelet");
    let asked_by = client.unwrap()["spec"]["username"].as_str().unwrap();
    assert!(asked_by.starts_with("system:bootstrap:"), "{asked_by}");
    let link = machine.path("joined/kubelet/pki/kubelet-client-current.pem");
    assert_eq!(std::fs::metadata(&link).unwrap().permissions().mode() & 0o077, 0);
    approve_serving(&machine);

    let root_dir = root.path().to_str().unwrap();
    node.run(&["images", "build", "localhost/web:1", "--rootfs", root_dir, "--cmd", "/bin/web"]);
    let manifest = include_str!("web.yaml").replace("NODEPORT", &machine.node_port.to_string());
    machine.write("web.yaml", manifest);
    machine.run(&["apply", "--wait", "-f", "web.yaml"]);
    let first = get(machine.node_port);
    assert!(first.starts_with("web-"), "a pod answers through its Service: {first:?}");
    let pods = items(&machine, "/api/v1/namespaces/default/pods");
    let pod = pods[0]["metadata"]["name"].as_str().unwrap();
    let (status, logs) = machine.request(&format!("/api/v1/namespaces/default/pods/{pod}/log"), &[]);
    assert_eq!(
        (status, logs.as_str()),
        (200, ""),
        "the API server reaches the kubelet, and trusts its certificate"
    );

    // The next process goes on with the credentials and the containers that are there.
    node.run(&["down"]);
    drop(running);
    assert!(get(machine.node_port).starts_with("web-"), "pods answer while the kubelet is down");
    let before = machine.processes("httpd");
    let _again = node.start_kubelet(&options);
    machine.run(&["apply", "--wait", "-f", "web.yaml"]);
    assert_eq!(machine.processes("httpd"), before, "the same processes run on");
    let clients = items(&machine, CSRS)
        .iter()
        .filter(|one| one["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client-kubelet")
        .count();
    assert_eq!(clients, 1, "no second certificate was asked for");

    node.run(&["reset"]);
    let left = node.leftovers();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn what_is_no_use_is_refused_before_anything_is_made() {
    if !machine::runs_containers() {
        return;
    }
    let machine = Machine::new("refused");
    let node = machine.beside("refused");
    machine.write(
        "config.yaml",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxpods: 3\n",
    );
    let said = node.fails(&["kubelet", "--kubeconfig=none", "--config=config.yaml"]);
    assert!(said.contains("strict decoding error: unknown field \"maxpods\""), "{said}");
    let said = node.fails(&["kubelet"]);
    assert!(said.contains("--bootstrap-kubeconfig"), "{said}");
    let server = format!("127.0.0.1:{}", machine.port);
    let said = node.fails(&["join", &server, "--token=short", "--ca-cert-hash=sha256:00"]);
    assert!(said.contains("is not of the form"), "{said}");
    let tokens = machine.token_file();
    let _plane = machine.start(&["--no-node", &tokens]);
    let token = machine.run(&["token", "create"]);
    let token = format!("--token={}", token.trim());
    let said = node.fails(&["join", &server, &token, "--ca-cert-hash=sha256:00"]);
    assert!(said.contains("none of the public keys"), "{said}");
    let said = node.fails(&["join", &server, "--token=abcdef.0123456789abcdef", "--ca-cert-hash=sha256:00"]);
    assert!(said.contains("is invalid for this cluster or it has expired"), "{said}");
    assert!(node.leftovers().is_empty(), "nothing was made");
}
