//! Webhooks that answer, contradict themselves, fail, and are not asked.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::Authorizer;
use crate::chain::{Chain, What};

/// A webhook's server that answers with a code and a text; the questions it got are counted.
async fn serve(
    answer: impl Fn(&Json) -> (u16, String) + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/authorize", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let (answer, counted) = (Arc::new(answer), calls.clone());
    tokio::spawn(async move {
        loop {
            let Ok((tcp, _)) = listener.accept().await else { return };
            let (answer, calls) = (answer.clone(), counted.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (answer, calls) = (answer.clone(), calls.clone());
                async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (code, text) = answer(&serde_json::from_slice(&body).unwrap());
                    let response = Response::builder().status(code).body(Full::new(Bytes::from(text)));
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            tokio::spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    });
    (url, calls)
}

fn status(status: Json) -> (u16, String) {
    let review =
        json!({ "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": status });
    (200, review.to_string())
}

fn webhook(url: &str, failure: FailurePolicy, conditions: &[&str]) -> Webhook {
    let settings = Settings {
        name: "test".into(),
        authorized_ttl: Some(Duration::from_secs(300)),
        unauthorized_ttl: None,
        timeout: Duration::from_secs(3),
        version: ReviewVersion::V1,
        failure,
    };
    let programs = conditions.iter().map(|text| crate::conditions::compile(text).unwrap()).collect();
    let config = Config { server: url.to_owned(), ..Config::default() };
    Webhook::new(config, settings, Conditions::new(programs), Env::real()).unwrap()
}

fn question() -> (User, Attributes) {
    let mut request = Attributes::resource("list", "apps", "deployments", "web", "");
    request.version = "v1".into();
    request.select("metadata.name=x", "a in (b),!c");
    let mut user = User::new("alice", &["dev"]);
    user.add_extra("scope", "s");
    (user, request)
}

#[tokio::test]
async fn the_question_is_upstreams_review() {
    let (url, calls) = serve(|question| {
        assert_eq!(
            question["spec"],
            json!({
                "resourceAttributes": {
                    "namespace": "web", "verb": "list", "group": "apps", "version": "v1", "resource": "deployments",
                    "fieldSelector": { "requirements": [{ "key": "metadata.name", "operator": "In", "values": ["x"] }] },
                    "labelSelector": { "requirements": [
                        { "key": "a", "operator": "In", "values": ["b"] }, { "key": "c", "operator": "DoesNotExist" },
                    ] },
                },
                "user": "alice", "groups": ["dev"], "extra": { "scope": ["s"] },
            })
        );
        status(json!({ "allowed": true, "reason": "because" }))
    })
    .await;
    let webhook = webhook(&url, FailurePolicy::NoOpinion, &[]);
    let (user, request) = question();
    for _ in 0..3 {
        let decided = webhook.decide(&user, &request).await;
        assert_eq!(decided, (Decision::Allow("because".into()), None));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn answers_decide() {
    let both = "webhook subject access review returned both allow and deny response";
    let table = [
        (json!({ "allowed": false, "reason": "r" }), (Decision::NoOpinion("r".into()), None)),
        (json!({ "allowed": false, "denied": true, "reason": "r" }), (Decision::Deny("r".into()), None)),
        (json!({ "allowed": true, "denied": true }), (Decision::Deny(String::new()), Some(both.to_owned()))),
        (
            json!({ "allowed": "yes" }),
            (
                Decision::NoOpinion(String::new()),
                Some("status.allowed of the webhook's answer is no boolean".to_owned()),
            ),
        ),
    ];
    for (answer, expected) in table {
        let said = answer.clone();
        let (url, calls) = serve(move |_| status(said.clone())).await;
        let webhook = webhook(&url, FailurePolicy::NoOpinion, &[]);
        let (user, request) = question();
        for times in 1..=2 {
            assert_eq!(webhook.decide(&user, &request).await, expected, "{answer}");
            // Only what was allowed is remembered here.
            let asked = if answer["allowed"] == true { 1 } else { times };
            assert_eq!(calls.load(Ordering::SeqCst), asked, "{answer}");
        }
    }
}

#[tokio::test]
async fn a_failing_webhook_means_what_the_policy_says() {
    let (url, _) = serve(|_| (418, "teapot".into())).await;
    let why =
        Some("the server responded with the status code 418 but did not return more information".to_owned());
    let (user, request) = question();
    let table = [
        (FailurePolicy::NoOpinion, Decision::NoOpinion(String::new())),
        (FailurePolicy::Deny, Decision::Deny(String::new())),
    ];
    for (failure, decision) in table {
        let decided = webhook(&url, failure, &[]).decide(&user, &request).await;
        assert_eq!(decided, (decision, why.clone()));
    }
    // In a chain: the next one may still allow, and where none does the failure shows.
    let mut chain = Chain::default();
    chain.push("w", What::Webhook(Box::new(webhook(&url, FailurePolicy::NoOpinion, &[]))));
    chain.push("r", What::Rbac);
    let outcome = Authorizer::new(chain).decide(&user, &request).await;
    assert_eq!((outcome.decision, Some(outcome.error)), (Decision::NoOpinion(String::new()), why));
    let mut chain = Chain::default();
    chain.push("w", What::Webhook(Box::new(webhook(&url, FailurePolicy::NoOpinion, &[]))));
    chain.push("a", What::AlwaysAllow);
    let outcome = Authorizer::new(chain).decide(&user, &request).await;
    assert_eq!((outcome.decision, outcome.error.as_str()), (Decision::Allow(String::new()), ""));
}

#[tokio::test]
async fn conditions_keep_requests_from_the_webhook() {
    let (url, calls) = serve(|_| status(json!({ "allowed": true }))).await;
    let (user, request) = question();
    let skipping = ["request.resourceAttributes.namespace == 'kube-system'"];
    let decided = webhook(&url, FailurePolicy::Deny, &skipping).decide(&user, &request).await;
    assert_eq!(decided, (Decision::NoOpinion(String::new()), None));
    let failing = ["request.nonResourceAttributes.path == '/'"];
    let (decision, error) = webhook(&url, FailurePolicy::Deny, &failing).decide(&user, &request).await;
    assert_eq!(decision, Decision::Deny(String::new()));
    assert!(error.unwrap().starts_with("cel evaluation error: expression"));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_cannot_wait_get_their_answer_too() {
    let (url, _) = serve(|_| status(json!({ "allowed": true }))).await;
    let mut chain = Chain::default();
    chain.push("w", What::Webhook(Box::new(webhook(&url, FailurePolicy::NoOpinion, &[]))));
    let (user, request) = question();
    let authorizer = Arc::new(Authorizer::new(chain));
    let asking = authorizer.clone();
    assert!(tokio::spawn(async move { asking.allows(&user, &request) }).await.unwrap());
    assert!(authorizer.held(&User::new("alice", &[]), "web").incomplete);
}
