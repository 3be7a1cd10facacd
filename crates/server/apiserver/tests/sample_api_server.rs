//! The steps of the conformance suite's test of the aggregator, with a small extension API server of this test's own in place
//! of upstream's sample: registration, objects behind it, discovery, OpenAPI, upgrades, and what components of this process
//! see of it.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

mod machine;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use call::{Action, Call, DeleteOptions, ListOptions, Reply, Target};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use machine::Machine;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const GROUP: &str = "/apis/wardle.example.com/v1alpha1";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";

/// Flunders by name, and the user who asked last.
#[derive(Default)]
struct Flunders {
    objects: BTreeMap<String, Json>,
    user: String,
}

/// Starts the extension API server; its port and its certificate come back.
async fn sample() -> (u16, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["sample-api.web.svc".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    // By whatever of its addresses `localhost` is found first.
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let flunders = Arc::new(Mutex::new(Flunders::default()));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, flunders) = (acceptor.clone(), flunders.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let service = service_fn(move |request| {
                    let flunders = flunders.clone();
                    async move { Ok::<_, Infallible>(answer(&flunders, request).await) }
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, certificate.pem())
}

fn reply(code: u16, body: &Json) -> Response<Full<Bytes>> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(Full::new(Bytes::from(body.to_string()))).unwrap()
}

async fn answer(flunders: &Mutex<Flunders>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if request.headers().contains_key("upgrade") {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        return response
            .header("upgrade", "echo")
            .header("connection", "Upgrade")
            .body(Full::default())
            .unwrap();
    }
    let user = request.headers().get("x-remote-user").map(|user| user.to_str().unwrap().to_owned());
    let method = request.method().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut flunders = flunders.lock().unwrap();
    flunders.user = user.unwrap_or_default();
    let collection = format!("{GROUP}/namespaces/web/flunders");
    let list = |objects: &BTreeMap<String, Json>| {
        json!({ "kind": "FlunderList", "apiVersion": "wardle.example.com/v1alpha1",
            "metadata": { "resourceVersion": "9" }, "items": objects.values().collect::<Vec<_>>() })
    };
    match (method, path.as_str()) {
        (Method::GET, GROUP) => reply(
            200,
            &json!({ "kind": "APIResourceList", "groupVersion": "wardle.example.com/v1alpha1",
            "resources": [{ "name": "flunders", "singularName": "flunder", "kind": "Flunder", "namespaced": true,
                "verbs": ["create", "delete", "deletecollection", "get", "list"] }] }),
        ),
        (Method::GET, "/openapi/v2") => reply(
            200,
            &json!({ "swagger": "2.0",
            "paths": { collection: { "get": { "produces": ["application/json"], "responses": {
                "200": { "description": "OK", "schema": { "$ref": "#/definitions/Flunder" } } } } } },
            "definitions": { "Flunder": { "type": "object" } } }),
        ),
        (Method::GET, "/whoami") => reply(200, &json!(flunders.user)),
        (Method::GET, path) if path == collection => reply(200, &list(&flunders.objects)),
        (Method::POST, path) if path == collection => {
            let object: Json = serde_json::from_slice(&body).unwrap();
            flunders.objects.insert(object["metadata"]["name"].as_str().unwrap().to_owned(), object.clone());
            reply(201, &object)
        }
        (Method::DELETE, path) if path == collection => {
            let gone = std::mem::take(&mut flunders.objects);
            reply(200, &list(&gone))
        }
        (Method::DELETE, path) => match flunders.objects.remove(path.rsplit('/').next().unwrap()) {
            Some(gone) => reply(200, &gone),
            None => {
                reply(404, &json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": "gone" }))
            }
        },
        _ => reply(
            404,
            &json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": "nothing here" }),
        ),
    }
}

/// Asks until the answer is as wanted.
async fn until(machine: &Machine, path: &str, wanted: impl Fn(u16, &Json) -> bool) -> Json {
    let asking = async {
        loop {
            let (status, answer) = machine.with_token("admin", "GET", path, &Json::Null).await;
            if wanted(status, &answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .unwrap_or_else(|_| panic!("{path} stayed as it was"))
}

fn condition(api: &Json) -> (&str, &str, &str) {
    let found = &api["status"]["conditions"][0];
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_server_is_registered_used_and_removed() {
    let machine = Machine::start().await;
    let (port, certificate) = sample().await;
    let api = json!({ "metadata": { "name": NAME }, "spec": {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "caBundle": STANDARD.encode(&certificate),
        "service": { "namespace": "web", "name": "sample-api", "port": port },
    } });
    machine.admin("POST", SERVICES, &api).await;
    let api = format!("{SERVICES}/{NAME}");
    let told = until(&machine, &api, |_, api| condition(api).0 == "False").await;
    let missing = "service/sample-api in \"web\" is not present";
    assert_eq!(condition(&told), ("False", "ServiceNotFound", missing));
    let (status, _) = machine.with_token("admin", "GET", &format!("{GROUP}/flunders"), &Json::Null).await;
    assert_eq!(status, 503);
    let stale = machine.server.extensions()();
    assert_eq!((stale.resources.len(), stale.stale.len()), (0, 1));

    let service = json!({ "metadata": { "name": "sample-api" }, "spec": { "type": "ExternalName", "externalName": "localhost" } });
    machine.admin("POST", "/api/v1/namespaces/web/services", &service).await;
    let told = until(&machine, &api, |_, api| condition(api).0 == "True").await;
    assert_eq!(condition(&told), ("True", "Passed", "all checks passed"));

    // Objects behind it.
    let flunders = format!("{GROUP}/namespaces/web/flunders");
    let flunder = |name: &str| json!({ "apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": { "name": name } });
    let (status, made) = machine.with_token("admin", "POST", &flunders, &flunder("rest")).await;
    assert_eq!((status, &made["metadata"]["name"]), (201, &json!("rest")));
    assert_eq!(machine.admin("GET", &flunders, &Json::Null).await["items"].as_array().unwrap().len(), 1);
    machine.admin("DELETE", &format!("{flunders}/rest"), &Json::Null).await;
    let (status, gone) =
        machine.with_token("admin", "DELETE", &format!("{flunders}/rest"), &Json::Null).await;
    assert_eq!((status, &gone["message"]), (404, &json!("gone")));

    // Discovery and OpenAPI tell of them.
    until(&machine, "/apis", |_, groups| groups.to_string().contains("wardle.example.com")).await;
    let resources = machine.admin("GET", GROUP, &Json::Null).await;
    assert_eq!(resources["resources"][0]["name"], "flunders");
    until(&machine, "/openapi/v2", |_, document| document["paths"].get(&flunders).is_some()).await;

    // The server speaks version 2 only; in version 3 the same is said.
    let v3 = "apis/wardle.example.com/v1alpha1";
    let index = until(&machine, "/openapi/v3", |_, index| index["paths"].get(v3).is_some()).await;
    let url = index["paths"][v3]["serverRelativeURL"].as_str().unwrap();
    let document = machine.admin("GET", url, &Json::Null).await;
    assert_eq!(document["openapi"], "3.0.0");
    let answered = &document["paths"][&flunders]["get"]["responses"]["200"]["content"];
    assert_eq!(answered["application/json"]["schema"]["$ref"], "#/components/schemas/Flunder");
    assert_eq!(document["components"]["schemas"]["Flunder"]["type"], "object");

    // Upgrades become tunnels.
    let caller = outbound::Caller::new(outbound::Config {
        server: format!("https://localhost:{}", machine.server.address().port()),
        certificate_authority: Some(machine.authority.clone()),
        ..outbound::Config::default()
    });
    let mut line = caller.unwrap().dial_http1().await.unwrap();
    let head = format!(
        "GET {flunders}/rest/echo HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer admin\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n"
    );
    line.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(line.read_u8().await.unwrap());
    }
    assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
    line.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    line.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");

    // What components of this process see: the end of a namespace lists and deletes there too.
    let found = until_found(&machine).await;
    assert_eq!(found, [("wardle.example.com".into(), "v1alpha1".into(), "flunders".into())]);
    machine.admin("POST", &flunders, &flunder("left")).await;
    let user = authn::User::service_account("kube-system", "namespace-controller");
    let transport = machine.server.transport(user);
    let target = Target {
        group: "wardle.example.com".into(),
        version: "v1alpha1".into(),
        resource: "flunders".into(),
        namespace: "web".into(),
        name: meta::Str::new(),
        subresource: meta::Str::new(),
    };
    let list = || Call { target: target.clone(), action: Action::List(ListOptions::default()) };
    let Ok(Reply::List { items, .. }) = transport.call(list()).await else { panic!("no list") };
    assert_eq!(items[0].meta().name, "left");
    let delete = Action::DeleteCollection(ListOptions::default(), DeleteOptions::default());
    transport.call(Call { target: target.clone(), action: delete }).await.unwrap();
    let Ok(Reply::List { items, .. }) = transport.call(list()).await else { panic!("no list") };
    assert!(items.is_empty());
    // Who may not is refused here, before the server behind is asked.
    let nobody = machine.server.transport(authn::User::new("nobody", &[]));
    assert_eq!(nobody.call(list()).await.unwrap_err().code, 403);

    // The APIService itself: status, patches, and its end.
    let mut whole = machine.admin("GET", &format!("{api}/status"), &Json::Null).await;
    let more = json!({ "type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from an e2e test" });
    whole["status"]["conditions"].as_array_mut().unwrap().push(more);
    let told = machine.admin("PUT", &format!("{api}/status"), &whole).await;
    assert_eq!(told["status"]["conditions"][1]["type"], "StatusUpdated");
    let patch = json!({ "metadata": { "labels": { "e2e": "patched" } }, "spec": { "versionPriority": 400 } });
    let patched = machine.admin("PATCH", &api, &patch).await;
    assert_eq!(patched["spec"]["versionPriority"], 400);
    machine.admin("DELETE", &format!("{SERVICES}?labelSelector=e2e%3Dpatched"), &Json::Null).await;
    until(&machine, &format!("{GROUP}/flunders"), |status, _| status == 404).await;
    let groups = machine.admin("GET", "/apis", &Json::Null).await;
    assert!(!groups.to_string().contains("wardle.example.com"), "{groups}");
}

/// What extension API servers have, once they have said so.
async fn until_found(machine: &Machine) -> Vec<(meta::Str, meta::Str, meta::Str)> {
    let extensions = machine.server.extensions();
    let asking = async {
        loop {
            let found = extensions();
            if found.stale.is_empty() {
                return found.resources;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap()
}
