//! One scenario: its steps, and the state of the cluster between them.

use std::sync::Arc;

use meta::{Kind, Str};
use reconcile::{EventType, Note};
use serde_json::Value;
use types::core::v1::{Node, PersistentVolumeClaim, Pod};
use types::resource::v1::{AllocationResult, ResourceClaim};

use super::Total;
use super::compare::{Attempt, compare_attempt, compare_preemption};
use crate::cluster::key;
use crate::config;
use crate::core::{Core, Decision, Trace};
use crate::notes;
use crate::plugins::dynamic_resources;
use crate::pod_info::PodInfo;
use crate::profile::Profile;

/// A recorded scenario.
pub struct Scenario {
    value: Value,
    core: Core,
    /// Pods that wait behind gates.
    gated: Vec<Arc<Pod>>,
}

fn object<T: Kind + meta::Codec>(value: &Value) -> Result<Arc<T>, String> {
    meta::from_value::<T>(value.clone()).map(Arc::new).map_err(|error| error.to_string())
}

impl Scenario {
    /// Reads a scenario and fills the cluster with its objects.
    ///
    /// # Errors
    /// An object that cannot be decoded, a configuration that is not valid.
    pub fn new(value: Value) -> Result<Self, String> {
        let config = config::from_value(&value["config"]).map_err(|error| error.to_string())?;
        let profiles = config.profiles.iter().map(|profile| Profile::new(profile, &[])).collect();
        let mut core = Core::new(profiles);
        for one in value["objects"].as_array().into_iter().flatten() {
            add(&mut core, one)?;
        }
        Ok(Scenario { value, core, gated: Vec::new() })
    }

    /// Replays all steps: the family, the totals and the differences.
    pub fn run(mut self) -> (String, Total, Vec<String>) {
        let steps = self.value["steps"].as_array().cloned().unwrap_or_default();
        let name = self.value["name"].as_str().unwrap_or_default().to_owned();
        let family = self.value["family"].as_str().unwrap_or_default().to_owned();
        let mut total = Total::default();
        let mut differences = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let found = match self.step(step) {
                Ok(found) => found,
                Err(error) => vec![error],
            };
            if step["attempts"].is_array() {
                total.steps += 1;
                total.steps_equal += usize::from(found.is_empty());
            }
            if let Some(first) = found.first() {
                let pod = step["pod"]["metadata"]["name"].as_str().or(step["pod"].as_str()).unwrap_or("");
                differences.push(format!("{name} step {at} {pod}: {first}"));
            }
        }
        (family, total, differences)
    }

    fn step(&mut self, step: &Value) -> Result<Vec<String>, String> {
        match step["op"].as_str().unwrap_or_default() {
            "create" => {
                let pod = object::<Pod>(&step["pod"])?;
                self.create(step, pod)
            }
            "ungate" => {
                let name = step["pod"].as_str().unwrap_or_default();
                let at = self
                    .gated
                    .iter()
                    .position(|pod| key(&pod.metadata.namespace, &pod.metadata.name) == *name);
                let Some(at) = at else { return Ok(vec!["the pod is not gated".into()]) };
                let mut pod = (*self.gated.remove(at)).clone();
                pod.spec.scheduling_gates.clear();
                self.create(step, Arc::new(pod))
            }
            "delete" => {
                self.delete(step["pod"].as_str().unwrap_or_default());
                Ok(Vec::new())
            }
            op @ ("cordon" | "uncordon") => {
                let name = step["node"].as_str().unwrap_or_default();
                let Some(index) = self.core.snapshot.index_of(name) else {
                    return Ok(vec![format!("no node {name}")]);
                };
                let Some(node) = self.core.snapshot.row(index).node() else { return Ok(Vec::new()) };
                let mut node: Node = node.clone();
                node.spec.unschedulable = op == "cordon";
                // What the node lifecycle controller adds and takes away.
                node.spec.taints.retain(|taint| taint.key != "node.kubernetes.io/unschedulable");
                self.core.snapshot.set_node(Arc::new(node));
                Ok(Vec::new())
            }
            other => Err(format!("unknown step {other:?}")),
        }
    }

    fn delete(&mut self, name: &str) {
        let found = self
            .core
            .snapshot
            .pods()
            .find(|(pod, _)| key(&pod.pod.metadata.namespace, &pod.pod.metadata.name) == *name)
            .map(|(pod, _)| pod.uid().clone());
        if let Some(uid) = found {
            self.core.snapshot.remove_pod(&uid);
            self.release_claims(&uid);
            self.collect_claims(&uid);
        }
        self.gated.retain(|pod| key(&pod.metadata.namespace, &pod.metadata.name) != *name);
    }

    /// Claims of a pod that is gone are reserved for it no longer; without any user they lose their devices.
    fn release_claims(&mut self, uid: &str) {
        let held: Vec<Arc<ResourceClaim>> = self
            .core
            .snapshot
            .cluster
            .resource_claims
            .values()
            .filter(|claim| claim.status.reserved_for.iter().any(|consumer| consumer.uid == *uid))
            .cloned()
            .collect();
        for claim in held {
            let mut claim = (*claim).clone();
            claim.status.reserved_for.retain(|consumer| consumer.uid != *uid);
            if claim.status.reserved_for.is_empty() {
                claim.status.allocation = None;
            }
            self.core.snapshot.set(Arc::new(claim));
        }
    }

    /// Claims that were made for a pod go with it.
    fn collect_claims(&mut self, uid: &str) {
        let claims = self.core.snapshot.cluster.resource_claims.values();
        let own: Vec<_> = claims.filter(|claim| claim.metadata.is_controlled_by(uid)).cloned().collect();
        for claim in own {
            self.core.snapshot.remove(&*claim);
        }
    }

    fn create(&mut self, step: &Value, pod: Arc<Pod>) -> Result<Vec<String>, String> {
        let outcome = step["outcome"].as_str().unwrap_or_default();
        if !pod.spec.node_name.is_empty() && !step["attempts"].is_array() {
            self.bound(step, &pod, &pod.spec.node_name.clone());
            return Ok(Vec::new());
        }
        let Some(profile) = self.core.profile(&pod.spec.scheduler_name) else {
            return Ok(expect("ignored", outcome));
        };
        let cluster = &self.core.snapshot.cluster;
        let gate =
            self.core.profiles[profile].pre_enqueue.iter().find_map(|one| one.pre_enqueue(&pod, cluster));
        if let Some(gate) = gate {
            let mine = if gate.plugin == "SchedulingGates" { "gated" } else { "not-enqueued" };
            self.gated.push(pod);
            return Ok(expect(mine, outcome));
        }
        let attempts = step["attempts"].as_array().cloned().unwrap_or_default();
        let (Some(first), Some(last)) = (attempts.first(), attempts.last()) else {
            return Ok(expect("attempted", outcome));
        };
        let info = Arc::new(PodInfo::new(pod.clone()));
        let mut differences = self.attempt(step, &info, profile, first);
        differences.extend(self.events(step, &pod));
        if outcome == "preempted" {
            differences.extend(self.preempted(step, &info, profile, last)?);
        }
        if let Some(node) = step["node"].as_str() {
            differences.extend(self.devices(step, &info, node));
            self.bound(step, &pod, node);
        }
        Ok(differences)
    }

    /// The events of the step: those of a pod that found no node, with the message that was compared before, and one for
    /// each victim.
    fn events(&self, step: &Value, pod: &Pod) -> Vec<String> {
        let mut mine = Vec::new();
        let attempts = step["attempts"].as_array().into_iter().flatten();
        for message in attempts.filter_map(|attempt| attempt["message"].as_str()) {
            if !message.is_empty() {
                mine.push(note_of(&notes::failed(pod, message)));
            }
        }
        let node = step["nominatedNodeName"].as_str().unwrap_or_default();
        for victim in step["victims"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let found =
                self.core.snapshot.pods().find(|(other, _)| {
                    key(&other.pod.metadata.namespace, &other.pod.metadata.name) == *victim
                });
            match found {
                Some((found, _)) => mine.push(note_of(&notes::preempted(&found.pod, pod, node))),
                None => mine.push(format!("no victim {victim}")),
            }
        }
        let mut recorded: Vec<String> = step["events"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| {
                let text = |field: &str| event[field].as_str().unwrap_or_default();
                let own = key(&pod.metadata.namespace, &pod.metadata.name);
                let about = event["regarding"].as_str().unwrap_or(&own);
                format!("{} {} {} {about}: {}", text("type"), text("reason"), text("action"), text("note"))
            })
            .collect();
        mine.sort();
        recorded.sort();
        if mine == recorded { Vec::new() } else { vec![format!("events {mine:?} instead of {recorded:?}")] }
    }

    /// One scheduling attempt, compared.
    fn attempt(&mut self, step: &Value, info: &Arc<PodInfo>, profile: usize, want: &Value) -> Vec<String> {
        let mut trace = Trace::default();
        let decision = self.core.decide(info, profile, 0, Some(&mut trace));
        let mut attempt = Attempt { trace, failure: None, chosen: None, preemption: None };
        // Where something is wrong, upstream stops at some node: only what it says can be compared.
        if let Decision::Error(error) = &decision {
            let mine = self.troubles(info, error);
            let found = super::compare::differ("message", &error.as_str().into(), &want["message"]);
            let same = want["message"].as_str().is_some_and(|want| mine.iter().any(|mine| mine == want));
            return if same { Vec::new() } else { found.into_iter().collect() };
        }
        match decision {
            Decision::Node { index, .. } => attempt.chosen = Some(index),
            Decision::Failed(mut failure) => {
                let preemption = crate::post_filter::run(&mut self.core, info, profile, &mut failure, 0);
                attempt.preemption = preemption;
                attempt.failure = Some(failure);
            }
            Decision::Error(_) => {}
        }
        let no_scoring = self.core.profiles[profile].scorers.is_empty();
        let mut found = compare_attempt(&self.core.snapshot, &attempt, want, no_scoring);
        let node = step["node"].as_str().filter(|_| step["outcome"].as_str() == Some("bound"));
        if let Some(node) = node {
            found.extend(self.node_is_good(info, profile, &attempt.trace, node));
        }
        if let Some(candidates) = &attempt.preemption {
            found.extend(compare_preemption(&self.core.snapshot, candidates, step, want));
        } else if want["preemptionCandidates"].is_object() {
            found.push("no preemption candidates".into());
        }
        found
    }

    /// What may be said of claims that are wrong: which device comes first depends on the order of nodes.
    fn troubles(&self, info: &Arc<PodInfo>, error: &str) -> Vec<String> {
        let Some((head, _)) = error.split_once(": ") else { return Vec::new() };
        let cx = crate::plugin::Cx::new(info, &self.core.snapshot);
        let nodes = 0..self.core.snapshot.rows();
        let each = nodes.filter_map(|node| dynamic_resources::choose(&cx, node).err());
        each.map(|error| format!("{head}: {error}")).collect()
    }

    /// The claims that the recording gave devices would get the same ones on the same node from us.
    fn devices(&self, step: &Value, info: &Arc<PodInfo>, node: &str) -> Vec<String> {
        // When the devices of victims come back is nobody's promise.
        let bound = step["outcome"].as_str() == Some("bound");
        let Some(index) = self.core.snapshot.index_of(node).filter(|_| bound) else { return Vec::new() };
        let cx = crate::plugin::Cx::new(info, &self.core.snapshot);
        let Ok(given) = dynamic_resources::choose(&cx, index) else { return Vec::new() };
        let recorded = |name: &str| step["allocations"][name]["devices"]["results"].clone();
        let mut found = Vec::new();
        for one in given.iter().filter(|one| !recorded(&one.claim.metadata.name).is_null()) {
            let name = &one.claim.metadata.name;
            let mine = meta::to_value(&one.result)["devices"]["results"].clone();
            found.extend(super::compare::differ(
                &format!("devices of {name}"),
                &without_shares(mine),
                &without_shares(recorded(name)),
            ));
        }
        found
    }

    /// The recorded node has the highest sum, or at least passes the filters where nothing is scored.
    fn node_is_good(
        &mut self,
        info: &Arc<PodInfo>,
        profile: usize,
        trace: &Trace,
        node: &str,
    ) -> Vec<String> {
        let Some(index) = self.core.snapshot.index_of(node) else { return vec![format!("no node {node}")] };
        if self.core.profiles[profile].scorers.is_empty() {
            let mut class = self.core.class(info, profile);
            let cx = crate::plugin::Cx::new(info, &self.core.snapshot);
            let verdict = class.check(&cx, index);
            self.core.give_back(info, profile, class);
            return if verdict == crate::class::FITS {
                Vec::new()
            } else {
                vec![format!("{node} does not fit")]
            };
        }
        let Some(at) = trace.feasible.iter().position(|other| *other as usize == index) else {
            return vec![format!("{node} is not feasible")];
        };
        match trace.sums.iter().max() {
            Some(best) if trace.sums[at] < *best => vec![format!("{node} is not the best")],
            _ => Vec::new(),
        }
    }

    fn preempted(
        &mut self,
        step: &Value,
        info: &Arc<PodInfo>,
        profile: usize,
        last: &Value,
    ) -> Result<Vec<String>, String> {
        for victim in step["victims"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.delete(victim);
        }
        let nominated = step["nominatedNodeName"].as_str().unwrap_or_default();
        let mut pod = (*info.pod).clone();
        pod.status.nominated_node_name = nominated.into();
        let again = Arc::new(PodInfo::new(Arc::new(pod)));
        Ok(self.attempt(&Value::Null, &again, profile, last))
    }

    /// The pod runs on the node; its claims are bound and allocated as recorded.
    fn bound(&mut self, step: &Value, pod: &Pod, node: &str) {
        let mut pod = pod.clone();
        pod.spec.node_name = node.into();
        pod.status.phase = "Running".into();
        pod.status.nominated_node_name = Str::default();
        pod.status.start_time = step["startTime"].as_str().and_then(|time| meta::Time::parse(time).ok());
        for object in step["objects"].as_array().into_iter().flatten() {
            // What binding created: a volume, a claim for extended resources.
            let _ = add(&mut self.core, object);
        }
        for (claim, volume) in step["boundVolumes"].as_object().into_iter().flatten() {
            self.bind_volume(&pod, claim, volume.as_str().unwrap_or_default());
        }
        for (claim, allocation) in step["allocations"].as_object().into_iter().flatten() {
            self.allocate(&pod, claim, allocation);
        }
        self.reserve_claims(&pod);
        self.core.snapshot.place(Arc::new(PodInfo::new(Arc::new(pod))), node);
    }

    fn bind_volume(&mut self, pod: &Pod, claim: &str, volume: &str) {
        let name = claim.rsplit('/').next().unwrap_or(claim);
        let cluster = &mut self.core.snapshot.cluster;
        let Some(found) = cluster.claim(&pod.metadata.namespace, name).cloned() else { return };
        let mut bound: PersistentVolumeClaim = (*found).clone();
        bound.spec.volume_name = volume.into();
        bound.metadata.annotations.insert("pv.kubernetes.io/bind-completed", "yes".into());
        bound.status.phase = "Bound".into();
        if let Some(found) = cluster.volumes.get(volume).cloned() {
            let mut taken = (*found).clone();
            taken.status.phase = "Bound".into();
            taken.spec.claim_ref = Some(Box::new(types::core::v1::ObjectReference {
                name: bound.metadata.name.clone(),
                namespace: bound.metadata.namespace.clone(),
                uid: bound.metadata.uid.clone(),
                ..Default::default()
            }));
            cluster.set(Arc::new(taken));
        }
        cluster.set(Arc::new(bound));
    }

    fn allocate(&mut self, pod: &Pod, claim: &str, allocation: &Value) {
        let name = claim.rsplit('/').next().unwrap_or(claim);
        let cluster = &mut self.core.snapshot.cluster;
        let key = key(&pod.metadata.namespace, name);
        let Some(found) = cluster.resource_claims.get(&key).cloned() else { return };
        let Ok(result) = meta::from_value::<AllocationResult>(allocation.clone()) else { return };
        let mut claim = (*found).clone();
        claim.status.allocation = Some(Box::new(result));
        cluster.set(Arc::new(claim));
    }

    fn reserve_claims(&mut self, pod: &Pod) {
        let cluster = &mut self.core.snapshot.cluster;
        let Ok(claims) = crate::plugins::dynamic_resources::claims(pod, cluster) else { return };
        for claim in claims {
            let mut claim = (*claim).clone();
            claim.status.reserved_for.push(types::resource::v1::ResourceClaimConsumerReference {
                resource: "pods".into(),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
                ..Default::default()
            });
            cluster.set(Arc::new(claim));
        }
    }
}

/// Results without the identifiers of shares, which are random.
fn without_shares(mut results: Value) -> Value {
    for result in results.as_array_mut().into_iter().flatten() {
        if let Some(result) = result.as_object_mut() {
            result.remove("shareID");
        }
    }
    results
}

/// An event in one line, to be compared.
fn note_of(note: &Note) -> String {
    let kind = match note.event_type {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    let about = key(&note.regarding.namespace, &note.regarding.name);
    format!("{kind} {} {} {about}: {}", note.reason, note.action, note.message)
}

fn expect(mine: &str, recorded: &str) -> Vec<String> {
    if mine == recorded { Vec::new() } else { vec![format!("outcome {mine} instead of {recorded}")] }
}

/// Adds an object of any kind that the scheduler watches; others are none of its business.
fn add(core: &mut Core, value: &Value) -> Result<(), String> {
    let snapshot = &mut core.snapshot;
    match value["kind"].as_str().unwrap_or_default() {
        "Node" => snapshot.set_node(object(value)?),
        "Namespace" => snapshot.set(object::<types::core::v1::Namespace>(value)?),
        "Service" => snapshot.set(object::<types::core::v1::Service>(value)?),
        "ReplicationController" => snapshot.set(object::<types::core::v1::ReplicationController>(value)?),
        "ReplicaSet" => snapshot.set(object::<types::apps::v1::ReplicaSet>(value)?),
        "StatefulSet" => snapshot.set(object::<types::apps::v1::StatefulSet>(value)?),
        "PodDisruptionBudget" => snapshot.set(object::<types::policy::v1::PodDisruptionBudget>(value)?),
        "PersistentVolumeClaim" => snapshot.set(object::<PersistentVolumeClaim>(value)?),
        "PersistentVolume" => snapshot.set(object::<types::core::v1::PersistentVolume>(value)?),
        "StorageClass" => snapshot.set(object::<types::storage::v1::StorageClass>(value)?),
        "CSINode" => snapshot.set(object::<types::storage::v1::CSINode>(value)?),
        "CSIDriver" => snapshot.set(object::<types::storage::v1::CSIDriver>(value)?),
        "CSIStorageCapacity" => snapshot.set(object::<types::storage::v1::CSIStorageCapacity>(value)?),
        "VolumeAttachment" => snapshot.set(object::<types::storage::v1::VolumeAttachment>(value)?),
        "ResourceClaim" => snapshot.set(object::<ResourceClaim>(value)?),
        "ResourceSlice" => snapshot.set(object::<types::resource::v1::ResourceSlice>(value)?),
        "DeviceClass" => snapshot.set(object::<types::resource::v1::DeviceClass>(value)?),
        _ => {}
    }
    Ok(())
}
