//! The probes of a pod's running containers.

use std::sync::Arc;

use reconcile::EventType::Warning;
use types::core::v1::Container;

use super::{Msg, Worker};
use crate::metrics::{PROBES, PROBES_TOOK};
use crate::pod::plan::ProbeFailure;
use crate::pod::view::{is_running, time};
use crate::pod::{Role, container};
use crate::probe::{Kind, Prober, Target, Verdict};

/// What is known of one running container beyond what the runtime says.
pub struct Watched {
    /// Its startup probe (if any) has succeeded.
    pub started: bool,
    /// Its readiness probe (if any) says so.
    pub ready: bool,
    /// A probe wants it to be restarted.
    pub failed: Option<ProbeFailure>,
    tasks: Vec<(Kind, env::Task)>,
    rest_begun: bool,
}

impl Watched {
    /// The pod is ending: only readiness is still of interest.
    pub fn keep_readiness(&mut self) {
        self.tasks.retain(|(kind, _)| *kind == Kind::Readiness);
    }
}

impl Worker {
    /// Begins probing containers that have come up, and forgets those that have gone.
    pub(super) fn sync_probes(&mut self) {
        let running: Vec<(String, String, i64)> = self
            .view
            .running()
            .map(|c| {
                let started = match c.state {
                    runtime::ContainerState::Running { started_at_ns, .. } => started_at_ns,
                    _ => 0,
                };
                (c.id.clone(), c.config.name.clone(), started)
            })
            .collect();
        self.watched.retain(|id, _| running.iter().any(|(r, _, _)| r == id));
        for (id, name, started_ns) in running {
            if self.watched.contains_key(&id) {
                continue;
            }
            let Some((role, spec)) = container(&self.pod, &name) else { continue };
            let spec = Arc::new(spec.into_owned());
            let watched = self.watch(&id, role, &spec, started_ns);
            self.watched.insert(id, watched);
        }
    }

    fn watch(&self, id: &str, role: Role, spec: &Arc<Container>, started_ns: i64) -> Watched {
        // What was reported of this very container before (the kubelet may have restarted) holds until a probe says
        // otherwise: a restart of the kubelet must not take pods out of their services.
        let status = &self.pod.status;
        let known = status.container_statuses.iter().chain(status.init_container_statuses.iter());
        let known = known.filter(|s| s.container_id.ends_with(id)).find(|s| s.name == spec.name);
        let was_started = known.is_some_and(|s| s.started == Some(true));
        let was_ready = known.is_some_and(|s| s.ready);
        let mut watched = Watched {
            started: spec.startup_probe.is_none() || was_started,
            ready: spec.readiness_probe.is_none() || was_ready,
            failed: None,
            tasks: vec![],
            rest_begun: false,
        };
        if role == Role::Ephemeral {
            return watched;
        }
        let adopted = time(started_ns) < self.shared.since;
        if watched.started {
            self.begin_rest(&mut watched, id, role, spec, started_ns, adopted);
        } else {
            watched.tasks.extend(self.prober(Kind::Startup, id, role, spec, started_ns, adopted));
        }
        watched
    }

    /// Liveness and readiness wait for startup.
    fn begin_rest(
        &self,
        watched: &mut Watched,
        id: &str,
        role: Role,
        spec: &Arc<Container>,
        started_ns: i64,
        adopted: bool,
    ) {
        if !std::mem::replace(&mut watched.rest_begun, true) {
            for kind in [Kind::Liveness, Kind::Readiness] {
                watched.tasks.extend(self.prober(kind, id, role, spec, started_ns, adopted));
            }
        }
    }

    fn prober(
        &self,
        kind: Kind,
        id: &str,
        role: Role,
        spec: &Arc<Container>,
        started_ns: i64,
        adopted: bool,
    ) -> Option<(Kind, env::Task)> {
        let probe = kind.of(spec)?.clone();
        let target = Target {
            runtime: self.shared.runtime.clone(),
            container_id: id.to_owned(),
            container: spec.clone(),
            ip: self.primary_ip(),
        };
        let (inbox, told) = (self.inbox.clone(), id.to_owned());
        let (shared, pod, name) = (self.shared.clone(), self.pod.clone(), spec.name.clone());
        let labels = [
            self.pod.metadata.namespace.clone(),
            self.pod.metadata.name.clone(),
            self.pod.metadata.uid.clone(),
        ];
        let (counted, timed, of) = (spec.name.clone(), spec.name.clone(), labels.clone());
        let prober = Prober {
            kind,
            probe,
            target,
            started: time(started_ns),
            adopted,
            env: self.shared.env.clone(),
            verdict: Box::new(move |verdict| {
                if let Some(inbox) = inbox.upgrade() {
                    let _ = inbox.send(Msg::Probe { id: told.clone(), kind, verdict });
                }
            }),
            event: Box::new(move |reason, text| {
                shared.container_event(&pod, role, &name, Warning, reason, text)
            }),
            took: Box::new(move |took| {
                // Looked for each time: the end of an earlier pod of this name takes the counts away.
                PROBES_TOOK.with(&[kind.title(), &timed, &of[1], &of[0]]).observe_duration(took);
            }),
            count: Arc::new(move |result| {
                PROBES.with(&[kind.title(), result, &counted, &labels[1], &labels[0], &labels[2]]).inc();
            }),
        };
        Some((kind, env::spawn("probe", prober.run())))
    }

    pub(super) fn probe_said(&mut self, id: &str, kind: Kind, verdict: Verdict) {
        let Some(mut watched) = self.watched.remove(id) else { return };
        match (kind, verdict) {
            (Kind::Startup, Verdict::Success) => {
                watched.started = true;
                let running = self.view.containers.iter().find(|c| c.id == id && is_running(c));
                let started_ns = running.map_or(0, |c| match c.state {
                    runtime::ContainerState::Running { started_at_ns, .. } => started_at_ns,
                    _ => 0,
                });
                let name = running.map(|c| c.config.name.clone()).unwrap_or_default();
                if let Some((role, spec)) = container(&self.pod, &name) {
                    let spec = Arc::new(spec.into_owned());
                    // They start now, whenever the container and the kubelet did.
                    self.begin_rest(&mut watched, id, role, &spec, started_ns, false);
                }
            }
            (Kind::Startup, Verdict::Failure) => watched.failed = Some(ProbeFailure::Startup),
            (Kind::Liveness, Verdict::Failure) => watched.failed = Some(ProbeFailure::Liveness),
            (Kind::Liveness, Verdict::Success) => watched.failed = None,
            (Kind::Readiness, verdict) => watched.ready = verdict == Verdict::Success,
        }
        self.watched.insert(id.to_owned(), watched);
    }
}
