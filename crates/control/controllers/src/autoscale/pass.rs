//! One look at one autoscaler: scale, metrics, decision, scale again, status. Each step is planned in the answer of the
//! one before.

use std::sync::Arc;
use std::time::Instant;

use call::Action;
use informer::Key;
use meta::{Object, Selector, Str, Time};
use reconcile::{Answer, Next, Note, Outcome, Plan, World, Write};
use types::autoscaling::v1::Scale;
use types::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
};
use types::core::v1::Pod;

use super::calculate::Workload;
use super::measures::{self, Fault};
use super::propose::{Failure, Proposal, propose};
use super::{Memories, PERIOD, history, limits, metrics, target};

/// The autoscaler as it will be told, and what the look needs.
pub(super) struct Pass {
    autoscaler: HorizontalPodAutoscaler,
    before: HorizontalPodAutoscalerStatus,
    key: Key,
    world: World,
    memories: Memories,
    begun: Instant,
    /// Replicas before and after.
    replicas: (i32, i32),
    fault: Fault,
}

/// What the target says of itself.
struct Current {
    scale: Scale,
    target: call::Target,
}

/// Why the target's pods are not known: as the condition has it, and as the event does.
struct Unselected {
    reason: &'static str,
    told: String,
    event: &'static str,
    note: String,
}

impl Unselected {
    /// The same in both.
    fn both(reason: &'static str, text: String) -> Self {
        Unselected { reason, told: text.clone(), event: reason, note: text }
    }
}

/// What the metrics say together.
struct Verdict {
    replicas: i32,
    reason: String,
}

impl Pass {
    pub(super) fn new(
        autoscaler: &HorizontalPodAutoscaler,
        key: &Key,
        world: World,
        memories: Memories,
    ) -> Self {
        let (autoscaler, before) = (autoscaler.clone(), autoscaler.status.clone());
        let begun = Instant::now();
        let (replicas, fault) = ((0, 0), Fault::None);
        Pass { autoscaler, before, key: key.clone(), world, memories, begun, replicas, fault }
    }

    /// Asks for the scale of the target.
    pub(super) fn begin(self, plan: &mut Plan) -> Next {
        let reference = &self.autoscaler.spec.scale_target_ref;
        let resources = match target::resources(reference, &self.world) {
            Ok(resources) => resources,
            Err(why) => return self.unable(&why, plan),
        };
        let targets: Vec<_> = resources
            .iter()
            .map(|resource| target::scale(resource, &self.key.namespace, &reference.name))
            .collect();
        plan.all(targets.iter().cloned().map(Write::get).collect());
        plan.then(move |outcome, plan| self.found(targets, outcome, plan));
        Next::After(PERIOD)
    }

    fn found(mut self, targets: Vec<call::Target>, outcome: &Outcome, plan: &mut Plan) -> Next {
        let scale_of = |result: &Result<Answer, _>| match result {
            Ok(Answer::Object(object)) => meta::downcast::<Scale>(object.clone()),
            _ => None,
        };
        let found = outcome.results.iter().zip(targets).find_map(|(r, target)| Some((scale_of(r)?, target)));
        let Some((scale, target)) = found else {
            let why = outcome.error().map_or("unrecognized resource".into(), |status| status.message.clone());
            return self.unable(&why, plan);
        };
        let current = Current { scale: (*scale).clone(), target };
        self.tell(
            ("AbleToScale", "True"),
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        );
        let replicas = current.scale.spec.replicas;
        self.memories.lock().entry(self.key.clone()).or_default().begin(replicas, self.world.unix_ms());
        let (smallest, largest) =
            (limits::smallest(&self.autoscaler.spec), self.autoscaler.spec.max_replicas);
        if replicas == 0 && smallest != 0 {
            self.tell(
                ("ScalingActive", "False"),
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero",
            );
            return self.finish(&current, None, Vec::new(), plan);
        }
        let beyond = if replicas > largest {
            Some((largest, "Current number of replicas above Spec.MaxReplicas"))
        } else if replicas < smallest {
            Some((smallest, "Current number of replicas below Spec.MinReplicas"))
        } else {
            None
        };
        match beyond {
            Some((replicas, reason)) => {
                let verdict = Verdict { replicas, reason: reason.to_owned() };
                self.finish(&current, Some(verdict), Vec::new(), plan)
            }
            None => self.ask(current, plan),
        }
    }

    /// Asks for every metric.
    fn ask(mut self, current: Current, plan: &mut Plan) -> Next {
        let pods = match self.select(&current.scale.status.selector) {
            Ok(selector) => selector,
            Err(unselected) => {
                plan.event(Note::warning(&self.autoscaler, unselected.event, unselected.note.as_str()));
                self.tell(("ScalingActive", "False"), unselected.reason, unselected.told);
                self.fault = Fault::Spec;
                return self.give_up(&current, Vec::new(), &unselected.note, plan);
            }
        };
        let questions: Vec<Option<Write>> = self
            .autoscaler
            .spec
            .metrics
            .iter()
            .map(|spec| metrics::question(spec, &self.key.namespace, &pods, &self.world))
            .collect();
        let asked: Vec<bool> = questions.iter().map(Option::is_some).collect();
        plan.all(questions.into_iter().flatten().collect());
        let begun = Instant::now();
        plan.then(move |outcome, plan| self.answered(current, &pods, (&asked, begun), outcome, plan));
        Next::After(PERIOD)
    }

    /// The selector of the target's pods, unless another autoscaler has some of them too.
    fn select(&self, text: &str) -> Result<Selector, Unselected> {
        if text.is_empty() {
            return Err(Unselected {
                reason: "InvalidSelector",
                event: "SelectorRequired",
                told: "the HPA target's scale is missing a selector".to_owned(),
                note: "selector is required".to_owned(),
            });
        }
        let selector = Selector::parse(text).map_err(|problem| {
            let text =
                format!("couldn't convert selector into a corresponding internal selector object: {problem}");
            Unselected::both("InvalidSelector", text)
        })?;
        let pods = self.pods(&selector);
        let mut memories = self.memories.lock();
        memories.entry(self.key.clone()).or_default().selector = Some(selector.clone());
        let labels = pods.iter().map(|pod| &pod.metadata.labels);
        let claimants = history::claimants(&memories, &self.key.namespace, labels);
        if claimants.len() > 1 {
            let names: Vec<String> = claimants.iter().map(Key::to_string).collect();
            let text =
                format!("pods by selector {text} are controlled by multiple HPAs: [{}]", names.join(" "));
            return Err(Unselected::both("AmbiguousSelector", text));
        }
        Ok(selector)
    }

    fn pods(&self, selector: &Selector) -> Vec<Arc<Pod>> {
        let mut pods = self.world.list::<Pod>(&self.key.namespace);
        pods.retain(|pod| selector.matches(&pod.metadata.labels));
        pods
    }

    /// Weighs what the metrics ask for.
    fn answered(
        mut self,
        current: Current,
        selector: &Selector,
        (asked, begun): (&[bool], Instant),
        outcome: &Outcome,
        plan: &mut Plan,
    ) -> Next {
        let pods = self.pods(selector);
        let workload = Workload {
            pods: &pods,
            replicas: current.scale.spec.replicas,
            present: current.scale.status.replicas,
            tolerances: limits::tolerances(&self.autoscaler.spec),
            now_s: self.world.unix_seconds(),
        };
        let mut answers = outcome.results.iter();
        let specs = self.autoscaler.spec.metrics.clone();
        let proposals: Vec<Result<Proposal, Failure>> = specs
            .iter()
            .zip(asked)
            .map(|(spec, asked)| {
                let answer = if *asked { answers.next() } else { None };
                let proposal = propose(spec, &self.key.namespace, &workload, answer);
                measures::weighed(begun, &spec.type_, workload.replicas, &proposal);
                proposal
            })
            .collect();
        let status = |proposal: &Result<Proposal, Failure>| {
            proposal.as_ref().map_or_else(|_| MetricStatus::default(), |proposal| proposal.status.clone())
        };
        let statuses: Vec<MetricStatus> = proposals.iter().map(status).collect();
        let failures: Vec<&Failure> =
            proposals.iter().filter_map(|proposal| proposal.as_ref().err()).collect();
        for failure in &failures {
            plan.event(Note::warning(&self.autoscaler, failure.reason, failure.cause.as_str()));
        }
        // Of equal proposals the first counts.
        let largest = proposals.iter().flatten().fold(None::<&Proposal>, |best, proposal| match best {
            Some(best) if best.replicas != 0 && proposal.replicas <= best.replicas => Some(best),
            _ => Some(proposal),
        });
        let replicas = current.scale.spec.replicas;
        // A metric that cannot be had might have asked for more, so the target must not shrink without it.
        let usable = largest.filter(|best| failures.is_empty() || best.replicas >= replicas);
        let Some(best) = usable else {
            let Some(first) = failures.first() else {
                return self.finish(&current, None, statuses, plan);
            };
            self.fault = Fault::of(first);
            let told = format!("the HPA was unable to compute the replica count: {}", first.cause);
            self.tell(("ScalingActive", "False"), first.reason, told);
            let event = format!(
                "invalid metrics ({} invalid out of {}), first error is: {}",
                failures.len(),
                specs.len(),
                first.message
            );
            return self.give_up(&current, statuses, &event, plan);
        };
        let told = format!("the HPA was able to successfully calculate a replica count from {}", best.name);
        self.tell(("ScalingActive", "True"), "ValidMetricFound", told);
        let desired = best.replicas;
        let reason = match desired.cmp(&replicas) {
            std::cmp::Ordering::Greater => format!("{} above target", best.name),
            std::cmp::Ordering::Less => "All metrics below target".to_owned(),
            std::cmp::Ordering::Equal => String::new(),
        };
        let limited = {
            let mut memories = self.memories.lock();
            let memory = memories.entry(self.key.clone()).or_default();
            limits::limit(&self.autoscaler.spec, memory, replicas, desired, self.world.unix_ms())
        };
        self.tell(("AbleToScale", "True"), limited.stabilized.reason, limited.stabilized.message);
        let bound = if limited.bound { "True" } else { "False" };
        self.tell(("ScalingLimited", bound), limited.limited.reason, limited.limited.message);
        let desired = limited.limited.replicas;
        let verdict = (desired != replicas).then_some(Verdict { replicas: desired, reason });
        self.finish(&current, verdict, statuses, plan)
    }

    /// Writes the scale when it is to change, then tells.
    fn finish(
        mut self,
        current: &Current,
        verdict: Option<Verdict>,
        statuses: Vec<MetricStatus>,
        plan: &mut Plan,
    ) -> Next {
        let before = current.scale.spec.replicas;
        let Some(verdict) = verdict else {
            self.count(before, before, statuses);
            return self.write(plan);
        };
        let mut scale = current.scale.clone();
        scale.spec.replicas = verdict.replicas;
        plan.push(Write::call(current.target.clone(), Action::Update(Box::new(scale), Default::default())));
        plan.then(move |outcome, plan| {
            let after = verdict.replicas;
            if let Some(refused) = outcome.error() {
                let why = &refused.message;
                let event = format!("New size: {after}; reason: {}; error: {why}", verdict.reason);
                plan.event(Note::warning(&self.autoscaler, "FailedRescale", event));
                self.fault = Fault::Internal;
                self.tell(
                    ("AbleToScale", "False"),
                    "FailedUpdateScale",
                    format!("the HPA controller was unable to update the target scale: {why}"),
                );
                let desired = self.autoscaler.status.desired_replicas;
                self.count(before, desired, statuses);
                return self.write(plan);
            }
            self.tell(
                ("AbleToScale", "True"),
                "SucceededRescale",
                format!("the HPA controller was able to update the target scale to {after}"),
            );
            self.replicas = (before, after);
            let event = format!("New size: {after}; reason: {}", verdict.reason);
            plan.event(Note::normal(&self.autoscaler, "SuccessfulRescale", event));
            if self.autoscaler.spec.behavior.is_some() {
                let mut memories = self.memories.lock();
                let memory = memories.entry(self.key.clone()).or_default();
                memory.changed(before, after, self.world.unix_ms());
            }
            self.count(before, after, statuses);
            self.autoscaler.status.last_scale_time = Some(self.world.now());
            self.write(plan)
        });
        Next::After(PERIOD)
    }

    /// Tells that the scale could not be had.
    fn unable(mut self, why: &str, plan: &mut Plan) -> Next {
        plan.event(Note::warning(&self.autoscaler, "FailedGetScale", why));
        self.fault = Fault::Internal;
        self.tell(
            ("AbleToScale", "False"),
            "FailedGetScale",
            format!("the HPA controller was unable to get the target's current scale: {why}"),
        );
        self.write(plan)
    }

    /// Tells that the metrics do not say how many replicas there should be.
    fn give_up(
        mut self,
        current: &Current,
        statuses: Vec<MetricStatus>,
        event: &str,
        plan: &mut Plan,
    ) -> Next {
        let desired = self.autoscaler.status.desired_replicas;
        self.count(current.scale.spec.replicas, desired, statuses);
        let note = Note::warning(&self.autoscaler, "FailedComputeMetricsReplicas", event);
        let next = self.write(plan);
        plan.event(note);
        next
    }

    fn count(&mut self, current: i32, desired: i32, statuses: Vec<MetricStatus>) {
        let status = &mut self.autoscaler.status;
        *status = HorizontalPodAutoscalerStatus {
            current_replicas: current,
            desired_replicas: desired,
            last_scale_time: status.last_scale_time,
            current_metrics: statuses.into_iter().collect(),
            conditions: std::mem::take(&mut status.conditions),
            observed_generation: None,
        };
    }

    fn tell(&mut self, (type_, status): (&str, &str), reason: &str, message: impl Into<Str>) {
        set(
            &mut self.autoscaler.status.conditions,
            (type_, status),
            reason,
            message.into(),
            self.world.now(),
        );
    }

    /// Writes the status when it changed.
    fn write(self, plan: &mut Plan) -> Next {
        measures::looked(self.begun, self.replicas, self.fault);
        if self.autoscaler.status != self.before {
            let about = self.autoscaler.clone();
            let write = Write::update_status(self.autoscaler).on_failure(move |refused| {
                Some(Note::warning(&about as &dyn Object, "FailedUpdateStatus", refused.message.clone()))
            });
            plan.push(write);
            // Whatever came of it, the next look is due at its time and not sooner.
            plan.then(|_, _| Next::After(PERIOD));
        }
        Next::After(PERIOD)
    }
}

/// Sets a condition, with the time of the transition when its status changes.
fn set(
    conditions: &mut meta::List<HorizontalPodAutoscalerCondition>,
    (type_, status): (&str, &str),
    reason: &str,
    message: Str,
    now: Time,
) {
    let position = conditions.iter().position(|known| known.type_ == type_).unwrap_or_else(|| {
        conditions.push(HorizontalPodAutoscalerCondition { type_: type_.into(), ..Default::default() });
        conditions.len() - 1
    });
    let condition = &mut conditions[position];
    if condition.status != status {
        condition.last_transition_time = Some(now);
    }
    condition.status = status.into();
    condition.reason = reason.into();
    condition.message = message;
}
