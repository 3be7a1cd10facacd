//! The scheduler at work against a small API server in memory: binding, refusal, preemption, volumes, extenders.

#![expect(clippy::unwrap_used, reason = "what the helpers of these tests read is written here")]

use std::sync::Arc;

use call::Action;
use client::fake::{Fake, Fault, eventually, paused_env};
use env::Env;
use informer::Informers;
use meta::Codec;
use parking_lot::Mutex;
use scheduler::config::{SchedulerConfig, parse};
use scheduler::plugin::{Permit, Plugin};
use scheduler::pod_info::PodInfo;
use scheduler::service::{self, Waiting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::core::v1::{Binding, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use types::events::v1::Event;
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use types::storage::v1::StorageClass;

struct Cluster {
    api: Arc<Fake>,
    waiting: Waiting,
    scheduler: env::Task,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.scheduler.abort();
    }
}

/// A server that carries bindings out, and a scheduler.
fn cluster(env: Env, config: SchedulerConfig) -> Cluster {
    cluster_with(env, config, Vec::new(), Waiting::default())
}

/// The same with plugins of one's own.
fn cluster_with(
    env: Env,
    config: SchedulerConfig,
    plugins: Vec<(Arc<dyn Plugin>, i64)>,
    waiting: Waiting,
) -> Cluster {
    let api = Fake::new(env.clone());
    let bound = api.clone();
    let bindings: Arc<Mutex<Vec<Binding>>> = Arc::default();
    let seen = bindings.clone();
    api.fault(move |call| {
        if let Action::Create(object, _) = &call.action
            && let Some(binding) = meta::downcast_ref::<Binding>(&**object)
        {
            seen.lock().push(binding.clone());
            let (bound, binding) = (bound.clone(), binding.clone());
            env::spawn_detached("binds", async move {
                bound.change::<Pod>(&binding.metadata.namespace, &binding.metadata.name, |pod| {
                    pod.spec.node_name = binding.target.name.clone();
                });
            });
        }
        Fault::None
    });
    let client = api.client();
    let informers = Informers::new(client.clone(), env.clone());
    let config = service::Config {
        client,
        informers,
        env,
        config,
        plugins,
        waiting: waiting.clone(),
        host: "h".into(),
    };
    Cluster { api, waiting, scheduler: env::spawn("scheduler", service::run(config)) }
}

fn node(name: &str, cpu: &str) -> Node {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}"}},"status":{{"allocatable":{{"cpu":"{cpu}","memory":"8Gi","pods":"9"}}}}}}"#
    );
    Node::from_json(text.as_bytes()).unwrap()
}

fn pod(name: &str, cpu: &str, priority: i32, volumes: &str) -> Pod {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"d"}},"spec":{{"schedulerName":"default-scheduler","priority":{priority},
            "volumes":[{volumes}],"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
    );
    Pod::from_json(text.as_bytes()).unwrap()
}

impl Cluster {
    fn node_of(&self, name: &str) -> String {
        self.api.get::<Pod>("d", name).map(|pod| pod.spec.node_name.to_string()).unwrap_or_default()
    }

    fn condition(&self, name: &str) -> Option<(String, String)> {
        let pod = self.api.get::<Pod>("d", name)?;
        let condition = pod.status.conditions.iter().find(|one| one.type_ == "PodScheduled")?;
        Some((condition.reason.to_string(), condition.message.to_string()))
    }

    fn told(&self, reason: &str) -> Vec<String> {
        let events = self.api.list::<Event>();
        events.iter().filter(|event| event.reason == reason).map(|event| event.note.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn binds_what_fits_and_says_why_the_rest_does_not() {
    let cluster = cluster(paused_env(1), SchedulerConfig::default());
    cluster.api.put(node("n1", "1"));
    cluster.api.put(pod("small", "100m", 0, ""));
    cluster.api.put(pod("large", "4", 0, ""));
    assert!(eventually(|| cluster.node_of("small") == "n1" && cluster.condition("large").is_some()).await);
    let (reason, message) = cluster.condition("large").unwrap();
    assert_eq!(reason, "Unschedulable");
    assert_eq!(
        message,
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    assert!(eventually(|| !cluster.told("FailedScheduling").is_empty()).await);
    assert_eq!(cluster.told("FailedScheduling"), [message]);
    assert!(eventually(|| cluster.told("Scheduled") == ["Successfully assigned d/small to n1"]).await);
    cluster.api.put(node("n2", "8"));
    assert!(eventually(|| cluster.node_of("large") == "n2").await, "a new node wakes it up");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_wants_company_waits_for_it() {
    let cluster = cluster(paused_env(4), SchedulerConfig::default());
    let mut home = node("n1", "4");
    home.metadata.labels.insert("kubernetes.io/hostname", "n1".into());
    cluster.api.put(home);
    let text = r#"{"metadata":{"name":"guest","namespace":"d"},"spec":{"schedulerName":"default-scheduler","containers":[{"name":"c"}],
        "affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchLabels":{"app":"host"}},"topologyKey":"kubernetes.io/hostname"}]}}}}"#;
    cluster.api.put(Pod::from_json(text.as_bytes()).unwrap());
    assert!(eventually(|| cluster.condition("guest").is_some()).await);
    let mut host = pod("host", "100m", 0, "");
    host.metadata.labels.insert("app", "host".into());
    cluster.api.put(host);
    assert!(eventually(|| cluster.node_of("guest") == "n1").await);
}

#[tokio::test(start_paused = true)]
async fn preempts_and_then_binds() {
    let cluster = cluster(paused_env(2), SchedulerConfig::default());
    cluster.api.put(node("n1", "1"));
    cluster.api.put(pod("low", "900m", 0, ""));
    assert!(eventually(|| cluster.node_of("low") == "n1").await);
    cluster.api.put(pod("high", "800m", 100, ""));
    assert!(eventually(|| cluster.node_of("high") == "n1").await);
    assert!(cluster.api.get::<Pod>("d", "low").is_none());
    assert!(eventually(|| cluster.told("Preempted").len() == 1).await);
    let uid = cluster.api.get::<Pod>("d", "high").unwrap().metadata.uid.clone();
    assert_eq!(cluster.told("Preempted"), [format!("Preempted by pod {uid} on node n1")]);
    assert!(
        cluster.api.writes().iter().any(|write| write.starts_with("patch") && write.ends_with("low/status"))
    );
}

#[tokio::test(start_paused = true)]
async fn binds_volumes_before_the_pod() {
    let cluster = cluster(paused_env(3), SchedulerConfig::default());
    cluster.api.put(node("n1", "1"));
    let class = r#"{"metadata":{"name":"local"},"provisioner":"kubernetes.io/no-provisioner","volumeBindingMode":"WaitForFirstConsumer"}"#;
    cluster.api.put(StorageClass::from_json(class.as_bytes()).unwrap());
    let volume = r#"{"metadata":{"name":"v"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"storageClassName":"local"},"status":{"phase":"Available"}}"#;
    cluster.api.put(PersistentVolume::from_json(volume.as_bytes()).unwrap());
    let claim = r#"{"metadata":{"name":"c","namespace":"d"},"spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"local","resources":{"requests":{"storage":"1Gi"}}},"status":{"phase":"Pending"}}"#;
    cluster.api.put(PersistentVolumeClaim::from_json(claim.as_bytes()).unwrap());
    cluster.api.put(pod("p", "100m", 0, r#"{"name":"v","persistentVolumeClaim":{"claimName":"c"}}"#));
    let promised = || {
        let volume = cluster.api.get::<PersistentVolume>("", "v");
        volume.is_some_and(|volume| volume.spec.claim_ref.as_ref().is_some_and(|claim| claim.name == "c"))
    };
    assert!(eventually(promised).await);
    assert_eq!(cluster.node_of("p"), "", "it waits for the volume controller");
    cluster.api.change::<PersistentVolumeClaim>("d", "c", |claim| {
        claim.spec.volume_name = "v".into();
        claim.metadata.annotations.insert("pv.kubernetes.io/bind-completed", "yes".into());
        claim.status.phase = "Bound".into();
    });
    assert!(eventually(|| cluster.node_of("p") == "n1").await);
}

/// What an extender does with a request.
#[derive(Clone, Copy)]
enum Conduct {
    Says(&'static str),
    /// Never answers.
    Hangs,
    /// Closes in the middle of its answer.
    Breaks,
    /// Goes on for ever.
    Floods,
    /// Sends the caller elsewhere.
    Redirects,
}

/// An HTTP server that behaves like this.
async fn extender(conduct: Conduct) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    env::spawn_detached("extender", async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut buffer = [0; 4096];
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            let answer = match conduct {
                Conduct::Hangs => {
                    open.push(stream);
                    continue;
                }
                Conduct::Says(body) => {
                    let length = body.len();
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
                }
                Conduct::Breaks => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"NodeNames\":[".into(),
                Conduct::Floods => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".into(),
                Conduct::Redirects => {
                    "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()
                }
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            if matches!(conduct, Conduct::Floods) {
                while stream.write_all(&[b' '; 1 << 16]).await.is_ok() {}
            }
        }
    });
    format!("http://{address}/s")
}

fn extended(url: &str, ignorable: bool) -> SchedulerConfig {
    let patience = "200ms";
    asking(&format!(
        "{{urlPrefix: '{url}', filterVerb: f, nodeCacheCapable: true, httpTimeout: {patience}, ignorable: {ignorable}}}"
    ))
}

fn asking(extender: &str) -> SchedulerConfig {
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders:\n- {extender}\n"
    );
    parse(&text).unwrap()
}

/// Waits in real time, for what goes over sockets.
async fn soon(mut condition: impl FnMut() -> bool) -> bool {
    let patience = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    patience.await.is_ok()
}

#[tokio::test]
async fn extenders_have_a_say() {
    let url = extender(Conduct::Says(r#"{"nodenames":["n2"],"failedNodes":{"n1":"not this one"}}"#)).await;
    let cluster = cluster(Env::real(), extended(&url, false));
    cluster.api.put(node("n1", "4"));
    cluster.api.put(node("n2", "1"));
    cluster.api.put(pod("p", "100m", 0, ""));
    assert!(soon(|| !cluster.node_of("p").is_empty()).await);
    assert_eq!(cluster.node_of("p"), "n2");
}

#[tokio::test]
async fn an_extender_that_hangs_is_ignored_when_it_may_be() {
    let url = extender(Conduct::Hangs).await;
    let cluster = cluster(Env::real(), extended(&url, true));
    cluster.api.put(node("n1", "4"));
    cluster.api.put(pod("p", "100m", 0, ""));
    assert!(soon(|| cluster.node_of("p") == "n1").await);
}

#[tokio::test]
async fn an_extender_that_lies_fails_the_attempt() {
    let url = extender(Conduct::Says(r#"{"NodeNames":["elsewhere"]}"#)).await;
    let cluster = cluster(Env::real(), extended(&url, false));
    cluster.api.put(node("n1", "4"));
    cluster.api.put(pod("p", "100m", 0, ""));
    assert!(soon(|| cluster.condition("p").is_some()).await);
    let (reason, message) = cluster.condition("p").unwrap();
    assert_eq!(reason, "SchedulerError");
    assert_eq!(
        message,
        format!(
            "extender {url:?} claims a filtered node \"elsewhere\" which is not found in the input node list"
        )
    );
}

#[tokio::test]
async fn an_extender_that_misbehaves_fails_the_attempt_and_nothing_else() {
    for (conduct, complaint) in [
        (Conduct::Hangs, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
        (Conduct::Breaks, ""),
        (Conduct::Floods, "length limit exceeded"),
        (Conduct::Redirects, ", code 307"),
        (Conduct::Says("<html>"), "expected value at line 1"),
        (Conduct::Says(r#"{"error":"not today"}"#), "not today"),
    ] {
        let url = extender(conduct).await;
        for ignorable in [false, true] {
            let patience = if matches!(conduct, Conduct::Hangs) { "200ms" } else { "30s" };
            let config = format!(
                "{{urlPrefix: '{url}', filterVerb: f, nodeCacheCapable: true, httpTimeout: {patience}, ignorable: {ignorable}}}"
            );
            let cluster = cluster(Env::real(), asking(&config));
            cluster.api.put(node("n1", "4"));
            cluster.api.put(pod("p", "100m", 0, ""));
            if ignorable {
                assert!(soon(|| cluster.node_of("p") == "n1").await, "{complaint}");
                continue;
            }
            assert!(soon(|| cluster.condition("p").is_some()).await, "{complaint}");
            let (reason, message) = cluster.condition("p").unwrap();
            assert_eq!(reason, "SchedulerError");
            assert!(!message.is_empty() && message.contains(complaint), "{message}");
            assert_eq!(cluster.node_of("p"), "");
        }
    }
}

#[tokio::test]
async fn what_an_extender_says_twice_or_about_strangers_does_no_harm() {
    let url = extender(Conduct::Says(
        r#"{"NodeNames":["n2","n2"],"FailedNodes":{"elsewhere":"?"},"FailedAndUnresolvableNodes":{"n1":"no"}}"#,
    ))
    .await;
    let twice = cluster(Env::real(), extended(&url, false));
    twice.api.put(node("n1", "4"));
    twice.api.put(node("n2", "1"));
    twice.api.put(pod("p", "100m", 0, ""));
    assert!(soon(|| twice.node_of("p") == "n2").await);
    let url = extender(Conduct::Says(
        r#"[{"Host":"n1","Score":-9223372036854775808},{"host":"n2","score":9223372036854775807},{"Host":"elsewhere","Score":9},{"Host":7},8]"#,
    ))
    .await;
    let config = asking(&format!("{{urlPrefix: '{url}', prioritizeVerb: p, weight: 9223372036854775807}}"));
    let scored = cluster(Env::real(), config);
    scored.api.put(node("n1", "64"));
    scored.api.put(node("n2", "1"));
    scored.api.put(pod("p", "100m", 0, ""));
    assert!(soon(|| scored.node_of("p") == "n2").await);
}

/// A cluster where preemption must ask this extender, with a pod that needs the place of another.
async fn preempting(answer: &'static str, names: bool) -> Cluster {
    let url = extender(Conduct::Says(answer)).await;
    let config = asking(&format!("{{urlPrefix: '{url}', preemptVerb: p, nodeCacheCapable: {names}}}"));
    let cluster = cluster(Env::real(), config);
    cluster.api.put(node("n1", "1"));
    let mut low = pod("low", "900m", 0, "");
    low.metadata.uid = "low-uid".into();
    low.spec.node_name = "n1".into();
    cluster.api.put(low);
    cluster.api.put(pod("high", "800m", 100, ""));
    cluster
}

#[tokio::test]
async fn an_extender_chooses_victims_among_the_pods_that_are_there() {
    let agreed = preempting(
        r#"{"NodeNameToMetaVictims":{"n1":{"Pods":[{"UID":"low-uid"}],"NumPDBViolations":0}}}"#,
        false,
    )
    .await;
    assert!(soon(|| agreed.node_of("high") == "n1").await);
    assert!(agreed.api.get::<Pod>("d", "low").is_none());
    for (answer, why) in [
        (
            r#"{"NodeNameToMetaVictims":{"n7":{"Pods":[]}}}"#,
            r#"preemption: nodeinfo not found for node name "n7""#,
        ),
        (
            r#"{"NodeNameToMetaVictims":{"n1":{"Pods":[]}}}"#,
            r#"preemption: expected at least one victim pod on node "n1""#,
        ),
        (
            r#"{"NodeNameToMetaVictims":{"n1":{"Pods":[{"UID":"stranger"}]}}}"#,
            "claims to preempt pod (UID: &{stranger}) on node: n1, but the pod is not found on that node",
        ),
    ] {
        let cluster = preempting(answer, true).await;
        assert!(soon(|| cluster.condition("high").is_some()).await, "{why}");
        let (_, message) = cluster.condition("high").unwrap();
        assert!(message.contains(why), "{message}");
        assert!(cluster.api.get::<Pod>("d", "low").is_some());
    }
}

/// Binds pods in groups.
struct Gang {
    waiting: Waiting,
    size: usize,
}

impl Plugin for Gang {
    fn name(&self) -> &'static str {
        "Gang"
    }

    fn permit(&self, pod: &PodInfo, _: &str) -> Permit {
        match pod.pod.metadata.name.as_str() {
            "outsider" => Permit::Deny("not one of us".into()),
            _ => Permit::Wait(std::time::Duration::from_secs(60)),
        }
    }

    fn waits(&self, _: &PodInfo) {
        let pods = self.waiting.pods();
        if pods.len() >= self.size {
            pods.iter().for_each(|(pod, _)| self.waiting.allow(pod.uid(), "Gang"));
        }
    }
}

fn gang(size: usize) -> Cluster {
    let waiting = Waiting::default();
    let plugin = Gang { waiting: waiting.clone(), size };
    let cluster =
        cluster_with(paused_env(9), SchedulerConfig::default(), vec![(Arc::new(plugin), 1)], waiting);
    cluster.api.put(node("n1", "4"));
    cluster
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_gang_are_bound_together() {
    let cluster = gang(2);
    cluster.api.put(pod("one", "1", 0, ""));
    cluster.api.put(pod("two", "1", 0, ""));
    assert!(eventually(|| cluster.node_of("one") == "n1" && cluster.node_of("two") == "n1").await);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_while_it_waits_gives_its_node_back() {
    let cluster = gang(2);
    cluster.api.put(pod("one", "3", 0, ""));
    assert!(eventually(|| cluster.waiting.pods().len() == 1).await);
    cluster.api.remove::<Pod>("d", "one");
    assert!(eventually(|| cluster.waiting.pods().is_empty()).await);
    cluster.api.put(pod("two", "2", 0, ""));
    cluster.api.put(pod("three", "2", 0, ""));
    assert!(eventually(|| cluster.node_of("two") == "n1" && cluster.node_of("three") == "n1").await);
    assert!(cluster.told("FailedScheduling").iter().all(|text| !text.contains("the pod is gone")));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pod_that_is_preempted_stays() {
    let cluster = gang(2);
    cluster.api.put(pod("one", "3", 0, ""));
    assert!(eventually(|| cluster.waiting.pods().len() == 1).await);
    cluster.api.put(pod("vip", "3", 100, ""));
    assert!(
        eventually(|| cluster.waiting.pods().iter().any(|(pod, _)| pod.pod.metadata.name == "vip")).await
    );
    assert!(cluster.api.get::<Pod>("d", "one").is_some(), "nobody deletes what runs nowhere");
    assert!(eventually(|| cluster.told("Preempted").len() == 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_gang_that_is_not_complete_gives_its_nodes_back() {
    let cluster = gang(2);
    cluster.api.put(pod("one", "3", 0, ""));
    let late = "0/1 nodes are available: 1 rejected due to timeout after waiting 60s at plugin Gang.";
    assert!(eventually(|| cluster.condition("one").is_some_and(|(_, message)| message == late)).await);
    assert_eq!(cluster.node_of("one"), "");
    cluster.api.put(pod("outsider", "1", 0, ""));
    let denied = "0/1 nodes are available: 1 not one of us.";
    assert!(eventually(|| cluster.condition("outsider").is_some_and(|(_, message)| message == denied)).await);
}

#[tokio::test(start_paused = true)]
async fn extended_resources_get_a_claim_of_their_own() {
    let cluster = cluster(paused_env(11), SchedulerConfig::default());
    let mut bare = node("n1", "4");
    bare.status.allocatable = Default::default();
    cluster.api.put(bare);
    let class = r#"{"metadata":{"name":"gpu"},"spec":{"extendedResourceName":"example.com/gpu"}}"#;
    cluster.api.put(DeviceClass::from_json(class.as_bytes()).unwrap());
    let slice = r#"{"metadata":{"name":"s"},"spec":{"driver":"d","nodeName":"n1","pool":{"name":"n1","generation":1,"resourceSliceCount":1},
        "devices":[{"name":"g0"},{"name":"g1"}]}}"#;
    cluster.api.put(ResourceSlice::from_json(slice.as_bytes()).unwrap());
    let text = |name: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"d"}},"spec":{{"schedulerName":"default-scheduler",
            "containers":[{{"name":"c","resources":{{"requests":{{"example.com/gpu":"2"}}}}}}]}}}}"#
        )
    };
    cluster.api.put(Pod::from_json(text("p").as_bytes()).unwrap());
    assert!(eventually(|| cluster.condition("p").is_some()).await);
    cluster.api.put(node("n1", "4"));
    assert!(eventually(|| cluster.node_of("p") == "n1").await, "a node that got room wakes it up");
    let claims = cluster.api.list::<ResourceClaim>();
    let [claim] = &claims[..] else { panic!("{} claims", claims.len()) };
    let devices: Vec<_> =
        claim.status.allocation.iter().flat_map(|given| given.devices.results.iter()).collect();
    assert_eq!(devices.iter().map(|one| one.device.as_str()).collect::<Vec<_>>(), ["g0", "g1"]);
    assert!(claim.metadata.has_finalizer("resource.kubernetes.io/delete-protection"));
    assert_eq!(claim.status.reserved_for[0].name, "p");
    let pod = cluster.api.get::<Pod>("d", "p").unwrap();
    let told = pod.status.extended_resource_claim_status.as_ref().unwrap();
    assert_eq!(told.resource_claim_name, claim.metadata.name);
    assert_eq!(told.request_mappings[0].request_name, "container-0-request-0");
    // What is taken is taken, until the claim gives it back.
    cluster.api.put(Pod::from_json(text("q").as_bytes()).unwrap());
    assert!(eventually(|| cluster.condition("q").is_some()).await);
    let (_, message) = cluster.condition("q").unwrap();
    assert!(message.starts_with("0/1 nodes are available: 1 cannot allocate all claims."), "{message}");
    cluster.api.change::<ResourceClaim>("d", &claim.metadata.name, |claim| claim.status.allocation = None);
    assert!(eventually(|| cluster.node_of("q") == "n1").await);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_pods_without_a_node_are_tried_once() {
    let cluster = cluster(paused_env(12), SchedulerConfig::default());
    cluster.api.put(node("n1", "1"));
    let attempts = || {
        let writes = cluster.api.writes();
        writes.iter().filter(|write| write.starts_with("patch") && write.ends_with("/status")).count()
    };
    for number in 0..10_000 {
        cluster.api.put(pod(&format!("p{number}"), "4", 0, ""));
    }
    assert!(eventually(|| attempts() == 10_000).await, "{} attempts", attempts());
    // What cannot help wakes nobody: pods that come to the node, and a node that is too small as well.
    cluster.api.put(pod("small", "100m", 0, ""));
    cluster.api.put(node("n2", "2"));
    assert!(eventually(|| !cluster.node_of("small").is_empty()).await);
    assert_eq!(attempts(), 10_000);
}

/// A machine whose administrator sets the wall clock back and forth by an hour, again and again.
#[derive(Debug)]
struct Jumping(Arc<dyn env::Clock>, std::sync::atomic::AtomicU64);

impl env::Clock for Jumping {
    fn now(&self) -> std::time::SystemTime {
        let hour = std::time::Duration::from_secs(3600);
        match self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 {
            0 => self.0.now() - hour,
            1 => self.0.now() + hour,
            _ => self.0.now(),
        }
    }

    fn monotonic(&self) -> std::time::Duration {
        self.0.monotonic()
    }

    fn sleep(&self, duration: std::time::Duration) -> env::Sleep {
        self.0.sleep(duration)
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_loses_no_pod_and_keeps_nobody_busy() {
    let mut env = paused_env(14);
    env.clock = Arc::new(Jumping(env.clock.clone(), Default::default()));
    let cluster = cluster(env, SchedulerConfig::default());
    cluster.api.put(node("n1", "1"));
    cluster.api.put(pod("small", "100m", 0, ""));
    for number in 0..20 {
        cluster.api.put(pod(&format!("large{number}"), "4", 0, ""));
    }
    assert!(eventually(|| cluster.node_of("small") == "n1").await);
    assert!(
        eventually(|| (0..20).all(|number| cluster.condition(&format!("large{number}")).is_some())).await
    );
    let attempts = || cluster.api.writes().iter().filter(|write| write.ends_with("/status")).count();
    let before = attempts();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(attempts(), before, "nothing happened, so nobody is tried again");
    // Each node has room for two; back-offs end although the wall clock went back meanwhile.
    for number in 2..12 {
        cluster.api.put(node(&format!("n{number}"), "8"));
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert!(
        eventually(|| (0..20).all(|number| !cluster.node_of(&format!("large{number}")).is_empty())).await
    );
}

#[tokio::test(start_paused = true)]
async fn no_device_is_given_away_twice() {
    let cluster = cluster(paused_env(13), SchedulerConfig::default());
    cluster.api.put(node("n1", "64"));
    cluster.api.put(DeviceClass::from_json(br#"{"metadata":{"name":"gpu"}}"#).unwrap());
    let devices: Vec<String> = (0..8).map(|at| format!(r#"{{"name":"g{at}"}}"#)).collect();
    let slice = format!(
        r#"{{"metadata":{{"name":"s"}},"spec":{{"driver":"d","nodeName":"n1","pool":{{"name":"n1","generation":1,"resourceSliceCount":1}},"devices":[{}]}}}}"#,
        devices.join(",")
    );
    cluster.api.put(ResourceSlice::from_json(slice.as_bytes()).unwrap());
    for number in 0..9 {
        let claim = format!(
            r#"{{"metadata":{{"name":"c{number}","namespace":"d"}},"spec":{{"devices":{{"requests":[{{"name":"r","exactly":{{"deviceClassName":"gpu","allocationMode":"ExactCount","count":1}}}}]}}}}}}"#
        );
        cluster.api.put(ResourceClaim::from_json(claim.as_bytes()).unwrap());
        let pod = format!(
            r#"{{"metadata":{{"name":"p{number}","namespace":"d"}},"spec":{{"schedulerName":"default-scheduler","containers":[{{"name":"c"}}],
            "resourceClaims":[{{"name":"r","resourceClaimName":"c{number}"}}]}}}}"#
        );
        cluster.api.put(Pod::from_json(pod.as_bytes()).unwrap());
    }
    let bound = || (0..9).filter(|number| cluster.node_of(&format!("p{number}")) == "n1").count();
    assert!(eventually(|| bound() == 8).await, "{} pods", bound());
    let claims = cluster.api.list::<ResourceClaim>();
    let given = claims.iter().flat_map(|claim| claim.status.allocation.iter());
    let mut devices: Vec<_> =
        given.flat_map(|given| given.devices.results.iter().map(|one| one.device.clone())).collect();
    devices.sort();
    assert_eq!(devices, ["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7"]);
}
