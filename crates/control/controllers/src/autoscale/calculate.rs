//! The arithmetic of one metric: from what the pods measure to a number of replicas.
//!
//! The number is the ratio of usage to target, times the pods that the usage was measured of. Pods of which nothing is
//! known are counted so that they hold a change back: as idle when the rest says up, as busy when it says down, and
//! neither may turn the direction.

use std::sync::Arc;

use meta::{Map, Str};
use types::core::v1::Pod;

use super::metrics::{Sample, Samples};
use crate::common::pods;

/// While a pod is younger than this, its CPU counts only from when it is ready: `--…-cpu-initialization-period`.
const CPU_INITIALIZATION_S: i64 = 300;
/// A pod that was unready this soon after its start was never ready: `--…-initial-readiness-delay`.
const INITIAL_READINESS_S: i64 = 30;

const NO_PODS: &str = "no pods returned by selector while calculating replica count";
const NO_METRICS: &str = "did not receive metrics for targeted pods (pods might be unready)";

/// How far a ratio may be from 1 without any change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    fn allow(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What the arithmetic works on.
pub(super) struct Workload<'a> {
    /// The pods that the target's selector selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// Replicas that the target wants now.
    pub(super) replicas: i32,
    /// Replicas that the target has now.
    pub(super) present: i32,
    pub(super) tolerances: Tolerances,
    pub(super) now_s: i64,
}

/// A number of replicas, and what was measured on the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proposed {
    pub(super) replicas: i32,
    /// Percent of the requests, for utilization.
    pub(super) utilization: Option<i32>,
    /// Per pod, or altogether, in thousandths.
    pub(super) value: i64,
}

/// Pods by what is known of them.
struct Groups {
    ready: usize,
    unready: Vec<Str>,
    missing: Vec<Str>,
    ignored: Vec<Str>,
}

impl Workload<'_> {
    /// Replicas by usage as a percentage of what the pods request.
    pub(super) fn by_utilization(
        &self,
        resource: &str,
        mut samples: Samples,
        requests: impl FnOnce() -> Result<Map<i64>, String>,
        target: i32,
    ) -> Result<Proposed, String> {
        let groups = self.group(resource, &mut samples)?;
        let requests = requests()?;
        let measure = |samples: &Samples| utilization(samples, &requests, target);
        let (ratio, percent, value) = measure(&samples)?;
        let busy = i64::from(target.max(100));
        let full = |pod: &Str| requests.get(pod).copied().unwrap_or(0) * busy / 100;
        let replicas = self.replicas(&groups, samples, ratio, full, |samples| Ok(measure(samples)?.0))?;
        Ok(Proposed { replicas, utilization: Some(percent), value })
    }

    /// Replicas by usage per pod.
    pub(super) fn by_average(
        &self,
        resource: &str,
        mut samples: Samples,
        target: i64,
    ) -> Result<Proposed, String> {
        let groups = self.group(resource, &mut samples)?;
        let measure = |samples: &Samples| {
            let average = sum(samples.values().map(|sample| sample.value)) / (samples.len() as i64).max(1);
            (average as f64 / target as f64, average)
        };
        let (ratio, value) = measure(&samples);
        let replicas =
            self.replicas(&groups, samples, ratio, |_| target, |samples| Ok(measure(samples).0))?;
        Ok(Proposed { replicas, utilization: None, value })
    }

    /// Replicas by one value of the whole workload.
    pub(super) fn by_value(&self, value: i64, target: i64) -> Result<Proposed, String> {
        let ratio = value as f64 / target as f64;
        let replicas = if self.replicas == 0 {
            ceil(ratio)
        } else if self.tolerances.allow(ratio) {
            self.replicas
        } else {
            if self.pods.is_empty() {
                return Err(format!("unable to calculate ready pods: {NO_PODS}"));
            }
            let ready = |pod: &&Arc<Pod>| pod.status.phase == "Running" && pods::is_ready(pod);
            ceil(ratio * self.pods.iter().filter(ready).count() as f64)
        };
        Ok(Proposed { replicas, utilization: None, value })
    }

    /// Replicas by one value, so much of it for each.
    pub(super) fn by_value_per_pod(&self, value: i64, target: i64) -> Proposed {
        let present = f64::from(self.present);
        let ratio = value as f64 / (target as f64 * present);
        let replicas =
            if self.tolerances.allow(ratio) { self.present } else { ceil(value as f64 / target as f64) };
        let each = if value == i64::MAX { value } else { (value as f64 / present).ceil() as i64 };
        Proposed { replicas, utilization: None, value: each }
    }

    /// Sorts the pods by what is known of them, and keeps the samples that count.
    fn group(&self, resource: &str, samples: &mut Samples) -> Result<Groups, String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.to_owned());
        }
        let mut groups = Groups { ready: 0, unready: Vec::new(), missing: Vec::new(), ignored: Vec::new() };
        for pod in self.pods {
            let name = pod.metadata.name.clone();
            if pod.metadata.deletion_timestamp.is_some() || pod.status.phase == "Failed" {
                groups.ignored.push(name);
            } else if pod.status.phase == "Pending" {
                groups.unready.push(name);
            } else {
                match samples.get(&name) {
                    None => groups.missing.push(name),
                    Some(sample) if resource == "cpu" && self.warms_up(pod, sample) => {
                        groups.unready.push(name);
                    }
                    Some(_) => groups.ready += 1,
                }
            }
        }
        samples.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
        if samples.is_empty() {
            return Err(NO_METRICS.to_owned());
        }
        Ok(groups)
    }

    /// Whether the pod's CPU says how it starts rather than how it works.
    fn warms_up(&self, pod: &Pod, sample: &Sample) -> bool {
        let ready = pods::condition(pod, "Ready");
        let (Some(ready), Some(started)) = (ready, pod.status.start_time) else { return true };
        let since = ready.last_transition_time.map_or(0, |time| time.seconds);
        let unready = ready.status == "False";
        if started.seconds + CPU_INITIALIZATION_S > self.now_s {
            unready || sample.at_s < since + sample.window_s
        } else {
            unready && started.seconds + INITIAL_READINESS_S > since
        }
    }

    /// The number of replicas for a `ratio`, after guesses about the pods that nothing is known of. `full` is what a pod
    /// uses that is as busy as it can be.
    fn replicas(
        &self,
        groups: &Groups,
        mut samples: Samples,
        ratio: f64,
        full: impl Fn(&Str) -> i64,
        measure: impl Fn(&Samples) -> Result<f64, String>,
    ) -> Result<i32, String> {
        let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            let same = self.tolerances.allow(ratio);
            return Ok(if same { self.replicas } else { ceil(ratio * groups.ready as f64) });
        }
        let guess = |value| Sample { value, at_s: 0, window_s: 0 };
        for name in &groups.missing {
            if ratio < 1.0 {
                samples.insert(name.clone(), guess(full(name)));
            } else if ratio > 1.0 {
                samples.insert(name.clone(), guess(0));
            }
        }
        if up_with_unready {
            samples.extend(groups.unready.iter().map(|name| (name.clone(), guess(0))));
        }
        let guessed = measure(&samples)?;
        let turned = (ratio < 1.0 && guessed > 1.0) || (ratio > 1.0 && guessed < 1.0);
        if self.tolerances.allow(guessed) || turned {
            return Ok(self.replicas);
        }
        let replicas = ceil(guessed * samples.len() as f64);
        let turned =
            (guessed < 1.0 && replicas > self.replicas) || (guessed > 1.0 && replicas < self.replicas);
        Ok(if turned { self.replicas } else { replicas })
    }
}

/// Ratio to the target, percentage of the requests, and usage per pod.
fn utilization(samples: &Samples, requests: &Map<i64>, target: i32) -> Result<(f64, i32, i64), String> {
    let known = samples.iter().filter_map(|(name, sample)| Some((sample.value, *requests.get(name)?)));
    let (mut used, mut requested, mut count) = (0_i64, 0_i64, 0_i64);
    for (value, request) in known {
        used = used.saturating_add(value);
        requested = requested.saturating_add(request);
        count += 1;
    }
    if requested == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    let percent = i32::try_from(i128::from(used) * 100 / i128::from(requested)).unwrap_or(i32::MAX);
    Ok((f64::from(percent) / f64::from(target), percent, used / count.max(1)))
}

/// The sum, at most the largest number there is.
pub(super) fn sum(values: impl Iterator<Item = i64>) -> i64 {
    values.fold(0, i64::saturating_add)
}

fn ceil(replicas: f64) -> i32 {
    replicas.ceil() as i32
}
