//! The pods that a manifest stands for.

use std::sync::Arc;

use ::scheduler::pod_info::PodInfo;
use anyhow::{Result, bail};
use meta::Codec;
use rules::Rules;
use serde::Deserialize as _;
use serde_json::Value;
use types::apps::v1::DaemonSet;
use types::core::v1::{Node, Pod};

/// The most pods that are supposed at once, and the most bytes of text that they would be.
const PODS_MAX: usize = 100_000;
const BYTES_MAX: usize = 256 << 20;

/// What manifests hold.
#[derive(Default)]
pub(crate) struct Manifests {
    /// Pods; of workloads those of their templates.
    pub(crate) pods: Vec<Arc<PodInfo>>,
    /// What has no pods, as `Kind name`.
    pub(crate) others: Vec<String>,
    bytes: usize,
}

impl Manifests {
    /// Reads documents of YAML or JSON. A DaemonSet has a pod on each of these nodes that it wants.
    pub(super) fn read(&mut self, text: &str, namespace: &str, nodes: &[Arc<Node>]) -> Result<()> {
        for document in serde_norway::Deserializer::from_str(text) {
            self.add(&Value::deserialize(document)?, namespace, nodes)?;
        }
        Ok(())
    }

    fn add(&mut self, document: &Value, namespace: &str, nodes: &[Arc<Node>]) -> Result<()> {
        let spec = &document["spec"];
        let number = |spec: &Value, field: &str| spec[field].as_u64().unwrap_or(1);
        let at_once =
            |job: &Value| number(job, "parallelism").min(job["completions"].as_u64().unwrap_or(u64::MAX));
        let (template, count) = match document["kind"].as_str().unwrap_or_default() {
            "" if document.is_null() => return Ok(()),
            "List" => {
                let items = document["items"].as_array().map_or(&[][..], Vec::as_slice);
                return items.iter().try_for_each(|item| self.add(item, namespace, nodes));
            }
            "DaemonSet" => return self.daemons(document, namespace, nodes),
            "Pod" => (document, 1),
            "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
                (&spec["template"], number(spec, "replicas"))
            }
            "Job" => (&spec["template"], at_once(spec)),
            "CronJob" => {
                let job = &spec["jobTemplate"]["spec"];
                (&job["template"], at_once(job))
            }
            kind => {
                let name = document["metadata"]["name"].as_str().unwrap_or_default();
                self.others.push(format!("{kind} {name}").trim().to_owned());
                return Ok(());
            }
        };
        let text = template.to_string();
        let mut pod = Pod::from_json(text.as_bytes())?;
        // As the API server does: who only has limits asks for as much.
        Rules::default(&mut pod);
        let name = document["metadata"]["name"].as_str().unwrap_or("pod");
        for number in 0..count {
            let own = if count == 1 { name.to_owned() } else { format!("{name}-{number}") };
            self.bytes += text.len();
            self.push(pod.clone(), &own, document, namespace)?;
        }
        Ok(())
    }

    fn daemons(&mut self, document: &Value, namespace: &str, nodes: &[Arc<Node>]) -> Result<()> {
        let text = document.to_string();
        let mut set = DaemonSet::from_json(text.as_bytes())?;
        Rules::default(&mut set);
        for (pod, node) in controllers::daemon_pods(&set, nodes) {
            self.bytes += text.len();
            self.push(pod, &format!("{}-{node}", set.metadata.name), document, namespace)?;
        }
        Ok(())
    }

    fn push(&mut self, mut pod: Pod, name: &str, document: &Value, namespace: &str) -> Result<()> {
        if self.pods.len() >= PODS_MAX || self.bytes > BYTES_MAX {
            bail!("{} pods are too many to suppose", self.pods.len() + 1);
        }
        pod.metadata.uid = format!("supposed-{}-{name}", self.pods.len()).into();
        pod.metadata.name = name.into();
        pod.metadata.namespace = document["metadata"]["namespace"].as_str().unwrap_or(namespace).into();
        self.pods.push(Arc::new(PodInfo::new(Arc::new(pod))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Manifests {
        let node = |name: &str, label: &str| {
            let text = format!(r#"{{"metadata":{{"name":"{name}","labels":{{"disk":"{label}"}}}}}}"#);
            Arc::new(Node::from_json(text.as_bytes()).unwrap())
        };
        let mut manifests = Manifests::default();
        manifests.read(text, "default", &[node("n1", "ssd"), node("n2", "")]).unwrap();
        manifests
    }

    fn names(manifests: &Manifests) -> Vec<String> {
        let name = |pod: &Arc<PodInfo>| format!("{}/{}", pod.pod.metadata.namespace, pod.pod.metadata.name);
        manifests.pods.iter().map(name).collect()
    }

    #[test]
    fn workloads_stand_for_their_pods() {
        let text = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3, template: {spec: {containers: [{name: c}]}}}\n---\nkind: Pod\nmetadata: {name: p, namespace: n}\nspec: {containers: [{name: c}]}\n---\nkind: CronJob\nmetadata: {name: j}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c}]}}}}}\n";
        assert_eq!(
            names(&read(text)),
            ["default/web-0", "default/web-1", "default/web-2", "n/p", "default/j"]
        );
    }

    #[test]
    fn a_daemon_set_stands_for_a_pod_on_each_node_that_it_wants() {
        let text = "kind: DaemonSet\nmetadata: {name: a}\nspec: {template: {spec: {nodeSelector: {disk: ssd}, containers: [{name: c}]}}}\n";
        assert_eq!(names(&read(text)), ["default/a-n1"]);
    }

    #[test]
    fn a_job_has_no_more_pods_than_it_completes() {
        let job = "spec: {parallelism: 9, completions: 2, template: {spec: {containers: [{name: c}]}}}";
        assert_eq!(
            names(&read(&format!("kind: Job\nmetadata: {{name: j}}\n{job}\n"))),
            ["default/j-0", "default/j-1"]
        );
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let set = |replicas: &str| {
            format!(
                "kind: ReplicaSet\nmetadata: {{name: r}}\nspec: {{replicas: {replicas}, template: {{spec: {{containers: [{{name: c}}]}}}}}}"
            )
        };
        let mut manifests = Manifests::default();
        assert!(manifests.read(&set("100001"), "default", &[]).is_err());
        assert_eq!(manifests.pods.len(), PODS_MAX);
    }

    #[test]
    fn what_has_no_pods_is_named() {
        let text = "kind: List\nitems: [{kind: Service, metadata: {name: s}}, {kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}]}}]\n---\n";
        let manifests = read(text);
        assert_eq!(
            (names(&manifests), manifests.others),
            (vec!["default/p".into()], vec!["Service s".into()])
        );
    }

    #[test]
    fn limits_alone_are_requests() {
        let text = "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, resources: {limits: {cpu: 2}}}]}}";
        assert_eq!(read(text).pods[0].requests.cpu_milli, 2000);
    }
}
