//! Registers the node and keeps its status in the API: at once when something changed, else every five minutes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use call::{PatchKind, WriteOptions};
use meta::Status;
use tokio::sync::watch;
use types::core::v1::{Node, Taint};

use super::info::Machine;
use super::pressure::{Pressure, Sample};
use super::status::{Facts, labels, node_status, same};
use crate::pod::patch::status_changes;
use crate::shared::Shared;

/// How often the machine is measured.
const MEASURE: Duration = Duration::from_secs(10);
/// How often an unchanged status is reported.
const REPORT: Duration = Duration::from_secs(300);

/// What to say of the node.
pub struct Reporter {
    /// The node.
    pub shared: Arc<Shared>,
    /// The machine.
    pub machine: Machine,
    /// Most pods.
    pub max_pods: i64,
    /// Port of the kubelet's API.
    pub port: u16,
    /// `v1.36.…`.
    pub version: String,
    /// Further labels.
    pub labels: Vec<(String, String)>,
    /// Taints at registration.
    pub taints: Vec<Taint>,
    /// Told what is short.
    pub pressure: watch::Sender<Pressure>,
    /// Told once the API knows the node.
    pub registered: watch::Sender<bool>,
    /// Told once the API shows the node as Ready.
    pub ready: watch::Sender<bool>,
}

impl Reporter {
    /// Registers, then reports until dropped.
    pub async fn run(self) {
        let mut pause = Duration::from_millis(50);
        let mut node = loop {
            match self.register().await {
                Ok(node) => break node,
                Err(status) => {
                    tracing::info!(node = %self.shared.node_name, status = %status.message, "cannot register the node, will try again");
                    self.shared.env.sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(7));
                }
            }
        };
        self.shared.see_node(node.clone());
        self.registered.send_replace(true);
        let mut network = self.shared.network.changes();
        let mut reported = self.shared.env.clock.monotonic();
        let mut first = true;
        loop {
            node = self.newest(node);
            let status = self.status(&node);
            let due = self.shared.env.clock.monotonic().saturating_sub(reported) >= REPORT;
            if first || due || !same(&status, &node.status) {
                match self.send(&node, status).await {
                    Ok(new) => {
                        node = new;
                        first = false;
                        reported = self.shared.env.clock.monotonic();
                        self.shared.see_node(node.clone());
                    }
                    // Somebody deleted the node: it registers again.
                    Err(status) if status.code == 404 => {
                        if let Ok(new) = self.register().await {
                            node = new;
                        }
                    }
                    Err(status) => {
                        tracing::warn!(status = %status.message, "cannot report the node's status");
                        self.shared.env.sleep(Duration::from_secs(1)).await;
                        if let Ok(new) = self.shared.client.all::<Node>().get(&self.shared.node_name).await {
                            node = new;
                        }
                        continue;
                    }
                }
            }
            let is_ready = node.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            self.ready.send_replace(is_ready);
            tokio::select! {
                () = self.shared.env.sleep(MEASURE) => {}
                changed = network.changed() => if changed.is_err() {
                    self.shared.env.sleep(MEASURE).await;
                },
            }
        }
    }

    /// The Node object as last written here or, where that is newer, as seen by the watch.
    fn newest(&self, own: Arc<Node>) -> Arc<Node> {
        let seen = self.shared.node.read().clone();
        if informer::revision(&seen.metadata) > informer::revision(&own.metadata) { seen } else { own }
    }

    fn desired(&self) -> Node {
        let mut node = Node::default();
        node.metadata.name = self.shared.node_name.as_str().into();
        for (key, value) in labels(&self.shared.node_name, self.machine.arch) {
            node.metadata.labels.insert(key, value.into());
        }
        for (key, value) in &self.labels {
            node.metadata.labels.insert(key.as_str(), value.as_str().into());
        }
        node.metadata
            .annotations
            .insert("volumes.kubernetes.io/controller-managed-attach-detach", "true".into());
        node.spec.taints = self.taints.iter().cloned().collect();
        node
    }

    /// Makes the Node object, or brings the labels of an existing one up to date.
    async fn register(&self) -> Result<Arc<Node>, Status> {
        let api = self.shared.client.all::<Node>();
        let mut wanted = self.desired();
        if let Some(have) = api.get_optional(&self.shared.node_name).await? {
            let missing = wanted.metadata.labels.iter().any(|(k, v)| have.metadata.labels.get(k) != Some(v));
            if !missing {
                return Ok(have);
            }
            let labels: serde_json::Map<String, serde_json::Value> =
                wanted.metadata.labels.iter().map(|(k, v)| (k.to_string(), v.as_str().into())).collect();
            let body = serde_json::json!({ "metadata": { "labels": labels } }).to_string();
            return api
                .patch(
                    &self.shared.node_name,
                    PatchKind::Strategic,
                    Bytes::from(body),
                    &WriteOptions::default(),
                )
                .await;
        }
        wanted.status = self.status(&wanted);
        match api.create(wanted).await {
            Err(status) if status.code == 409 => api.get(&self.shared.node_name).await,
            other => other,
        }
    }

    fn status(&self, node: &Node) -> types::core::v1::NodeStatus {
        let runtime = &self.shared.runtime;
        let sample = Sample::take(&self.shared.root_dir, &runtime.image_root());
        let pressure = sample.pressure();
        self.pressure.send_if_modified(|have| std::mem::replace(have, pressure) != pressure);
        let facts = Facts {
            name: &self.shared.node_name,
            ips: &self.shared.node_ips,
            port: self.port,
            machine: &self.machine,
            max_pods: self.max_pods,
            version: &self.version,
            runtime_version: &runtime.version(),
            images: &runtime.images(),
            pressure,
            not_ready: self.shared.network.ready().err(),
            now: self.shared.env.clock.now(),
        };
        node_status(&facts, node)
    }

    async fn send(&self, node: &Node, status: types::core::v1::NodeStatus) -> Result<Arc<Node>, Status> {
        let Some(changes) = status_changes(&node.status, &status) else { return Ok(Arc::new(node.clone())) };
        let body = serde_json::json!({ "status": changes }).to_string();
        let api = self.shared.client.all::<Node>();
        api.patch_status(
            &self.shared.node_name,
            PatchKind::Strategic,
            Bytes::from(body),
            &WriteOptions::default(),
        )
        .await
    }
}
