//! Webhooks.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use serde_json::{Value as Json, json};
use types::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use types::core::v1::Namespace;

use super::server::{Reply, Server, start};
use super::{Cluster, Outcome, admit, apply, config_map};
use crate::dynamic::Dynamic;

fn hook(name: &str, server: &Server, more: Json) -> Json {
    let mut hook = json!({
        "name": name,
        "clientConfig": { "url": server.url, "caBundle": server.ca_bundle },
        "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"], "scope": "*" }],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"],
        "timeoutSeconds": 1,
    });
    for (field, value) in more.as_object().unwrap() {
        hook[field] = value.clone();
    }
    hook
}

fn validating(hooks: Json) -> Dynamic {
    let dynamic = Dynamic::default();
    apply::<ValidatingWebhookConfiguration>(
        &dynamic,
        json!({ "metadata": { "name": "c" }, "webhooks": hooks }),
    );
    dynamic
}

fn mutating(hooks: Json) -> Dynamic {
    let dynamic = Dynamic::default();
    apply::<MutatingWebhookConfiguration>(
        &dynamic,
        json!({ "metadata": { "name": "c" }, "webhooks": hooks }),
    );
    dynamic
}

fn cluster() -> Cluster {
    Cluster::new().with::<Namespace>(json!({ "metadata": { "name": "ns", "labels": { "env": "prod" } } }))
}

async fn ask(dynamic: &Dynamic) -> Outcome {
    admit(dynamic, &cluster(), config_map("x", json!({ "a": "1" })), false).await
}

fn patch(operations: Json) -> Json {
    let encoded = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({ "allowed": true, "patchType": "JSONPatch", "patch": encoded })
}

#[tokio::test]
async fn answers_are_taken_at_their_word() {
    let rows: Vec<(Json, &str)> = vec![
        (json!({ "allowed": true }), ""),
        (json!({ "allowed": false }), "admission webhook \"h.io\" denied the request without explanation"),
        (
            json!({ "allowed": false, "status": { "message": "because", "code": 403, "reason": "Forbidden" } }),
            "admission webhook \"h.io\" denied the request: because",
        ),
        (
            json!({ "allowed": false, "status": { "reason": "Why" } }),
            "admission webhook \"h.io\" denied the request: Why",
        ),
    ];
    for (response, message) in rows {
        let server = start(move |_| Reply::Response(response.clone())).await;
        let outcome = ask(&validating(json!([hook("h.io", &server, json!({}))]))).await;
        assert_eq!(outcome.message(), message);
        assert_eq!(server.calls.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn failures_refuse_or_are_passed_over() {
    let garbage = |body: &'static str| move |_: &Json| Reply::Raw(200, body.to_owned());
    let hanging = start(|_: &Json| Reply::Hang).await;
    let broken = start(|_: &Json| Reply::Raw(500, "boom".to_owned())).await;
    let text = start(garbage("not json")).await;
    let empty = start(garbage("{}")).await;
    let lying = start(|_: &Json| Reply::Response(json!({ "uid": "other", "allowed": true }))).await;
    let patching = start(|_: &Json| Reply::Response(patch(json!([])))).await;
    let wrong_ca =
        Server { url: text.url.clone(), ca_bundle: empty.ca_bundle.clone(), calls: text.calls.clone() };
    for (server, why) in [
        (&hanging, "context deadline exceeded"),
        (&broken, "an error on the server (\"boom\") has prevented the request from succeeding"),
        (&text, "couldn't get version/kind; json parse error"),
        (&empty, "webhook response was absent"),
        (&lying, "got \"other\""),
        (&patching, "validating webhook may not return response.patch"),
        (&wrong_ca, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
    ] {
        let outcome = ask(&validating(json!([hook("h.io", server, json!({}))]))).await;
        let message = outcome.message();
        assert!(
            message.starts_with("Internal error occurred: failed calling webhook \"h.io\": "),
            "{message}"
        );
        assert!(message.contains(why), "{message}");
        let ignoring =
            ask(&validating(json!([hook("h.io", server, json!({ "failurePolicy": "Ignore" }))]))).await;
        assert!(ignoring.result.is_ok(), "{}", ignoring.message());
    }
}

#[tokio::test]
async fn unknown_services_are_named() {
    let client = json!({ "service": { "name": "none", "namespace": "ns", "path": "/x" } });
    let server = start(|_: &Json| Reply::Hang).await;
    let outcome = ask(&validating(json!([hook("h.io", &server, json!({ "clientConfig": client }))]))).await;
    assert_eq!(
        outcome.message(),
        "Internal error occurred: failed calling webhook \"h.io\": failed to call webhook: Post \"https://none.ns.svc:443/x?timeout=1s\": service \"none\" not found"
    );
}

#[tokio::test]
async fn only_what_matches_is_asked() {
    let server = start(|_: &Json| Reply::Response(json!({ "allowed": false }))).await;
    for more in [
        json!({ "matchConditions": [{ "name": "c", "expression": "object.metadata.name != 'x'" }] }),
        json!({ "namespaceSelector": { "matchLabels": { "env": "dev" } } }),
        json!({ "objectSelector": { "matchLabels": { "a": "b" } } }),
        json!({ "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"] }] }),
        json!({ "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps/status"] }] }),
        json!({ "rules": [{ "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"], "scope": "Cluster" }] }),
    ] {
        let outcome = ask(&validating(json!([hook("h.io", &server, more)]))).await;
        assert!(outcome.result.is_ok(), "{}", outcome.message());
    }
    assert_eq!(server.calls.load(Ordering::SeqCst), 0);
    let failing = json!({ "matchConditions": [{ "name": "c", "expression": "object.nope" }] });
    let outcome = ask(&validating(json!([hook("h.io", &server, failing)]))).await;
    assert!(outcome.message().starts_with("configmaps \"x\" is forbidden: "), "{}", outcome.message());
}

#[tokio::test]
async fn dry_runs_reach_only_those_without_side_effects() {
    let server = start(|_: &Json| Reply::Response(json!({ "allowed": true }))).await;
    let dynamic = validating(json!([hook("h.io", &server, json!({ "sideEffects": "Some" }))]));
    let outcome = admit(&dynamic, &cluster(), config_map("x", json!({})), true).await;
    assert_eq!(outcome.message(), "admission webhook \"h.io\" does not support dry run");
    assert_eq!(server.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn patches_and_warnings_arrive_in_order() {
    let first = start(|request: &Json| {
        assert_eq!(request["operation"], "CREATE");
        assert_eq!(request["userInfo"]["username"], "alice");
        assert_eq!(request["options"]["kind"], "CreateOptions");
        let seen = request["object"]["data"].as_object().unwrap().len();
        let mut response = patch(json!([{ "op": "add", "path": "/data/first", "value": seen.to_string() }]));
        response["warnings"] = json!(["mind the gap"]);
        Reply::Response(response)
    })
    .await;
    let second = start(|_: &Json| {
        Reply::Response(patch(json!([{ "op": "add", "path": "/data/second", "value": "s" }])))
    })
    .await;
    for (policy, seen, calls) in [("Never", "1", 1), ("IfNeeded", "3", 2)] {
        let before = first.calls.load(Ordering::SeqCst);
        let dynamic = mutating(json!([
            hook("a.io", &first, json!({ "reinvocationPolicy": policy })),
            hook("b.io", &second, json!({})),
        ]));
        let outcome = ask(&dynamic).await;
        assert_eq!(outcome.message(), "");
        assert_eq!(outcome.object["data"], json!({ "a": "1", "first": seen, "second": "s" }));
        assert_eq!(outcome.warnings[0], "mind the gap");
        assert_eq!(first.calls.load(Ordering::SeqCst) - before, calls);
    }
}

#[tokio::test]
async fn patches_that_do_not_apply_refuse() {
    let server =
        start(|_: &Json| Reply::Response(patch(json!([{ "op": "remove", "path": "/data/none" }])))).await;
    let outcome = ask(&mutating(json!([hook("h.io", &server, json!({}))]))).await;
    assert!(outcome.message().starts_with("Internal error occurred: "), "{}", outcome.message());
    let bad = start(|_: &Json| Reply::Response(json!({ "allowed": true, "patch": "e30=" }))).await;
    let outcome = ask(&mutating(json!([hook("h.io", &bad, json!({}))]))).await;
    assert!(outcome.message().contains("webhook returned response.patch but not response.patchType"));
}

#[tokio::test]
async fn the_audit_log_is_told_what_webhooks_did() {
    let patching = start(|_: &Json| {
        let mut response = patch(json!([{ "op": "add", "path": "/data/first", "value": "1" }]));
        response["auditAnnotations"] = json!({ "why": "because", "no/good/key": "x" });
        Reply::Response(response)
    })
    .await;
    let broken = start(|_: &Json| Reply::Raw(500, String::new())).await;
    let dynamic = mutating(json!([
        hook("a.io", &patching, json!({})),
        hook("b.io", &broken, json!({ "failurePolicy": "Ignore" })),
    ]));
    let outcome = ask(&dynamic).await;
    assert_eq!(outcome.message(), "");
    let keys: Vec<(&str, bool)> =
        outcome.notes.iter().map(|note| (note.key.as_str(), note.with_request)).collect();
    let prefix = "webhook.admission.k8s.io/round_0_index";
    assert_eq!(
        keys,
        [
            ("a.io/why", false),
            (&*format!("patch.{prefix}_0"), true),
            (&*format!("mutation.{prefix}_0"), false),
            (&*format!("failed-open.mutation.{prefix}_1"), false),
            (&*format!("mutation.{prefix}_1"), false),
        ]
    );
    assert_eq!(
        outcome.note(&format!("mutation.{prefix}_0")),
        Some(r#"{"configuration":"c","webhook":"a.io","mutated":true}"#)
    );
    assert_eq!(outcome.note(&format!("failed-open.mutation.{prefix}_1")), Some("b.io"));
}

#[tokio::test]
async fn refusals_are_the_webhooks_own_and_unusable_patches_follow_the_failure_policy() {
    let refusing = start(|_: &Json| {
        let status = json!({ "message": "m", "code": 409, "reason": "Conflict", "status": "Success",
            "details": { "name": "n", "causes": [{ "field": "f", "message": "c" }] } });
        Reply::Response(json!({ "allowed": false, "status": status }))
    })
    .await;
    let outcome = ask(&validating(json!([hook("h.io", &refusing, json!({}))]))).await;
    let status = outcome.result.unwrap_err();
    assert_eq!((status.code, status.reason.as_str(), status.status.as_str()), (409, "Conflict", "Failure"));
    assert_eq!(status.details.unwrap().causes[0].field, "f");

    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for (sort, text, why) in [
        (
            "JSONPatch",
            "{}",
            "received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ),
        (
            "JSONPatch",
            "[1]",
            "received undecodable patch in webhook response: json: cannot unmarshal number into Go value of type jsonpatch.Operation",
        ),
        ("MergePatch", "[{}]", "unsupported patch type \"MergePatch\""),
    ] {
        let response = json!({ "allowed": true, "patchType": sort, "patch": encoded(text) });
        let server = start(move |_: &Json| Reply::Response(response.clone())).await;
        let outcome = ask(&mutating(json!([hook("h.io", &server, json!({}))]))).await;
        assert_eq!(
            outcome.message(),
            format!("Internal error occurred: failed calling webhook \"h.io\": {why}")
        );
        let passed =
            ask(&mutating(json!([hook("h.io", &server, json!({ "failurePolicy": "Ignore" }))]))).await;
        assert_eq!(passed.message(), "");
    }
}
