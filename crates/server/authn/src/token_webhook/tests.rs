//! Webhooks that answer, refuse, lie, hang, and return garbage.

use std::sync::atomic::Ordering;

use env::ManualClock;

use super::*;
use crate::testing::{Reply, Server, serve};

const TOKEN: &str = "t0ps3cret";

fn own() -> Vec<Str> {
    vec!["https://k".into()]
}

fn webhook(server: &Server, ttl_s: u64) -> (TokenWebhook, Arc<ManualClock>) {
    let (env, clock) = Env::simulated(1);
    let config = Config {
        server: format!("{}/review", server.url),
        certificate_authority: Some(server.authority_pem.clone().into_bytes()),
        ..Config::default()
    };
    let settings = TokenWebhookSettings { version: "v1".into(), ttl: Duration::from_secs(ttl_s) };
    (TokenWebhook::new(config, &settings, env).unwrap(), clock)
}

fn review(status: Json) -> Reply {
    let review = json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status });
    Reply::Text(200, review.to_string())
}

#[tokio::test]
async fn the_webhook_names_the_user_and_is_not_asked_again() {
    let server = serve(|asked| {
        assert_eq!(asked.path, "/review?timeout=30s");
        let question: Json = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(question["spec"], json!({ "token": TOKEN, "audiences": ["https://k"] }));
        review(json!({ "authenticated": true, "user": {
            "username": "alice", "uid": "7", "groups": ["dev"], "extra": { "a/b": ["c"] },
        }}))
    })
    .await;
    let (webhook, clock) = webhook(&server, 120);
    for _ in 0..3 {
        let (user, audiences) = webhook.check(TOKEN, &own(), &own()).await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("alice", "7"));
        assert_eq!(user.groups, ["dev", "system:authenticated"].map(Str::from).to_vec());
        assert_eq!(user.extra, vec![("a/b".into(), vec!["c".into()])]);
        assert_eq!(audiences, own());
    }
    assert_eq!(server.calls.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(121));
    webhook.check(TOKEN, &own(), &own()).await.unwrap().unwrap();
    assert_eq!(server.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn audiences_must_meet() {
    let server = serve(|_| {
        review(json!({ "authenticated": true, "audiences": ["vault"], "user": { "username": "a" } }))
    })
    .await;
    let (webhook, _) = webhook(&server, 120);
    let wanted = |text: &str| vec![Str::from(text)];
    assert!(webhook.check(TOKEN, &own(), &own()).await.unwrap().is_none());
    let (_, matched) = webhook.check(TOKEN, &wanted("vault"), &own()).await.unwrap().unwrap();
    assert_eq!(matched, wanted("vault"));
}

#[tokio::test]
async fn what_is_no_yes_is_a_no() {
    let table: Vec<(Json, Result<bool, &str>)> = vec![
        (json!({ "authenticated": false }), Ok(false)),
        (json!({}), Ok(false)),
        (json!({ "authenticated": false, "error": "go away with t0ps3cret" }), Err("go away with <token>")),
        (
            json!({ "authenticated": "true" }),
            Err("status.authenticated of the webhook's answer is no boolean"),
        ),
        (
            json!({ "authenticated": 1, "user": { "username": "root" } }),
            Err("status.authenticated of the webhook's answer is no boolean"),
        ),
        (
            json!({ "authenticated": true, "user": { "username": "a", "groups": "system:masters" } }),
            Err("the webhook's answer has something else where a list must be"),
        ),
        (
            json!({ "authenticated": true, "user": { "username": "a", "groups": [1] } }),
            Err("the webhook's answer has a list with no strings"),
        ),
    ];
    for (status, expected) in table {
        let answer = status.clone();
        let server = serve(move |_| review(answer.clone())).await;
        let (webhook, _) = webhook(&server, 0);
        let found = webhook.check(TOKEN, &own(), &own()).await.map(|found| found.is_some());
        assert_eq!(found, expected.map_err(str::to_owned), "{status}");
    }
}

#[tokio::test]
async fn garbage_is_refused_and_never_remembered() {
    let big = "x".repeat(4 << 20);
    let table = [
        (200, "{}".to_owned(), "the webhook answered with kind null of version null to a TokenReview of version \"authentication.k8s.io/v1\"".to_owned()),
        (200, "nonsense".to_owned(), "couldn't get version/kind; json parse error: expected ident at line 1 column 2".to_owned()),
        (200, big, "the answer is longer than 3145728 bytes".to_owned()),
        (401, String::new(), "the server has asked for the client to provide credentials".to_owned()),
        (418, "I have t0ps3cret".to_owned(), "the server responded with the status code 418 but did not return more information".to_owned()),
        (403, "no t0ps3cret here".to_owned(), "no <token> here".to_owned()),
    ];
    for (code, text, expected) in table {
        let answer = text.clone();
        let server = serve(move |_| Reply::Text(code, answer.clone())).await;
        let (webhook, _) = webhook(&server, 120);
        for calls in 1..=2 {
            assert_eq!(
                webhook.check(TOKEN, &own(), &own()).await.unwrap_err(),
                expected,
                "{code} {text:.20}"
            );
            assert_eq!(server.calls.load(Ordering::SeqCst), calls);
        }
    }
}

#[tokio::test]
async fn a_failing_server_is_asked_five_times_with_pauses() {
    let server = serve(|_| Reply::Text(500, "down".into())).await;
    let (webhook, clock) = webhook(&server, 120);
    let wanted = own();
    let mut check = std::pin::pin!(webhook.check(TOKEN, &wanted, &wanted));
    let error = loop {
        tokio::select! {
            biased;
            result = &mut check => break result.unwrap_err(),
            () = tokio::task::yield_now() => {}
        }
        // Only pauses are waited for by this clock, and the time-out of each try, which is far longer.
        if clock.next_timer().is_some_and(|at| at < Duration::from_secs(25)) {
            clock.advance(Duration::from_millis(100));
        }
    };
    assert_eq!(error, "an error on the server (\"down\") has prevented the request from succeeding");
    assert_eq!(server.calls.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for_longer_than_its_time() {
    let server = serve(|_| Reply::Hang).await;
    let (webhook, clock) = webhook(&server, 120);
    let (wanted, calls) = (own(), server.calls.clone());
    let mut check = std::pin::pin!(webhook.check(TOKEN, &wanted, &wanted));
    let error = loop {
        tokio::select! {
            biased;
            result = &mut check => break result.unwrap_err(),
            () = tokio::task::yield_now() => {}
        }
        if calls.load(Ordering::SeqCst) == 1 {
            clock.advance(Duration::from_secs(30));
        }
    };
    assert!(
        error.ends_with("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
        "{error}"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn servers_that_cannot_be_trusted_or_reached_are_told_in_gos_words() {
    let (honest, other) = (serve(|_| Reply::Hang).await, serve(|_| Reply::Hang).await);
    let stranger = Server { url: honest.url.clone(), authority_pem: other.authority_pem, calls: other.calls };
    let (webhook, _) = webhook(&stranger, 0);
    let error = webhook.check(TOKEN, &own(), &own()).await.unwrap_err();
    let url = format!("{}/review?timeout=30s", honest.url);
    assert_eq!(
        error,
        format!(
            "Post {url:?}: tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
    );
    assert_eq!(honest.calls.load(Ordering::SeqCst), 0);
}
