//! Creates what a workload has and watches how fast it gets nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use call::{DeleteOptions, ListOptions, PatchKind, WriteOptions};
use client::{Client, remote};
use meta::Kind;
use serde_json::json;
use types::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use types::scheduling::v1::PriorityClass;
use types::storage::v1::CSINode;

use crate::bindings;
use crate::templates::{self, BEFORE, MEASURED, NO_ZONES, SPECIAL_NODE, Template};
use crate::workloads::{Churn, Workload};

/// Devices of one node.
const DEVICES_PER_NODE: usize = 10;

/// A cluster and connections to it.
pub struct Load {
    clients: Vec<Client>,
    raw: remote::Remote,
    shrink: usize,
}

impl Load {
    /// Connects.
    pub fn new(config: remote::Config, clients: usize, shrink: usize) -> Result<Self> {
        let connect = || Ok(Client::new(Arc::new(remote::Remote::new(config.clone())?)));
        Ok(Load {
            clients: (0..clients.max(1)).map(|_| connect()).collect::<Result<_>>()?,
            raw: remote::Remote::new(config)?,
            shrink,
        })
    }

    /// Creates `count` objects over all connections; `make` makes one from its number.
    async fn create<K: Kind + Clone>(
        &self,
        namespace: &str,
        count: usize,
        make: impl Fn(usize) -> Result<K> + Clone + Send + Sync + 'static,
    ) -> Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for client in &self.clients {
            let api = match namespace {
                "" => client.all::<K>(),
                namespace => client.namespaced::<K>(namespace),
            };
            let (next, make) = (next.clone(), make.clone());
            tasks.push(tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok(());
                    }
                    match api.create(make(number)?).await {
                        Ok(_) => {}
                        Err(status) if status.code == 409 => {}
                        Err(status) => anyhow::bail!("{}", status.message),
                    }
                }
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(())
    }

    async fn prepare(&self, workload: &Workload) -> Result<()> {
        let spaces = [BEFORE, MEASURED, "churn"];
        let named = |name: &str| json!({"metadata": {"name": name}});
        self.create::<Namespace>("", spaces.len(), move |at| Ok(meta::from_value(named(spaces[at]))?))
            .await?;
        for space in spaces {
            self.create::<ServiceAccount>(space, 1, move |_| Ok(meta::from_value(named("default"))?)).await?;
        }
        self.create::<PriorityClass>("", 1, |_| {
            Ok(meta::from_value(json!({"metadata": {"name": "high"}, "value": 10}))?)
        })
        .await?;
        let zones = workload.zones;
        let nodes = workload.nodes / self.shrink;
        self.create::<Node>("", nodes, move |at| templates::node(&format!("node-{at}"), at, zones)).await?;
        match workload.measured.0 {
            Template::Daemonset => {
                self.create::<Node>("", 1, |_| {
                    let mut node = templates::node(SPECIAL_NODE, 0, NO_ZONES)?;
                    for amounts in [&mut node.status.capacity, &mut node.status.allocatable] {
                        amounts.insert("pods", "90000".parse().map_err(|_| anyhow::anyhow!("90000"))?);
                    }
                    Ok(node)
                })
                .await
            }
            Template::Volume => {
                self.create::<CSINode>("", nodes, |at| {
                    let driver = json!({"name": "csi.example.com", "nodeID": format!("node-{at}"), "allocatable": {"count": 39}});
                    let name = format!("node-{at}");
                    Ok(meta::from_value(json!({"metadata": {"name": name}, "spec": {"drivers": [driver]}}))?)
                })
                .await
            }
            Template::Device => self.prepare_devices(nodes).await,
            _ => Ok(()),
        }
    }

    /// Takes the taints off that admission gave to new nodes: a cluster without a node lifecycle controller never would.
    async fn untaint(&self) -> Result<()> {
        let all = self.clients[0].all::<Node>().list(&ListOptions::default()).await?.items;
        let tainted = all.into_iter().filter(|node| !node.spec.taints.is_empty());
        let names: Arc<Vec<_>> = Arc::new(tainted.map(|node| node.metadata.name.to_string()).collect());
        let next = Arc::new(AtomicUsize::new(0));
        let tasks = self.clients.iter().map(|client| {
            let (api, names, next) = (client.all::<Node>(), names.clone(), next.clone());
            tokio::spawn(async move {
                let options = WriteOptions::default();
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Whatever else controllers write meanwhile, this does not conflict with it.
                    let untainted = Bytes::from_static(br#"{"spec":{"taints":null}}"#);
                    api.patch(name, PatchKind::Merge, untainted, &options).await?;
                }
                Ok::<_, meta::Status>(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        Ok(())
    }

    async fn prepare_devices(&self, nodes: usize) -> Result<()> {
        self.create::<DeviceClass>("", 1, |_| {
            let selector = json!({"cel": {"expression": "device.driver == 'device.example.com'"}});
            Ok(meta::from_value(json!({"metadata": {"name": "device"}, "spec": {"selectors": [selector]}}))?)
        })
        .await?;
        self.create::<ResourceSlice>("", nodes / DEVICES_PER_NODE, |at| {
            let name = format!("node-{at}");
            let devices: Vec<_> =
                (0..DEVICES_PER_NODE).map(|at| json!({"name": format!("d-{at}")})).collect();
            Ok(meta::from_value(json!({
                "metadata": {"name": name},
                "spec": {
                    "driver": "device.example.com", "nodeName": name, "devices": devices,
                    "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
                },
            }))?)
        })
        .await
    }

    /// Creates pods with what each of them needs.
    async fn create_pods(&self, template: Template, space: &'static str, count: usize) -> Result<()> {
        let prefix = format!("{template:?}").to_lowercase();
        self.create::<Pod>(space, count, move |at| templates::pod(template, &format!("{prefix}-{at}"), space))
            .await
    }

    /// Claims and volumes of pods, before those.
    async fn create_claims(&self, template: Template, space: &'static str, count: usize) -> Result<()> {
        let name = move |at: usize| format!("{}-{at}", format!("{template:?}").to_lowercase());
        if template == Template::Device {
            return self
                .create::<ResourceClaim>(space, count, move |at| {
                    let request = json!({"name": "device", "exactly": {"deviceClassName": "device"}});
                    let spec = json!({"devices": {"requests": [request]}});
                    Ok(meta::from_value(json!({"metadata": {"name": name(at)}, "spec": spec}))?)
                })
                .await;
        }
        let amounts = json!({"storage": "1Gi"});
        let modes = json!(["ReadOnlyMany"]);
        let (size, access) = (amounts.clone(), modes.clone());
        self.create::<PersistentVolume>("", count, move |at| {
            let volume = format!("{space}-{}", name(at));
            Ok(meta::from_value(json!({
                "metadata": {"name": volume},
                "spec": {
                    "capacity": size, "accessModes": access, "persistentVolumeReclaimPolicy": "Retain",
                    "csi": {"driver": "csi.example.com", "volumeHandle": volume},
                    "claimRef": {"kind": "PersistentVolumeClaim", "name": name(at), "namespace": space},
                },
            }))?)
        })
        .await?;
        self.create::<PersistentVolumeClaim>(space, count, move |at| {
            let bound = json!({"pv.kubernetes.io/bind-completed": "true"});
            Ok(meta::from_value(json!({
                "metadata": {"name": name(at), "annotations": bound},
                "spec": {
                    "accessModes": modes, "volumeName": format!("{space}-{}", name(at)),
                    "resources": {"requests": amounts},
                },
            }))?)
        })
        .await
    }

    async fn bound(&self, space: &str, count: usize, version: &str) -> Result<()> {
        bindings::wait(&self.raw, &self.clients[0], space, count, version).await
    }

    async fn version(&self, space: &str) -> Result<String> {
        let options = ListOptions { limit: 1, ..ListOptions::default() };
        Ok(self.clients[0].namespaced::<Pod>(space).list(&options).await?.resource_version.to_string())
    }

    /// Runs a workload.
    pub async fn run(&self, workload: &Workload) -> Result<Measured> {
        self.prepare(workload).await?;
        // Admission taints new nodes until a controller finds them ready; here there is none.
        self.untaint().await?;
        let start = self.version(BEFORE).await?;
        let mut before = 0;
        for (template, count) in workload.before {
            let count = count / self.shrink;
            before += count;
            if matches!(template, Template::Volume | Template::Device) {
                self.create_claims(*template, BEFORE, count).await?;
            }
            self.create_pods(*template, BEFORE, count).await?;
        }
        self.bound(BEFORE, before, &start).await?;
        let (template, count) = workload.measured;
        let count = count / self.shrink;
        if matches!(template, Template::Volume | Template::Device) {
            self.create_claims(template, MEASURED, count).await?;
        }
        let start = self.version(MEASURED).await?;
        let over = Arc::new(AtomicBool::new(false));
        let churn = tokio::spawn(churn(self.clients[0].clone(), workload.churn, over.clone()));
        let (began, computed) = (Instant::now(), computed());
        let (created, bound) =
            tokio::join!(self.create_pods(template, MEASURED, count), self.bound(MEASURED, count, &start));
        let elapsed = began.elapsed();
        over.store(true, Ordering::Relaxed);
        churn.abort();
        created?;
        bound?;
        let computed = self::computed().saturating_sub(computed);
        Ok(Measured {
            rate: count as f64 / elapsed.as_secs_f64(),
            computed_us: computed.as_secs_f64() * 1e6 / count as f64,
        })
    }

    /// Removes what the workload made from somebody else's cluster.
    pub async fn clean_up(&self) -> Result<()> {
        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        let (client, all) = (&self.clients[0], ListOptions::default());
        for space in [BEFORE, MEASURED, "churn"] {
            client.namespaced::<Pod>(space).delete_collection(&all, &now).await?;
            client.namespaced::<PersistentVolumeClaim>(space).delete_collection(&all, &now).await?;
            client.namespaced::<ResourceClaim>(space).delete_collection(&all, &now).await?;
        }
        client.all::<PersistentVolume>().delete_collection(&all, &now).await?;
        client.all::<ResourceSlice>().delete_collection(&all, &now).await?;
        client.all::<CSINode>().delete_collection(&all, &now).await?;
        client.all::<Node>().delete_collection(&all, &now).await?;
        Ok(())
    }
}

/// What a workload came to.
pub struct Measured {
    /// Pods a second.
    pub rate: f64,
    /// Microseconds of CPU that this process took for each pod.
    pub computed_us: f64,
}

/// CPU time that this process took so far; nothing where Linux does not tell.
fn computed() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: user and system time in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// What goes on beside the measurement, until it is over.
async fn churn(client: Client, churn: Churn, over: Arc<AtomicBool>) -> Result<()> {
    let mut number = 0;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    while !over.load(Ordering::Relaxed) {
        number += 1;
        match churn {
            Churn::Nothing => return Ok(()),
            Churn::Pods(template) => {
                let pod = templates::pod(template, &format!("churn-{number}"), "churn")?;
                client.namespaced::<Pod>("churn").create(pod).await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Churn::Mixed => {
                let (nodes, pods) = (client.all::<Node>(), client.namespaced::<Pod>("churn"));
                let services = client.namespaced::<Service>("churn");
                nodes.create(templates::node("churn", 0, NO_ZONES)?).await?;
                pods.create(templates::pod(Template::Huge, "churn", "churn")?).await?;
                let service = json!({"metadata": {"name": "churn"}, "spec": {"selector": {"app": "churn"}, "ports": [{"port": 80}]}});
                services.create(meta::from_value(service)?).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                nodes.delete("churn", &now).await?;
                pods.delete("churn", &now).await?;
                services.delete("churn", &now).await?;
            }
        }
    }
    Ok(())
}
