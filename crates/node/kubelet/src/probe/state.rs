//! Thresholds: how many results in a row make a verdict. Pure.

use types::core::v1::Probe;

use super::check::Outcome;

/// What a probe says of its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Started, alive, ready.
    Success,
    /// Not.
    Failure,
}

/// Counts results of one probe.
#[derive(Clone, Debug)]
pub struct Counter {
    success: i32,
    failure: i32,
    last: Option<Verdict>,
    run: i32,
    current: Option<Verdict>,
}

impl Counter {
    /// Starts counting. Whatever the container was thought to be before (the kubelet may have restarted meanwhile, or the
    /// warm-up found it ready), the first verdict is told.
    pub fn new(probe: &Probe) -> Counter {
        Counter {
            success: probe.success_threshold.max(1),
            failure: if probe.failure_threshold < 1 { 3 } else { probe.failure_threshold },
            last: None,
            run: 0,
            current: None,
        }
    }

    /// Takes one result; returns the verdict if it is another than before. A result that is unknown changes nothing.
    pub fn count(&mut self, outcome: &Outcome) -> Option<Verdict> {
        let result = match outcome {
            Outcome::Success(_) | Outcome::Warning(_) => Verdict::Success,
            Outcome::Failure(_) => Verdict::Failure,
            Outcome::Unknown(_) => return None,
        };
        self.run = if self.last == Some(result) { self.run + 1 } else { 1 };
        self.last = Some(result);
        let needed = if result == Verdict::Success { self.success } else { self.failure };
        if self.run < needed || self.current == Some(result) {
            return None;
        }
        self.current = Some(result);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results `+`, `-`, `?` in, verdicts out (`.` for none).
    fn run(success: i32, failure: i32, results: &str) -> String {
        let probe = Probe { success_threshold: success, failure_threshold: failure, ..Default::default() };
        let mut counter = Counter::new(&probe);
        let outcome = |c| match c {
            '+' => Outcome::Success(String::new()),
            '-' => Outcome::Failure(String::new()),
            _ => Outcome::Unknown(String::new()),
        };
        results
            .chars()
            .map(|c| match counter.count(&outcome(c)) {
                Some(Verdict::Success) => '+',
                Some(Verdict::Failure) => '-',
                None => '.',
            })
            .collect()
    }

    #[test]
    fn thresholds() {
        for (success, failure, results, want, why) in [
            (1, 3, "+--+---+", "+.....-+", "failures in a row"),
            (2, 1, "++-+++", ".+-.+.", "successes in a row"),
            (1, 3, "+-?--", "+...-", "unknown neither counts nor resets"),
            (1, 1, "-", "-", "what was thought before does not hide the first failure"),
            (1, 2, "--", ".-", "nor the first of several"),
            (1, 3, "--+", "..+", "a start"),
            (0, 0, "---", "..-", "the API's defaults"),
        ] {
            assert_eq!(run(success, failure, results), want, "{why}");
        }
    }
}
