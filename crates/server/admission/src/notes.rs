//! What a plugin says besides yes and no: warnings for the client, annotations for the audit log.

use std::sync::Mutex;
use std::time::Duration;

use meta::Str;

/// Said so far about one request.
#[derive(Debug, Default)]
pub struct Notes {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    warnings: Vec<String>,
    annotations: Vec<Annotation>,
    /// By mutating webhooks, which are asked one after the other.
    waited_in_turn: Duration,
    /// By the slowest of the validating ones, which are asked at once.
    waited_at_once: Duration,
}

/// An annotation of the audit event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Its key.
    pub key: Str,
    /// Its value.
    pub value: String,
    /// It repeats of what was sent, and is told only where that is told.
    pub with_request: bool,
}

impl Notes {
    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A text for a Warning header.
    pub fn warn(&self, text: String) {
        self.said().warnings.push(text);
    }

    /// An annotation of the audit event. The first value of a key stays, as upstream keeps it.
    pub fn annotate(&self, key: impl Into<Str>, value: String) {
        self.add(Annotation { key: key.into(), value, with_request: false });
    }

    /// As [`Notes::annotate`], where the audit log tells what was sent.
    pub fn annotate_with_request(&self, key: impl Into<Str>, value: String) {
        self.add(Annotation { key: key.into(), value, with_request: true });
    }

    fn add(&self, annotation: Annotation) {
        // Keys have a prefix and a name; what else webhooks choose is not told.
        let well_formed =
            annotation.key.contains('/') && meta::names::qualified_name(&annotation.key).is_empty();
        if !well_formed {
            return;
        }
        let annotations = &mut self.said().annotations;
        if annotations.iter().all(|known| known.key != annotation.key) {
            annotations.push(annotation);
        }
    }

    /// So much of the request's time was a webhook's; `in_turn` if no other was asked meanwhile.
    pub fn wait(&self, time: Duration, in_turn: bool) {
        let mut said = self.said();
        match in_turn {
            true => said.waited_in_turn += time,
            false => said.waited_at_once = said.waited_at_once.max(time),
        }
    }

    /// The time that webhooks took.
    pub fn waited(&self) -> Duration {
        let said = self.said();
        said.waited_in_turn + said.waited_at_once
    }

    /// The warnings, which are then forgotten.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.said().warnings)
    }

    /// The annotations, which are then forgotten.
    pub fn take_annotations(&self) -> Vec<Annotation> {
        std::mem::take(&mut self.said().annotations)
    }
}
