//! When a probe looks first, and thresholds: how many results in a row make a verdict. Pure.

use std::time::Duration;

use types::core::v1::Probe;

use super::Kind;
use super::check::Outcome;

/// When a probe looks for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// At once.
    Now,
    /// Then.
    After(Duration),
    /// At some moment within so long: probes of all containers that a kubelet finds would come at once.
    Within(Duration),
    /// Often, until the container has come up.
    WarmUp,
}

impl First {
    /// For a container of this age; `adopted` if it ran before the kubelet did. What a startup probe held back starts
    /// late, and yet at once.
    pub fn of(kind: Kind, probe: &Probe, age: Duration, adopted: bool) -> First {
        let seconds = |number: i32| Duration::from_secs(u64::try_from(number).unwrap_or(0));
        match seconds(probe.initial_delay_seconds).checked_sub(age) {
            Some(rest) if !rest.is_zero() => First::After(rest),
            _ if adopted => First::Within(seconds(probe.period_seconds.max(1))),
            _ if kind == Kind::Liveness => First::Now,
            _ => First::WarmUp,
        }
    }
}

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
    fn first_looks() {
        let probe = Probe { initial_delay_seconds: 5, period_seconds: 30, ..Default::default() };
        let seconds = Duration::from_secs;
        for (kind, age, adopted, want, why) in [
            (Kind::Readiness, 2, false, First::After(seconds(3)), "the initial delay runs"),
            (Kind::Readiness, 2, true, First::After(seconds(3)), "and goes on under another kubelet"),
            (
                Kind::Readiness,
                40,
                false,
                First::WarmUp,
                "a startup probe held it back for more than a period",
            ),
            (Kind::Readiness, 5, false, First::WarmUp, "the delay is over"),
            (Kind::Liveness, 40, false, First::Now, "nothing to wait for"),
            (Kind::Startup, 40, true, First::Within(seconds(30)), "one of many"),
        ] {
            assert_eq!(First::of(kind, &probe, seconds(age), adopted), want, "{why}");
        }
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
