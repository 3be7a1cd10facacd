//! Whole lives of pods on a kubelet whose runtime and API are in memory.

mod support;

use support::{Bench, is, pod};
use types::core::v1::{
    ConfigMap, ConfigMapKeySelector, Container, EnvVar, EnvVarSource, Event, ExecAction, Node, Pod, Probe,
};

fn waiting(pod: &Pod) -> String {
    let status = pod.status.container_statuses.first();
    status.and_then(|s| s.state.waiting.as_ref()).map(|w| w.reason.to_string()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_and_is_deleted() {
    let bench = Bench::start();
    bench.kubelet.as_ref().unwrap().ready().await;
    let node = bench.api.get::<Node>("", "n1").unwrap();
    assert_eq!(node.metadata.labels.get("kubernetes.io/hostname").map(|s| s.as_str()), Some("n1"));
    assert!(node.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"));

    bench.api.create(pod("web", |_| {}));
    let ready = bench.api.pod("web", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await.unwrap();
    assert_eq!(ready.status.phase, "Running");
    assert_eq!(ready.status.pod_ip, "127.0.0.1");
    assert_eq!(ready.status.host_ip, "192.0.2.1");
    assert_eq!(ready.status.qos_class, "BestEffort");
    assert!(
        is(&ready, "PodReadyToStartContainers") && is(&ready, "Initialized") && is(&ready, "PodScheduled")
    );
    let status = &ready.status.container_statuses[0];
    assert!(status.container_id.starts_with("fake://c"));
    assert_eq!(bench.api.event("Started").await, "Container started");
    assert_eq!(
        bench.api.event("Pulled").await,
        "Container image \"busybox:1\" already present on machine and can be accessed by the pod"
    );

    bench.api.delete_pod("web", 1);
    bench.api.pod("web", "gone", |p| p.is_none()).await;
    assert_eq!(bench.runtime.log(), ["start main#0", "stop main#0"]);
    assert_eq!(bench.api.event("Killing").await, "Stopping container main");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_restarted_at_once_and_then_backs_off() {
    let bench = Bench::start();
    bench.api.create(pod("web", |_| {}));
    bench.api.pod("web", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    bench.runtime.exit("main", 1);
    bench
        .api
        .pod("web", "restarted", |p| {
            p.is_some_and(|p| p.status.container_statuses[0].restart_count == 1 && is(p, "Ready"))
        })
        .await;
    bench.runtime.exit("main", 1);
    let crashed = bench
        .api
        .pod("web", "in back-off", |p| p.is_some_and(|p| waiting(p) == "CrashLoopBackOff"))
        .await
        .unwrap();
    let status = &crashed.status.container_statuses[0];
    assert_eq!(status.last_state.terminated.as_ref().unwrap().exit_code, 1);
    assert!(
        status
            .state
            .waiting
            .as_ref()
            .unwrap()
            .message
            .starts_with("back-off 10s restarting failed container=main pod=web_default(")
    );
    assert_eq!(crashed.status.phase, "Running");
    assert!(
        bench
            .api
            .event("BackOff")
            .await
            .starts_with("Back-off restarting failed container main in pod web_default(")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends() {
    let bench = Bench::start();
    bench.api.create(pod("job", |p| p.spec.restart_policy = "Never".into()));
    bench.api.pod("job", "running", |p| p.is_some_and(|p| p.status.phase == "Running")).await;
    bench.runtime.exit("main", 0);
    let ended = bench
        .api
        .pod("job", "succeeded", |p| p.is_some_and(|p| p.status.phase == "Succeeded"))
        .await
        .unwrap();
    assert_eq!(ended.status.container_statuses[0].state.terminated.as_ref().unwrap().reason, "Completed");
    bench.api.create(pod("bad", |p| p.spec.restart_policy = "Never".into()));
    bench.api.pod("bad", "running", |p| p.is_some_and(|p| p.status.phase == "Running")).await;
    bench.runtime.exit("main", 3);
    bench.api.pod("bad", "failed", |p| p.is_some_and(|p| p.status.phase == "Failed")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_and_sidecars_come_first_and_sidecars_go_last() {
    let bench = Bench::start();
    bench.api.create(pod("web", |p| {
        let container = |name: &str, policy: Option<&str>| Container {
            name: name.into(),
            image: "busybox:1".into(),
            restart_policy: policy.map(Into::into),
            ..Default::default()
        };
        p.spec.init_containers.push(container("side", Some("Always")));
        p.spec.init_containers.push(container("init", None));
    }));
    let pending = bench.api.pod("web", "initializing", |p| {
        p.is_some_and(|p| {
            p.status.init_container_statuses.iter().any(|s| s.name == "init" && s.state.running.is_some())
        })
    });
    let pending = pending.await.unwrap();
    assert_eq!(pending.status.phase, "Pending");
    assert_eq!(waiting(&pending), "PodInitializing");
    bench.runtime.exit("init", 0);
    bench.api.pod("web", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    bench.api.delete_pod("web", 1);
    bench.api.pod("web", "gone", |p| p.is_none()).await;
    assert_eq!(
        bench.runtime.log(),
        ["start side#0", "start init#0", "start main#0", "stop main#0", "stop side#0"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_decide_readiness_and_restarts() {
    let bench = Bench::start();
    let probe = |command: &str| {
        let exec = ExecAction { command: [command.into()].into_iter().collect() };
        let probe = Probe {
            exec: Some(Box::new(exec)),
            period_seconds: 1,
            timeout_seconds: 1,
            failure_threshold: 1,
            success_threshold: 1,
            ..Default::default()
        };
        Some(Box::new(probe))
    };
    bench.runtime.set_exec("ready", 1);
    bench.api.create(pod("web", |p| {
        p.spec.containers[0].readiness_probe = probe("ready");
        p.spec.containers[0].liveness_probe = probe("alive");
    }));
    let unready =
        bench.api.pod("web", "running", |p| p.is_some_and(|p| p.status.phase == "Running")).await.unwrap();
    assert!(!is(&unready, "Ready"));
    assert!(bench.api.event("Unhealthy").await.starts_with("Readiness probe failed:"));
    bench.runtime.set_exec("ready", 0);
    bench.api.pod("web", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    bench.runtime.set_exec("alive", 1);
    bench
        .api
        .pod("web", "restarted", |p| p.is_some_and(|p| p.status.container_statuses[0].restart_count == 1))
        .await;
    assert_eq!(bench.api.event("Killing").await, "Container main failed liveness probe, will be restarted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_pull_is_told_and_retried() {
    let bench = Bench::start();
    bench.runtime.fail_pulls(Some("no such image"));
    bench.api.create(pod("web", |p| p.spec.containers[0].image = "nginx:9".into()));
    let failed =
        bench.api.pod("web", "failing", |p| p.is_some_and(|p| waiting(p) == "ErrImagePull")).await.unwrap();
    assert_eq!(failed.status.phase, "Pending");
    bench.api.pod("web", "backing off", |p| p.is_some_and(|p| waiting(p) == "ImagePullBackOff")).await;
    assert_eq!(bench.api.event("BackOff").await, "Back-off pulling image \"nginx:9\"");
    let failures: Vec<_> = bench
        .api
        .list::<Event>()
        .into_iter()
        .filter(|e| e.reason == "Failed")
        .map(|e| e.message.to_string())
        .collect();
    assert!(failures.contains(&"Failed to pull image \"nginx:9\": no such image".to_owned()), "{failures:?}");
    assert!(failures.contains(&"Error: ErrImagePull".to_owned()), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_config_map_holds_the_container_until_it_comes() {
    let bench = Bench::start();
    bench.api.create(pod("web", |p| {
        let key = ConfigMapKeySelector { name: "settings".into(), key: "color".into(), optional: None };
        let from = EnvVarSource { config_map_key_ref: Some(Box::new(key)), ..Default::default() };
        p.spec.containers[0].env.push(EnvVar {
            name: "COLOR".into(),
            value_from: Some(Box::new(from)),
            ..Default::default()
        });
    }));
    bench.api.pod("web", "waiting", |p| p.is_some_and(|p| waiting(p) == "CreateContainerConfigError")).await;
    let mut map = ConfigMap::default();
    map.metadata.name = "settings".into();
    map.metadata.namespace = "default".into();
    map.data.insert("color", "blue".into());
    bench.api.create(map);
    bench.api.pod("web", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    let env = bench.runtime.newest("main").unwrap().config.env.clone();
    assert!(env.contains(&("COLOR".into(), "blue".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_kubelet_adopts_and_clears_orphans() {
    let mut bench = Bench::start();
    bench.api.create(pod("stays", |_| {}));
    bench.api.create(pod("goes", |p| p.spec.containers[0].name = "other".into()));
    bench.api.pod("stays", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    bench.api.pod("goes", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    bench.kubelet.take().unwrap().shutdown().await;
    let before = bench.runtime.newest("main").unwrap().id;
    // Force-deleted while nobody looked.
    let goes = client::Client::new(bench.api.clone());
    goes.namespaced::<Pod>("default").delete("goes", &Default::default()).await.unwrap();
    bench.begin();
    bench.sandboxes_left(1).await;
    let stays = bench.api.get::<Pod>("default", "stays").unwrap();
    assert!(is(&stays, "Ready"));
    assert_eq!(stays.status.container_statuses[0].restart_count, 0);
    assert_eq!(bench.runtime.newest("main").unwrap().id, before);
    assert_eq!(bench.runtime.log().iter().filter(|l| l.starts_with("start")).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused() {
    let bench = Bench::start();
    bench.kubelet.as_ref().unwrap().ready().await;
    bench.api.create(pod("big", |p| {
        p.spec.containers[0].resources.requests.insert("cpu", "1000".parse().unwrap());
    }));
    let refused =
        bench.api.pod("big", "refused", |p| p.is_some_and(|p| p.status.phase == "Failed")).await.unwrap();
    assert_eq!(refused.status.reason, "OutOfcpu");
    assert!(
        refused
            .status
            .message
            .starts_with("Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000")
    );
    assert!(bench.runtime.log().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_needs_no_restart() {
    let bench = Bench::start();
    bench.api.create(pod("web", |p| {
        p.spec.containers[0].resources.requests.insert("cpu", "100m".parse().unwrap());
    }));
    bench.api.pod("web", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    bench.api.change::<Pod>("default", "web", |p| {
        p.spec.containers[0].resources.requests.insert("cpu", "200m".parse().unwrap());
    });
    let resized = bench.api.pod("web", "resized", |p| {
        let shown =
            |p: &Pod| p.status.container_statuses[0].allocated_resources.get("cpu").map(|q| q.milli_value());
        p.is_some_and(|p| shown(p) == Some(200) && p.status.observed_generation == 2)
    });
    assert_eq!(resized.await.unwrap().status.container_statuses[0].restart_count, 0);
    assert_eq!(bench.runtime.log(), ["start main#0", "resize main"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resize_waits_for_room() {
    let bench = Bench::start();
    bench.kubelet.as_ref().unwrap().ready().await;
    let node = bench.api.get::<Node>("", "n1").unwrap();
    let all = node.status.allocatable.get("cpu").unwrap().milli_value();
    let asks = |milli: i64| meta::Quantity::from_millis(milli);
    for name in ["grows", "other"] {
        bench.api.create(pod(name, |p| {
            p.spec.containers[0].name = name.into();
            p.spec.containers[0].resources.requests.insert("cpu", asks(all / 2));
        }));
        bench.api.pod(name, "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await;
    }
    let granted =
        |p: &Pod| p.status.container_statuses[0].allocated_resources.get("cpu").map(|q| q.milli_value());
    let pending = |p: &Pod| {
        let condition = p.status.conditions.iter().find(|c| c.type_ == "PodResizePending");
        condition.map(|c| (c.reason.to_string(), c.message.to_string()))
    };
    bench.api.change::<Pod>("default", "grows", |p| {
        p.spec.containers[0].resources.requests.insert("cpu", asks(all * 3 / 4));
    });
    let deferred =
        bench.api.pod("grows", "put off", |p| p.is_some_and(|p| pending(p).is_some())).await.unwrap();
    let lacking = format!(
        "Node didn't have enough resource: cpu, requested: {}, used: {}, capacity: {all}",
        all * 3 / 4,
        all / 2
    );
    assert_eq!(pending(&deferred), Some(("Deferred".into(), lacking.clone())));
    assert_eq!(granted(&deferred), Some(all / 2));
    let told = bench.api.event("ResizeDeferred").await;
    assert!(
        told.starts_with("Pod resize Deferred: {\"containers\":[{\"name\":\"grows\",\"resources\":"),
        "{told}"
    );
    assert!(told.ends_with(&format!("\"generation\":2,\"error\":\"{lacking}\"}}")), "{told}");
    // A container that starts again meanwhile has what was granted, not what is asked for.
    bench.runtime.exit("grows", 1);
    let restarted = bench.api.pod("grows", "restarted", |p| {
        p.is_some_and(|p| p.status.container_statuses[0].restart_count == 1 && is(p, "Ready"))
    });
    assert_eq!(granted(&restarted.await.unwrap()), Some(all / 2));
    bench.api.delete_pod("other", 1);
    let resized = bench.api.pod("grows", "resized", |p| {
        p.is_some_and(|p| granted(p) == Some(all * 3 / 4) && pending(p).is_none())
    });
    resized.await.unwrap();
    assert!(bench.api.event("ResizeStarted").await.starts_with("Pod resize started: {"));
    assert!(bench.api.event("ResizeCompleted").await.starts_with("Pod resize completed: {"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_pods_have_mirrors() {
    let bench = Bench::start();
    bench.kubelet.as_ref().unwrap().ready().await;
    let file = bench.dir.path().join("manifests/web.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: main, image: 'busybox:1'}]}\n").unwrap();
    let mirror = bench.api.pod("web-n1", "ready", |p| p.is_some_and(|p| is(p, "Ready"))).await.unwrap();
    assert!(mirror.metadata.annotations.contains_key("kubernetes.io/config.mirror"));
    std::fs::remove_file(&file).unwrap();
    bench.api.pod("web-n1", "gone", |p| p.is_none()).await;
    bench.sandboxes_left(0).await;
    assert_eq!(bench.runtime.log(), ["start main#0", "stop main#0"]);
}
