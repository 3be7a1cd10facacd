//! Tasks with a name: a panic in one is logged with that name instead of vanishing, and a dropped handle ends it.

use futures::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use tokio::task::JoinHandle;

/// A running task. Dropping it ends the task at its next await.
#[derive(Debug)]
pub struct Task {
    handle: Option<JoinHandle<()>>,
}

impl Task {
    /// Lets the task run on without its handle.
    pub fn detach(mut self) {
        self.handle = None;
    }

    /// Asks the task to end at its next await.
    pub fn abort(&self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }

    /// True once the task has ended, however it ended.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the task has ended, however it ended.
    pub async fn join(mut self) {
        if let Some(handle) = &mut self.handle {
            // An abort is an end like any other, and panics were logged inside the task.
            let _ = handle.await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Starts `future` on the current tokio runtime. A panic is logged under `name` and ends only this task.
#[must_use = "dropping the task ends it; use spawn_detached to let it run on"]
pub fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
    let guarded = AssertUnwindSafe(future).catch_unwind();
    let handle = tokio::spawn(async move {
        if let Err(panic) = guarded.await {
            let reason = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            tracing::error!(task = name, reason, "task panicked");
        }
    });
    Task { handle: Some(handle) }
}

/// Like [`spawn`], for a task that outlives whoever started it.
pub fn spawn_detached(name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
    spawn(name, future).detach();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_panic_ends_only_its_own_task() {
        spawn("test-panics", async { panic!("expected by the test") }).join().await;
        let (done, finished) = oneshot::channel();
        spawn_detached("test-goes-on", async {
            let _ = done.send(());
        });
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn dropping_the_handle_ends_the_task() {
        let (held, dropped) = oneshot::channel::<()>();
        let task = spawn("test-waits", async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(!task.is_finished());
        drop(task);
        assert!(dropped.await.is_err());
    }
}
