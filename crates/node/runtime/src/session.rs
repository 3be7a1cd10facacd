//! The streams of a command or of an attached container, as the server's side holds them.

use std::pin::Pin;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::config::TermSize;
use crate::error::Result;

/// Bytes from a container.
pub type Output = Pin<Box<dyn AsyncRead + Send>>;
/// Bytes to a container. Shutting it down closes the container's standard input.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// A running command (or an attachment). Dropping it closes the streams; it does not stop an attached container, but
/// a command started by exec is killed.
pub struct Session {
    /// Standard input, if asked for.
    pub stdin: Option<Input>,
    /// Standard output, if asked for. Ends when the command's last holder closes it.
    pub stdout: Option<Output>,
    /// Standard error, if asked for; never with a terminal.
    pub stderr: Option<Output>,
    /// Terminal sizes; without a terminal they are dropped.
    pub resize: mpsc::Sender<TermSize>,
    /// Resolves to the exit code when the command ends. For an attachment: when the container ends or the streams close.
    pub wait: BoxFuture<'static, Result<i32>>,
}
