//! The events themselves: one record per request, sent on at every stage that the policy leaves in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use authn::User;
use authz::Attributes;
use bytes::Bytes;
use env::Env;
use meta::{MicroTime, Str};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::metrics;
use crate::policy::{Level, Policy, Stage, Verdict};
use crate::sink::Sink;

/// Tells of requests.
pub struct Auditor {
    policy: Policy,
    sinks: Vec<Sink>,
    env: Env,
}

/// A request, as far as it is known before it is served.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Id of the request, as in the header `Audit-ID`.
    pub id: &'a str,
    /// Path and query as sent.
    pub uri: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// As whom, when that is another.
    pub impersonated: Option<&'a User>,
    /// Addresses that the request came by, the client's first.
    pub source_ips: &'a [String],
    /// The client's program.
    pub user_agent: &'a str,
    /// What is asked.
    pub attributes: &'a Attributes,
}

/// What is told of one request.
pub struct Record {
    auditor: Arc<Auditor>,
    verdict: Verdict,
    event: Mutex<Map<String, Value>>,
    /// The end was told.
    ended: AtomicBool,
}

impl Auditor {
    /// An auditor by a policy.
    pub fn new(policy: Policy, sinks: Vec<Sink>, env: Env) -> Arc<Self> {
        Arc::new(Auditor { policy, sinks, env })
    }

    /// Waits until everything that was told is delivered or given up.
    pub async fn flush(&self) {
        for sink in &self.sinks {
            sink.flush().await;
        }
    }

    /// Begins the record of a request; `None` when the policy says that nothing is told of it.
    pub fn begin(self: &Arc<Self>, asked: &Asked<'_>) -> Option<Record> {
        let verdict = self.policy.judge(asked.user, asked.attributes);
        metrics::judged(verdict.level);
        if verdict.level == Level::None {
            return None;
        }
        let event = event(asked, verdict.level, self.now());
        Some(Record {
            auditor: self.clone(),
            verdict,
            event: Mutex::new(event),
            ended: AtomicBool::new(false),
        })
    }

    fn now(&self) -> MicroTime {
        MicroTime::from_unix_micros(self.env.unix_ms().saturating_mul(1000))
    }
}

impl Record {
    /// Whether what was sent is told.
    pub fn wants_request(&self) -> bool {
        self.verdict.level >= Level::Request
    }

    /// Whether what is answered is told.
    pub fn wants_response(&self) -> bool {
        self.verdict.level >= Level::RequestResponse
    }

    /// The object or patch that was sent, as JSON.
    pub fn request_object(&self, json: &[u8]) {
        self.body("requestObject", json);
    }

    /// The object that is answered, as JSON.
    pub fn response_object(&self, json: &[u8]) {
        self.body("responseObject", json);
    }

    fn body(&self, field: &str, json: &[u8]) {
        // What is no JSON was refused, and is not told.
        let Ok(mut value) = serde_json::from_slice::<Value>(json) else { return };
        if self.verdict.omit_managed_fields {
            strip_managed_fields(&mut value);
        }
        self.event.lock().insert(field.into(), value);
    }

    /// One more fact. The first value of a key stays.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        let mut event = self.event.lock();
        let annotations = event.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.entry(key).or_insert_with(|| Value::String(value.into()));
        }
    }

    /// The user as whom the request is done.
    pub fn impersonated(&self, user: &User) {
        self.event.lock().insert("impersonatedUser".into(), user_json(user));
    }

    /// The name of what was asked about, once it is known.
    pub fn object_name(&self, name: &str) {
        if let Some(reference) = self.event.lock().get_mut("objectRef").and_then(Value::as_object_mut) {
            reference.entry("name").or_insert_with(|| name.into());
        }
    }

    /// The status of the answer; `refusal` is the Status object of a refusal.
    pub fn status(&self, code: u16, refusal: Option<&meta::Status>) {
        let mut status = json!({ "metadata": {} });
        if let Some(refusal) = refusal {
            status["status"] = "Failure".into();
            status["message"] = refusal.message.as_str().into();
            status["reason"] = refusal.reason.as_str().into();
        }
        status["code"] = code.into();
        self.event.lock().insert("responseStatus".into(), status);
    }

    /// The status of an answer to somebody whom no credential named.
    pub fn unauthenticated(&self, message: &str) {
        let status = json!({ "metadata": {}, "message": message, "code": 401 });
        self.event.lock().insert("responseStatus".into(), status);
    }

    /// Sends the record on as it is now, and waits until it is delivered where a backend's mode asks for that. `false` when
    /// it was not, in a mode that refuses requests then.
    pub async fn tell(&self, stage: Stage) -> bool {
        for (sink, event) in self.ready(stage) {
            if !sink.process(event, stage).await {
                metrics::rejected();
                return false;
            }
        }
        true
    }

    /// Like [`Record::tell`] from where nothing can wait, such as the end of a stream.
    pub fn tell_soon(&self, stage: Stage) {
        for (sink, event) in self.ready(stage) {
            sink.process_soon(event);
        }
    }

    /// The event for each backend that takes it.
    fn ready(&self, stage: Stage) -> Vec<(&Sink, Bytes)> {
        if matches!(stage, Stage::ResponseComplete | Stage::Panic) {
            self.ended.store(true, Ordering::Relaxed);
        }
        if self.verdict.omit_stages.contains(&stage) {
            return Vec::new();
        }
        let mut event = self.event.lock();
        event.insert("stage".into(), json!(stage));
        event.insert("stageTimestamp".into(), self.auditor.now().to_string().into());
        let Ok(json) = serde_json::to_vec(&*event).map(Bytes::from) else { return Vec::new() };
        metrics::sent();
        let sinks = self.auditor.sinks.iter();
        sinks.filter_map(|sink| Some((sink, sink.take(&event, &json)?))).collect()
    }
}

impl Drop for Record {
    /// A request that ends in a panic has nobody else to tell it.
    fn drop(&mut self) {
        let told = self.ended.load(Ordering::Relaxed) || tokio::runtime::Handle::try_current().is_err();
        if std::thread::panicking() && !told {
            let status = json!({
                "metadata": {}, "status": "Failure", "message": "APIServer panic'd", "reason": "InternalError", "code": 500
            });
            self.event.lock().insert("responseStatus".into(), status);
            self.tell_soon(Stage::Panic);
        }
    }
}

fn event(asked: &Asked<'_>, level: Level, now: MicroTime) -> Map<String, Value> {
    let mut event = Map::new();
    let mut put = |key: &str, value: Value| drop(event.insert(key.to_owned(), value));
    put("kind", "Event".into());
    put("apiVersion", "audit.k8s.io/v1".into());
    put("level", json!(level));
    put("auditID", asked.id.into());
    put("stage", Value::Null);
    put("requestURI", asked.uri.into());
    put("verb", asked.attributes.verb.as_str().into());
    put("user", user_json(asked.user));
    if let Some(user) = asked.impersonated {
        put("impersonatedUser", user_json(user));
    }
    if !asked.source_ips.is_empty() {
        put("sourceIPs", json!(asked.source_ips));
    }
    if !asked.user_agent.is_empty() {
        put("userAgent", asked.user_agent.into());
    }
    if asked.attributes.is_resource {
        put("objectRef", reference(asked.attributes));
    }
    put("requestReceivedTimestamp", now.to_string().into());
    event
}

fn reference(asked: &Attributes) -> Value {
    let fields = [
        ("resource", &asked.resource),
        ("namespace", &asked.namespace),
        ("name", &asked.name),
        ("apiGroup", &asked.group),
        ("apiVersion", &asked.version),
        ("subresource", &asked.subresource),
    ];
    let said = fields.iter().filter(|(_, value)| !value.is_empty());
    Value::Object(said.map(|(key, value)| ((*key).to_owned(), value.as_str().into())).collect())
}

fn user_json(user: &User) -> Value {
    let texts = |list: &[Str]| -> Value { list.iter().map(Str::as_str).collect() };
    let mut out = json!({});
    if !user.name.is_empty() {
        out["username"] = user.name.as_str().into();
    }
    if !user.uid.is_empty() {
        out["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        out["groups"] = texts(&user.groups);
    }
    if !user.extra.is_empty() {
        out["extra"] =
            Value::Object(user.extra.iter().map(|(key, list)| (key.to_string(), texts(list))).collect());
    }
    out
}

fn strip_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip_managed_fields(item);
    }
}
