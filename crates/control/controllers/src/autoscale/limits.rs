//! What holds a recommendation back: its own history, limits on the rate of change, and the smallest and largest size.

use meta::Quantity;
use types::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec};

use super::calculate::Tolerances;
use super::history::Memory;

/// How long a larger recommendation keeps a target from shrinking: `--…-downscale-stabilization`.
const STABILIZATION_S: i32 = 300;
/// How far from its target a metric may be: `--…-tolerance`.
const TOLERANCE: f64 = 0.1;

/// What a limit did, as a condition tells it.
pub(super) struct Verdict {
    pub(super) replicas: i32,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
}

/// The number of replicas to have, what history made of the recommendation, and what the limits made of that.
pub(super) struct Limited {
    pub(super) stabilized: Verdict,
    pub(super) limited: Verdict,
    /// Whether the limits changed the number.
    pub(super) bound: bool,
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const STABILIZED_UP: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const STABILIZED_DOWN: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");

fn verdict(replicas: i32, (reason, message): (&'static str, &'static str)) -> Verdict {
    Verdict { replicas, reason, message }
}

/// The tolerances of an autoscaler.
pub(super) fn tolerances(spec: &HorizontalPodAutoscalerSpec) -> Tolerances {
    let own = |rules: Option<&HPAScalingRules>| {
        rules.and_then(|rules| rules.tolerance).map_or(TOLERANCE, Quantity::as_f64)
    };
    let behavior = spec.behavior.as_deref();
    Tolerances {
        up: own(behavior.and_then(|behavior| behavior.scale_up.as_deref())),
        down: own(behavior.and_then(|behavior| behavior.scale_down.as_deref())),
    }
}

/// The smallest size.
pub(super) fn smallest(spec: &HorizontalPodAutoscalerSpec) -> i32 {
    spec.min_replicas.unwrap_or(1)
}

/// Holds `desired` back and remembers it.
pub(super) fn limit(
    spec: &HorizontalPodAutoscalerSpec,
    memory: &mut Memory,
    current: i32,
    desired: i32,
    now_ms: i64,
) -> Limited {
    let (stabilized, changed) = match &spec.behavior {
        None => stabilize(memory, desired, now_ms),
        Some(behavior) => {
            let window = |rules: &Option<Box<HPAScalingRules>>| {
                rules.as_ref().and_then(|rules| rules.stabilization_window_seconds)
            };
            let up = window(&behavior.scale_up).unwrap_or(0);
            let down = window(&behavior.scale_down).unwrap_or(STABILIZATION_S);
            stabilize_both(memory, current, desired, (up, down), now_ms)
        }
    };
    memory.recommend(desired, now_ms);
    let number = stabilized.replicas;
    let limited = match &spec.behavior {
        None => by_factor(spec, current, number),
        Some(behavior) => {
            let rules = (behavior.scale_up.as_deref(), behavior.scale_down.as_deref());
            by_policies(spec, memory, current, number, rules, now_ms)
        }
    };
    let bound = limited.replicas != number;
    let stabilized = if changed { stabilized } else { verdict(number, READY) };
    Limited { stabilized, limited, bound }
}

/// The highest of the recent recommendations.
fn stabilize(memory: &Memory, desired: i32, now_ms: i64) -> (Verdict, bool) {
    let since = now_ms - i64::from(STABILIZATION_S) * 1000;
    let recent = memory.recommendations.iter().filter(|known| known.at_ms >= since);
    let highest = recent.map(|known| known.replicas).max().map_or(desired, |known| known.max(desired));
    (verdict(highest, STABILIZED_DOWN), highest != desired)
}

/// The current number, moved as little as the recommendations of both windows allow.
fn stabilize_both(
    memory: &Memory,
    current: i32,
    desired: i32,
    (up_s, down_s): (i32, i32),
    now_ms: i64,
) -> (Verdict, bool) {
    let recent = |seconds: i32| {
        let since = now_ms - i64::from(seconds) * 1000;
        memory.recommendations.iter().filter(move |known| known.at_ms > since).map(|known| known.replicas)
    };
    let lowest = recent(up_s).min().map_or(desired, |known| known.min(desired));
    let highest = recent(down_s).max().map_or(desired, |known| known.max(desired));
    let number = current.max(lowest).min(highest);
    let why = if desired >= current { STABILIZED_UP } else { STABILIZED_DOWN };
    (verdict(number, why), number != desired)
}

/// Without a behavior a target at most doubles, or grows to four.
fn by_factor(spec: &HorizontalPodAutoscalerSpec, current: i32, desired: i32) -> Verdict {
    let rate = current.saturating_mul(2).max(4);
    let (largest, why) =
        if spec.max_replicas > rate { (rate, UP_LIMIT) } else { (spec.max_replicas, TOO_MANY) };
    let smallest = smallest(spec);
    if desired < smallest {
        verdict(smallest, TOO_FEW)
    } else if desired > largest {
        verdict(largest, why)
    } else {
        verdict(desired, WITHIN)
    }
}

fn by_policies(
    spec: &HorizontalPodAutoscalerSpec,
    memory: &Memory,
    current: i32,
    desired: i32,
    (up, down): (Option<&HPAScalingRules>, Option<&HPAScalingRules>),
    now_ms: i64,
) -> Verdict {
    if desired > current {
        let grown = |policy: &HPAScalingPolicy, start: i32| match policy.type_.as_str() {
            "Pods" => start.saturating_add(policy.value),
            // Rounded up, so that a small target can grow at all.
            _ => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        };
        let rate = rate(memory, current, up, now_ms, grown, Direction::Up).max(current);
        let (largest, why) =
            if spec.max_replicas > rate { (rate, UP_LIMIT) } else { (spec.max_replicas, TOO_MANY) };
        if desired > largest {
            return verdict(largest, why);
        }
    } else if desired < current {
        let shrunk = |policy: &HPAScalingPolicy, start: i32| match policy.type_.as_str() {
            "Pods" => start.saturating_sub(policy.value),
            _ => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        };
        let rate = rate(memory, current, down, now_ms, shrunk, Direction::Down).min(current);
        let smallest = smallest(spec);
        let (smallest, why) = if smallest < rate { (rate, DOWN_LIMIT) } else { (smallest, TOO_FEW) };
        if desired < smallest {
            return verdict(smallest, why);
        }
    }
    verdict(desired, WITHIN)
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Up,
    Down,
}

/// How far the policies let the target go within their periods. Without any the maximum is the only limit.
fn rate(
    memory: &Memory,
    current: i32,
    rules: Option<&HPAScalingRules>,
    now_ms: i64,
    propose: impl Fn(&HPAScalingPolicy, i32) -> i32,
    direction: Direction,
) -> i32 {
    let select = rules.and_then(|rules| rules.select_policy.as_deref()).unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let policies = rules.map(|rules| rules.policies.as_slice()).unwrap_or_default();
    let proposed = policies
        .iter()
        .map(|policy| propose(policy, memory.replicas_before(current, policy.period_seconds, now_ms)));
    // The most change is the largest number upwards and the smallest downwards.
    if (select == "Min") == (direction == Direction::Up) {
        proposed.min().unwrap_or(i32::MAX)
    } else {
        proposed.max().unwrap_or(i32::MIN)
    }
}
