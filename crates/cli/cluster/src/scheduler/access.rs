//! Who may ask the scheduler: client certificates of the cluster's authority and tokens, judged by the API server
//! (TokenReview, SubjectAccessReview), as upstream's delegated authentication and authorization.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use env::Env;
use meta::Str;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use types::authentication::v1::{TokenReview, TokenReviewSpec};
use types::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long an answer of the API server is used again.
const FRESH: Duration = Duration::from_secs(10);
/// Answers kept.
const ANSWERS_MAX: usize = 1024;
/// Who may do everything.
const MASTERS: &str = "system:masters";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct User {
    /// Name.
    pub(super) name: Str,
    uid: Str,
    groups: Vec<Str>,
}

impl User {
    fn anonymous() -> Self {
        User {
            name: "system:anonymous".into(),
            uid: Str::default(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// The user of a client certificate that TLS has verified.
    fn of_certificate(certificates: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificates?.first()?).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.into();
        let mut groups: Vec<Str> =
            subject.iter_organization().filter_map(|one| one.as_str().ok()).map(Str::from).collect();
        groups.push("system:authenticated".into());
        Some(User { name, uid: Str::default(), groups })
    }
}

/// Answers by question, with when they were given.
type Answers<Q, A> = Mutex<HashMap<Q, (Duration, A)>>;

/// Asks the API server, and remembers its answers for a while.
pub(super) struct Access {
    reviewer: Client,
    authorizer: Client,
    env: Env,
    tokens: Answers<Str, Option<User>>,
    verdicts: Answers<(User, String, String), bool>,
}

impl Access {
    /// Asks through these clients about tokens and about access.
    pub(super) fn new(reviewer: Client, authorizer: Client, env: Env) -> Arc<Self> {
        Arc::new(Access { reviewer, authorizer, env, tokens: Mutex::default(), verdicts: Mutex::default() })
    }

    /// Waits.
    pub(super) async fn pause(&self, duration: Duration) {
        self.env.sleep(duration).await;
    }

    /// Who sent a request with these credentials; `None` when the token is no good.
    pub(super) async fn identify(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        authorization: Option<&str>,
    ) -> Option<User> {
        if let Some(user) = User::of_certificate(certificates) {
            return Some(user);
        }
        let token = authorization.and_then(|header| header.strip_prefix("Bearer "));
        match token.map(str::trim).filter(|token| !token.is_empty()) {
            None => Some(User::anonymous()),
            Some(token) => self.review(token).await,
        }
    }

    async fn review(&self, token: &str) -> Option<User> {
        let token = Str::from(token);
        if let Some(known) = self.known(&self.tokens, &token) {
            return known;
        }
        let spec = TokenReviewSpec { token: token.clone(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = match self.reviewer.all::<TokenReview>().create(review).await {
            Ok(review) => review,
            Err(status) => {
                tracing::warn!(reason = %status.message, "cannot review a token");
                return None;
            }
        };
        let told = &answer.status;
        let user = told.authenticated.then(|| User {
            name: told.user.username.clone(),
            uid: told.user.uid.clone(),
            groups: told.user.groups.iter().cloned().collect(),
        });
        self.remember(&self.tokens, token, user.clone());
        user
    }

    /// Whether the user may do this with a path.
    pub(super) async fn allows(&self, user: &User, verb: &str, path: &str) -> bool {
        if user.groups.iter().any(|group| group == MASTERS) {
            return true;
        }
        let question = (user.clone(), verb.to_owned(), path.to_owned());
        if let Some(known) = self.known(&self.verdicts, &question) {
            return known;
        }
        let attributes = NonResourceAttributes { path: path.into(), verb: verb.into() };
        let spec = SubjectAccessReviewSpec {
            non_resource_attributes: Some(Box::new(attributes)),
            user: user.name.clone(),
            groups: user.groups.iter().cloned().collect(),
            uid: user.uid.clone(),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        match self.authorizer.all::<SubjectAccessReview>().create(review).await {
            Ok(review) => {
                self.remember(&self.verdicts, question, review.status.allowed);
                review.status.allowed
            }
            Err(status) => {
                tracing::warn!(reason = %status.message, "cannot review access");
                false
            }
        }
    }

    fn known<Q: std::hash::Hash + Eq, A: Clone>(&self, answers: &Answers<Q, A>, question: &Q) -> Option<A> {
        let now = self.env.clock.monotonic();
        let answers = answers.lock();
        let (at, answer) = answers.get(question)?;
        (now.saturating_sub(*at) < FRESH).then(|| answer.clone())
    }

    fn remember<Q: std::hash::Hash + Eq, A>(&self, answers: &Answers<Q, A>, question: Q, answer: A) {
        let now = self.env.clock.monotonic();
        let mut answers = answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (at, _)| now.saturating_sub(*at) < FRESH);
            if answers.len() >= ANSWERS_MAX {
                answers.clear();
            }
        }
        answers.insert(question, (now, answer));
    }
}
