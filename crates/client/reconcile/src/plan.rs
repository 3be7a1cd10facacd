//! What a decision wants done, as data.
//!
//! A plan is a list of steps in order. A step that fails ends the plan, except that a continuation ([`Plan::then`]) always
//! runs next: it sees how the steps since the last one went and may append more.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use call::{Action, DeleteOptions, ListOptions, PatchKind, Precondition, Target, WriteOptions};
use client::Resource;
use meta::{Kind, Object, Status, Str};
use serde_json::Value;

use crate::{Next, Note};

/// Calls to make and events to record, in order.
#[derive(Default)]
pub struct Plan {
    pub(crate) steps: VecDeque<Step>,
}

type Continuation = Box<dyn FnOnce(&Outcome, &mut Plan) -> Next + Send>;
type OnSuccess = Box<dyn FnOnce(Option<&dyn Object>) -> Option<Note> + Send>;
type Measure = Box<dyn FnOnce(Option<&Status>) + Send>;
type OnFailure = Box<dyn FnOnce(&Status) -> Option<Note> + Send>;

pub(crate) enum Step {
    /// One call.
    One(Write),
    /// Calls that do not depend on each other.
    All(Vec<Write>),
    /// Calls in batches of 1, 2, 4, ...: the first batch with a failure is the last.
    SlowStart(Vec<Write>),
    /// An event that does not depend on a call's success.
    Event(Note),
    /// Failures of earlier steps, for the next continuation.
    Carry(Vec<Status>),
    /// A continuation.
    Then(Continuation),
}

/// What a call that succeeded brought.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The object read or written.
    Object(Arc<dyn Object>),
    /// The members of a collection, as far as the page goes, and how many more there are at least.
    List(Vec<Arc<dyn Object>>, i64),
    /// Nothing, such as the end of a delete.
    Done,
}

/// How the steps since the last continuation went, in order. Steps after a failure were not taken and are not in it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Result of each call that was made.
    pub results: Vec<Result<Answer, Status>>,
}

impl Outcome {
    /// The first failure.
    pub fn error(&self) -> Option<&Status> {
        self.results.iter().find_map(|result| result.as_ref().err())
    }

    /// How many calls succeeded.
    pub fn succeeded(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }

    /// `Retry` after a failure, `Done` otherwise: the verdict of a continuation that has no view of its own.
    pub fn verdict(&self) -> Next {
        if self.error().is_some() { Next::Retry } else { Next::Done }
    }
}

/// One call of a plan.
pub struct Write {
    pub(crate) target: Target,
    pub(crate) action: Action,
    /// uid of the object that a delete is about.
    pub(crate) uid: Str,
    /// Codes of refusals that count as success.
    pub(crate) ignored: Vec<i32>,
    pub(crate) on_success: Option<OnSuccess>,
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) measure: Option<Measure>,
}

impl Write {
    /// Any call.
    pub fn call(target: Target, action: Action) -> Self {
        Write {
            target,
            action,
            uid: Str::new(),
            ignored: Vec::new(),
            on_success: None,
            on_failure: None,
            measure: None,
        }
    }

    /// Creates `object`. Without a name it gets one from its `generateName`.
    pub fn create<K: Kind>(object: K) -> Self {
        let target = Target::of::<K>(&object.meta().namespace);
        Write::call(target, Action::Create(Box::new(object), WriteOptions::default()))
    }

    /// Replaces the object, provided that the stored one still has its `resourceVersion`.
    pub fn update<K: Kind>(object: K) -> Self {
        let target = Target::of::<K>(&object.meta().namespace).named(&object.meta().name);
        Write::call(target, Action::Update(Box::new(object), WriteOptions::default()))
    }

    /// Replaces the object's status, provided that the stored one still has its `resourceVersion`.
    pub fn update_status<K: Kind>(object: K) -> Self {
        let target =
            Target::of::<K>(&object.meta().namespace).named(&object.meta().name).subresource("status");
        Write::call(target, Action::Update(Box::new(object), WriteOptions::default()))
    }

    /// Changes the object of kind `K` and this name by a patch document.
    pub fn patch<K: Kind>(
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchKind,
        document: Bytes,
    ) -> Self {
        let target = Target::of::<K>(namespace).named(name).subresource(subresource);
        Write::call(target, Action::Patch(kind, document, WriteOptions::default()))
    }

    /// Applies `fields` of the object of kind `K` and this name for `manager`, who takes them from whoever had them.
    pub fn apply<K: Kind>(
        namespace: &str,
        name: &str,
        subresource: &str,
        manager: &str,
        mut fields: Value,
    ) -> Self {
        fields["apiVersion"] = K::api_version().into();
        fields["kind"] = K::KIND.into();
        fields["metadata"]["name"] = name.into();
        if !namespace.is_empty() {
            fields["metadata"]["namespace"] = namespace.into();
        }
        let options = WriteOptions { field_manager: manager.into(), force: true, ..WriteOptions::default() };
        let target = Target::of::<K>(namespace).named(name).subresource(subresource);
        Write::call(target, Action::Patch(PatchKind::Apply, fields.to_string().into(), options))
    }

    /// Changes what differs between `known` and `wanted`, provided that the stored object is still `known`: a merge patch, for
    /// those whose role allows patches and not updates. With `subresource` only that part changes.
    pub fn change<K: Kind>(known: &K, wanted: &K, subresource: &str) -> Self {
        let meta = known.meta();
        let mut document = difference(&meta::to_value(known), &meta::to_value(wanted));
        document["metadata"]["resourceVersion"] = meta.resource_version.as_str().into();
        document["metadata"]["uid"] = meta.uid.as_str().into();
        let document = Bytes::from(document.to_string());
        Write::patch::<K>(&meta.namespace, &meta.name, subresource, PatchKind::Merge, document)
    }

    /// Deletes `object`, provided that the stored one still has its uid. That it is gone already counts as success.
    pub fn delete<K: Kind>(object: &K) -> Self {
        Write::delete_with::<K>(object, DeleteOptions::default())
    }

    /// Deletes `object` with options; the uid is required in any case.
    pub fn delete_with<K: Kind>(object: &K, options: DeleteOptions) -> Self {
        Write::delete_any(&Resource::of::<K>(), object, options)
    }

    /// Deletes an object whose resource is only known by name.
    pub fn delete_any(resource: &Resource, object: &dyn Object, mut options: DeleteOptions) -> Self {
        let meta = object.meta();
        let target = resource.target(&meta.namespace).named(&meta.name);
        options.precondition = Precondition { uid: Some(meta.uid.clone()), ..options.precondition };
        let uid = meta.uid.clone();
        Write { uid, ..Write::call(target, Action::Delete(options)) }.ignore(404)
    }

    /// Reads one object, the newest state.
    pub fn get(target: Target) -> Self {
        Write::call(target, Action::Get { resource_version: Str::new() })
    }

    /// Reads a collection.
    pub fn list(target: Target, options: ListOptions) -> Self {
        Write::call(target, Action::List(options))
    }

    /// A refusal with this HTTP code counts as success.
    pub fn ignore(mut self, code: i32) -> Self {
        self.ignored.push(code);
        self
    }

    /// Records the event that `note` makes of the object that the call brought.
    pub fn on_success(
        mut self,
        note: impl FnOnce(Option<&dyn Object>) -> Option<Note> + Send + 'static,
    ) -> Self {
        self.on_success = Some(Box::new(note));
        self
    }

    /// Records the event that `note` makes of a refusal.
    pub fn on_failure(mut self, note: impl FnOnce(&Status) -> Option<Note> + Send + 'static) -> Self {
        self.on_failure = Some(Box::new(note));
        self
    }

    /// Hands over how the call went once it was made: nothing after a success, else the refusal. For what is counted, as
    /// decisions must not count what may not come to pass.
    pub fn measured(mut self, measure: impl FnOnce(Option<&Status>) + Send + 'static) -> Self {
        self.measure = Some(Box::new(measure));
        self
    }

    /// The resource that the call is about.
    pub(crate) fn resource(&self) -> Resource {
        Resource::new(&self.target.group, &self.target.version, &self.target.resource)
    }
}

impl Plan {
    /// An empty plan.
    pub fn new() -> Self {
        Plan::default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Appends a call.
    pub fn push(&mut self, write: Write) {
        self.steps.push_back(Step::One(write));
    }

    /// Appends calls that do not depend on each other; all are made, whichever fail.
    pub fn all(&mut self, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.steps.push_back(Step::All(writes));
        }
    }

    /// Appends calls that are made in batches of 1, 2, 4 and so on until one fails, so that calls which are all refused
    /// for one reason do not flood the server.
    pub fn slow_start(&mut self, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.steps.push_back(Step::SlowStart(writes));
        }
    }

    /// Appends the creation of `object`.
    pub fn create<K: Kind>(&mut self, object: K) {
        self.push(Write::create(object));
    }

    /// Appends a replacement, see [`Write::update`].
    pub fn update<K: Kind>(&mut self, object: K) {
        self.push(Write::update(object));
    }

    /// Appends a replacement of the status, see [`Write::update_status`].
    pub fn update_status<K: Kind>(&mut self, object: K) {
        self.push(Write::update_status(object));
    }

    /// Appends a deletion, see [`Write::delete`].
    pub fn delete<K: Kind>(&mut self, object: &K) {
        self.push(Write::delete(object));
    }

    /// Appends an event.
    pub fn event(&mut self, note: Note) {
        self.steps.push_back(Step::Event(note));
    }

    /// Appends a continuation. It runs whether or not the steps before it failed, and its verdict replaces theirs.
    pub fn then(&mut self, next: impl FnOnce(&Outcome, &mut Plan) -> Next + Send + 'static) {
        self.steps.push_back(Step::Then(Box::new(next)));
    }

    /// Hands failures of earlier steps to the next continuation, in front of its own results.
    pub fn carry(&mut self, errors: Vec<Status>) {
        if !errors.is_empty() {
            self.steps.push_front(Step::Carry(errors));
        }
    }

    /// The calls and events in order, a line each, for tests: verb, path and, for what is written, the body in JSON.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            match step {
                Step::One(write) => line(&mut text, "", write),
                Step::All(writes) => writes.iter().for_each(|write| line(&mut text, "", write)),
                Step::SlowStart(writes) => writes.iter().for_each(|write| line(&mut text, "slowly ", write)),
                Step::Event(note) => {
                    let _ = writeln!(text, "event {note}");
                }
                Step::Carry(_) => {}
                Step::Then(_) => text.push_str("then ...\n"),
            }
        }
        text
    }
}

/// The merge patch (RFC 7386) that turns `from` into `to`.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = serde_json::Map::new();
    for (key, value) in to {
        match from.get(key) {
            Some(known) if known == value => {}
            Some(known) => {
                patch.insert(key.clone(), difference(known, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

fn line(text: &mut String, how: &str, write: &Write) {
    let path = write.target.path();
    let json = |object: &dyn Object| {
        let mut out = Vec::new();
        object.encode_json(&mut out);
        String::from_utf8_lossy(&out).trim().to_owned()
    };
    let _ = match &write.action {
        Action::Get { .. } => writeln!(text, "{how}get {path}"),
        Action::List(_) => writeln!(text, "{how}list {path}"),
        Action::Watch(_) => writeln!(text, "{how}watch {path}"),
        Action::Create(object, _) => writeln!(text, "{how}create {path} {}", json(&**object)),
        Action::Update(object, _) => writeln!(text, "{how}update {path} {}", json(&**object)),
        Action::Patch(_, document, _) => {
            writeln!(text, "{how}patch {path} {}", String::from_utf8_lossy(document))
        }
        Action::Delete(options) => {
            let policy = &options.propagation_policy;
            let grace =
                options.grace_period_seconds.map(|grace| format!(" grace {grace}")).unwrap_or_default();
            writeln!(text, "{how}delete {path}{grace}{}{policy}", if policy.is_empty() { "" } else { " " })
        }
        Action::DeleteCollection(..) => writeln!(text, "{how}deletecollection {path}"),
    };
}
