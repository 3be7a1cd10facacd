//! Leader election over a Lease, with client-go's rules and timings.
//!
//! The clocks of other processes are not trusted: what counts is how long this process has seen the lease unchanged.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use client::Client;
use env::Env;
use meta::{MicroTime, Status, Str};
use telemetry::GaugeFamily;
use tokio::sync::watch;
use types::coordination::v1::{Lease, LeaseSpec};

use crate::events::{Note, Recorder};

static MASTER: LazyLock<GaugeFamily> = LazyLock::new(|| {
    telemetry::gauge(
        "leader_election_master_status",
        "Whether this process leads by the lease of that name: 1 leads, 0 stands by.",
        &["name"],
    )
});

/// Which lease, who asks, and how patiently.
#[derive(Clone)]
pub struct Election {
    /// Namespace of the lease.
    pub namespace: Str,
    /// Name of the lease.
    pub name: Str,
    /// This process, unlike any other.
    pub identity: Str,
    /// How long others respect a lease that is not renewed.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Pause between attempts.
    pub retry_period: Duration,
    /// Who tells of it in events about the lease.
    pub recorder: Option<Recorder>,
}

impl Election {
    /// Upstream's timings: 15 s lease, 10 s to renew it, an attempt every 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Election {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            recorder: None,
        }
    }
}

/// Whether this process leads, as it changes.
pub type Leadership = watch::Receiver<bool>;

/// What this process last saw of the lease.
#[derive(Default)]
struct Seen {
    lease: Option<Lease>,
    at: Duration,
}

/// Runs for leader, tells `leading` of every change, and gives the lease back when `stop` completes.
pub async fn elect(
    client: Client,
    election: Election,
    env: Env,
    leading: watch::Sender<bool>,
    stop: impl Future,
) {
    let mut candidate = Candidate { client, election, env, seen: Seen::default() };
    MASTER.with(&[&candidate.election.name]).set(0.0);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            _ = &mut stop => return,
            () = candidate.acquire() => {}
        }
        candidate.tell("became leader");
        MASTER.with(&[&candidate.election.name]).set(1.0);
        leading.send_replace(true);
        let stopped = tokio::select! {
            _ = &mut stop => true,
            () = candidate.hold() => false,
        };
        MASTER.with(&[&candidate.election.name]).set(0.0);
        leading.send_replace(false);
        candidate.tell("stopped leading");
        if stopped {
            return candidate.release().await;
        }
    }
}

struct Candidate {
    client: Client,
    election: Election,
    env: Env,
    seen: Seen,
}

impl Candidate {
    /// Says what became of this process: in the log, and where wanted in an event.
    fn tell(&self, what: &str) {
        let Election { name, identity, recorder, .. } = &self.election;
        tracing::info!(lease = %name, "{what}");
        if let (Some(recorder), Some(lease)) = (recorder, &self.seen.lease) {
            recorder.record(Note::normal(lease, "LeaderElection", format!("{identity} {what}")));
        }
    }

    async fn acquire(&mut self) {
        while let Err(status) = self.attempt().await {
            tracing::debug!(status = %status.message, "the lease was not acquired");
            let pause = self.env.random.jitter(self.election.retry_period, 1.2);
            self.env.sleep(pause).await;
        }
    }

    /// Renews until that fails for as long as the deadline.
    async fn hold(&mut self) {
        let mut renewed = self.env.clock.monotonic();
        loop {
            self.env.sleep(self.election.retry_period).await;
            let clock = self.env.clock.clone();
            let left = self.election.renew_deadline.saturating_sub(clock.monotonic().saturating_sub(renewed));
            // A server that does not answer must not keep this process leading while another one takes over.
            let renewal = tokio::select! {
                renewal = self.attempt() => renewal,
                () = clock.sleep(left) => return,
            };
            match renewal {
                Ok(()) => renewed = self.env.clock.monotonic(),
                Err(status) => {
                    let age = self.env.clock.monotonic().saturating_sub(renewed);
                    tracing::debug!(status = %status.message, ?age, "the lease was not renewed");
                    if age >= self.election.renew_deadline {
                        return;
                    }
                }
            }
        }
    }

    fn leads(&self) -> bool {
        let holder = self.seen.lease.as_ref().and_then(|lease| lease.spec.holder_identity.as_ref());
        holder == Some(&self.election.identity)
    }

    fn valid(&self) -> bool {
        let seconds =
            self.seen.lease.as_ref().and_then(|lease| lease.spec.lease_duration_seconds).unwrap_or(0);
        self.seen.at + Duration::from_secs(seconds.max(0) as u64) > self.env.clock.monotonic()
    }

    fn see(&mut self, lease: Lease) {
        if self.seen.lease.as_ref() != Some(&lease) {
            self.seen = Seen { lease: Some(lease), at: self.env.clock.monotonic() };
        }
    }

    /// Acquires the lease or renews it.
    async fn attempt(&mut self) -> Result<(), Status> {
        let api = self.client.namespaced::<Lease>(&self.election.namespace);
        let now = MicroTime::from_unix_micros(self.env.unix_ms() * 1000);
        let mine = LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: Some(self.election.lease_duration.as_secs() as i32),
            acquire_time: Some(now),
            renew_time: Some(now),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        };
        if self.leads()
            && self.valid()
            && let Some(held) = &self.seen.lease
        {
            let renewed =
                Lease { spec: LeaseSpec { renew_time: Some(now), ..held.spec.clone() }, ..held.clone() };
            if let Ok(stored) = api.update(renewed).await {
                self.see((*stored).clone());
                return Ok(());
            }
        }
        let Some(stored) = api.get_optional(&self.election.name).await? else {
            let mut lease = Lease { spec: mine, ..Lease::default() };
            lease.metadata.name = self.election.name.clone();
            lease.metadata.namespace = self.election.namespace.clone();
            let created = api.create(lease).await?;
            self.see((*created).clone());
            return Ok(());
        };
        self.see((*stored).clone());
        let held = stored.spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty());
        if held && !self.leads() && self.valid() {
            return Err(Status::conflict(
                &meta::GroupResource::new("coordination.k8s.io", "leases"),
                &self.election.name,
                "the lease is held and has not yet expired",
            ));
        }
        let before = stored.spec.lease_transitions.unwrap_or(0);
        let spec = if self.leads() {
            LeaseSpec { renew_time: Some(now), ..stored.spec.clone() }
        } else {
            LeaseSpec { lease_transitions: Some(before + 1), ..mine }
        };
        let updated = api.update(Lease { spec, ..(*stored).clone() }).await?;
        self.see((*updated).clone());
        Ok(())
    }

    /// Gives the lease back, so that the next leader need not wait for its end.
    async fn release(&mut self) {
        let api = self.client.namespaced::<Lease>(&self.election.namespace);
        let Ok(Some(stored)) = api.get_optional(&self.election.name).await else { return };
        if stored.spec.holder_identity.as_ref() != Some(&self.election.identity) {
            return;
        }
        let now = MicroTime::from_unix_micros(self.env.unix_ms() * 1000);
        let spec = LeaseSpec {
            holder_identity: Some(Str::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now),
            renew_time: Some(now),
            lease_transitions: stored.spec.lease_transitions,
            ..LeaseSpec::default()
        };
        if let Err(status) = api.update(Lease { spec, ..(*stored).clone() }).await {
            tracing::debug!(status = %status.message, "the lease was not given back");
        }
    }
}
