//! Exec, attach, terminals, port forwarding and logs.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Node, SOON, possible};
use runtime::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

async fn text(stream: &mut Option<Output>) -> String {
    let mut out = Vec::new();
    timeout(SOON, stream.as_mut().unwrap().read_to_end(&mut out)).await.expect("the stream ends").unwrap();
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads until a text has come.
async fn until(stream: &mut Option<Output>, want: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(want) {
        let mut buffer = [0; 1024];
        let n =
            timeout(SOON, stream.as_mut().unwrap().read(&mut buffer)).await.expect("output comes").unwrap();
        assert!(n > 0, "the stream ended after {seen:?}");
        seen += &String::from_utf8_lossy(&buffer[..n]);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_has_streams_and_an_exit_code() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let mut config = node.container(&["sleep", "1000"]);
    config.security.seccomp = SeccompProfile::RuntimeDefault;
    let id = node.start(&pod, config).await;
    let own = |args: &[&str]| args.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let out = node
        .runtime
        .exec_sync(&id, own(&["sh", "-c", "echo out; echo err >&2; exit 4"]), SOON)
        .await
        .unwrap();
    assert_eq!(
        (out.stdout.as_slice(), out.stderr.as_slice(), out.exit_code),
        (&b"out\n"[..], &b"err\n"[..], 4)
    );
    let out =
        node.runtime.exec_sync(&id, own(&["grep", "Seccomp:", "/proc/self/status"]), SOON).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "Seccomp:\t2\n");
    let out = node
        .runtime
        .exec_sync(
            &id,
            own(&["sh", "-c", "cat /proc/self/cgroup | grep memory; grep CapEff /proc/self/status"]),
            SOON,
        )
        .await
        .unwrap();
    let seen = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(seen.contains("00000000a80425fb"), "{seen}");
    let error = node.runtime.exec_sync(&id, own(&["nope"]), SOON).await.unwrap_err().to_string();
    assert!(error.ends_with("exec: \"nope\": executable file not found in $PATH"), "{error}");
    let error =
        node.runtime.exec_sync(&id, own(&["sleep", "99"]), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, Error::ExecTimeout { .. }), "{error}");
    let request = ExecRequest {
        args: own(&["sh", "-c", "id -u; pwd; echo $X; cat"]),
        stdin: true,
        stdout: true,
        user: Some("app".into()),
        cwd: Some("/tmp".into()),
        env: vec![("X".into(), "y".into())],
        ..Default::default()
    };
    let mut session = node.runtime.exec(&id, request).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let big = "0123456789".repeat(20_000);
    let writing = async {
        stdin.write_all(big.as_bytes()).await.unwrap();
        drop(stdin);
    };
    let (_, seen) = tokio::join!(writing, text(&mut session.stdout));
    assert_eq!(seen, format!("1000\n/tmp\ny\n{big}"));
    assert_eq!(session.wait.await.unwrap(), 0);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_with_a_terminal() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let id = node.start(&pod, node.container(&["sleep", "1000"])).await;
    let request = ExecRequest {
        args: vec!["sh".into()],
        stdin: true,
        stdout: true,
        tty: true,
        size: Some(TermSize { width: 91, height: 31 }),
        ..Default::default()
    };
    let mut session = node.runtime.exec(&id, request).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"stty size; test -t 0 && echo is''tty\n").await.unwrap();
    let seen = until(&mut session.stdout, "istty").await;
    assert!(seen.contains("31 91"), "{seen}");
    session.resize.send(TermSize { width: 120, height: 40 }).await.unwrap();
    // The size arrives in a task of its own, so ask until it is there.
    stdin.write_all(b"until stty size | grep '40 120'; do :; done; exit 5\n").await.unwrap();
    until(&mut session.stdout, "40 120\r\n").await;
    assert_eq!(timeout(SOON, session.wait).await.unwrap().unwrap(), 5);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_reaches_the_container_itself() {
    if !possible() {
        return;
    }
    let mut node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let mut config = node.container(&["sh", "-c", "cat; echo done >&2"]);
    config.stdin = true;
    config.stdin_once = true;
    let id = node.start(&pod, config).await;
    let request = AttachRequest { stdin: true, stdout: true, stderr: true, size: None };
    let mut session = node.runtime.attach(&id, request).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    until(&mut session.stdout, "hello\n").await;
    drop(stdin);
    assert_eq!(text(&mut session.stderr).await, "done\n");
    assert_eq!(timeout(SOON, session.wait).await.unwrap().unwrap(), 0);
    assert_eq!(node.output(&id), "hello\ndone\n");
    // With a terminal, and with the server restarted in between.
    let mut config = node.container(&["sh"]);
    config.stdin = true;
    config.tty = true;
    let id = node.start(&pod, config).await;
    node.reopen();
    let size = Some(TermSize { width: 77, height: 22 });
    let mut session = node
        .runtime
        .attach(&id, AttachRequest { stdin: true, stdout: true, stderr: true, size })
        .await
        .unwrap();
    assert!(session.stderr.is_none());
    session.stdin.as_mut().unwrap().write_all(b"stty size; exit 6\n").await.unwrap();
    until(&mut session.stdout, "22 77").await;
    assert_eq!(timeout(SOON, session.wait).await.unwrap().unwrap(), 6);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_ends_with_its_input_and_the_container_waits_for_the_next() {
    if !possible() {
        return;
    }
    let mut node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let mut config = node.container(&["cat"]);
    config.stdin = true;
    let id = node.start(&pod, config).await;
    for said in ["one\n", "two\n"] {
        let request = AttachRequest { stdin: true, stdout: true, stderr: true, size: None };
        let mut session = node.runtime.attach(&id, request).await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(said.as_bytes()).await.unwrap();
        until(&mut session.stdout, said).await;
        drop(stdin);
        assert_eq!(timeout(SOON, session.wait).await.unwrap().unwrap(), 0);
        assert_eq!(text(&mut session.stdout).await, "", "its output ends, too");
        node.reopen();
    }
    assert_eq!(node.output(&id), "one\ntwo\n");
    assert!(node.runtime.container_status(&id).unwrap().state.name() == "running");
    node.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_reached_inside_the_pod() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let id = node
        .start(&pod, node.container(&["sh", "-c", "while :; do echo pong | nc -l -p 80 127.0.0.1; done"]))
        .await;
    let reach = async {
        loop {
            if let Ok(mut stream) = node.runtime.port_forward(&pod, 80).await {
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                return text;
            }
        }
    };
    assert_eq!(timeout(SOON, reach).await.unwrap(), "pong\n");
    let error = node.runtime.port_forward(&pod, 81).await.unwrap_err().to_string();
    assert!(error.contains("localhost:81"), "{error}");
    node.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_rotate_and_lose_nothing_in_memory() {
    if !possible() {
        return;
    }
    let node = Node::new().await;
    let pod = node.pod(|_| {}).await;
    let mut config = node.container(&["sh", "-c", "seq 1 20000"]);
    config.log = LogLimits { size_bytes_max: 200_000, files_max: 3 };
    let id = node.start(&pod, config).await;
    assert_eq!(node.ended(&id).await.exit_code, 0);
    assert!(node.output(&id).ends_with("20000\n"));
    let dir = node.runtime.container_status(&id).unwrap().log_path.parent().unwrap().to_path_buf();
    assert!((2..=3).contains(&std::fs::read_dir(dir).unwrap().count()));
    node.finish().await;
}
