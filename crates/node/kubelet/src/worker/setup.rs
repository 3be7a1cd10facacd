//! Making a pod's surroundings: volumes, sandbox, network.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use meta::Str;
use reconcile::EventType::{Normal, Warning};
use runtime::DnsConfig;
use types::core::v1::Pod;
use types::node::v1::RuntimeClass;
use volumes::{Host, Mounted};

use crate::metrics::{self, SANDBOX, SANDBOX_FAILED, STARTED_PODS, STARTED_PODS_FAILED};
use crate::pod::view::PodView;
use crate::pod::{config, containers, env as environment, hosts};
use crate::shared::Shared;

/// Runtime handlers of this node: the default one, under the names by which manifests ask for it.
pub const HANDLERS: [&str; 3] = ["", "ferrokube", "runc"];

/// The mounted volumes of a pod.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    /// By name.
    pub mounted: HashMap<String, Mounted>,
}

impl Volumes {
    /// When the first token wants to be replaced.
    pub fn refresh_at(&self) -> Option<SystemTime> {
        self.mounted.values().filter_map(|m| m.refresh_at).min()
    }
}

/// Everything is there.
pub struct Ready {
    /// The volumes.
    pub volumes: Volumes,
}

/// Why it is not: events to be told.
pub struct Failed(Vec<(&'static str, String)>);

impl Failed {
    /// Records the events.
    pub fn tell(&self, shared: &Shared, pod: &Pod) {
        for (reason, message) in &self.0 {
            shared.pod_event(pod, Warning, reason, message.clone());
        }
    }
}

/// Names of all ConfigMaps and Secrets that a pod refers to.
pub fn references(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = volumes::objects_of(pod);
    for (_, container) in containers(pod) {
        let (m, s) = environment::references(&container);
        maps.extend(m);
        secrets.extend(s);
    }
    secrets.extend(pod.spec.image_pull_secrets.iter().map(|s| s.name.to_string()));
    (maps, secrets)
}

/// The pod's surroundings for the downward API.
pub fn host(shared: &Shared, pod: &Pod, view: &PodView) -> Host {
    let host_ips = shared.host_ips();
    let pod_ips = if pod.spec.host_network {
        host_ips.clone()
    } else {
        view.ready_sandbox().map(|s| s.ips.iter().map(|ip| ip.to_string()).collect()).unwrap_or_default()
    };
    Host { host_ips, pod_ips, allocatable: shared.allocatable.clone() }
}

/// Mounts all volumes that the pod's containers use, or brings their content up to date.
pub async fn volumes(shared: &Arc<Shared>, pod: &Pod, view: &PodView) -> Result<Volumes, Failed> {
    let used: BTreeSet<String> = containers(pod)
        .iter()
        .flat_map(|(_, c)| c.volume_mounts.iter().map(|m| m.name.to_string()).collect::<Vec<_>>())
        .collect();
    let dir = shared.pod_dir(&pod.metadata.uid);
    let host = host(shared, pod, view);
    let mut out = Volumes::default();
    let mut failures = vec![];
    for volume in pod.spec.volumes.iter().filter(|v| used.contains(v.name.as_str())) {
        let now = shared.env.clock.now();
        let began = Instant::now();
        let result = volumes::set_up(pod, volume, &dir, &host, &*shared.objects, now).await;
        metrics::mounted(volumes::plugin(volume), began.elapsed(), result.is_ok());
        match result {
            Ok(mounted) => {
                out.mounted.insert(volume.name.to_string(), mounted);
            }
            Err(error) => {
                failures.push((
                    "FailedMount",
                    format!("MountVolume.SetUp failed for volume \"{}\" : {error}", volume.name),
                ));
            }
        }
    }
    if !failures.is_empty() {
        return Err(Failed(failures));
    }
    shared.mounted.set(pod, &out.mounted);
    Ok(out)
}

/// Volumes, then a sandbox with its network.
pub struct Job {
    /// The node.
    pub shared: Arc<Shared>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// What the runtime had when the job was given.
    pub view: PodView,
}

impl Job {
    /// Does it.
    pub async fn run(self) -> Result<Ready, Failed> {
        let volumes = volumes(&self.shared, &self.pod, &self.view).await?;
        if self.view.ready_sandbox().is_none() {
            let made = self.sandbox().await;
            let counted = if made.is_ok() { &STARTED_PODS } else { &STARTED_PODS_FAILED };
            counted.with(&[]).inc();
            made?;
        }
        Ok(Ready { volumes })
    }

    async fn sandbox(&self) -> Result<(), Failed> {
        let failed = |why: String| {
            Failed(vec![("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"))])
        };
        let shared = &self.shared;
        if !self.pod.spec.host_network
            && let Err(why) = shared.network.ready()
        {
            return Err(Failed(vec![("NetworkNotReady", format!("network is not ready: {why}"))]));
        }
        // A sandbox that was made but never connected (the kubelet died in between) is taken up where it was left.
        let newest = self.view.sandboxes.first();
        let id = match newest.filter(|s| s.ready) {
            Some(sandbox) => sandbox.id.clone(),
            None => {
                if newest.is_some() {
                    shared.pod_event(
                        &self.pod,
                        Normal,
                        "SandboxChanged",
                        "Pod sandbox changed, it will be killed and re-created.",
                    );
                    self.stop_old().await;
                }
                self.create().await.map_err(failed)?
            }
        };
        let ips = match self.connect(&id).await {
            Ok(ips) => ips,
            Err(why) => {
                let _ = shared.runtime.stop_sandbox(&id).await;
                let _ = shared.network.remove(&id).await;
                let _ = shared.runtime.remove_sandbox(&id).await;
                return Err(failed(why));
            }
        };
        if !ips.is_empty() {
            let text: Vec<String> = ips.iter().map(|ip| ip.to_string()).collect();
            let hosts = hosts::hosts_file(&self.pod, &text, &shared.dns.cluster_domain, "");
            shared.runtime.set_hosts(&id, &hosts).await.map_err(|e| failed(e.to_string()))?;
            // Last, for a sandbox with addresses counts as ready.
            shared.runtime.set_sandbox_ips(&id, ips).await.map_err(|e| failed(e.to_string()))?;
        }
        Ok(())
    }

    async fn stop_old(&self) {
        for old in &self.view.sandboxes {
            if let Err(error) = self.shared.runtime.stop_sandbox(&old.id).await {
                tracing::warn!(sandbox = %old.id, %error, "cannot stop an old sandbox");
            }
            if let Err(error) = self.shared.network.remove(&old.id).await {
                tracing::warn!(sandbox = %old.id, %error, "cannot disconnect an old sandbox");
            }
        }
    }

    async fn create(&self) -> Result<String, String> {
        let (shared, pod) = (&self.shared, &self.pod);
        let handler = self.handler().await?;
        let hostname = hosts::kernel_hostname(pod, &shared.dns.cluster_domain)?;
        let node_hosts = match pod.spec.host_network {
            true => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
            false => String::new(),
        };
        let hosts = hosts::hosts_file(pod, &[], &shared.dns.cluster_domain, &node_hosts);
        let attempt = self.view.next_sandbox_attempt();
        let sandbox = config::sandbox(pod, attempt, hostname, Some(self.resolver()), hosts, &shared.settings);
        std::fs::create_dir_all(&sandbox.log_directory)
            .map_err(|e| format!("{}: {e}", sandbox.log_directory.display()))?;
        let began = Instant::now();
        let made = shared.runtime.run_sandbox(sandbox).await;
        SANDBOX.with(&[&handler]).observe_duration(began.elapsed());
        if made.is_err() {
            SANDBOX_FAILED.with(&[&handler]).inc();
        }
        made.map_err(|e| e.to_string())
    }

    /// The handler that the pod's RuntimeClass asks for, which this node may not have; empty for any.
    async fn handler(&self) -> Result<Str, String> {
        let name = self.pod.spec.runtime_class_name.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Ok(Str::default());
        }
        let class = self.shared.client.all::<RuntimeClass>().get(name).await;
        let class =
            class.map_err(|status| format!("failed to get RuntimeClass {name:?}: {}", status.message))?;
        if HANDLERS.contains(&class.handler.as_str()) {
            return Ok(class.handler.clone());
        }
        Err(format!("no runtime for {:?} is configured", class.handler))
    }

    fn resolver(&self) -> DnsConfig {
        use dns::resolv::{DnsPolicy, PodDns, ResolvConf, pod_config};
        let (shared, pod) = (&self.shared, &self.pod);
        let node = std::fs::read_to_string(&shared.dns.resolv_conf).unwrap_or_default();
        let own = pod.spec.dns_config.as_deref();
        let words = |list: &meta::List<meta::Str>| list.iter().map(|w| w.to_string()).collect();
        let config = own.map(|c| ResolvConf {
            servers: words(&c.nameservers),
            searches: words(&c.searches),
            options: c
                .options
                .iter()
                .map(|o| match o.value.as_deref() {
                    Some(value) if !value.is_empty() => format!("{}:{value}", o.name),
                    _ => o.name.to_string(),
                })
                .collect(),
        });
        let wish = PodDns {
            namespace: &pod.metadata.namespace,
            host_network: pod.spec.host_network,
            policy: DnsPolicy::parse(&pod.spec.dns_policy),
            config: config.unwrap_or_default(),
        };
        let got =
            pod_config(&wish, &shared.dns.cluster_dns, &shared.dns.cluster_domain, &ResolvConf::parse(&node));
        for (reason, message) in got.warnings {
            shared.pod_event(pod, Warning, reason, message);
        }
        DnsConfig { servers: got.conf.servers, searches: got.conf.searches, options: got.conf.options }
    }

    async fn connect(&self, id: &str) -> Result<Vec<std::net::IpAddr>, String> {
        let sandboxes = self.shared.runtime.sandboxes();
        let netns = sandboxes.into_iter().find(|s| s.id == id).and_then(|s| s.netns);
        match netns {
            Some(netns) => self.shared.network.add(id, &self.pod, &netns).await,
            None => Ok(vec![]),
        }
    }
}
