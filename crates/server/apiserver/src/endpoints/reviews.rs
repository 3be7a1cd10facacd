//! Reviews: questions about identities and permissions that are asked by creating an object that is never stored.

use authn::{TokenCheck, User};
use authz::{Attributes, Authorized, Decision};
use call::{Action, Call};
use meta::{BadValue, FieldError, FieldErrorKind, List, Map, Object, ObjectMeta, Status, Str, Time};
use registry::errors;
use types::authentication::v1::{SelfSubjectReview, TokenReview, UserInfo};
use types::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus,
};

use super::selectors::{self, Question};
use crate::server::Server;

/// Answers a review; `None` when the call is no review.
pub(crate) async fn perform(
    server: &Server,
    authorized: &Authorized,
    call: &mut Call,
    warnings: &mut Vec<String>,
    notes: &admission::Notes,
) -> Option<Result<Box<dyn Object>, Status>> {
    if !matches!(call.target.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io") {
        return None;
    }
    let Action::Create(object, options) = &mut call.action else { return None };
    let target = &call.target;
    let (namespace, mut object) = (target.namespace.clone(), object.clone_object());
    // What asks about oneself is answered by a new object.
    let about_self = matches!(&*target.resource, "selfsubjectrulesreviews" | "selfsubjectreviews");
    if let Some(served) = registry::Served::find(&target.group, &target.version, &target.resource) {
        let asked = (target, &served, &*options);
        object =
            match server.registry.admit_review(authorized, asked, object, !about_self, warnings, notes).await
            {
                Ok(object) => object,
                Err(status) => return Some(Err(status)),
            };
    }
    let user = authorized.user();
    let any = object.as_any_mut();
    let result = if let Some(review) = any.downcast_mut::<TokenReview>() {
        token(server, review).await
    } else if let Some(review) = any.downcast_mut::<SelfSubjectReview>() {
        review.metadata = Default::default();
        review.metadata.creation_timestamp = Some(Time::from_unix(server.now_s()));
        review.status.user_info = user_info(user);
        Ok(())
    } else if let Some(review) = any.downcast_mut::<SubjectAccessReview>() {
        let mut problems = check_spec(&review.spec);
        problems.extend(not_empty(&review.metadata, "", "must be empty"));
        match refuse(problems) {
            Ok(()) => {
                review.status = subject_access(server, &review.spec).await;
                Ok(())
            }
            refused => refused,
        }
    } else if let Some(review) = any.downcast_mut::<LocalSubjectAccessReview>() {
        local_access(server, review, &namespace).await
    } else if let Some(review) = any.downcast_mut::<SelfSubjectAccessReview>() {
        let spec = &review.spec;
        let (resource, path) = (spec.resource_attributes.as_deref(), spec.non_resource_attributes.as_deref());
        let mut problems = check_question(resource, path);
        problems.extend(resource.into_iter().flat_map(selectors::problems));
        problems.extend(not_empty(&review.metadata, "", "must be empty"));
        match refuse(problems) {
            Ok(()) => {
                review.status = decide(server, user, question(resource, path)).await;
                Ok(())
            }
            refused => refused,
        }
    } else if let Some(review) = any.downcast_mut::<SelfSubjectRulesReview>() {
        rules(server, user, review)
    } else {
        return None;
    };
    Some(result.map(|()| object))
}

async fn token(server: &Server, review: &mut TokenReview) -> Result<(), Status> {
    if review.spec.token.is_empty() {
        return Err(errors::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<Str> = review.spec.audiences.iter().cloned().collect();
    match server.authenticator.review(&review.spec.token, &audiences, server.now_s()).await {
        TokenCheck::Valid(user, audiences) => {
            review.status.authenticated = true;
            review.status.user = user_info(&user);
            review.status.audiences = audiences.into_iter().collect();
        }
        TokenCheck::Refused(texts) => {
            review.status.error = match &texts[..] {
                [one] => one.as_str().into(),
                many => format!("[{}]", many.join(", ")).into(),
            };
        }
    }
    Ok(())
}

fn user_info(user: &User) -> UserInfo {
    let extra: Map<List<Str>> =
        user.extra.iter().map(|(k, v)| (k.clone(), v.iter().cloned().collect::<List<Str>>())).collect();
    UserInfo {
        username: user.name.clone(),
        uid: user.uid.clone(),
        groups: user.groups.iter().cloned().collect(),
        extra,
    }
}

/// The refusal of a review. Upstream leaves its kind out.
fn refuse(problems: Vec<FieldError>) -> Result<(), Status> {
    if problems.is_empty() { Ok(()) } else { Err(errors::invalid("authorization.k8s.io", "", "", problems)) }
}

fn problem(field: &str, value: BadValue, detail: &str) -> FieldError {
    FieldError { kind: FieldErrorKind::Invalid, field: field.into(), value, detail: detail.into() }
}

/// A value as Go prints a struct without JSON tags.
fn path_value(path: Option<&NonResourceAttributes>) -> BadValue {
    BadValue::Plain(path.map_or_else(
        || "null".to_owned(),
        |path| format!("{{\"Path\":{},\"Verb\":{}}}", quoted(&path.path), quoted(&path.verb)),
    ))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is wrong with the question of a review.
fn check_question(
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> Vec<FieldError> {
    match (resource, path) {
        (Some(_), Some(_)) => vec![problem(
            "spec.nonResourceAttributes",
            path_value(path),
            "cannot be specified in combination with resourceAttributes",
        )],
        (None, None) => vec![problem(
            "spec.resourceAttributes",
            path_value(None),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        _ => Vec::new(),
    }
}

fn check_spec(spec: &SubjectAccessReviewSpec) -> Vec<FieldError> {
    let mut problems =
        check_question(spec.resource_attributes.as_deref(), spec.non_resource_attributes.as_deref());
    if spec.user.is_empty() && spec.groups.is_empty() {
        problems.push(problem("spec.user", "".into(), "at least one of user or group must be specified"));
    }
    problems.extend(spec.resource_attributes.as_deref().into_iter().flat_map(selectors::problems));
    problems
}

/// The finding that a review has metadata beyond its namespace and what the server itself notes there.
fn not_empty(metadata: &ObjectMeta, namespace: &str, detail: &str) -> Option<FieldError> {
    let mut rest = metadata.clone();
    rest.managed_fields = Default::default();
    if rest.namespace == namespace {
        rest.namespace = Str::new();
    }
    (rest != ObjectMeta::default()).then(|| problem("metadata", BadValue::json(metadata), detail))
}

/// What a review asks about; it was checked that it asks about one thing.
fn question(resource: Option<&ResourceAttributes>, path: Option<&NonResourceAttributes>) -> Question {
    match (resource, path) {
        (None, None) => Question::default(),
        (None, Some(path)) => {
            Question { attributes: Attributes::path(&path.verb, &path.path), ..Question::default() }
        }
        (Some(resource), _) => selectors::question(resource),
    }
}

async fn decide(server: &Server, user: &User, question: Question) -> SubjectAccessReviewStatus {
    let outcome = server.authorizer.decide(user, &question.attributes).await;
    let (allowed, denied, reason) = match outcome.decision {
        Decision::Allow(reason) => (true, false, reason),
        Decision::Deny(reason) => (false, true, reason),
        Decision::NoOpinion(reason) => (false, false, reason),
    };
    let mut errors = vec![outcome.error];
    errors.extend(question.ignored);
    errors.retain(|error| !error.is_empty());
    SubjectAccessReviewStatus {
        allowed,
        denied,
        reason: reason.into(),
        evaluation_error: errors.join("; ").into(),
    }
}

async fn subject_access(server: &Server, spec: &SubjectAccessReviewSpec) -> SubjectAccessReviewStatus {
    let question = question(spec.resource_attributes.as_deref(), spec.non_resource_attributes.as_deref());
    let mut user = User::new(spec.user.clone(), &[]);
    user.uid = spec.uid.clone();
    user.groups = spec.groups.iter().cloned().collect();
    for (key, values) in spec.extra.iter() {
        values.iter().for_each(|value| user.add_extra(key, value.clone()));
    }
    decide(server, &user, question).await
}

async fn local_access(
    server: &Server,
    review: &mut LocalSubjectAccessReview,
    namespace: &str,
) -> Result<(), Status> {
    let own = &review.metadata.namespace;
    if !own.is_empty() && own != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(errors::bad_request(why));
    }
    let mut problems = check_spec(&review.spec);
    review.metadata.namespace = namespace.into();
    problems.extend(not_empty(&review.metadata, namespace, "must be empty except for namespace"));
    if let Some(resource) = review.spec.resource_attributes.as_ref().filter(|r| r.namespace != namespace) {
        let field = "spec.resourceAttributes.namespace";
        problems.push(problem(field, resource.namespace.as_str().into(), "must match metadata.namespace"));
    }
    if let Some(path) = review.spec.non_resource_attributes.as_deref() {
        let detail = "disallowed on this kind of request";
        problems.push(problem("spec.nonResourceAttributes", path_value(Some(path)), detail));
    }
    refuse(problems)?;
    review.status = subject_access(server, &review.spec).await;
    Ok(())
}

fn rules(server: &Server, user: &User, review: &mut SelfSubjectRulesReview) -> Result<(), Status> {
    if review.spec.namespace.is_empty() {
        return Err(errors::bad_request("no namespace on request"));
    }
    let told = server.authorizer.held(user, &review.spec.namespace);
    let mut held = told.rules;
    if user.in_group(authn::MASTERS) {
        let everything = || vec![Str::from("*")];
        let resources = authz::Rule {
            verbs: everything(),
            groups: everything(),
            resources: everything(),
            ..Default::default()
        };
        let paths = authz::Rule { verbs: everything(), paths: everything(), ..Default::default() };
        if !held.contains(&resources) {
            held.insert(0, resources);
        }
        if !held.contains(&paths) {
            held.insert(0, paths);
        }
    }
    let list = |items: &[Str]| items.iter().cloned().collect();
    for rule in &held {
        if !rule.resources.is_empty() {
            review.status.resource_rules.push(ResourceRule {
                verbs: list(&rule.verbs),
                api_groups: list(&rule.groups),
                resources: list(&rule.resources),
                resource_names: list(&rule.names),
            });
        }
        if !rule.paths.is_empty() {
            let rule = NonResourceRule { verbs: list(&rule.verbs), non_resource_urls: list(&rule.paths) };
            review.status.non_resource_rules.push(rule);
        }
    }
    review.status.evaluation_error = told.error.into();
    review.status.incomplete = told.incomplete;
    review.spec = Default::default();
    Ok(())
}
