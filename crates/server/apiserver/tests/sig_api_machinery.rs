//! What the conformance suite asks of the machinery that all kinds share: admission of subresources, definitions in several
//! versions, watches, chunks, tables, field validation.
#![expect(clippy::unwrap_used, reason = "what these tests are made of is written here")]

mod machine;

use std::time::Duration;

use machine::Machine;
use serde_json::{Value as Json, json};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CONFIG_MAPS: &str = "/api/v1/namespaces/web/configmaps";

/// Asks until the answer is as wanted: what the server itself follows takes a moment to reach it.
async fn until(
    machine: &Machine,
    method: &str,
    path: &str,
    body: &Json,
    wanted: impl Fn(u16, &Json) -> bool,
) -> Json {
    let asking = async {
        loop {
            let (status, answer) = machine.with_token("admin", method, path, body).await;
            if wanted(status, &answer) {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), asking).await;
    answer.unwrap_or_else(|_| panic!("{method} {path} never answered as wanted"))
}

/// A policy of either kind with its binding, on some resources of one group.
async fn policy(machine: &Machine, kind: &str, name: &str, rule: (&str, &str, &[&str]), spec: Json) {
    let (group, operation, resources) = rule;
    let mut spec = spec;
    spec["failurePolicy"] = "Fail".into();
    spec["matchConstraints"] = json!({ "resourceRules": [{
        "apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": resources,
    }] });
    let body = json!({ "metadata": { "name": name }, "spec": spec });
    machine.admin("POST", &format!("{POLICIES}/{kind}admissionpolicies"), &body).await;
    let mut bound = json!({ "policyName": name });
    if kind == "validating" {
        bound["validationActions"] = json!(["Deny"]);
    }
    let body = json!({ "metadata": { "name": name }, "spec": bound });
    machine.admin("POST", &format!("{POLICIES}/{kind}admissionpolicybindings"), &body).await;
}

fn annotate() -> Json {
    let expression = "Object{metadata: Object.metadata{annotations: {\"seen\": object.kind}}}";
    json!({ "reinvocationPolicy": "Never", "mutations": [{
        "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression },
    }] })
}

fn pod(name: &str) -> Json {
    json!({ "metadata": { "name": name }, "spec": {
        "automountServiceAccountToken": false, "containers": [{ "name": "a", "image": "x" }],
    } })
}

/// What bindings, evictions and token requests carry passes policies as the kind that it is, and is changed by them.
#[tokio::test(flavor = "multi_thread")]
async fn what_subresources_take_passes_policies() {
    let machine = Machine::start().await;
    machine.account("default").await;
    policy(
        &machine,
        "mutating",
        "mark",
        ("", "CREATE", &["pods/binding", "serviceaccounts/token"]),
        annotate(),
    )
    .await;
    let refuse = json!({ "validations": [{
        "expression": "object.kind == 'Eviction' && object.metadata.name != 'keep'", "message": "this one stays",
    }] });
    policy(&machine, "validating", "keep", ("", "CREATE", &["pods/eviction"]), refuse).await;
    let token = "/api/v1/namespaces/web/serviceaccounts/default/token";
    let seen =
        |kind: &'static str| move |_: u16, answer: &Json| answer["metadata"]["annotations"]["seen"] == kind;
    until(&machine, "POST", token, &json!({ "spec": {} }), seen("TokenRequest")).await;
    for name in ["keep", "go"] {
        machine.admin("POST", "/api/v1/namespaces/web/pods", &pod(name)).await;
        let path = format!("/api/v1/namespaces/web/pods/{name}");
        let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "n" } });
        machine.admin("POST", &format!("{path}/binding"), &binding).await;
        let bound = machine.admin("GET", &path, &Json::Null).await;
        assert_eq!(bound["spec"]["nodeName"], "n");
        assert_eq!(bound["metadata"]["annotations"]["seen"], "Binding");
    }
    let evict =
        |name: &str| json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    let path = "/api/v1/namespaces/web/pods/keep/eviction";
    let refused = until(&machine, "POST", path, &evict("keep"), |status, _| status == 422).await;
    assert!(refused["message"].as_str().unwrap().ends_with("denied request: this one stays"), "{refused}");
    machine.admin("POST", "/api/v1/namespaces/web/pods/go/eviction", &evict("go")).await;
    let (_, kept) = machine.with_token("admin", "GET", "/api/v1/namespaces/web/pods/keep", &Json::Null).await;
    assert!(kept["metadata"]["deletionTimestamp"].is_null(), "{kept}");
}

/// A scale is reviewed as a Scale, whatever it scales, and what is stored is what reviewers made of it.
#[tokio::test(flavor = "multi_thread")]
async fn scales_are_reviewed_as_scales() {
    let machine = Machine::start().await;
    let rule = ("apps", "UPDATE", &["deployments/scale"][..]);
    let limit = json!({ "validations": [{
        "expression": "object.kind == 'Scale' && oldObject.kind == 'Scale' && object.spec.replicas <= 5",
        "message": "too many",
    }] });
    policy(&machine, "validating", "limit", rule, limit).await;
    let raise = json!({ "reinvocationPolicy": "Never", "mutations": [{
        "patchType": "ApplyConfiguration",
        "applyConfiguration": { "expression": "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}" },
    }] });
    policy(&machine, "mutating", "raise", rule, raise).await;
    let list = "/apis/apps/v1/namespaces/web/deployments";
    let labels = json!({ "app": "d" });
    let deployment = json!({ "metadata": { "name": "d" }, "spec": {
        "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": pod("x")["spec"] },
    } });
    machine.admin("POST", list, &deployment).await;
    let scale = format!("{list}/d/scale");
    let to = |replicas: i64| json!({ "spec": { "replicas": replicas } });
    until(&machine, "PATCH", &scale, &to(9), |status, _| status == 422).await;
    until(&machine, "PATCH", &scale, &to(2), |_, scale| scale["spec"]["replicas"] == 3).await;
    assert_eq!(machine.admin("GET", &format!("{list}/d"), &Json::Null).await["spec"]["replicas"], 3);
}

/// Reviews have no columns: who accepts nothing but a Table is told so. Policies see them like any other object.
#[tokio::test(flavor = "multi_thread")]
async fn reviews_have_no_table_and_pass_policies() {
    let machine = Machine::start().await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let question = json!({ "spec": { "nonResourceAttributes": { "path": "/", "verb": "get" } } });
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let ask = |accept: &'static str| {
        let headers = [("authorization", "Bearer admin"), ("accept", accept)];
        let (machine, question) = (&machine, &question);
        async move { machine.send("POST", path, &headers, question).await }
    };
    let (status, answer) = ask(table).await;
    assert_eq!((status, &answer["reason"]), (406, &json!("NotAcceptable")));
    let (status, answer) = ask("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!((status, &answer["kind"]), (201, &json!("SelfSubjectAccessReview")));
    let headers = [("authorization", "Bearer admin"), ("accept", table)];
    let (status, answer) = machine.send("GET", CONFIG_MAPS, &headers, &Json::Null).await;
    assert_eq!((status, &answer["kind"]), (200, &json!("Table")));
    let refuse = json!({ "validations": [{ "expression": "false", "message": "ask somebody else" }] });
    let rule = ("authorization.k8s.io", "CREATE", &["selfsubjectaccessreviews"][..]);
    policy(&machine, "validating", "mute", rule, refuse).await;
    until(&machine, "POST", path, &question, |status, _| status == 422).await;
}

fn definition(versions: Json) -> Json {
    json!({ "metadata": { "name": "tests.stable.example.com" }, "spec": {
        "group": "stable.example.com", "scope": "Namespaced", "versions": versions,
        "names": { "plural": "tests", "singular": "test", "kind": "Test", "listKind": "TestList" },
    } })
}

fn version(name: &str, storage: bool) -> Json {
    json!({ "name": name, "served": true, "storage": storage, "schema": { "openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    } } })
}

/// The stored version of a definition moves, and the old one goes once nothing is stored in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_stored_version_of_a_definition_moves() {
    let machine = Machine::start().await;
    let path = format!("{DEFINITIONS}/tests.stable.example.com");
    machine.admin("POST", DEFINITIONS, &definition(json!([version("v1", true), version("v2", false)]))).await;
    let list = |version: &str| format!("/apis/stable.example.com/{version}/namespaces/web/tests");
    let object =
        json!({ "apiVersion": "stable.example.com/v1", "kind": "Test", "metadata": { "name": "a" }, "x": 1 });
    until(&machine, "POST", &list("v1"), &object, |status, _| status == 201).await;
    let moved = json!({ "spec": { "versions": [version("v1", false), version("v2", true)] } });
    let moved = machine.admin("PATCH", &path, &moved).await;
    assert_eq!(moved["status"]["storedVersions"], json!(["v1", "v2"]));
    let only_new = json!({ "spec": { "versions": [version("v2", true)] } });
    let (status, refused) = machine.with_token("admin", "PATCH", &path, &only_new).await;
    assert_eq!(
        (status, &refused["details"]["causes"][0]["field"]),
        (422, &json!("status.storedVersions[0]"))
    );
    until(&machine, "PATCH", &format!("{}/a", list("v2")), &json!({ "y": 2 }), |status, _| status == 200)
        .await;
    let emptied = json!({ "status": { "storedVersions": ["v2"] } });
    machine.admin("PATCH", &format!("{path}/status"), &emptied).await;
    machine.admin("PATCH", &path, &only_new).await;
    until(&machine, "GET", &list("v1"), &Json::Null, |status, _| status == 404).await;
    let read = machine.admin("GET", &format!("{}/a", list("v2")), &Json::Null).await;
    assert_eq!(
        (&read["apiVersion"], &read["x"], &read["y"]),
        (&json!("stable.example.com/v2"), &json!(1), &json!(2))
    );
}

/// Custom resources have no protobuf form, so clients that take another one as well get that; their metadata has one.
#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_not_written_in_protobuf() {
    let machine = Machine::start().await;
    machine.admin("POST", DEFINITIONS, &definition(json!([version("v1", true)]))).await;
    let list = "/apis/stable.example.com/v1/namespaces/web/tests";
    let object =
        json!({ "apiVersion": "stable.example.com/v1", "kind": "Test", "metadata": { "name": "a" }, "x": 1 });
    until(&machine, "POST", list, &object, |status, _| status == 201).await;
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let either = format!("{PROTOBUF},application/json");
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let one = format!("{list}/a");
    let scale = json!({ "spec": { "x": 2 } });
    for (method, path, body, accept, wanted) in [
        ("GET", list, &Json::Null, PROTOBUF, 406),
        ("GET", &*one, &Json::Null, PROTOBUF, 406),
        ("PATCH", &*one, &scale, PROTOBUF, 406),
        ("GET", list, &Json::Null, &*either, 200),
        ("GET", &*one, &Json::Null, &*either, 200),
        ("GET", &*one, &Json::Null, &*metadata, 200),
        ("DELETE", &*one, &Json::Null, &*either, 200),
    ] {
        let headers = [("authorization", "Bearer admin"), ("accept", accept)];
        let (status, answer) = machine.send(method, path, &headers, body).await;
        assert_eq!(status, wanted, "{method} {path} {accept}: {answer}");
        if accept == either {
            assert!(answer["kind"].is_string(), "{method} {path} is JSON: {answer}");
        } else {
            assert!(
                answer.as_str().is_some_and(|text| text.starts_with("k8s\0")),
                "{method} {path}: {answer}"
            );
        }
    }
}

/// A quantity that is written otherwise is the same amount, and a change all the same; one that is not is none.
#[tokio::test(flavor = "multi_thread")]
async fn quantities_are_stored_as_they_are_written() {
    let machine = Machine::start().await;
    let list = "/api/v1/namespaces/web/resourcequotas";
    let quota = |text: &str| json!({ "metadata": { "name": "q" }, "spec": { "hard": { "cpu": text } } });
    let mut last = machine.admin("POST", list, &quota("1.125")).await;
    for (text, changes) in
        [("1.125", false), ("1125m", true), ("1125m", false), ("1024", true), ("1Ki", true)]
    {
        let now = machine.admin("PATCH", &format!("{list}/q"), &quota(text)).await;
        assert_eq!(now["spec"]["hard"]["cpu"], text);
        let version = |quota: &Json| quota["metadata"]["resourceVersion"].clone();
        assert_eq!(version(&now) != version(&last), changes, "{text}");
        last = now;
    }
}

/// Whatever a method is called, it is the verb of a path.
#[tokio::test(flavor = "multi_thread")]
async fn methods_are_verbs_of_paths() {
    let machine = Machine::start().await;
    for (method, verb) in [("FOO", "foo"), ("OPTIONS", "options")] {
        let (status, answer) = machine.with_token("alice", method, "/version", &Json::Null).await;
        assert_eq!(status, 403, "{answer}");
        let wanted = format!("forbidden: User \"alice\" cannot {verb} path \"/version\"");
        assert_eq!(answer["message"], wanted);
    }
}

/// The schemas of several definitions reach OpenAPI in both versions, and leave it when a version is not served any more.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_published_in_openapi() {
    let machine = Machine::start().await;
    machine.admin("POST", DEFINITIONS, &definition(json!([version("v1", true), version("v2", false)]))).await;
    let model = |version: &str| format!("com.example.stable.{version}.Test");
    let (first, second) = (model("v1"), model("v2"));
    let has = |document: &Json, name: &str| !document["definitions"][name].is_null();
    let wanted = |_: u16, d: &Json| has(d, &first) && has(d, &second);
    until(&machine, "GET", "/openapi/v2", &Json::Null, wanted).await;
    let path = "/openapi/v3/apis/stable.example.com/v2";
    let document = until(&machine, "GET", path, &Json::Null, |status, _| status == 200).await;
    assert!(document["components"]["schemas"][&second].is_object());
    let mut gone = version("v2", false);
    gone["served"] = false.into();
    let change = json!({ "spec": { "versions": [version("v1", true), gone] } });
    machine.admin("PATCH", &format!("{DEFINITIONS}/tests.stable.example.com"), &change).await;
    let wanted = |_: u16, d: &Json| has(d, &first) && !has(d, &second);
    until(&machine, "GET", "/openapi/v2", &Json::Null, wanted).await;
    until(&machine, "GET", path, &Json::Null, |status, _| status == 404).await;
}

/// Streams of a crowd rest between their writes, and still each gets everything, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_watchers_misses_nothing() {
    const CROWD: usize = 80;
    let machine = Machine::start().await;
    let version = machine.admin("GET", CONFIG_MAPS, &Json::Null).await["metadata"]["resourceVersion"].clone();
    let path =
        format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=3&resourceVersion={}", version.as_str().unwrap());
    let watches = (0..CROWD).map(|_| machine.with_token("admin", "GET", &path, &Json::Null));
    let names: Vec<String> = (0..40).map(|number| format!("m-{number}")).collect();
    let writes = async {
        for name in &names {
            machine.admin("POST", CONFIG_MAPS, &json!({ "metadata": { "name": name } })).await;
        }
    };
    let (seen, ()) = tokio::join!(futures::future::join_all(watches), writes);
    for (status, events) in seen {
        assert_eq!(status, 200);
        let events = events.as_str().unwrap().lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        let seen: Vec<String> =
            events.map(|event| event["object"]["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(seen, names);
    }
}

/// A watch of the state as of a version that does not come is let in, and told so by its only event.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_does_not_come_is_an_event() {
    let machine = Machine::start().await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=99999999";
    let path = format!("{CONFIG_MAPS}?{query}&timeoutSeconds=20");
    let (status, event) = machine.with_token("admin", "GET", &path, &Json::Null).await;
    assert_eq!((status, &event["type"]), (200, &json!("ERROR")), "{event}");
    assert_eq!(event["object"]["code"], 504, "{event}");
    assert_eq!(event["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge", "{event}");
}

/// A watch from a version sees what entered and left its selector since; pages tell how much is left.
#[tokio::test(flavor = "multi_thread")]
async fn watches_and_pages_start_where_they_are_told() {
    let machine = Machine::start().await;
    let named = |name: &str| json!({ "metadata": { "name": name, "labels": { "watched": "yes" } } });
    let first = machine.admin("POST", CONFIG_MAPS, &named("a")).await;
    let path = format!("{CONFIG_MAPS}/a");
    for (label, data) in [("yes", "1"), ("no", "2"), ("yes", "3")] {
        let change = json!({ "metadata": { "labels": { "watched": label } }, "data": { "at": data } });
        machine.admin("PATCH", &path, &change).await;
    }
    machine.admin("DELETE", &path, &Json::Null).await;
    let from = first["metadata"]["resourceVersion"].as_str().unwrap();
    let query =
        format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&labelSelector=watched%3Dyes&resourceVersion={from}");
    let (status, events) = machine.with_token("admin", "GET", &query, &Json::Null).await;
    assert_eq!(status, 200);
    let events = events.as_str().unwrap().lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let kinds: Vec<String> = events.map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["MODIFIED", "DELETED", "ADDED", "DELETED"]);
    for name in ["b", "c", "d", "e", "f"] {
        machine.admin("POST", CONFIG_MAPS, &named(name)).await;
    }
    let (mut token, mut seen) = (String::new(), 0);
    loop {
        let query = format!("{CONFIG_MAPS}?limit=2&labelSelector=&continue={token}");
        let page = machine.admin("GET", &query, &Json::Null).await;
        seen += page["items"].as_array().unwrap().len();
        let Some(next) = page["metadata"]["continue"].as_str() else { break };
        assert_eq!(page["metadata"]["remainingItemCount"], json!(5 - seen));
        token = next.to_owned();
    }
    assert_eq!(seen, 5);
}

/// Each health check is found by its name, and what every cluster has comes back when it is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn what_every_cluster_has_is_kept() {
    let machine = Machine::start().await;
    let null = Json::Null;
    let healthy = |status: u16, _: &Json| status == 200;
    let told = until(&machine, "GET", "/readyz?verbose", &null, healthy).await;
    let told = told.as_str().unwrap();
    let names: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("[+]")?.strip_suffix(" ok")).collect();
    assert_eq!(names.len(), 38, "{told}");
    let index = machine.admin("GET", "/", &null).await;
    for name in names {
        let path = format!("/readyz/{name}");
        assert_eq!(machine.admin("GET", &path, &null).await, json!("ok"), "{path}");
        assert!(index["paths"].as_array().unwrap().contains(&json!(path)), "{path}");
    }
    assert_eq!(machine.with_token("admin", "GET", "/readyz/nothing", &null).await.0, 404);
    machine.admin("GET", "/livez/loopback-serving-certificate", &null).await;
    assert_eq!(
        machine.with_token("admin", "GET", "/readyz/loopback-serving-certificate", &null).await.0,
        404
    );

    for path in [
        "/api/v1/namespaces/default/services/kubernetes",
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
        "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking",
    ] {
        let there = |status: u16, _: &Json| status == 200;
        let before = until(&machine, "GET", path, &null, there).await["metadata"]["uid"].clone();
        machine.admin("DELETE", path, &null).await;
        let again = |status: u16, found: &Json| status == 200 && found["metadata"]["uid"] != before;
        until(&machine, "GET", path, &null, again).await;
    }
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let of_servers = format!("{leases}?labelSelector=apiserver.kubernetes.io/identity%3Dkube-apiserver");
    let one = |_: u16, found: &Json| found["items"].as_array().is_some_and(|items| items.len() == 1);
    let lease = until(&machine, "GET", &of_servers, &null, one).await["items"][0].clone();
    let name = lease["metadata"]["name"].as_str().unwrap();
    assert!(lease["spec"]["holderIdentity"].as_str().unwrap().starts_with(name), "{lease}");

    let metrics = machine.admin("GET", "/metrics", &null).await;
    let namespaces = "apiserver_resource_objects{group=\"\",resource=\"namespaces\"} 5";
    assert!(metrics.as_str().unwrap().contains(namespaces), "{metrics}");
}

/// What a definition says of defaults holds for objects that were written before it said so, as they are read.
#[tokio::test(flavor = "multi_thread")]
async fn defaults_come_from_storage_too() {
    let machine = Machine::start().await;
    let null = Json::Null;
    let schema = |fields: Json| json!({ "openAPIV3Schema": { "type": "object", "properties": fields } });
    let version =
        |fields: Json| json!([{ "name": "v1", "served": true, "storage": true, "schema": schema(fields) }]);
    let text = |default: &str| json!({ "type": "string", "default": default });
    let plain = json!({ "type": "string" });
    let definition = json!({ "metadata": { "name": "foos.example.com" }, "spec": {
        "group": "example.com", "scope": "Cluster", "names": { "plural": "foos", "kind": "Foo" },
        "versions": version(json!({ "a": plain, "b": plain })),
    } });
    machine.admin("POST", DEFINITIONS, &definition).await;
    let foos = "/apis/example.com/v1/foos";
    let foo =
        |name: &str| json!({ "apiVersion": "example.com/v1", "kind": "Foo", "metadata": { "name": name } });
    let first = until(&machine, "POST", foos, &foo("first"), |status, _| status == 201).await;
    assert_eq!(first["a"], Json::Null);

    let change = |fields: Json| json!({ "spec": { "versions": version(fields) } });
    let path = format!("{DEFINITIONS}/foos.example.com");
    machine.admin("PATCH", &path, &change(json!({ "a": text("A"), "b": text("B") }))).await;
    let read = until(&machine, "GET", &format!("{foos}/first"), &null, |_, read| read["a"] == "A").await;
    assert_eq!(read["b"], "B");
    let second = machine.admin("POST", foos, &foo("second")).await;
    assert_eq!((&second["a"], &second["b"]), (&json!("A"), &json!("B")));

    // What has been stored stays; what never was follows the definition.
    machine.admin("PATCH", &path, &change(json!({ "a": text("C"), "b": plain }))).await;
    let read = until(&machine, "GET", &format!("{foos}/first"), &null, |_, read| read["a"] == "C").await;
    assert_eq!(read["b"], Json::Null);
    let listed = machine.admin("GET", foos, &null).await;
    assert_eq!((&listed["items"][1]["a"], &listed["items"][1]["b"]), (&json!("A"), &json!("B")));
    // Fields that go from the schema go from what is read.
    machine.admin("PATCH", &path, &change(json!({ "a": plain }))).await;
    until(&machine, "GET", &format!("{foos}/second"), &null, |_, read| {
        read["b"] == Json::Null && read["a"] == "A"
    })
    .await;
}

/// A connection of HTTP/1.1 goes on after a request that was refused before its body was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_ends_no_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let machine = Machine::start().await;
    let config = outbound::Config {
        server: format!("https://localhost:{}", machine.server.address().port()),
        certificate_authority: Some(machine.authority.clone()),
        ..outbound::Config::default()
    };
    let mut line = outbound::Caller::new(config).unwrap().dial_http1().await.unwrap();
    let body = json!({ "data": { "a": "x".repeat(2000) } }).to_string();
    let refused = [
        // `force` is for applies.
        (422, format!("{CONFIG_MAPS}/a?force=true"), "admin"),
        (404, "/api/v1/namespaces/web/nothings/a".to_owned(), "admin"),
        (401, format!("{CONFIG_MAPS}/a"), "nobody"),
        (403, format!("{CONFIG_MAPS}/a"), "alice"),
    ];
    for (code, path, token) in refused {
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/merge-patch+json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        line.write_all(head.as_bytes()).await.unwrap();
        line.flush().await.unwrap();
        // The answer waits for the body: what is answered before it would leave its rest on the connection.
        let early = tokio::time::timeout(Duration::from_millis(50), line.read_u8()).await;
        assert!(early.is_err(), "{path} was answered before its body came");
        line.write_all(body.as_bytes()).await.unwrap();
        line.flush().await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(line.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {code} ")), "{path}: {answer}");
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut rest = vec![0; length.parse().unwrap()];
        line.read_exact(&mut rest).await.unwrap();
    }
}
