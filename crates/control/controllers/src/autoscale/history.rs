//! What is remembered of an autoscaler between two looks.

use std::collections::HashMap;

use informer::Key;
use meta::{Map, Selector, Str};

/// Recommendations and changes older than this count for nothing: the longest window and the longest period that
/// validation lets through are one hour and half an hour.
const HORIZON_MS: i64 = 3_600_000;

/// A number of replicas, at a time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamped {
    pub(super) at_ms: i64,
    pub(super) replicas: i32,
}

/// What is remembered of one autoscaler.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What the metrics asked for, before any limit.
    pub(super) recommendations: Vec<Stamped>,
    /// How many replicas were added.
    pub(super) added: Vec<Stamped>,
    /// How many replicas were taken away.
    pub(super) removed: Vec<Stamped>,
    /// The pods of its target.
    pub(super) selector: Option<Selector>,
}

impl Memory {
    /// Starts the history with the number of replicas found.
    pub(super) fn begin(&mut self, replicas: i32, now_ms: i64) {
        if self.recommendations.is_empty() {
            self.recommend(replicas, now_ms);
        }
    }

    /// Remembers what the metrics ask for.
    pub(super) fn recommend(&mut self, replicas: i32, now_ms: i64) {
        remember(&mut self.recommendations, replicas, now_ms);
    }

    /// Remembers a change that was made.
    pub(super) fn changed(&mut self, before: i32, after: i32, now_ms: i64) {
        if after > before {
            remember(&mut self.added, after - before, now_ms);
        } else {
            remember(&mut self.removed, before - after, now_ms);
        }
    }

    /// The number of replicas that the target had `seconds` ago.
    pub(super) fn replicas_before(&self, current: i32, seconds: i32, now_ms: i64) -> i32 {
        let since = now_ms - i64::from(seconds) * 1000;
        let sum = |list: &[Stamped]| {
            list.iter().filter(|change| change.at_ms > since).map(|change| change.replicas).sum::<i32>()
        };
        current - sum(&self.added) + sum(&self.removed)
    }
}

fn remember(list: &mut Vec<Stamped>, replicas: i32, now_ms: i64) {
    list.retain(|known| known.at_ms > now_ms - HORIZON_MS);
    list.push(Stamped { at_ms: now_ms, replicas });
}

/// The autoscalers of `namespace` whose targets' selectors select one of the pods with these labels, in order of name.
pub(super) fn claimants<'a>(
    memories: &HashMap<Key, Memory>,
    namespace: &str,
    pods: impl Iterator<Item = &'a Map<Str>> + Clone,
) -> Vec<Key> {
    let mut keys: Vec<Key> = memories
        .iter()
        .filter(|(key, _)| key.namespace == namespace)
        .filter(|(_, memory)| {
            let selects = |selector: &Selector| pods.clone().any(|labels| selector.matches(labels));
            memory.selector.as_ref().is_some_and(selects)
        })
        .map(|(key, _)| key.clone())
        .collect();
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    keys
}
