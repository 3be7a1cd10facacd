//! The whole `status` of a pod: container statuses, phase, conditions and addresses put together.

use std::time::SystemTime;

use meta::List;
use types::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements};

use super::container_status::{Facts, api_time, statuses};
use super::resources::{limits, qos, qos_name, requests};
use super::{Role, conditions, ephemeral, init_role, phase};

/// Why the kubelet itself ends a pod (deadline, eviction, admission).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `DeadlineExceeded`, `Evicted`, `OutOfcpu`, ...
    pub reason: String,
    /// More.
    pub message: String,
}

/// What is known of the pod beside its containers.
pub struct Surroundings<'a> {
    /// The status that was reported before (by this process, or else the one in the API).
    pub old: &'a PodStatus,
    /// Addresses of the node, the primary one first.
    pub host_ips: &'a [String],
    /// The containers will not be started again.
    pub ending: bool,
    /// The pod failed by decision of the kubelet.
    pub verdict: Option<&'a Verdict>,
    /// Resize conditions, if a resize waits or is under way.
    pub resize: Vec<PodCondition>,
    /// The pod with the resources that its cgroups have by now.
    pub in_effect: &'a Pod,
    /// Now.
    pub now: SystemTime,
}

/// The status to report.
pub fn pod_status(facts: &Facts<'_>, around: &Surroundings<'_>) -> PodStatus {
    let (pod, old) = (facts.pod, around.old);
    let mut status = PodStatus { qos_class: qos_name(qos(pod)).into(), ..Default::default() };
    let init: Vec<_> = pod.spec.init_containers.iter().map(|c| (init_role(c), c)).collect();
    let regular: Vec<_> = pod.spec.containers.iter().map(|c| (Role::Regular, c)).collect();
    let debug = ephemeral(pod);
    let debug: Vec<_> = debug.iter().map(|c| (Role::Ephemeral, c)).collect();
    status.init_container_statuses = statuses(facts, &init, &old.init_container_statuses);
    status.container_statuses = statuses(facts, &regular, &old.container_statuses);
    status.ephemeral_container_statuses = statuses(facts, &debug, &old.ephemeral_container_statuses);

    status.phase = around.verdict.map_or_else(|| current_phase(facts, around, &status), |_| "Failed").into();
    if let "Succeeded" | "Failed" = old.phase.as_str() {
        // A pod never leaves a final phase.
        status.phase = old.phase.clone();
    }
    if status.phase == old.phase {
        status.reason = old.reason.clone();
        status.message = old.message.clone();
    }
    if let Some(verdict) = around.verdict {
        status.reason = verdict.reason.as_str().into();
        status.message = verdict.message.as_str().into();
    }
    addresses(facts, around, &mut status);
    status.start_time = old.start_time.or_else(|| Some(api_time(around.now)));
    status.observed_generation = pod.metadata.generation;
    status.nominated_node_name = pod.status.nominated_node_name.clone();
    status.resource_claim_statuses = pod.status.resource_claim_statuses.clone();
    let (requests, limits) = (requests(around.in_effect), limits(around.in_effect));
    status.allocated_resources = requests.clone();
    status.resources = Some(Box::new(ResourceRequirements { requests, limits, ..Default::default() }));
    status.conditions = all_conditions(facts, around, &status);
    status
}

fn all_statuses(status: &PodStatus) -> Vec<&ContainerStatus> {
    status.init_container_statuses.iter().chain(status.container_statuses.iter()).collect()
}

fn regular_started(facts: &Facts<'_>) -> bool {
    let started = |name: &str| {
        facts.view.active(name).is_some_and(|c| !matches!(c.state, runtime::ContainerState::Created))
    };
    facts.pod.spec.containers.iter().any(|c| started(&c.name))
}

fn current_phase(facts: &Facts<'_>, around: &Surroundings<'_>, status: &PodStatus) -> &'static str {
    phase::phase(facts.pod, &all_statuses(status), around.ending, regular_started(facts))
}

fn addresses(facts: &Facts<'_>, around: &Surroundings<'_>, status: &mut PodStatus) {
    if let Some(first) = around.host_ips.first() {
        status.host_ip = first.as_str().into();
        status.host_ips = around.host_ips.iter().map(|ip| HostIP { ip: ip.as_str().into() }).collect();
    }
    let ips: Vec<String> = if facts.pod.spec.host_network {
        around.host_ips.to_vec()
    } else {
        facts
            .view
            .ready_sandbox()
            .map(|s| s.ips.iter().map(|ip| ip.to_string()).collect())
            .unwrap_or_default()
    };
    if !ips.is_empty() {
        status.pod_ip = ips[0].as_str().into();
        status.pod_ips = ips.iter().map(|ip| PodIP { ip: ip.as_str().into() }).collect();
    } else if facts.view.ready_sandbox().is_none() {
        // A pod that has ended keeps the address it had; upstream shows it until the object goes.
        status.pod_ip = around.old.pod_ip.clone();
        status.pod_ips = around.old.pod_ips.clone();
    }
}

fn all_conditions(facts: &Facts<'_>, around: &Surroundings<'_>, status: &PodStatus) -> List<PodCondition> {
    let pod = facts.pod;
    let mut out: Vec<PodCondition> = pod
        .status
        .conditions
        .iter()
        .filter(|c| !conditions::OWNED.contains(&c.type_.as_str()))
        .cloned()
        .collect();
    if let Some(target) = conditions::find(around.old.conditions.iter(), "DisruptionTarget")
        && !out.iter().any(|c| c.type_ == "DisruptionTarget")
    {
        out.push(target.clone());
    }
    out.extend(around.resize.iter().cloned());
    let all = all_statuses(status);
    let phase = status.phase.as_str();
    let containers_ready = conditions::containers_ready(pod, &all, phase);
    let ready = conditions::ready(pod, &containers_ready, &out);
    out.push(conditions::ready_to_start(pod, facts.view.ready_sandbox().is_some()));
    out.push(conditions::initialized(pod, &all, phase, regular_started(facts)));
    out.push(ready);
    out.push(containers_ready);
    out.push(conditions::scheduled(pod));
    conditions::with_times(&mut out, &around.old.conditions, api_time(around.now));
    out.into_iter().collect()
}

/// The status of a pod that the node refused: nothing ran, the rest stays as the API has it.
pub fn rejected(pod: &Pod, verdict: &Verdict, now: SystemTime) -> PodStatus {
    PodStatus {
        phase: "Failed".into(),
        reason: verdict.reason.as_str().into(),
        message: format!("Pod was rejected: {}", verdict.message).into(),
        start_time: Some(api_time(now)),
        qos_class: qos_name(qos(pod)).into(),
        observed_generation: pod.metadata.generation,
        conditions: pod.status.conditions.clone(),
        ..Default::default()
    }
}
