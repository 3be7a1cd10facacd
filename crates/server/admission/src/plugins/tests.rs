//! Single plugins over requests: what they change, refuse and say.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use env::Env;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use types::core::v1::{ConfigMap, Event, Namespace, Node, Pod};

use crate::testing::{Cluster, Did, ask, ask_subresource, plugin};

fn pod(metadata: Json, spec: Json) -> Json {
    let mut whole = json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": { "containers": [{ "name": "a", "image": "i" }] } });
    for (part, from) in [("metadata", metadata), ("spec", spec)] {
        whole[part].as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
    }
    whole
}

fn namespace(metadata: Json) -> Json {
    let mut whole = json!({ "metadata": { "name": "ns" } });
    whole["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    whole
}

#[tokio::test]
async fn a_namespace_comes_with_its_first_object() {
    let plugin = plugin("NamespaceAutoProvision", Json::Null, &Env::real());
    let empty = Cluster::new();
    let map = json!({ "metadata": { "name": "m", "namespace": "ns" } });
    assert_eq!(ask::<ConfigMap>(&*plugin, &empty, "u", map.clone(), None).await.refusal(), "");
    assert_eq!(empty.provisioned(), ["ns"]);
    let there = Cluster::new().with::<Namespace>(namespace(json!({})));
    ask::<ConfigMap>(&*plugin, &there, "u", map.clone(), None).await;
    ask::<ConfigMap>(&*plugin, &empty, "u", map.clone(), Some(map)).await;
    assert_eq!(
        (there.provisioned().len(), empty.provisioned().len()),
        (0, 1),
        "only creates, only where it is missing"
    );
}

#[tokio::test]
async fn owners_are_named_only_by_who_may_delete() {
    let plugin = plugin("OwnerReferencesPermissionEnforcement", Json::Null, &Env::real());
    let owned = |kind: &str, block: bool| {
        let owner = json!({ "apiVersion": "v1", "kind": kind, "name": "o", "uid": "u1", "blockOwnerDeletion": block });
        json!({ "metadata": { "name": "m", "namespace": "ns", "ownerReferences": [owner] } })
    };
    let nobody = Cluster::new;
    let deletes = || Cluster::new().allowing("delete configmaps m");
    let blocks = || deletes().allowing("update nodes/finalizers o");
    let rows = [
        (
            nobody(),
            owned("Node", false),
            None,
            "403 configmaps \"m\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>",
        ),
        (deletes(), owned("Node", false), None, ""),
        (
            deletes(),
            owned("Node", true),
            None,
            "403 configmaps \"m\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
        ),
        (blocks(), owned("Node", true), None, ""),
        (
            blocks(),
            owned("Nope", true),
            None,
            "403 configmaps \"m\" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Nope: no matches for kind \"Nope\" in version \"v1\"",
        ),
        (nobody(), owned("Node", true), Some(owned("Node", true)), ""),
        (deletes(), owned("Node", false), Some(owned("Node", true)), ""),
    ];
    for (world, object, old, refusal) in rows {
        let did = ask::<ConfigMap>(&*plugin, &world, "u", object.clone(), old).await;
        assert_eq!(did.refusal(), refusal, "{object}");
    }
}

#[tokio::test]
async fn tolerations_come_from_the_namespace_and_stay_within_its_list() {
    let document = json!({
        "apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "default": [{ "key": "d", "operator": "Exists" }], "whitelist": [{ "key": "d", "operator": "Exists" }, { "key": "e", "operator": "Exists" }],
    });
    let plugin = plugin("PodTolerationRestriction", document, &Env::real());
    let bare = Cluster::new().with::<Namespace>(namespace(json!({})));
    let own = Cluster::new().with::<Namespace>(namespace(json!({ "annotations": {
        "scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\":\"n\",\"operator\":\"Exists\"}]",
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist": "[]",
    } })));
    let broken = Cluster::new().with::<Namespace>(namespace(json!({ "annotations": {
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist": "nonsense",
    } })));
    let keys = |did: &Did| -> Vec<String> {
        did.object::<Pod>().spec.tolerations.iter().map(|t| t.key.to_string()).collect()
    };
    let plain = ask::<Pod>(&*plugin, &bare, "u", pod(json!({}), json!({})), None).await;
    assert_eq!((plain.refusal().as_str(), keys(&plain)), ("", vec!["d".to_owned()]));
    let foreign = json!({ "tolerations": [{ "key": "x", "operator": "Exists" }] });
    let refused = ask::<Pod>(&*plugin, &bare, "u", pod(json!({}), foreign.clone()), None).await;
    assert_eq!(
        refused.refusal(),
        "500 pod tolerations (possibly merged with namespace default tolerations) conflict with its cluster whitelist"
    );
    let free = ask::<Pod>(&*plugin, &own, "u", pod(json!({}), foreign.clone()), None).await;
    assert_eq!((free.refusal().as_str(), keys(&free)), ("", vec!["n".to_owned(), "x".to_owned()]));
    let sized =
        json!({ "containers": [{ "name": "a", "image": "i", "resources": { "requests": { "cpu": "1" } } }] });
    let sized = ask::<Pod>(&*plugin, &own, "u", pod(json!({}), sized), None).await;
    assert_eq!(keys(&sized), ["n", "node.kubernetes.io/memory-pressure"]);
    assert!(
        ask::<Pod>(&*plugin, &broken, "u", pod(json!({}), foreign), None)
            .await
            .refusal()
            .starts_with("500 expected")
    );
}

#[tokio::test]
async fn events_beyond_the_limit_are_refused() {
    let document = json!({
        "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "limits": [{ "type": "Namespace", "qps": 1, "burst": 2 }, { "type": "User", "qps": 1, "burst": 1 }],
    });
    let (env, clock) = Env::simulated(1);
    let plugin = plugin("EventRateLimit", document, &env);
    let world = Cluster::new();
    let event = json!({ "metadata": { "name": "e", "namespace": "ns" }, "source": { "component": "c" } });
    let mut said = Vec::new();
    for user in ["a", "b", "c", "a"] {
        said.push(ask::<Event>(&*plugin, &world, user, event.clone(), None).await.refusal());
    }
    let per_namespace = "429 Too many requests: limit reached on type Namespace for key ns";
    let per_user = "429 Too many requests: limit reached on type User for key a";
    assert_eq!(said, ["", "", per_namespace, per_user]);
    clock.advance(std::time::Duration::from_secs(2));
    assert_eq!(ask::<Event>(&*plugin, &world, "a", event, None).await.refusal(), "");
    let map = json!({ "metadata": { "name": "m", "namespace": "ns" } });
    assert_eq!(ask::<ConfigMap>(&*plugin, &world, "a", map, None).await.refusal(), "", "only Events count");
}

#[tokio::test]
async fn selectors_come_from_the_namespace_or_the_configuration() {
    let document = json!({ "podNodeSelectorPluginConfig": { "clusterDefaultNodeSelector": "env=dev", "ns": "env=dev,disk=ssd" } });
    let plugin = plugin("PodNodeSelector", document, &Env::real());
    let bare = Cluster::new().with::<Namespace>(namespace(json!({})));
    let wrong = Cluster::new().with::<Namespace>(namespace(
        json!({ "annotations": { "scheduler.alpha.kubernetes.io/node-selector": "env" } }),
    ));
    let rows = [
        (&bare, json!({}), ""),
        (&bare, json!({ "nodeSelector": { "disk": "ssd" } }), ""),
        (
            &bare,
            json!({ "nodeSelector": { "env": "prod" } }),
            "403 pods \"p\" is forbidden: pod node label selector conflicts with its namespace node label selector",
        ),
        (
            &bare,
            json!({ "nodeSelector": { "zone": "a" } }),
            "403 pods \"p\" is forbidden: pod node label selector labels conflict with its namespace whitelist",
        ),
        (&wrong, json!({}), "500 invalid selector: [env]"),
    ];
    for (world, spec, refusal) in rows {
        let did = ask::<Pod>(&*plugin, world, "u", pod(json!({}), spec.clone()), None).await;
        assert_eq!(did.refusal(), refusal, "{spec}");
        if refusal.is_empty() {
            assert_eq!(did.object::<Pod>().spec.node_selector.get("env").map(|v| v.as_str()), Some("dev"));
        }
    }
}

#[tokio::test]
async fn pods_are_resized_within_their_node() {
    let plugin = plugin("PodResizeValidator", Json::Null, &Env::real());
    let node = |system: &str| json!({ "metadata": { "name": "n", "labels": { "kubernetes.io/os": system } }, "status": { "allocatable": { "cpu": "2", "memory": "1Gi" } } });
    let resized = |cpu: &str, generation: i64| {
        pod(
            json!({ "generation": generation }),
            json!({ "nodeName": "n", "containers": [{ "name": "a", "image": "i", "resources": { "requests": { "cpu": cpu, "memory": "2Gi" } } }] }),
        )
    };
    let linux = Cluster::new().with::<Node>(node("linux"));
    let small = |cpu: &str| {
        let mut pod = resized(cpu, 2);
        pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = "1Gi".into();
        pod
    };
    let windows = Cluster::new().with::<Node>(node("windows"));
    for (world, object, expected) in [
        (
            &linux,
            resized("3", 2),
            "403 pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824",
        ),
        (&linux, resized("3", 1), ""),
        (&linux, small("2"), ""),
        (
            &windows,
            small("2"),
            "403 pods \"p\" is forbidden: pod resize is only supported on linux nodes, node \"n\" is \"windows\"",
        ),
        (&Cluster::new(), small("2"), "403 pods \"p\" is forbidden: node \"n\" not found"),
    ] {
        let old = Some(resized("1", 1));
        let did = ask_subresource::<Pod>(&*plugin, world, "u", "resize", object, old).await;
        assert_eq!(did.refusal(), expected);
    }
}

#[tokio::test]
async fn limits_bind_pods_that_are_resized() {
    let plugin = plugin("LimitRanger", Json::Null, &Env::real());
    let range = json!({
        "metadata": { "name": "l", "namespace": "ns" },
        "spec": { "limits": [{ "type": "Container", "max": { "cpu": "2" }, "defaultRequest": { "cpu": "1" } }] },
    });
    let world = Cluster::new().with::<types::core::v1::LimitRange>(range);
    let sized = |resources: Json| {
        pod(json!({}), json!({ "containers": [{ "name": "a", "image": "i", "resources": resources }] }))
    };
    let old = || Some(sized(json!({ "limits": { "cpu": "1" } })));
    let wide = sized(json!({ "limits": { "cpu": "3" } }));
    let refused = "403 pods \"p\" is forbidden: maximum cpu usage per Container is 2, but limit is 3";
    let ask =
        |subresource, object, old| ask_subresource::<Pod>(&*plugin, &world, "u", subresource, object, old);
    assert_eq!(ask("resize", wide.clone(), old()).await.refusal(), refused);
    assert_eq!(ask("", wide.clone(), old()).await.refusal(), "", "nothing else can change containers");
    let filled = ask("resize", sized(json!({ "limits": { "cpu": "1" } })), old()).await;
    let request =
        filled.object::<Pod>().spec.containers[0].resources.requests.get("cpu").map(ToString::to_string);
    assert_eq!(request.as_deref(), Some("1"));
    let mut going = sized(json!({ "limits": { "cpu": "1" } }));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(ask("resize", wide, Some(going)).await.refusal(), "");
}

fn security(document: Json) -> Arc<dyn super::Plugin> {
    let mut whole = json!({ "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration" });
    whole.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
    plugin("PodSecurity", whole, &Env::real())
}

#[tokio::test]
async fn standards_have_defaults_and_exemptions() {
    let plugin = security(json!({
        "defaults": { "enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted", "audit": "restricted" },
        "exemptions": { "usernames": ["trusted"], "runtimeClasses": ["vm"], "namespaces": ["free"] },
    }));
    let world = Cluster::new()
        .with::<Namespace>(namespace(json!({})))
        .with::<Namespace>(namespace(json!({ "name": "free" })));
    let host = || json!({ "hostNetwork": true });
    let refusal = "403 pods \"p\" is forbidden: violates PodSecurity \"baseline:v1.30\": host namespaces (hostNetwork=true)";
    for (user, metadata, spec, expected, exempt) in [
        ("u", json!({}), host(), refusal, None),
        ("trusted", json!({}), host(), "", Some("user")),
        ("u", json!({ "namespace": "free" }), host(), "", Some("namespace")),
        ("u", json!({}), json!({ "hostNetwork": true, "runtimeClassName": "vm" }), "", Some("runtimeClass")),
    ] {
        let did = ask::<Pod>(&*plugin, &world, user, pod(metadata, spec), None).await;
        assert_eq!(did.refusal(), expected);
        let said = did.annotations.iter().find(|(key, _)| key == "pod-security.kubernetes.io/exempt");
        assert_eq!(said.map(|(_, why)| why.as_str()), exempt);
        assert!(did.warnings.is_empty(), "{:?}", did.warnings);
    }
    let did = ask::<Pod>(&*plugin, &world, "u", pod(json!({}), json!({})), None).await;
    assert_eq!(did.refusal(), "");
    assert!(
        did.warnings[0].starts_with("would violate PodSecurity \"restricted:latest\": "),
        "{:?}",
        did.warnings
    );
    let audited = |key: &str| did.annotations.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    assert_eq!(audited("pod-security.kubernetes.io/enforce-policy").as_deref(), Some("baseline:v1.30"));
    assert_eq!(audited("pod-security.kubernetes.io/audit-violations").as_ref(), Some(&did.warnings[0]));
    let labelled =
        json!({ "name": "free", "labels": { "pod-security.kubernetes.io/enforce": "restricted" } });
    let did = ask::<Namespace>(&*plugin, &world, "u", json!({ "metadata": labelled }), None).await;
    assert_eq!(
        did.warnings,
        [
            "namespace \"free\" is exempt from Pod Security, and the policy (enforce=restricted:v1.30) will be ignored"
        ]
    );
}

/// A server that answers each question by `answer`, and how often it was asked.
async fn judge(answer: impl Fn(Json) -> (u16, Json) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/judge", listener.local_addr().unwrap());
    let (answer, calls) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (answer, calls) = (answer.clone(), counted.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (answer, calls) = (answer.clone(), calls.clone());
                async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (code, said) = answer(serde_json::from_slice(&body).unwrap());
                    let response = Response::builder().status(code);
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(said.to_string()))).unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    (url, calls)
}

fn policy(url: &str, default_allow: bool, folder: &std::path::Path) -> Arc<dyn super::Plugin> {
    let path = folder.join("kubeconfig");
    let text = format!(
        "clusters: [{{name: a, cluster: {{server: '{url}'}}}}]\ncontexts: [{{name: c, context: {{cluster: a}}}}]\ncurrent-context: c"
    );
    std::fs::write(&path, text).unwrap();
    let document = json!({ "imagePolicy": { "kubeConfigFile": path, "retryBackoff": 1, "defaultAllow": default_allow } });
    plugin("ImagePolicyWebhook", document, &Env::real())
}

#[tokio::test]
async fn images_run_if_the_server_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let world = Cluster::new();
    let (url, calls) = judge(|question| {
        assert_eq!(question["kind"], "ImageReview");
        assert_eq!(question["spec"]["annotations"], json!({ "x.image-policy.k8s.io/break": "glass" }));
        let allowed = question["spec"]["containers"][0]["image"] == "good";
        let status = json!({ "allowed": allowed, "reason": if allowed { "" } else { "no" }, "auditAnnotations": { "seen": "yes" } });
        (200, json!({ "kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "status": status }))
    })
    .await;
    let plugin = policy(&url, false, folder.path());
    let of = |image: &str| {
        pod(
            json!({ "annotations": { "x.image-policy.k8s.io/break": "glass", "other": "hidden" } }),
            json!({ "containers": [{ "name": "a", "image": image }] }),
        )
    };
    let refusal = "403 pods \"p\" is forbidden: image policy webhook backend denied one or more images: no";
    for (image, expected, asked) in
        [("good", "", 1), ("good", "", 1), ("bad", refusal, 2), ("bad", refusal, 2)]
    {
        let did = ask::<Pod>(&*plugin, &world, "u", of(image), None).await;
        assert_eq!(did.refusal(), expected);
        assert_eq!(calls.load(Ordering::SeqCst), asked, "answers are kept");
        assert_eq!(
            did.annotations,
            [("imagepolicywebhook.image-policy.k8s.io/seen".to_owned(), "yes".to_owned())]
        );
    }
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again_and_then_the_configuration_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (url, calls) = judge(|_| (500, json!("broken"))).await;
    let image = || pod(json!({}), json!({}));
    let strict = ask::<Pod>(&*policy(&url, false, folder.path()), &Cluster::new(), "u", image(), None).await;
    assert!(
        strict.refusal().starts_with("403 pods \"p\" is forbidden: an error on the server"),
        "{}",
        strict.refusal()
    );
    assert_eq!(calls.load(Ordering::SeqCst), 5);
    let open = ask::<Pod>(&*policy(&url, true, folder.path()), &Cluster::new(), "u", image(), None).await;
    assert_eq!(open.refusal(), "");
    assert_eq!(
        open.annotations,
        [("imagepolicywebhook.image-policy.k8s.io/failed-open".to_owned(), "true".to_owned())]
    );
    let (url, _) = judge(|_| (200, json!({ "kind": "Lies" }))).await;
    let garbage = ask::<Pod>(&*policy(&url, false, folder.path()), &Cluster::new(), "u", image(), None).await;
    assert_eq!(garbage.refusal(), "403 pods \"p\" is forbidden: the webhook's answer is no ImageReview");
}
