//! Acting as somebody else (KEP-5284): which questions must be allowed before an identity is taken over.
//!
//! There are five modes. The constrained ones come first: each asks whether this very request may be made in the mode
//! (`impersonate-on:<mode>:<verb>`), and whether the user may be taken over in it (`impersonate:<mode>`). The last one is
//! the verb `impersonate` of old, which asks once per user, group, uid and extra value and knows no bounds. The mode that
//! let a requester pass is tried first the next time. The refusal is that of the first mode that applies.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use authn::{ANONYMOUS, Identified, Impersonation, MASTERS, UNAUTHENTICATED, User};
use authz::{Attributes, Authorizer, Decision, Forbidden};
use meta::{FieldError, FieldPath, Status, Str, go_quote, names};
use outbound::Kept;
use telemetry::{CounterFamily, HistogramFamily};

use crate::pipeline::refusal;

const GROUP: &str = "authentication.k8s.io";
/// From so many values on, a constrained mode asks for all at once before it asks for each.
const MANY: usize = 4;
/// Requesters whose mode is remembered.
const REMEMBERED_MAX: usize = 10_000;

struct Metrics {
    attempts: CounterFamily,
    attempts_duration: HistogramFamily,
    checks: CounterFamily,
    checks_duration: HistogramFamily,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let labels = &["decision", "mode"];
    let limits = telemetry::exponential_buckets(0.001, 2.0, 15);
    Metrics {
        attempts: telemetry::counter(
            "apiserver_impersonation_attempts_total",
            "Impersonation attempts by mode and decision.",
            labels,
        ),
        attempts_duration: telemetry::histogram(
            "apiserver_impersonation_attempts_duration_seconds",
            "Latency of impersonation attempts by mode and decision.",
            labels,
            &limits,
        ),
        checks: telemetry::counter(
            "apiserver_impersonation_authorization_attempts_total",
            "Authorization checks of impersonation by mode and decision.",
            labels,
        ),
        checks_duration: telemetry::histogram(
            "apiserver_impersonation_authorization_attempts_duration_seconds",
            "Latency of authorization checks of impersonation by mode and decision.",
            labels,
            &limits,
        ),
    }
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A ServiceAccount acts as the node that its pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Whoever is neither a node nor a ServiceAccount.
    UserInfo,
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "legacy",
        }
    }

    fn constrained(self) -> bool {
        self != Mode::Legacy
    }

    fn verb(self) -> String {
        if self.constrained() { format!("impersonate:{}", self.name()) } else { "impersonate".to_owned() }
    }

    /// Whether the requester may try this mode for that user at all.
    fn applies(self, wanted: &Impersonation, requester: &User) -> bool {
        let name_only = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_of(&wanted.user);
        match self {
            Mode::AssociatedNode => name_only && node.is_some() && node == own_node(requester),
            Mode::ArbitraryNode => name_only && node.is_some(),
            Mode::ServiceAccount => name_only && account_of(&wanted.user).is_some(),
            Mode::UserInfo => node.is_none() && account_of(&wanted.user).is_none(),
            Mode::Legacy => true,
        }
    }
}

/// Takes over identities, and remembers how each requester was let.
pub(crate) struct Impersonator {
    modes: Kept<Str, Mode>,
}

impl Impersonator {
    pub(crate) fn new() -> Self {
        Impersonator { modes: Kept::new(REMEMBERED_MAX) }
    }

    /// The identity to go on with, or the refusal of the first mode that applies.
    pub(crate) async fn take_over(
        &self,
        authorizer: &Authorizer,
        identified: &Identified,
        wanted: Impersonation,
        request: &Attributes,
    ) -> Result<Identified, Status> {
        let started = Instant::now();
        let requester = identified.user();
        let last = self.modes.get(&requester.name, Duration::ZERO);
        let rest = MODES.into_iter().filter(|mode| Some(*mode) != last);
        let mut refused = None;
        for mode in last.into_iter().chain(rest) {
            if !mode.applies(&wanted, requester) {
                continue;
            }
            let attempt = Attempt { authorizer, requester, mode, wanted: &wanted };
            match attempt.check(request).await {
                Ok(user) => {
                    self.modes.insert(requester.name.clone(), mode, Duration::MAX);
                    record(mode.name(), "allowed", started);
                    return Ok(identified.impersonating(user));
                }
                Err(status) => refused = refused.or(Some(status)),
            }
        }
        record("", "denied", started);
        Err(refused.unwrap_or_else(|| Status::internal_error("all impersonation modes failed")))
    }
}

fn record(mode: &str, decision: &str, started: Instant) {
    METRICS.attempts.with(&[decision, mode]).inc();
    METRICS.attempts_duration.with(&[decision, mode]).observe_since(started);
}

/// One mode tried for one request.
struct Attempt<'a> {
    authorizer: &'a Authorizer,
    requester: &'a User,
    mode: Mode,
    wanted: &'a Impersonation,
}

impl Attempt<'_> {
    async fn check(&self, request: &Attributes) -> Result<User, Status> {
        if self.mode.constrained() {
            let mut question = request.clone();
            question.verb = format!("impersonate-on:{}:{}", self.mode.name(), request.verb).into();
            self.ask(question).await?;
        }
        let groups = self.name().await?;
        if !self.wanted.uid.is_empty() {
            self.ask(self.question(GROUP, "v1", "uids", &self.wanted.uid)).await?;
        }
        self.groups().await?;
        self.extra().await?;
        let wanted = self.wanted;
        let mut user =
            User { name: wanted.user.clone(), uid: wanted.uid.clone(), groups, extra: wanted.extra.clone() };
        if user.name == ANONYMOUS {
            if !user.in_group(UNAUTHENTICATED) {
                user.groups.push(UNAUTHENTICATED.into());
            }
        } else {
            user.authenticated();
        }
        Ok(user)
    }

    /// Users and groups are in the core group for the verb of old.
    fn question(&self, group: &str, version: &str, resource: &str, name: &str) -> Attributes {
        let mut question = Attributes::resource(&self.mode.verb(), group, resource, "", name);
        question.version = version.into();
        question
    }

    fn who(&self) -> (&'static str, &'static str) {
        if self.mode.constrained() { (GROUP, "v1") } else { ("", "v1") }
    }

    /// Asks for the name, and gives the groups that it brings.
    async fn name(&self) -> Result<Vec<Str>, Status> {
        let wanted = self.wanted;
        let (group, version) = self.who();
        let mut question = self.question(group, version, "users", &wanted.user);
        let mut groups = wanted.groups.clone();
        if self.mode.constrained()
            && let Some(node) = node_of(&wanted.user)
        {
            question.resource = "nodes".into();
            question.name = node.into();
            groups = vec!["system:nodes".into()];
        }
        if let Some((namespace, name)) = account_of(&wanted.user) {
            question.resource = "serviceaccounts".into();
            question.namespace = namespace.into();
            question.name = name.into();
            if groups.is_empty() {
                groups = ["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
                    .map(Str::from)
                    .to_vec();
            }
        }
        // Which node it is was looked at before: what is asked must hold for the nodes of all its pods.
        if self.mode == Mode::AssociatedNode {
            question.name = "*".into();
        }
        self.ask(question).await.map(|()| groups)
    }

    async fn groups(&self) -> Result<(), Status> {
        let wanted = &self.wanted.groups;
        let (group, version) = self.who();
        let question = |name: &str| self.question(group, version, "groups", name);
        if self.mode.constrained() {
            if wanted.iter().any(Str::is_empty) {
                return Err(self.refuse(question(""), "impersonating the empty string group is not allowed"));
            }
            if wanted.iter().any(|group| group == MASTERS) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(self.refuse(question(MASTERS), why));
            }
            if wanted.len() >= MANY && self.ask(question("*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in wanted {
            self.ask(question(group)).await?;
        }
        Ok(())
    }

    async fn extra(&self) -> Result<(), Status> {
        let wanted = &self.wanted.extra;
        let question = |key: &str, value: &str| {
            let mut question = self.question(GROUP, "v1", "userextras", value);
            question.subresource = key.into();
            question
        };
        if self.mode.constrained() && !wanted.is_empty() {
            if let Some(why) = wanted.iter().find_map(|(key, values)| bad_extra(key, values)) {
                return Err(self.refuse(question("", ""), &why));
            }
            let values: usize = wanted.iter().map(|(_, values)| values.len()).sum();
            if (wanted.len() >= MANY || values >= MANY) && self.ask(question("*", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in wanted {
            for value in values {
                self.ask(question(key, value)).await?;
            }
        }
        Ok(())
    }

    async fn ask(&self, question: Attributes) -> Result<(), Status> {
        let started = Instant::now();
        let outcome = match self.mode {
            Mode::AssociatedNode => self.authorizer.decide(&without_extra(self.requester), &question).await,
            _ => self.authorizer.decide(self.requester, &question).await,
        };
        let allowed = matches!(outcome.decision, Decision::Allow(_));
        let labels = [if allowed { "allowed" } else { "denied" }, self.mode.name()];
        METRICS.checks.with(&labels).inc();
        METRICS.checks_duration.with(&labels).observe_since(started);
        match outcome.decision {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                let why = match (outcome.error.as_str(), reason.as_str()) {
                    ("", reason) => reason.to_owned(),
                    (error, "") => error.to_owned(),
                    (error, reason) => format!("{error}: {reason}"),
                };
                Err(self.refuse(question, &why))
            }
        }
    }

    fn refuse(&self, attributes: Attributes, why: &str) -> Status {
        let user = std::sync::Arc::new(self.requester.clone());
        refusal(&Forbidden { user, attributes, reason: why.to_owned(), error: String::new() })
    }
}

/// The requester with the names of its extra facts in place of the facts, so that a rule for it holds on every node.
fn without_extra(requester: &User) -> User {
    let keys = requester.extra.iter().map(|(key, _)| key.clone()).collect();
    let extra = vec![("authentication.kubernetes.io/associated-node-keys".into(), keys)];
    User { extra, ..requester.clone() }
}

/// What is wrong with an extra fact that a constrained mode is to take over.
fn bad_extra(key: &str, values: &[Str]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let findings = bad_key(key);
    if !findings.is_empty() {
        let all = meta::aggregate_message(findings.iter().map(ToString::to_string));
        return Some(format!("impersonating an invalid key in extra is not allowed: {all}"));
    }
    if key.chars().any(char::is_uppercase) {
        let key = go_quote(key);
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key}"));
    }
    if values.is_empty() {
        return Some("impersonating empty values in extra is not allowed".to_owned());
    }
    let empty = values.iter().any(Str::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}

fn bad_key(key: &str) -> Vec<FieldError> {
    let at = FieldPath::new("extra").child("key");
    match key.split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            let mut found: Vec<FieldError> = names::dns_subdomain(host)
                .into_iter()
                .map(|why| FieldError::invalid(&at, host, why))
                .collect();
            if !names::http_path_ok(path) {
                let why = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
                found.push(FieldError::invalid(&at, path, why));
            }
            found
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            vec![FieldError::invalid(&at, key, why)]
        }
    }
}

fn node_of(user: &str) -> Option<&str> {
    let node = user.strip_prefix("system:node:")?;
    names::dns_subdomain(node).is_empty().then_some(node)
}

/// Namespace and name of a ServiceAccount's user name.
fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let fits = names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty();
    fits.then_some((namespace, name))
}

/// The node on which the pod of a requesting ServiceAccount runs.
fn own_node(requester: &User) -> Option<&str> {
    account_of(&requester.name)?;
    let (_, values) =
        requester.extra.iter().find(|(key, _)| key == "authentication.kubernetes.io/node-name")?;
    let [node] = &values[..] else { return None };
    Some(node)
}

#[cfg(test)]
mod tests;
