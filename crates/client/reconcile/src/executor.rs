//! Performs plans: the one place where controllers act.
//!
//! A create whose answer was lost (the connection broke, or the server timed out) may or may not have happened. Guessing
//! either way makes one object too few or too many. So names are generated here and not by the server, and a doubtful
//! create is settled by looking that name up until the server answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use call::{Action, Call, ListOptions, Reply};
use client::Client;
use env::Env;
use futures::future::join_all;
use informer::{Backoff, Informers, Key};
use meta::{Object, Status};

use crate::plan::Step;
use crate::{Answer, Next, Note, Outcome, Plan, Recorder, Write};

/// Length of the suffix after `generateName`, and the longest base that leaves room for it in 63 characters.
const SUFFIX: usize = 5;
const BASE_MAX: usize = 63 - SUFFIX;
/// Attempts at a free name before the refusal is passed on.
const NAME_ATTEMPTS: usize = 8;

/// Acts as one user, for one controller.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    informers: Arc<Informers>,
    recorder: Recorder,
    env: Env,
}

impl Executor {
    /// An executor that writes through `client`, shows its writes to `informers` and records events with `recorder`.
    pub fn new(client: Client, informers: Arc<Informers>, recorder: Recorder, env: Env) -> Self {
        Executor { client, informers, recorder, env }
    }

    /// Performs `plan` and says how to go on; `next` is the verdict when nothing fails.
    pub async fn perform(&self, mut plan: Plan, next: Next) -> Next {
        let mut verdict = next;
        let mut outcome = Outcome::default();
        let mut failed: Option<Status> = None;
        let mut steps = std::mem::take(&mut plan.steps);
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Then(decide) => {
                    let mut more = Plan::new();
                    verdict = decide(&std::mem::take(&mut outcome), &mut more);
                    failed = None;
                    // What a continuation adds comes before the steps that were planned after it.
                    let mut joined: VecDeque<Step> = more.steps;
                    joined.append(&mut steps);
                    steps = joined;
                }
                _ if failed.is_some() => {}
                Step::Carry(errors) => {
                    outcome.results.extend(errors.into_iter().map(Err));
                    continue;
                }
                Step::Event(note) => self.recorder.record(note),
                Step::One(write) => outcome.results.push(self.write(write).await),
                Step::All(writes) => {
                    outcome.results.extend(join_all(writes.into_iter().map(|write| self.write(write))).await);
                }
                Step::SlowStart(writes) => self.slow_start(writes, &mut outcome).await,
            }
            if failed.is_none() {
                failed = outcome.error().cloned();
            }
        }
        match failed {
            Some(status) => {
                tracing::debug!(status = %status.message, "plan failed");
                Next::Retry
            }
            None => verdict,
        }
    }

    async fn slow_start(&self, writes: Vec<Write>, outcome: &mut Outcome) {
        let mut waiting: VecDeque<Write> = writes.into();
        let mut batch = 1;
        while !waiting.is_empty() {
            let now: Vec<Write> = waiting.drain(..batch.min(waiting.len())).collect();
            let results = join_all(now.into_iter().map(|write| self.write(write))).await;
            let broke = results.iter().any(Result::is_err);
            outcome.results.extend(results);
            if broke {
                return;
            }
            batch *= 2;
        }
    }

    async fn write(&self, mut write: Write) -> Result<Answer, Status> {
        let measure = write.measure.take();
        let result = self.make(write).await;
        if let Some(measure) = measure {
            measure(result.as_ref().err());
        }
        result
    }

    async fn make(&self, write: Write) -> Result<Answer, Status> {
        let resource = write.resource();
        let Write { target, action, uid, ignored, on_success, on_failure, measure: _ } = write;
        let whole = target.subresource.is_empty() || target.subresource == "status";
        let key = Key { namespace: target.namespace.clone(), name: target.name.clone() };
        let writes = !matches!(action, Action::Get { .. } | Action::List(_) | Action::Watch(_));
        let result = match action {
            Action::Create(object, options) if whole => {
                self.create(
                    |name| Call {
                        target: target.clone(),
                        action: Action::Create(named(object.as_ref(), name), options.clone()),
                    },
                    object.as_ref(),
                    &resource,
                )
                .await
            }
            action => self.client.call(Call { target, action }).await,
        };
        match result {
            Ok(reply) => {
                let answer = match reply {
                    Reply::Object(object) => Answer::Object(object),
                    Reply::List { items, remaining, .. } => Answer::List(items, remaining.unwrap_or(0)),
                    Reply::Done(_) | Reply::Watch(_) => Answer::Done,
                };
                match &answer {
                    Answer::Object(object) if whole => {
                        // A delete may answer with the last state of what is gone now; only a pending one stays.
                        let gone = !uid.is_empty() && object.meta().deletion_timestamp.is_none();
                        if gone {
                            self.informers.forget(&resource, &key, &uid, self.env.clock.monotonic());
                        } else if writes {
                            self.informers.observe(&resource, object);
                        }
                    }
                    Answer::Done if !uid.is_empty() => {
                        self.informers.forget(&resource, &key, &uid, self.env.clock.monotonic());
                    }
                    _ => {}
                }
                if let Some(note) = on_success {
                    let object = match &answer {
                        Answer::Object(object) => Some(&**object),
                        _ => None,
                    };
                    self.note(note(object));
                }
                Ok(answer)
            }
            Err(status) if ignored.contains(&status.code) => {
                if status.code == 404 && !uid.is_empty() {
                    self.informers.forget(&resource, &key, &uid, self.env.clock.monotonic());
                }
                Ok(Answer::Done)
            }
            Err(status) => {
                if let Some(note) = on_failure {
                    self.note(note(&status));
                }
                Err(status)
            }
        }
    }

    fn note(&self, note: Option<Note>) {
        if let Some(note) = note {
            self.recorder.record(note);
        }
    }

    async fn create(
        &self,
        call: impl Fn(&str) -> Call,
        object: &dyn Object,
        resource: &client::Resource,
    ) -> Result<Reply, Status> {
        let meta = object.meta();
        let generated = meta.name.is_empty() && !meta.generate_name.is_empty();
        let mut attempts = 0;
        loop {
            let name = if generated { self.generate(&meta.generate_name) } else { meta.name.to_string() };
            attempts += 1;
            match self.client.call(call(&name)).await {
                Err(status) if doubtful(&status) && !name.is_empty() => {
                    return match self.settle(resource, &meta.namespace, &name).await? {
                        Some(found) if ours(object, &*found) => Ok(Reply::Object(found)),
                        _ => Err(status),
                    };
                }
                Err(status) if status.code == 409 && generated && attempts < NAME_ATTEMPTS => {}
                other => return other,
            }
        }
    }

    /// What is stored under `name`, asked until the server answers.
    async fn settle(
        &self,
        resource: &client::Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<dyn Object>>, Status> {
        // By a list, because the roles of controllers do not let all of them read single objects.
        let api = self.client.dynamic(resource, namespace);
        let options =
            ListOptions { field_selector: format!("metadata.name={name}").into(), ..ListOptions::default() };
        let mut backoff =
            Backoff::new(Duration::from_millis(50), Duration::from_secs(5), Duration::from_secs(60));
        loop {
            match api.list(&options).await {
                Ok(found) => return Ok(found.items.into_iter().next()),
                Err(status) if matches!(status.code, 403 | 404) => return Err(status),
                Err(_) => self.env.sleep(backoff.pause(&self.env)).await,
            }
        }
    }

    fn generate(&self, base: &str) -> String {
        let mut end = base.len().min(BASE_MAX);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{}", &base[..end], self.env.random.name_suffix(SUFFIX))
    }
}

/// Whether the server may have performed the call although it did not say so.
fn doubtful(status: &Status) -> bool {
    matches!(status.code, 503 | 504)
}

/// Whether `found` is what a doubtful create of `wanted` would have made, and not somebody else's of the same name.
fn ours(wanted: &dyn Object, found: &dyn Object) -> bool {
    let owner = |object: &dyn Object| {
        object
            .meta()
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone())
    };
    owner(wanted) == owner(found)
}

fn named(object: &dyn Object, name: &str) -> Box<dyn Object> {
    let mut copy = object.clone_object();
    copy.meta_mut().name = name.into();
    copy
}
