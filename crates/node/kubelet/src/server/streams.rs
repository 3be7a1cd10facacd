//! `/exec` and `/attach`: the streams of a command or a container over WebSocket.

use bytes::Bytes;
use futures::stream::SplitSink;
use futures::{SinkExt, Stream, StreamExt};
use http::{Response, StatusCode};
use runtime::{AttachRequest, Container, ExecRequest, Session, TermSize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Error as Broken;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, frame::coding::CloseCode};

use super::channel::{self, Protocol, STREAMS, Socket};
use super::route::query;
use super::{Body, Request, Server, spdy, text};
use crate::backend::{BackendError, ContainerRuntime};

/// Numbers of the streams.
pub const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// How often a client is asked whether it is still there, while nothing is read of it.
pub const ASKING: Duration = Duration::from_secs(10);

/// What the client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The command, for exec.
    pub command: Vec<String>,
    /// Streams.
    pub stdin: bool,
    /// Streams.
    pub stdout: bool,
    /// Streams.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// Reads the query, in the kubelet's own words or the API server's.
pub fn wish(query: Vec<(String, String)>) -> Wish {
    let mut wish = Wish::default();
    for (key, value) in query {
        let flag = matches!(value.as_str(), "1" | "true");
        match key.as_str() {
            "command" | "cmd" => wish.command.push(value),
            "input" | "stdin" => wish.stdin = flag,
            "output" | "stdout" => wish.stdout = flag,
            "error" | "stderr" => wish.stderr = flag,
            "tty" => wish.tty = flag,
            _ => {}
        }
    }
    // A terminal has one output.
    wish.stderr &= !wish.tty;
    wish
}

/// Serves exec and attach.
pub async fn serve(
    server: Arc<Server>,
    mut request: Request,
    attach: bool,
    (namespace, pod, uid, container): (&str, &str, &str, &str),
) -> Response<Body> {
    let mut wish = wish(query(&request));
    if !(wish.stdin || wish.stdout || wish.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let running = match running(&server, namespace, pod, uid, container) {
        Ok(running) => running,
        Err(refusal) => return *refusal,
    };
    if attach {
        // What the container has not, nobody can be attached to.
        wish.tty = running.config.tty;
        wish.stdin &= running.config.stdin;
        wish.stderr &= !wish.tty;
    }
    let job = Job { runtime: server.shared.runtime.clone(), id: running.id, attach, wish };
    if !channel::is_upgrade(&request) {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "Upgrade request required\n");
    }
    if !channel::is_websocket(&request) {
        return spdy::streams(request, job);
    }
    let Some(protocol) = channel::negotiate(&channel::offered(&request), &STREAMS) else {
        return channel::unsupported();
    };
    let (response, upgrade) = match channel::accept(&mut request, protocol.name) {
        Ok(accepted) => accepted,
        Err(response) => return *response,
    };
    env::spawn_detached("kubelet-streams", async move {
        match channel::socket(upgrade).await {
            Ok(socket) => over_websocket(socket, protocol, job).await,
            Err(error) => tracing::debug!(%error, "the connection broke before its streams began"),
        }
    });
    response
}

/// The container of that name that runs now.
pub fn running(
    server: &Server,
    namespace: &str,
    pod: &str,
    uid: &str,
    container: &str,
) -> Result<Container, Box<Response<Body>>> {
    let found = server.pods.find(namespace, pod);
    let found = found.ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, "pod does not exist")))?;
    let runtime = &server.shared.runtime;
    let own = found.metadata.uid.as_str();
    let sandboxes = runtime.sandboxes();
    let mine = |id: &str| sandboxes.iter().any(|s| s.id == id && s.config.uid == own);
    let asked = uid.is_empty() || uid == own;
    let mut all = runtime.containers().into_iter();
    all.find(|c| {
        asked && c.config.name == container && crate::pod::view::is_running(c) && mine(&c.sandbox_id)
    })
    .ok_or_else(|| {
        let why = format!("container not found ({container:?})");
        Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, &why))
    })
}

/// A session to be opened.
pub struct Job {
    /// Opens it.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The container.
    pub id: String,
    /// Attach in place of exec.
    pub attach: bool,
    /// Streams and command.
    pub wish: Wish,
}

impl Job {
    /// Opens the session.
    ///
    /// # Errors
    /// The command cannot be started, for example.
    pub async fn open(&self) -> Result<Session, BackendError> {
        let wish = &self.wish;
        if self.attach && !(wish.stdin || wish.stdout || wish.stderr) {
            // Attached to nothing: that is over at once.
            let wait = Box::pin(std::future::ready(Ok(0)));
            return Ok(Session { stdin: None, stdout: None, stderr: None, resize: mpsc::channel(1).0, wait });
        }
        if self.attach {
            let request =
                AttachRequest { stdin: wish.stdin, stdout: wish.stdout, stderr: wish.stderr, size: None };
            return self.runtime.attach(&self.id, request).await;
        }
        let request = ExecRequest {
            args: wish.command.clone(),
            tty: wish.tty,
            stdin: wish.stdin,
            stdout: wish.stdout,
            stderr: wish.stderr,
            ..ExecRequest::default()
        };
        self.runtime.exec(&self.id, request).await
    }
}

/// How a session ended, as its error stream tells it.
pub struct Outcome {
    result: Result<i32, String>,
    attach: bool,
}

impl Outcome {
    /// Of an attachment, or of a command.
    pub fn new(result: Result<i32, String>, attach: bool) -> Self {
        Outcome { result, attach }
    }

    fn what_failed(&self, why: &str) -> String {
        let what =
            if self.attach { "error attaching to container" } else { "error executing command in container" };
        format!("{what}: {why}")
    }

    /// For protocols without statuses: nothing, or a message.
    pub fn message(&self) -> Option<String> {
        match &self.result {
            Ok(0) => None,
            Ok(_) if self.attach => None,
            Ok(code) => Some(format!("command terminated with non-zero exit code: exit status {code}")),
            Err(why) => Some(format!("Internal error occurred: {}", self.what_failed(why))),
        }
    }

    /// A `v1.Status`, written as Go writes it. `translated` is how upstream's kubelet words it for clients of the fifth
    /// protocol: it is itself the client of a runtime that speaks the fourth, and tells what that client says.
    pub fn status(&self, translated: bool) -> String {
        match &self.result {
            Ok(code) if *code == 0 || self.attach => r#"{"metadata":{},"status":"Success"}"#.to_owned(),
            Ok(code) => {
                let what = if translated { "command terminated with exit code" } else { "exit status" };
                format!(
                    "{{\"metadata\":{{}},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit code: \
                     {what} {code}\",\"reason\":\"NonZeroExitCode\",\"details\":{{\"causes\":[{{\"reason\":\"ExitCode\",\
                     \"message\":\"{code}\"}}]}}}}"
                )
            }
            Err(why) => {
                let mut why = self.what_failed(why);
                if translated {
                    why = format!("Internal error occurred: {why}");
                }
                let (message, cause) = (json!(format!("Internal error occurred: {why}")), json!(why));
                format!(
                    "{{\"metadata\":{{}},\"status\":\"Failure\",\"message\":{message},\"reason\":\"InternalError\",\
                     \"details\":{{\"causes\":[{{\"message\":{cause}}}]}},\"code\":500}}"
                )
            }
        }
    }
}

/// A terminal size as clients send it.
pub fn term_size(data: &[u8]) -> Option<TermSize> {
    let value: Value = serde_json::from_slice(data).ok()?;
    let number = |key: &str| u16::try_from(value.get(key)?.as_u64()?).ok();
    Some(TermSize { width: number("Width")?, height: number("Height")? })
}

async fn over_websocket(socket: Socket, protocol: Protocol, job: Job) {
    let (sink, messages) = socket.split();
    let (out, queue) = mpsc::channel::<Message>(32);
    let writer = env::spawn("kubelet-streams-writer", write(sink, queue));
    let lowest = if job.wish.stdout {
        STDOUT
    } else if job.wish.stderr {
        STDERR
    } else {
        ERROR
    };
    // Tells the client that the connection stands.
    let _ = out.send(protocol.encode(lowest, &[])).await;
    let result = match job.open().await {
        Ok(session) => converse(session, messages, protocol, &out).await,
        Err(error) => Err(error.to_string()),
    };
    let outcome = Outcome::new(result, job.attach);
    let last = if protocol.status { Some(outcome.status(protocol.close)) } else { outcome.message() };
    if let Some(last) = last {
        let _ = out.send(protocol.encode(ERROR, last.as_bytes())).await;
    }
    let _ = out.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await;
    drop(out);
    writer.join().await;
}

async fn write(mut sink: SplitSink<Socket, Message>, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

/// Carries bytes until the command (or the attached container) has ended and all its output is on its way: who tells of an
/// end first says nothing about what is still in the pipes.
async fn converse(
    mut session: Session,
    messages: impl Stream<Item = Result<Message, Broken>> + Unpin,
    protocol: Protocol,
    out: &mpsc::Sender<Message>,
) -> Result<i32, String> {
    let pumps = [(STDOUT, session.stdout.take()), (STDERR, session.stderr.take())];
    let pumps = pumps.into_iter().filter_map(|(channel, from)| {
        let (mut from, out) = (from?, out.clone());
        Some(async move {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                if out.send(protocol.encode(channel, &buffer[..n])).await.is_err() {
                    return;
                }
            }
        })
    });
    let outputs = futures::future::join_all(pumps);
    let inputs = take_input(messages, protocol, session.stdin.take(), session.resize.clone(), out.clone());
    let (wait, resize) = (session.wait, session.resize);
    tokio::pin!(outputs, inputs);
    let mut wait = wait;
    let mut code = None;
    let mut drained = false;
    loop {
        tokio::select! {
            result = &mut wait, if code.is_none() => {
                code = Some(result.map_err(|e| e.to_string()));
                if drained {
                    break;
                }
            }
            _ = &mut outputs, if !drained => {
                drained = true;
                if code.is_some() {
                    break;
                }
            }
            // The client is gone: dropping the session ends the command (or the attachment).
            () = &mut inputs => return code.unwrap_or_else(|| Err("the client closed the connection".into())),
        }
    }
    drop(resize);
    code.unwrap_or(Ok(0))
}

/// Takes the client's messages; returns when the client is gone.
async fn take_input(
    mut messages: impl Stream<Item = Result<Message, Broken>> + Unpin,
    protocol: Protocol,
    mut stdin: Option<runtime::Input>,
    resize: mpsc::Sender<TermSize>,
    out: mpsc::Sender<Message>,
) {
    while let Some(Ok(message)) = messages.next().await {
        match &message {
            Message::Ping(data) => {
                let _ = out.send(Message::Pong(data.clone())).await;
                continue;
            }
            Message::Close(_) => return,
            _ => {}
        }
        let Some((channel, data)) = protocol.decode(&message) else { continue };
        match channel {
            STDIN => {
                let Some(to) = stdin.as_mut() else { continue };
                let write = async { to.write_all(&data).await.is_ok() && to.flush().await.is_ok() };
                match patiently(ASKING, write, || out.send(Message::Ping(Bytes::new()))).await {
                    Some(true) => {}
                    Some(false) => stdin = None,
                    None => return,
                }
            }
            RESIZE => {
                if let Some(size) = term_size(&data) {
                    let _ = resize.send(size).await;
                }
            }
            CLOSE if protocol.close && data == [STDIN] => {
                if let Some(mut to) = stdin.take() {
                    let _ = to.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

/// Waits for `write`, and asks meanwhile whether the client is still there: as long as a command reads nothing, nothing is read
/// of its client either, who might be gone. `None` when so.
pub async fn patiently<A: Future<Output = Result<(), E>>, E>(
    every: Duration,
    write: impl Future<Output = bool>,
    ask: impl Fn() -> A,
) -> Option<bool> {
    tokio::pin!(write);
    loop {
        tokio::select! {
            done = &mut write => return Some(done),
            () = tokio::time::sleep(every) => ask().await.ok()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>()
        };
        let got = wish(pairs(&[
            ("command", "ls"),
            ("command", "-l"),
            ("input", "1"),
            ("output", "1"),
            ("tty", "1"),
            ("error", "1"),
        ]));
        assert_eq!(got.command, ["ls", "-l"]);
        assert!(got.stdin && got.stdout && got.tty && !got.stderr);
        assert!(wish(pairs(&[("stderr", "true")])).stderr);
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_arrives_although_the_end_is_told_first() {
        let (mut container, ours) = tokio::io::duplex(64);
        let session = Session {
            stdin: None,
            stdout: Some(Box::pin(ours)),
            stderr: None,
            resize: mpsc::channel(1).0,
            wait: Box::pin(std::future::ready(Ok(7))),
        };
        let (out, mut told) = mpsc::channel(4);
        let late = async move {
            tokio::task::yield_now().await;
            container.write_all(b"last words").await.unwrap();
        };
        let carried = converse(session, futures::stream::pending(), channel::STREAMS[0], &out);
        let (result, ()) = tokio::join!(carried, late);
        assert_eq!(result, Ok(7));
        assert_eq!(told.try_recv().unwrap(), channel::STREAMS[0].encode(STDOUT, b"last words"));
    }

    #[test]
    fn outcomes() {
        let success = r#"{"metadata":{},"status":"Success"}"#;
        let told = |result: Result<i32, &str>, attach| {
            let outcome = Outcome::new(result.map_err(str::to_owned), attach);
            (outcome.status(false), outcome.status(true), outcome.message())
        };
        assert_eq!(told(Ok(0), false), (success.to_owned(), success.to_owned(), None));
        // How the container ended is not the attachment's failure.
        assert_eq!(told(Ok(3), true), (success.to_owned(), success.to_owned(), None));
        let (fourth, fifth, message) = told(Ok(3), false);
        let ended = "command terminated with non-zero exit code: ";
        assert_eq!(message.unwrap(), format!("{ended}exit status 3"));
        let of = |what: &str| {
            format!(
                r#"{{"metadata":{{}},"status":"Failure","message":"{ended}{what}","reason":"NonZeroExitCode","details":{{"causes":[{{"reason":"ExitCode","message":"3"}}]}}}}"#
            )
        };
        assert_eq!((fourth, fifth), (of("exit status 3"), of("command terminated with exit code 3")));
        let (fourth, fifth, message) = told(Err("no \"x\""), false);
        assert_eq!(
            message.unwrap(),
            "Internal error occurred: error executing command in container: no \"x\""
        );
        let parsed: Value = serde_json::from_str(&fourth).unwrap();
        assert_eq!(
            parsed["details"]["causes"][0]["message"],
            "error executing command in container: no \"x\""
        );
        let parsed: Value = serde_json::from_str(&fifth).unwrap();
        let twice = "Internal error occurred: Internal error occurred: error executing command in container: no \"x\"";
        assert_eq!((&parsed["message"], &parsed["code"]), (&json!(twice), &json!(500)));
        assert!(
            told(Err("gone"), true).0.contains("Internal error occurred: error attaching to container: gone")
        );
    }

    #[tokio::test]
    async fn clients_that_went_away_are_noticed_although_their_command_reads_nothing() {
        let (out, told) = mpsc::channel::<()>(2);
        let every = Duration::from_millis(1);
        drop(told);
        let never = std::future::pending();
        assert_eq!(patiently(every, never, || out.send(())).await, None, "nobody is there any more");
        let (out, mut told) = mpsc::channel::<()>(2);
        let until_asked = async { told.recv().await.is_some() };
        assert_eq!(
            patiently(every, until_asked, || out.send(())).await,
            Some(true),
            "asked, and written then"
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(term_size(br#"{"Width":80,"Height":24}"#), Some(TermSize { width: 80, height: 24 }));
        assert_eq!(term_size(br#"{"Width":-1,"Height":24}"#), None);
    }
}
