//! A node for tests: an API server, a runtime and a network in memory, and a kubelet between them.
#![allow(dead_code, clippy::unwrap_used, clippy::result_large_err)]

pub mod api;
pub mod fake_runtime;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use kubelet::network::PodNetwork;
use kubelet::{Config, DnsSettings, KubeletHandle, LogLimits};
use tokio::sync::watch;
use types::core::v1::{Container, Pod};

pub use api::Api;
pub use fake_runtime::FakeRuntime;

/// Gives every pod the loopback address.
pub struct Loopback(pub watch::Sender<()>);

#[async_trait]
impl PodNetwork for Loopback {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    async fn add(&self, _: &str, _: &Pod, _: &Path) -> Result<Vec<IpAddr>, String> {
        Ok(vec!["127.0.0.1".parse().unwrap()])
    }

    async fn remove(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// A kubelet with everything in memory.
pub struct Bench {
    pub api: Arc<Api>,
    pub runtime: Arc<FakeRuntime>,
    pub dir: tempfile::TempDir,
    pub kubelet: Option<KubeletHandle>,
}

pub fn config(api: &Arc<Api>, runtime: Arc<dyn kubelet::backend::ContainerRuntime>, dir: &Path) -> Config {
    Config {
        node_name: "n1".into(),
        node_ips: vec!["192.0.2.1".parse().unwrap()],
        root_dir: dir.join("kubelet"),
        pod_logs_dir: dir.join("logs"),
        static_pods_dir: Some(dir.join("manifests")),
        client: client::Client::new(api.clone()),
        env: env::Env::real(),
        runtime,
        network: Arc::new(Loopback(watch::Sender::new(()))),
        dns: DnsSettings {
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            ..Default::default()
        },
        listener: None,
        tls: None,
        max_pods: 110,
        pod_pids_limit: None,
        seccomp_default: false,
        log: LogLimits::default(),
        parallel_pulls: 1,
        version: "v1.36.0+test".into(),
        labels: vec![],
        taints: vec![],
    }
}

impl Bench {
    pub fn start() -> Bench {
        let (api, runtime, dir) = (Api::new(), FakeRuntime::new(), tempfile::tempdir().unwrap());
        let mut bench = Bench { api, runtime, dir, kubelet: None };
        bench.begin();
        bench
    }

    /// Waits until the runtime has no more sandboxes than that.
    pub async fn sandboxes_left(&self, count: usize) {
        let mut removed = self.runtime.removed.subscribe();
        let wait = async {
            while kubelet::backend::ContainerRuntime::sandboxes(&*self.runtime).len() > count {
                let _ = removed.changed().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(15), wait).await.expect("sandboxes go");
    }

    /// Starts the kubelet (again).
    pub fn begin(&mut self) {
        let config = config(&self.api, self.runtime.clone(), self.dir.path());
        self.kubelet = Some(kubelet::run(config).unwrap());
    }
}

/// A pod of one container, bound to the node.
pub fn pod(name: &str, change: impl FnOnce(&mut Pod)) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = name.into();
    pod.metadata.namespace = "default".into();
    pod.spec.node_name = "n1".into();
    pod.spec.restart_policy = "Always".into();
    pod.spec.dns_policy = "ClusterFirst".into();
    pod.spec.termination_grace_period_seconds = Some(1);
    pod.spec.containers.push(Container {
        name: "main".into(),
        image: "busybox:1".into(),
        image_pull_policy: "IfNotPresent".into(),
        termination_message_path: "/dev/termination-log".into(),
        ..Default::default()
    });
    change(&mut pod);
    pod
}

/// Whether a condition of a pod is `True`.
pub fn is(pod: &Pod, condition: &str) -> bool {
    pod.status.conditions.iter().any(|c| c.type_ == condition && c.status == "True")
}
