//! How often pods of a DaemonSet fail on a node: a kubelet that refuses its pods is not asked again at once.

use std::collections::HashMap;

use meta::Str;

/// The first pause; it doubles with each further failure, up to the maximum.
const PAUSE_SECONDS: i64 = 1;
const PAUSE_MAX_SECONDS: i64 = 15 * 60;

/// What is remembered of one set: the pause of each node and when it began.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// uid and generation of the set: another set, or another template, begins anew.
    of: (Str, i64),
    pauses: HashMap<Str, (i64, i64)>,
}

impl Failures {
    /// Forgets what was about another state of the set, and nodes that did well for long.
    pub(super) fn keep_up(&mut self, uid: &Str, generation: i64, now: i64) {
        if (&self.of.0, self.of.1) != (uid, generation) {
            (self.of, self.pauses) = ((uid.clone(), generation), HashMap::new());
        }
        self.pauses.retain(|_, (_, since)| now - *since <= 2 * PAUSE_MAX_SECONDS);
    }

    /// Seconds until a pod that failed on the node may be replaced. At 0 it is, and the next pause begins.
    pub(super) fn pause(&mut self, node: &Str, now: i64) -> i64 {
        let next = match self.pauses.get(node) {
            Some((pause, since)) if now - since < *pause => return since + pause - now,
            Some((pause, _)) => (pause * 2).min(PAUSE_MAX_SECONDS),
            None => PAUSE_SECONDS,
        };
        self.pauses.insert(node.clone(), (next, now));
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_all_is_well_for_long() {
        let (mut failures, node) = (Failures::default(), Str::from("a"));
        failures.keep_up(&"set".into(), 1, 0);
        let asked: Vec<i64> = [0, 0, 1, 2, 3, 6, 7].map(|now| failures.pause(&node, now)).into();
        assert_eq!(asked, [0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(failures.pause(&Str::from("b"), 7), 0);
        failures.keep_up(&"set".into(), 1, 7 + 2 * PAUSE_MAX_SECONDS + 1);
        assert!(failures.pauses.is_empty());
        failures.pause(&node, 9);
        failures.keep_up(&"set".into(), 2, 9);
        assert!(failures.pauses.is_empty(), "another template may do better");
    }
}
