//! Bad input of every kind, sent to a running server as strangers send it: each gets the error that Kubernetes gives, and
//! the server goes on.

mod machine;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use machine::Machine;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "Content-Type: application/json";
const YAML: &str = "Content-Type: application/yaml";
const PROTOBUF: &str = "Content-Type: application/vnd.kubernetes.protobuf";
const MERGE: &str = "Content-Type: application/merge-patch+json";
const JSON_PATCH: &str = "Content-Type: application/json-patch+json";

/// Method, path, content type, body; the status and a part of the answer.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);

#[test]
fn malformed_requests_get_upstreams_errors() {
    let machine = Machine::new("hostile");
    let tokens = machine.token_file();
    let _server = machine.start(&["--no-node", "--bind-address", "127.0.0.1", &tokens]);
    let deep = format!("{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"x\":{}", "[".repeat(200_000));
    let bomb = format!("a: &a [{}]\n", "x,".repeat(40))
        + "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        + "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e]\n";
    let huge = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"huge\"}},\"data\":{{\"a\":\"{}\"}}}}",
        "x".repeat(3 * 1024 * 1024)
    );
    let operations = format!("[{}]", vec!["{\"op\":\"test\",\"path\":\"/a\"}"; 10_001].join(","));
    let cases: &[Case<'_>] = &[
        ("POST", MAPS, JSON, b"{\"apiVersion\":\"v1\",", 400, "unexpected"),
        ("POST", MAPS, JSON, b"", 400, "BadRequest"),
        ("POST", MAPS, JSON, b"\xff\xfe\x00", 400, "BadRequest"),
        ("POST", MAPS, JSON, deep.as_bytes(), 400, "BadRequest"),
        (
            "POST",
            MAPS,
            JSON,
            b"{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}",
            400,
            "converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        ("POST", MAPS, JSON, b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":7}", 400, "BadRequest"),
        (
            "POST",
            MAPS,
            JSON,
            b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{}}",
            422,
            "name or generateName is required",
        ),
        ("POST", MAPS, YAML, b"a: [b", 400, "BadRequest"),
        ("POST", MAPS, YAML, bomb.as_bytes(), 400, "BadRequest"),
        ("POST", MAPS, PROTOBUF, b"k8s\x00\x0a\xff\xff\xff\xff\x7f", 400, "BadRequest"),
        ("POST", MAPS, PROTOBUF, b"not protobuf", 400, "BadRequest"),
        ("POST", MAPS, "Content-Type: text/html", b"<p>", 415, "UnsupportedMediaType"),
        ("POST", MAPS, JSON, huge.as_bytes(), 413, "RequestEntityTooLarge"),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps?labelSelector=a%20in%20(",
            JSON,
            b"",
            400,
            "unable to parse",
        ),
        ("GET", "/api/v1/namespaces/default/configmaps?limit=x", JSON, b"", 400, "BadRequest"),
        ("GET", "/api/v1/namespaces/default/configmaps?continue=x", JSON, b"", 400, "continue"),
        (
            "GET",
            "/api/v1/namespaces/default/unknowns",
            JSON,
            b"",
            404,
            "could not find the requested resource",
        ),
        ("GET", "/apis/no.such.group/v1", JSON, b"", 404, "404 page not found"),
        ("GET", "/nowhere", JSON, b"", 404, ""),
        ("GET", "/api/v1/namespaces/default/configmaps/..%2f..", JSON, b"", 404, ""),
        ("PATCH", "/api/v1/namespaces/default/configmaps/none", MERGE, b"{}", 404, "NotFound"),
        ("PATCH", "/api/v1/namespaces/kube-system", MERGE, b"[1]", 400, "BadRequest"),
        ("PATCH", "/api/v1/namespaces/kube-system", JSON_PATCH, b"[{\"op\":\"fly\"}]", 422, ""),
        (
            "PATCH",
            "/api/v1/namespaces/kube-system",
            JSON_PATCH,
            operations.as_bytes(),
            413,
            "RequestEntityTooLarge",
        ),
        ("DELETE", "/api/v1/namespaces/default/configmaps/none", JSON, b"{", 400, "BadRequest"),
    ];
    let mut wrong = Vec::new();
    for (number, (method, path, content_type, body, status, part)) in cases.iter().enumerate() {
        machine.write("body", body);
        let body: &[&str] = if *method == "GET" { &[] } else { &["--data-binary", "@body"] };
        let arguments =
            [&["--request", method, "--header", content_type, "--header", "Expect:"], body].concat();
        let (answered, text) = machine.request(path, &arguments);
        if answered != *status || !text.contains(part) {
            let text: String = text.chars().take(400).collect();
            wrong.push(format!(
                "case {number}, {method} {path}: wanted {status} {part:?}, got {answered} {text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stale_and_unknown(&machine);
    strangers(machine.port);
    silent(&machine);
    assert_eq!(machine.request("/readyz", &[]).0, 200, "the server goes on");
}

/// A write that relies on an old revision is refused; an unknown field is dropped with a warning, or refused if asked.
fn stale_and_unknown(machine: &Machine) {
    let post = ["--request", "POST", "--header", JSON, "--data-binary"];
    let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"extra":1}"#;
    let (status, text) =
        machine.request(&format!("{MAPS}?fieldValidation=Strict"), &[&post[..], &[object]].concat());
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("unknown field \\\"extra\\\""), "{text}");
    let (status, text) = machine.request(MAPS, &[&post[..], &[object, "--include"]].concat());
    assert_eq!(status, 201, "{text}");
    assert!(text.contains("299 - \"unknown field \\\"extra\\\"\""), "{text}");
    let stale = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","resourceVersion":"1"}}"#;
    let put = ["--request", "PUT", "--header", JSON, "--data-binary", stale];
    let (status, text) = machine.request(&format!("{MAPS}/m"), &put);
    assert_eq!(status, 409, "{text}");
    assert!(
        text.contains("the object has been modified; please apply your changes to the latest version"),
        "{text}"
    );
}

/// Connections that do not speak TLS, stop half-way, or come in hundreds.
fn strangers(port: u16) {
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut plain = connect();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    // The server may answer with an alert, a plain 400 or a reset, but it answers.
    let _ = plain.read_to_end(&mut answer);
    let mut garbage = connect();
    garbage.write_all(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]).unwrap();
    let half_open: Vec<TcpStream> = (0..500).map(|_| connect()).collect();
    drop((garbage, half_open));
}

/// Connections that say nothing keep nobody waiting, and are closed.
fn silent(machine: &Machine) {
    let open = || TcpStream::connect(("127.0.0.1", machine.port)).unwrap();
    let mut connections: Vec<TcpStream> = (0..400).map(|_| open()).collect();
    assert_eq!(machine.request("/readyz", &[]).0, 200, "others are served meanwhile");
    for connection in &mut connections {
        connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let closed = match connection.read(&mut [0; 16]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(closed, "the server gives up a silent connection");
    }
}

#[test]
fn a_full_disk_is_told_and_survived() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a small disk needs root");
        return;
    }
    let machine = Machine::new("full");
    let tokens = machine.token_file();
    let disk = machine.small_disk();
    let server = machine.start(&["--no-node", "--bind-address", "127.0.0.1", &tokens]);
    let value = "x".repeat(500_000);
    let mut stored = Vec::new();
    let refused = (0..200).find_map(|number| {
        let object = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m{number}"}},"data":{{"a":"{value}"}}}}"#
        );
        machine.write("body", object);
        let post = ["--request", "POST", "--header", JSON, "--data-binary", "@body"];
        let (status, text) = machine.request(MAPS, &post);
        if status == 201 {
            stored.push(number);
        }
        (status != 201).then_some((status, text))
    });
    let (status, text) = refused.expect("the disk is smaller than what was sent");
    assert_eq!(status, 500, "{text}");
    assert!(text.contains("database space exceeded"), "the reason is told: {text}");
    let read = |number: &i32| machine.request(&format!("{MAPS}/m{number}"), &["--output", "/dev/null"]).0;
    assert!(stored.iter().all(|number| read(number) == 200), "what was acknowledged is served");
    drop(server);
    let _server = machine.start(&["--no-node", "--bind-address", "127.0.0.1", &tokens]);
    assert!(stored.iter().all(|number| read(number) == 200), "and is there after a restart on the full disk");
    drop((_server, disk));
}

#[test]
fn images_that_are_not_there_or_broken_are_told_in_events() {
    if !machine::runs_containers() {
        return;
    }
    let machine = Machine::new("images");
    let tokens = machine.token_file();
    let _server = machine.start(&[&tokens]);
    machine.write("broken.tar", b"this is no archive");
    let refused = machine.fails(&["images", "import", "broken.tar"]);
    assert!(refused.contains("broken.tar"), "the file is named: {refused}");
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"terminationGracePeriodSeconds":0,
        "containers":[{"name":"c","image":"127.0.0.1:9/none:1"}]}}"#;
    let (status, text) = machine.request(
        "/api/v1/namespaces/default/pods",
        &["--request", "POST", "--header", JSON, "--data-binary", pod],
    );
    assert_eq!(status, 201, "{text}");
    let watch = "/api/v1/namespaces/default/pods?watch=true&fieldSelector=metadata.name=p&timeoutSeconds=18";
    let waited = Instant::now();
    let (_, seen) = machine.request(watch, &[]);
    assert!(
        seen.contains("ErrImagePull") && seen.contains("ImagePullBackOff"),
        "after {:?}: {seen}",
        waited.elapsed()
    );
    let (_, events) = machine.request("/api/v1/namespaces/default/events", &[]);
    assert!(events.contains("Failed to pull image \\\"127.0.0.1:9/none:1\\\""), "{events}");
    machine.run(&["reset"]);
}

#[test]
fn without_root_the_message_says_so() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: giving up root needs root");
        return;
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_ferrokube"), "up"])
        .env("HOME", "/nonexistent")
        .output();
    let Ok(output) = output else {
        println!("skipped: no setpriv");
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("Permission denied") && text.contains("setpriv") {
        println!("skipped: the program lies where nobody may run it");
        return;
    }
    assert!(!output.status.success() && text.contains("needs root") && text.contains("sudo"), "{text}");
}
