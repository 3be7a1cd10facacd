//! What the conformance suite asks of service accounts, tokens, certificate requests and reviews, over HTTPS as clients ask
//! it; and what hostile clients get.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

mod machine;

use authn::Tokens;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use env::Env;
use machine::{ISSUER, Machine};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value as Json, json};

/// ServiceAccount lifecycle; update a ServiceAccount.
#[tokio::test(flavor = "multi_thread")]
async fn service_accounts_live_and_change() {
    let machine = Machine::start().await;
    let list = "/api/v1/namespaces/web/serviceaccounts";
    let labelled = json!({ "metadata": { "name": "robot", "labels": { "test": "static" } } });
    let made = machine.admin("POST", list, &labelled).await;
    assert!(made["automountServiceAccountToken"].is_null());
    let path = format!("{list}/robot");
    machine.admin("PATCH", &path, &json!({ "automountServiceAccountToken": false })).await;
    let mut read = machine.admin("GET", &path, &Json::Null).await;
    assert_eq!(read["automountServiceAccountToken"], false);
    read["automountServiceAccountToken"] = true.into();
    assert_eq!(machine.admin("PUT", &path, &read).await["automountServiceAccountToken"], true);
    let all = "/api/v1/serviceaccounts?labelSelector=test%3Dstatic";
    assert_eq!(machine.admin("GET", all, &Json::Null).await["items"].as_array().unwrap().len(), 1);
    machine.admin("DELETE", &format!("{list}?labelSelector=test%3Dstatic"), &Json::Null).await;
    assert_eq!(machine.admin("GET", all, &Json::Null).await["items"].as_array().unwrap().len(), 0);
}

/// ServiceAccount, create and review token; and what ends one.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_reviewed_and_end_with_what_they_are_bound_to() {
    let machine = Machine::start().await;
    machine.account("robot").await;
    let secrets = "/api/v1/namespaces/web/secrets";
    machine.admin("POST", secrets, &json!({ "metadata": { "name": "s" } })).await;
    let bound = json!({ "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": "s" } });
    let (plain, bound) = (machine.token("robot", &json!({})).await, machine.token("robot", &bound).await);
    for token in [&plain, &bound] {
        let status = machine.review(token).await;
        assert_eq!(status["authenticated"], true);
        assert_eq!(status["user"]["username"], "system:serviceaccount:web:robot");
        assert_eq!(status["audiences"], json!([ISSUER]));
        let (code, who) = machine
            .with_token(token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({}))
            .await;
        assert_eq!(code, 201);
        let user = &who["status"]["userInfo"];
        assert_eq!(
            user["groups"],
            json!(["system:serviceaccounts", "system:serviceaccounts:web", "system:authenticated"])
        );
        let id = user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
        assert!(id.starts_with("JTI="), "{id}");
    }
    machine.admin("DELETE", &format!("{secrets}/s"), &Json::Null).await;
    let refused = json!({
        "error": "[invalid bearer token, service account token has been invalidated]", "user": {},
    });
    assert_eq!(machine.review(&bound).await, refused);
    assert_eq!(machine.review(&plain).await["authenticated"], true);
    machine.admin("DELETE", "/api/v1/namespaces/web/serviceaccounts/robot", &Json::Null).await;
    assert_eq!(machine.review(&plain).await, refused);
    // A new account of the name is another one.
    machine.account("robot").await;
    assert_eq!(machine.review(&plain).await, refused);
}

/// OIDC discovery of the service account issuer.
#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_publishes_the_keys_of_its_tokens() {
    let machine = Machine::start().await;
    machine.account("robot").await;
    let token = machine.token("robot", &json!({ "audiences": ["oidc-discovery-test"] })).await;
    let own = machine.token("robot", &json!({})).await;
    let (code, document) =
        machine.with_token(&own, "GET", "/.well-known/openid-configuration", &Json::Null).await;
    assert_eq!((code, document["issuer"].as_str()), (200, Some(ISSUER)));
    let (code, keys) = machine.with_token(&own, "GET", "/openid/v1/jwks", &Json::Null).await;
    assert_eq!(code, 200);
    let part = |index: usize| -> Json {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&B64.decode(part).unwrap()).unwrap()
    };
    assert_eq!(part(1)["iss"], ISSUER);
    assert_eq!(part(1)["aud"], json!(["oidc-discovery-test"]));
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["kid"] == part(0)["kid"]));
}

/// Opting out of API token automount; tokens mounted by default.
#[tokio::test(flavor = "multi_thread")]
async fn pods_get_a_token_unless_they_or_their_account_opt_out() {
    let machine = Machine::start().await;
    let accounts = "/api/v1/namespaces/web/serviceaccounts";
    for (name, automount) in [("mount", json!(true)), ("nomount", json!(false)), ("default", Json::Null)] {
        let body = json!({ "metadata": { "name": name }, "automountServiceAccountToken": automount });
        machine.admin("POST", accounts, &body).await;
    }
    let table = [
        ("default", Json::Null, true),
        ("mount", Json::Null, true),
        ("nomount", Json::Null, false),
        ("nomount", json!(true), true),
        ("mount", json!(false), false),
    ];
    for (index, (account, automount, mounted)) in table.into_iter().enumerate() {
        let pod = json!({
            "metadata": { "name": format!("p{index}") },
            "spec": {
                "serviceAccountName": account, "automountServiceAccountToken": automount,
                "containers": [{ "name": "c", "image": "i" }],
            },
        });
        let made = machine.admin("POST", "/api/v1/namespaces/web/pods", &pod).await;
        let sources = &made["spec"]["volumes"][0]["projected"]["sources"];
        assert_eq!(sources.is_array(), mounted, "{account} {automount}");
        let path = &made["spec"]["containers"][0]["volumeMounts"][0]["mountPath"];
        assert_eq!(path == "/var/run/secrets/kubernetes.io/serviceaccount", mounted);
        if mounted {
            assert_eq!(sources[0]["serviceAccountToken"]["expirationSeconds"], 3607);
        }
    }
}

/// CertificateSigningRequest API.
#[tokio::test(flavor = "multi_thread")]
async fn certificate_requests_support_every_operation() {
    let machine = Machine::start().await;
    let list = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "e2e");
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let body = json!({
        "metadata": { "name": "r", "labels": { "special-label": "x" } },
        "spec": { "request": STANDARD.encode(pem), "signerName": "example.com/e2e", "usages": ["digital signature", "key encipherment", "server auth"] },
    });
    let made = machine.admin("POST", list, &body).await;
    assert_eq!(made["spec"]["username"], "admin");
    let path = format!("{list}/r");
    let found = machine.admin("GET", &format!("{list}?labelSelector=special-label%3Dx"), &Json::Null).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    machine.admin("PATCH", &path, &json!({ "metadata": { "annotations": { "patched": "true" } } })).await;
    let mut read = machine.admin("GET", &path, &Json::Null).await;
    read["metadata"]["annotations"]["updated"] = "true".into();
    let mut read = machine.admin("PUT", &path, &read).await;
    assert_eq!(read["metadata"]["annotations"], json!({ "patched": "true", "updated": "true" }));
    read["status"] =
        json!({ "conditions": [{ "type": "Approved", "status": "True", "reason": "E2E", "message": "m" }] });
    let approved = machine.admin("PUT", &format!("{path}/approval"), &read).await;
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    let conditions = json!({ "status": { "conditions": [
        { "type": "Approved", "status": "True", "reason": "E2E", "message": "m" },
        { "type": "StatusPatched", "status": "True", "reason": "E2E", "message": "m" },
    ] } });
    let patched = machine.admin("PATCH", &format!("{path}/status"), &conditions).await;
    assert_eq!(patched["status"]["conditions"].as_array().unwrap().len(), 2);
    machine.admin("DELETE", &path, &Json::Null).await;
    machine.admin("DELETE", &format!("{list}?labelSelector=special-label%3Dx"), &Json::Null).await;
    let (code, _) = machine.with_token("admin", "GET", &path, &Json::Null).await;
    assert_eq!(code, 404);
}

/// SubjectReview API operations.
#[tokio::test(flavor = "multi_thread")]
async fn reviews_tell_what_accounts_may_do() {
    let machine = Machine::start().await;
    machine.account("e2e").await;
    let user = "system:serviceaccount:web:e2e";
    let spec = json!({ "user": user, "resourceAttributes": { "verb": "list", "resource": "configmaps", "namespace": "web", "version": "v1" } });
    let group = "/apis/authorization.k8s.io/v1";
    let both = [
        format!("{group}/subjectaccessreviews"),
        format!("{group}/namespaces/web/localsubjectaccessreviews"),
    ];
    for path in &both {
        let answer = machine.admin("POST", path, &json!({ "spec": spec })).await;
        assert_eq!(answer["status"], json!({ "allowed": false }), "{path}");
    }
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/web/rolebindings";
    let binding = json!({
        "metadata": { "name": "view" }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": "web", "name": "e2e" }],
    });
    machine.admin("POST", rbac, &binding).await;
    for path in &both {
        // The authorizer follows the store, a moment behind.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while machine.admin("POST", path, &json!({ "spec": spec })).await["status"]["allowed"] != true {
            assert!(std::time::Instant::now() < deadline, "{path}");
        }
    }
}

/// A token in a secret is noted as used on the day.
#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_a_token_in_a_secret_is_noted() {
    let machine = Machine::start().await;
    let uid = machine.account("robot").await["metadata"]["uid"].as_str().unwrap().to_owned();
    let token = Tokens::issue_legacy(&machine.signer, "web", "robot", &uid, "t").unwrap();
    let secret = json!({
        "metadata": { "name": "t", "annotations": { "kubernetes.io/service-account.name": "robot" } },
        "type": "kubernetes.io/service-account-token", "data": { "token": STANDARD.encode(&token) },
    });
    machine.admin("POST", "/api/v1/namespaces/web/secrets", &secret).await;
    let path = "/api/v1/namespaces/web/secrets/t";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        machine.review(&token).await;
        let read = machine.admin("GET", path, &Json::Null).await;
        if let Some(day) = read["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].as_str() {
            assert_eq!(day.len(), "2006-01-02".len());
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{read}");
    }
    machine.admin("PATCH", path, &json!({ "metadata": { "labels": { "kubernetes.io/legacy-token-invalid-since": "2026-01-01" } } })).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let status = machine.review(&token).await;
        if status["error"].as_str().is_some_and(|error| error.contains("has been marked invalid")) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{status}");
    }
}

/// What is no credential, and who claims to be somebody.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_upstreams_refusals() {
    let machine = Machine::start().await;
    machine.account("robot").await;
    let token = machine.token("robot", &json!({})).await;
    let foreign = machine.token("robot", &json!({ "audiences": ["vault"] })).await;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let none = format!("{}.{payload}.", B64.encode(r#"{"alg":"none"}"#));
    let symmetric = format!("{}.{payload}.{signature}", B64.encode(r#"{"alg":"HS256"}"#));
    let huge = "x".repeat(200_000);
    let unauthorized = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
        "reason": "Unauthorized", "code": 401,
    });
    for bad in ["nonsense", "a.b.c", "...", message, &none, &symmetric, &foreign, &huge] {
        let (code, answer) = machine.with_token(bad, "GET", "/api/v1/namespaces", &Json::Null).await;
        assert_eq!((code, &answer), (401, &unauthorized), "{bad:.40}");
    }
    // Headers of a proxy mean nothing from somebody who is none.
    let remote =
        [("x-remote-user", "admin"), ("x-remote-group", "system:masters"), ("x-remote-extra-a", "b")];
    let (code, answer) = machine.send("GET", "/api/v1/namespaces", &remote, &Json::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        answer["message"],
        "namespaces is forbidden: User \"system:anonymous\" cannot list resource \"namespaces\" in API group \"\" at the cluster scope"
    );
    let mut smuggled = remote.to_vec();
    smuggled.push(("authorization", "Bearer alice"));
    let (_, who) = machine
        .send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &smuggled, &json!({}))
        .await;
    assert_eq!(who["status"]["userInfo"]["username"], "alice");
    // Impersonation without rights.
    for (headers, expected) in [
        (
            [("impersonate-user", "admin"), ("impersonate-group", "system:masters")],
            "namespaces is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \"namespaces\" in API group \"\" at the cluster scope",
        ),
        (
            [("impersonate-user", "system:node:n"), ("impersonate-group", "system:nodes")],
            "users \"system:node:n\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
        ),
    ] {
        let mut all = headers.to_vec();
        all.push(("authorization", "Bearer alice"));
        let (code, answer) = machine.send("GET", "/api/v1/namespaces", &all, &Json::Null).await;
        assert_eq!((code, answer["message"].as_str()), (403, Some(expected)));
    }
}

/// A node gets tokens for its pods, and for the audiences that they ask for.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_requests_tokens_for_its_pods_alone() {
    let machine = Machine::start().await;
    machine.account("default").await;
    machine.admin("POST", "/api/v1/nodes", &json!({ "metadata": { "name": "n1" } })).await;
    let pod = json!({
        "metadata": { "name": "p" },
        "spec": {
            "nodeName": "n1", "containers": [{ "name": "c", "image": "i" }],
            "volumes": [{ "name": "v", "projected": { "sources": [{ "serviceAccountToken": { "path": "t", "audience": "vault" } }] } }],
        },
    });
    let uid = machine.admin("POST", "/api/v1/namespaces/web/pods", &pod).await["metadata"]["uid"].clone();
    let path = "/api/v1/namespaces/web/serviceaccounts/default/token";
    let bound = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid });
    let not_found = "serviceaccounts \"default\" is forbidden: audience \"other\" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience";
    let table = [
        (json!({ "boundObjectRef": bound }), Ok(())),
        (json!({ "boundObjectRef": bound, "audiences": ["vault"] }), Ok(())),
        (json!({ "boundObjectRef": bound, "audiences": ["other"] }), Err(not_found)),
        (
            json!({ "boundObjectRef": bound, "audiences": ["vault", "other"] }),
            Err("serviceaccounts \"default\" is forbidden: node may only request 0 or 1 audiences"),
        ),
        (json!({}), Err("serviceaccounts \"default\" is forbidden: node requested token not bound to a pod")),
    ];
    for (spec, expected) in table {
        let headers = [
            ("authorization", "Bearer admin"),
            ("impersonate-user", "system:node:n1"),
            ("impersonate-group", "system:nodes"),
        ];
        // The authorizer follows the store, a moment behind.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let (code, answer) = loop {
            let (code, answer) = machine.send("POST", path, &headers, &json!({ "spec": spec })).await;
            let behind =
                answer["message"].as_str().is_some_and(|message| message.contains("no relationship found"));
            if !behind {
                break (code, answer);
            }
            assert!(std::time::Instant::now() < deadline);
        };
        match expected {
            Ok(()) => assert_eq!(code, 201, "{spec} {answer}"),
            Err(message) => assert_eq!((code, answer["message"].as_str()), (403, Some(message)), "{spec}"),
        }
    }
}

/// Nobody grants what they do not hold: not by a new role, not by touching one, not by a binding.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_not_escalated() {
    let machine = Machine::start().await;
    let group = "/apis/rbac.authorization.k8s.io/v1";
    let rule = |group: &str, resources: &[&str], verbs: &[&str], names: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs, "resourceNames": names });
    let rbac = "rbac.authorization.k8s.io";
    let rules = json!([
        rule(rbac, &["roles", "rolebindings", "clusterroles"], &["create", "get", "patch"], &[]),
        rule(rbac, &["clusterroles"], &["bind"], &["view"]),
        rule(rbac, &["roles"], &["escalate"], &["free"]),
        rule("", &["pods"], &["get"], &[]),
    ]);
    machine
        .admin(
            "POST",
            &format!("{group}/clusterroles"),
            &json!({ "metadata": { "name": "some" }, "rules": rules }),
        )
        .await;
    let binding = json!({
        "metadata": { "name": "some" }, "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": "some" },
        "subjects": [{ "kind": "User", "name": "alice", "apiGroup": rbac }],
    });
    machine.admin("POST", &format!("{group}/clusterrolebindings"), &binding).await;
    let roles = format!("{group}/namespaces/web/roles");
    for name in ["big", "free"] {
        let role = json!({ "metadata": { "name": name }, "rules": [rule("", &["secrets"], &["get"], &[])] });
        machine.admin("POST", &roles, &role).await;
    }
    // The authorizer follows the store, a moment behind.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while machine.with_token("alice", "GET", &format!("{roles}/big"), &Json::Null).await.0 != 200 {
        assert!(std::time::Instant::now() < deadline);
    }
    let missing = |kind: &str, name: &str, rights: &str| {
        Err(format!(
            "{kind}.{rbac} \"{name}\" is forbidden: user \"alice\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{rights}"
        ))
    };
    let secrets = "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}";
    let events = "{APIGroups:[\"\"], Resources:[\"events\"], Verbs:[\"create\" \"patch\" \"update\"]}";
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let bind = |role: &str| {
        json!({ "metadata": { "name": role }, "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "User", "name": "alice", "apiGroup": rbac }] })
    };
    let bindings = format!("{group}/namespaces/web/rolebindings");
    let pods = json!([rule("", &["pods"], &["get"], &[])]);
    let table: Vec<(&str, String, Json, Result<(), String>)> = vec![
        ("POST", roles.clone(), json!({ "metadata": { "name": "same" }, "rules": pods }), Ok(())),
        (
            "POST",
            roles.clone(),
            json!({ "metadata": { "name": "more" }, "rules": [rule("", &["secrets"], &["get"], &[])] }),
            missing("roles", "more", secrets),
        ),
        ("PATCH", format!("{roles}/big"), label.clone(), missing("roles", "big", secrets)),
        ("PATCH", format!("{roles}/big"), json!({ "metadata": { "finalizers": ["example.com/x"] } }), Ok(())),
        // The verb escalate names the role, which the request to create one does not.
        ("PATCH", format!("{roles}/free"), label, Ok(())),
        (
            "POST",
            roles.clone(),
            json!({ "metadata": { "name": "paths" }, "rules": [rule("", &["pods"], &["get"], &["x"])] }),
            Ok(()),
        ),
        ("POST", bindings.clone(), bind("view"), Ok(())),
        (
            "POST",
            bindings,
            bind("system:node-problem-detector"),
            missing("rolebindings", "system:node-problem-detector", events),
        ),
        (
            "POST",
            format!("{group}/clusterroles"),
            json!({ "metadata": { "name": "agg" }, "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] } }),
            Err(format!(
                "clusterroles.{rbac} \"agg\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
            )),
        ),
    ];
    for (method, path, body, expected) in table {
        let (code, answer) = machine.with_token("alice", method, &path, &body).await;
        match expected {
            Ok(()) => assert!(code < 300, "{method} {path}: {answer}"),
            Err(message) => {
                let found = answer["message"].as_str().unwrap_or_default();
                assert!(
                    code == 403 && found.starts_with(&message),
                    "{method} {path}: {code} {found}\n{message}"
                );
            }
        }
    }
}

/// A webhook that cannot be reached: who is allowed by another authorizer is served, and who by none learns that it failed.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_authorizer_is_told() {
    let folder = std::env::temp_dir().join(format!("ferrokube-sig-auth-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let kubeconfig = folder.join("webhook.kubeconfig");
    // Nobody listens on the port of a listener that is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = json!({
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://127.0.0.1:{port}/authorize") } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "" } }], "current-context": "c",
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let file = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
        "authorizers": [
            { "type": "Webhook", "name": "w", "webhook": {
                "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "NoOpinion",
                "matchConditionSubjectAccessReviewVersion": "v1",
                "matchConditions": [{ "expression": "request.user == 'alice'" }],
                "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": kubeconfig },
            } },
            { "type": "RBAC", "name": "r" },
        ],
    });
    let configuration = apiserver::AuthorizationConfiguration::parse(&file.to_string()).unwrap();
    configuration.validate().unwrap();
    let chain = configuration.chain(None, &Env::real()).unwrap();
    let authorization = apiserver::Authorization { chain, ..apiserver::Authorization::default() };
    let machine = Machine::authorized_by(authorization).await;
    let (code, _) = machine.with_token("alice", "GET", "/version", &Json::Null).await;
    assert_eq!(code, 200);
    let (code, answer) =
        machine.with_token("alice", "GET", "/api/v1/namespaces?limit=1&x=1", &Json::Null).await;
    let why = format!(
        "Post \"http://127.0.0.1:{port}/authorize?timeout=3s\": dial tcp 127.0.0.1:{port}: connect: connection refused"
    );
    let expected = format!("Internal Server Error: \"/api/v1/namespaces?limit=1&amp;x=1\": {why}\n");
    assert_eq!((code, answer.as_str()), (500, Some(expected.as_str())));
    let review =
        json!({ "spec": { "user": "alice", "resourceAttributes": { "verb": "list", "resource": "pods" } } });
    let answer = machine.admin("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    assert_eq!(answer["status"], json!({ "allowed": false, "evaluationError": why }));
    std::fs::remove_dir_all(&folder).unwrap();
}
