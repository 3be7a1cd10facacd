//! Asks the API server, and remembers its answers for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use env::Env;
use meta::Str;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use types::authentication::v1::{TokenReview, TokenReviewSpec};
use types::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};

use crate::User;
use crate::metrics;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Answers kept of each sort.
const ANSWERS_MAX: usize = 1024;
/// Who may do everything, asked or not.
const MASTERS: &str = "system:masters";

/// How long answers are used again.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Who is behind a token.
    pub token: Duration,
    /// A yes.
    pub allowed: Duration,
    /// A no.
    pub denied: Duration,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Something with a path that is no resource.
    Path(String),
    /// Something with a node's API: a subresource of its Node object.
    Node {
        /// Name of the node.
        name: Str,
        /// Such as `proxy` or `metrics`.
        subresource: &'static str,
    },
}

/// Why somebody is not known, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The credentials are no good, or there are none where some are needed.
    Unauthenticated,
    /// The API server was asked and gave no answer. Worth another try.
    Unanswered(String),
}

/// Answers by question, with the time until which they hold.
type Answers<Q, A> = Mutex<HashMap<Q, (Duration, A)>>;

/// Asks the API server, and remembers its answers for a while.
pub struct Access {
    reviewer: Client,
    authorizer: Client,
    env: Env,
    freshness: Freshness,
    anonymous: bool,
    /// By digest: tokens are secrets, and as long as whoever sends them likes.
    tokens: Answers<[u8; 32], Option<User>>,
    verdicts: Answers<(User, &'static str, Wanted), bool>,
}

impl Access {
    /// Asks through these clients about tokens and about access. `anonymous` says whether who shows nothing is somebody.
    pub fn new(
        reviewer: Client,
        authorizer: Client,
        env: Env,
        freshness: Freshness,
        anonymous: bool,
    ) -> Arc<Self> {
        let (tokens, verdicts) = (Mutex::default(), Mutex::default());
        Arc::new(Access { reviewer, authorizer, env, freshness, anonymous, tokens, verdicts })
    }

    /// Seconds since 1970.
    pub fn now_s(&self) -> i64 {
        self.env.unix_ms().div_euclid(1000)
    }

    /// Waits.
    pub async fn pause(&self, duration: Duration) {
        self.env.sleep(duration).await;
    }

    /// Who sent a request with these credentials. A certificate, which TLS has verified, goes before a token.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn identify(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        authorization: Option<&str>,
    ) -> Result<User, Refused> {
        if let Some(user) = User::of_certificate(certificates) {
            return Ok(user);
        }
        let token = authorization.and_then(|header| header.strip_prefix("Bearer "));
        match token.map(str::trim).filter(|token| !token.is_empty()) {
            None if self.anonymous => Ok(User::anonymous()),
            None => Err(Refused::Unauthenticated),
            Some(token) => self.review(token).await?.ok_or(Refused::Unauthenticated),
        }
    }

    async fn review(&self, token: &str) -> Result<Option<User>, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let mut key = [0; 32];
        key.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
        let began = self.env.clock.monotonic();
        if let Some(known) = self.known(&self.tokens, &key) {
            metrics::token(true, self.env.clock.monotonic() - began);
            return Ok(known);
        }
        let spec = TokenReviewSpec { token: Str::from(token), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let fetching = metrics::fetching();
        let reviews = self.reviewer.all::<TokenReview>();
        let answer = metrics::AUTHENTICATION.measure(&self.env, reviews.create(review)).await;
        drop(fetching);
        metrics::fetched(answer.is_ok());
        metrics::token(false, self.env.clock.monotonic() - began);
        let answer = answer.map_err(|status| {
            tracing::warn!(reason = %status.message, "cannot review a token");
            Refused::Unanswered(status.message.to_string())
        })?;
        let user = answer.status.authenticated.then(|| User::of_review(&answer.status.user));
        self.remember(&self.tokens, key, user.clone(), self.freshness.token);
        Ok(user)
    }

    /// Whether the user may do this; `verb` is a request's method in lower case, or the API's verb for a resource.
    ///
    /// # Errors
    /// The API server gave no answer.
    pub async fn allows(&self, user: &User, verb: &'static str, wanted: Wanted) -> Result<bool, Refused> {
        if user.is_in(MASTERS) {
            return Ok(true);
        }
        let question = (user.clone(), verb, wanted);
        if let Some(known) = self.known(&self.verdicts, &question) {
            return Ok(known);
        }
        let review =
            SubjectAccessReview { spec: spec(user, verb, &question.2), ..SubjectAccessReview::default() };
        let reviews = self.authorizer.all::<SubjectAccessReview>();
        let answer = metrics::AUTHORIZATION.measure(&self.env, reviews.create(review)).await;
        let answer = answer.map_err(|status| {
            tracing::warn!(reason = %status.message, "cannot review access");
            Refused::Unanswered(status.message.to_string())
        })?;
        let allowed = answer.status.allowed;
        let hold = if allowed { self.freshness.allowed } else { self.freshness.denied };
        self.remember(&self.verdicts, question, allowed, hold);
        Ok(allowed)
    }

    fn known<Q: Hash + Eq, A: Clone>(&self, answers: &Answers<Q, A>, question: &Q) -> Option<A> {
        let now = self.env.clock.monotonic();
        let answers = answers.lock();
        let (until, answer) = answers.get(question)?;
        (now < *until).then(|| answer.clone())
    }

    fn remember<Q: Hash + Eq + Clone, A>(
        &self,
        answers: &Answers<Q, A>,
        question: Q,
        answer: A,
        hold: Duration,
    ) {
        let now = self.env.clock.monotonic();
        let mut answers = answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (until, _)| now < *until);
            // Whoever asks much does not make others forgotten: what holds shortest goes.
            let oldest =
                answers.iter().min_by_key(|(_, (until, _))| *until).map(|(question, _)| question.clone());
            if let Some(oldest) = oldest.filter(|_| answers.len() >= ANSWERS_MAX) {
                answers.remove(&oldest);
            }
        }
        answers.insert(question, (now + hold, answer));
    }
}

fn spec(user: &User, verb: &str, wanted: &Wanted) -> SubjectAccessReviewSpec {
    let extra = user.extra.iter().map(|(key, values)| (key.clone(), values.iter().cloned().collect()));
    let mut spec = SubjectAccessReviewSpec {
        user: user.name.clone(),
        groups: user.groups.iter().cloned().collect(),
        uid: user.uid.clone(),
        extra: extra.collect(),
        ..SubjectAccessReviewSpec::default()
    };
    match wanted {
        Wanted::Path(path) => {
            let attributes = NonResourceAttributes { path: path.as_str().into(), verb: verb.into() };
            spec.non_resource_attributes = Some(Box::new(attributes));
        }
        Wanted::Node { name, subresource } => {
            spec.resource_attributes = Some(Box::new(ResourceAttributes {
                verb: verb.into(),
                version: "v1".into(),
                resource: "nodes".into(),
                subresource: (*subresource).into(),
                name: name.clone(),
                ..ResourceAttributes::default()
            }));
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use call::{Action, Call, Reply, Transport};
    use meta::Status;

    use super::*;

    /// An API server that knows one token and one right, and counts what it is asked.
    #[derive(Default)]
    struct Server {
        asked: AtomicUsize,
        broken: bool,
    }

    #[async_trait::async_trait]
    impl Transport for Server {
        async fn call(&self, call: Call) -> Result<Reply, Status> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.broken {
                return Err(Status::service_unavailable("gone"));
            }
            let Action::Create(object, _) = call.action else { panic!("only reviews are asked") };
            let any: Box<dyn std::any::Any> = object.into_any();
            let any = match any.downcast::<TokenReview>() {
                Ok(mut review) => {
                    review.status.authenticated = review.spec.token == "good";
                    review.status.user.username = "jane".into();
                    review.status.user.extra.insert("scopes", ["a".into()].into_iter().collect());
                    return Ok(Reply::Object(Arc::new(*review)));
                }
                Err(any) => any,
            };
            let mut review = any.downcast::<SubjectAccessReview>().unwrap();
            let node = review.spec.resource_attributes.as_deref();
            let metrics = node.is_some_and(|node| {
                (node.resource.as_str(), node.subresource.as_str(), node.name.as_str())
                    == ("nodes", "metrics", "n1")
            });
            review.status.allowed = metrics && review.spec.extra.get("scopes").is_some();
            Ok(Reply::Object(Arc::new(*review)))
        }
    }

    fn access(server: Arc<Server>, anonymous: bool) -> Arc<Access> {
        let client = Client::new(server);
        let minute = Duration::from_secs(60);
        let freshness = Freshness { token: minute, allowed: minute, denied: minute };
        Access::new(client.clone(), client, Env::real(), freshness, anonymous)
    }

    #[tokio::test]
    async fn tokens_and_rights_are_asked_for_once() {
        let server = Arc::new(Server::default());
        let access = access(server.clone(), false);
        assert_eq!(access.identify(None, None).await, Err(Refused::Unauthenticated));
        assert_eq!(access.identify(None, Some("Basic Z29vZA==")).await, Err(Refused::Unauthenticated));
        assert_eq!(access.identify(None, Some("Bearer bad")).await, Err(Refused::Unauthenticated));
        let jane = access.identify(None, Some("Bearer good")).await.unwrap();
        let node = |subresource| Wanted::Node { name: "n1".into(), subresource };
        for _ in 0..2 {
            assert_eq!(access.allows(&jane, "get", node("metrics")).await, Ok(true));
            assert_eq!(access.allows(&jane, "get", node("proxy")).await, Ok(false));
            assert_eq!(access.allows(&jane, "get", Wanted::Path("/metrics".into())).await, Ok(false));
            access.identify(None, Some("Bearer good")).await.unwrap();
        }
        assert_eq!(server.asked.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn no_answer_is_no_yes() {
        let server = Arc::new(Server { broken: true, ..Server::default() });
        let access = access(server, true);
        let nobody = access.identify(None, None).await.unwrap();
        assert_eq!(nobody, User::anonymous());
        let unanswered = Refused::Unanswered("gone".into());
        assert_eq!(access.identify(None, Some("Bearer good")).await, Err(unanswered.clone()));
        assert_eq!(access.allows(&nobody, "get", Wanted::Path("/".into())).await, Err(unanswered));
        let mut master = nobody;
        master.groups.push(MASTERS.into());
        assert_eq!(access.allows(&master, "get", Wanted::Path("/".into())).await, Ok(true));
    }
}
