//! The admin socket: how commands reach the running server without the API. A unix socket that only root may open; one
//! JSON line asks, JSON lines answer, the last one says how it ended.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::images::ImagesCommand;
use crate::paths::Paths;

/// Longest request, bytes.
const REQUEST_MAX: u64 = 64 * 1024;

/// What can be asked of a running server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Work with the image store.
    Images(ImagesCommand),
    /// Describe the server and its node.
    Status,
    /// Stop and remove every container of the node.
    StopWorkloads,
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// Something to show.
    Show(String),
    /// It worked; nothing follows.
    Done,
    /// It failed with this message; nothing follows.
    Failed(String),
}

/// Takes lines for the person who asked.
pub type Show<'a> = &'a (dyn for<'t> Fn(&'t str) + Send + Sync);

/// Answers requests; `show` takes the lines for the person who asked.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Performs one request.
    async fn handle(&self, request: Request, show: Show<'_>) -> Result<()>;
}

fn socket(paths: &Paths) -> PathBuf {
    paths.state().join("admin.sock")
}

/// Serves requests until the future is dropped.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(paths: &Paths, handler: Arc<dyn Handler>) -> Result<()> {
    let path = socket(paths);
    env::remove_optional(&path)?;
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let handler = handler.clone();
        tokio::spawn(async move {
            // The asker has gone away: nobody is left to be told.
            let _ = answer(stream, handler).await;
        });
    }
}

async fn answer(stream: UnixStream, handler: Arc<dyn Handler>) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(REQUEST_MAX)).read_line(&mut line).await?;
    let request = serde_json::from_str(&line)?;
    let (lines, mut shown) = mpsc::unbounded_channel();
    let work = tokio::spawn(async move {
        // A line for an asker that has gone away is dropped.
        let show = |text: &str| drop(lines.send(Line::Show(text.to_owned())));
        let end = match handler.handle(request, &show).await {
            Ok(()) => Line::Done,
            Err(error) => Line::Failed(format!("{error:#}")),
        };
        drop(lines.send(end));
    });
    while let Some(line) = shown.recv().await {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        writer.write_all(&text).await?;
    }
    work.await?;
    Ok(())
}

/// Asks the running server and shows what it says.
///
/// # Errors
/// The server's message, or that it cannot be reached.
pub async fn ask(paths: &Paths, request: &Request, show: impl Fn(&str)) -> Result<()> {
    let path = socket(paths);
    let mut stream = UnixStream::connect(&path)
        .await
        .with_context(|| format!("cannot reach the server at {}; is it starting?", path.display()))?;
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Line::Show(text) => show(&text),
            Line::Done => return Ok(()),
            Line::Failed(message) => bail!(message),
        }
    }
    bail!("the server ended before it answered")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    #[async_trait::async_trait]
    impl Handler for Echo {
        async fn handle(&self, request: Request, show: Show<'_>) -> Result<()> {
            match request {
                Request::Status => {
                    show("one");
                    show("two");
                    Ok(())
                }
                _ => bail!("no such thing"),
            }
        }
    }

    #[tokio::test]
    async fn asks_and_answers() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        std::fs::create_dir_all(paths.state()).unwrap();
        let refused = ask(&paths, &Request::Status, |_| ()).await.unwrap_err().to_string();
        assert!(refused.contains("cannot reach"), "{refused}");

        let (server_paths, (bound, ready)) = (paths.clone(), tokio::sync::oneshot::channel());
        let server = tokio::spawn(async move {
            let serving = serve(&server_paths, Arc::new(Echo));
            tokio::pin!(serving);
            // The first poll binds the socket.
            let _ = futures::poll!(&mut serving);
            bound.send(()).expect("the test waits");
            serving.await
        });
        ready.await.unwrap();
        let seen = std::sync::Mutex::new(Vec::new());
        ask(&paths, &Request::Status, |line| seen.lock().unwrap().push(line.to_owned())).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
        let refused = ask(&paths, &Request::StopWorkloads, |_| ()).await.unwrap_err().to_string();
        assert_eq!(refused, "no such thing");
        server.abort();
    }
}
