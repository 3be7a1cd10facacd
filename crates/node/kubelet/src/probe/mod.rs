//! Probes: when to look ([`state`], pure), how to look ([`check`]), and the task that does both for one container.

pub mod check;
mod grpc;
pub mod http;
pub mod state;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use types::core::v1::{Container, Probe};

pub use check::{Outcome, Target};
pub use state::{Counter, First, Verdict};

/// The three probes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Holds back the other two until it has succeeded once.
    Startup,
    /// Restarts the container.
    Liveness,
    /// Takes the pod out of its services.
    Readiness,
}

impl Kind {
    /// As events name it.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }

    /// The probe of that kind.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_deref(),
            Kind::Liveness => container.liveness_probe.as_deref(),
            Kind::Readiness => container.readiness_probe.as_deref(),
        }
    }
}

/// One probe of one running container, and where to report.
pub struct Prober {
    /// Which.
    pub kind: Kind,
    /// How.
    pub probe: Probe,
    /// At what.
    pub target: Target,
    /// When the container started.
    pub started: SystemTime,
    /// Whether it ran before this kubelet did.
    pub adopted: bool,
    /// Clock and randomness.
    pub env: env::Env,
    /// Told whenever the verdict changes.
    pub verdict: Box<dyn Fn(Verdict) + Send + Sync>,
    /// Told of every failure or oddity: reason and text of the event.
    pub event: Box<dyn Fn(&'static str, String) + Send + Sync>,
    /// Counts results: `successful`, `failed` or `unknown`.
    pub count: Arc<dyn Fn(&'static str) + Send + Sync>,
    /// Told how long each look took.
    pub took: Box<dyn Fn(Duration) + Send + Sync>,
}

/// First pause of the warm-up.
const WARM_UP: Duration = Duration::from_millis(10);

impl Prober {
    /// Probes until dropped.
    pub async fn run(self) {
        let period = Duration::from_secs(u64::try_from(self.probe.period_seconds.max(1)).unwrap_or(10));
        let age = self.env.clock.now().duration_since(self.started).unwrap_or_default();
        match First::of(self.kind, &self.probe, age, self.adopted) {
            First::Now => {}
            First::After(rest) => self.env.sleep(rest).await,
            First::Within(span) => self.env.sleep(span.mul_f64(self.env.random.fraction())).await,
            First::WarmUp => {
                if self.warm_up(period).await {
                    self.env.sleep(period).await;
                }
            }
        }
        let mut counter = Counter::new(&self.probe);
        loop {
            let outcome = self.look().await;
            self.report(&outcome);
            if let Some(verdict) = counter.count(&outcome) {
                (self.verdict)(verdict);
                if self.kind == Kind::Startup {
                    return;
                }
            }
            self.env.sleep(period).await;
        }
    }

    /// Looks often while the container comes up, so that a pod is ready when it is and not a period later. These looks
    /// can only succeed: failures are neither counted nor told. True when it took the place of the first regular look.
    async fn warm_up(&self, period: Duration) -> bool {
        if self.probe.success_threshold > 1 {
            return false;
        }
        let exec = self.probe.exec.is_some();
        let mut pause = if exec { WARM_UP * 10 } else { WARM_UP };
        let mut spent = Duration::ZERO;
        loop {
            let outcome = self.look().await;
            if outcome.is_success() {
                self.report(&outcome);
                (self.verdict)(Verdict::Success);
                if self.kind == Kind::Startup {
                    std::future::pending::<()>().await;
                }
                return true;
            }
            spent += pause;
            if spent >= period {
                return false;
            }
            self.env.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    async fn look(&self) -> Outcome {
        let timeout = Duration::from_secs(u64::try_from(self.probe.timeout_seconds.max(1)).unwrap_or(1));
        let began = Instant::now();
        let outcome = check::check(&self.probe, &self.target, timeout).await;
        (self.took)(began.elapsed());
        outcome
    }

    fn report(&self, outcome: &Outcome) {
        let title = self.kind.title();
        match outcome {
            Outcome::Success(_) => (self.count)("successful"),
            Outcome::Warning(text) => {
                (self.count)("successful");
                (self.event)("ProbeWarning", format!("{title} probe warning: {text}"));
            }
            Outcome::Failure(text) => {
                (self.count)("failed");
                (self.event)("Unhealthy", format!("{title} probe failed: {text}"));
            }
            Outcome::Unknown(text) => {
                (self.count)("unknown");
                let text = format!("{title} probe errored and resulted in unknown state: {text}");
                (self.event)("Unhealthy", text);
            }
        }
    }
}
