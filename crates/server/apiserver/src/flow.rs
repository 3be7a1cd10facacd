//! Flow control: how many requests run at once.
//!
//! Two limits, for requests that read and those that write, as upstream's `--max-requests-inflight` and
//! `--max-mutating-requests-inflight`. Administrators and long-running requests are not counted, so that the one is
//! never locked out and the other does not starve the rest. What does not fit is told to come back.

use std::sync::Arc;

use authn::{Identified, MASTERS};
use meta::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pipeline::Decoded;

/// Reading requests at once.
const READING_MAX: usize = 400;
/// Writing requests at once.
const WRITING_MAX: usize = 200;

/// The limits.
pub(crate) struct Limits {
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

/// A place among the running requests, given back on drop.
pub(crate) struct Admission {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Limits {
            reading: Arc::new(Semaphore::new(READING_MAX)),
            writing: Arc::new(Semaphore::new(WRITING_MAX)),
        }
    }

    /// Takes a place, or refuses with 429.
    pub(crate) fn enter(&self, user: &Identified, request: &Decoded) -> Result<Admission, Status> {
        if request.info.long_running(&request.path) || user.user().in_group(MASTERS) {
            return Ok(Admission { _permit: None });
        }
        let reads = matches!(request.info.verb, "get" | "list" | "watch");
        let limit = if reads { &self.reading } else { &self.writing };
        match limit.clone().try_acquire_owned() {
            Ok(permit) => Ok(Admission { _permit: Some(permit) }),
            Err(_) => Err(Status::too_many_requests("Too many requests, please try again later.", 1)),
        }
    }
}
