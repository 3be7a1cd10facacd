//! Telling the API: the status is computed after every round, and sent when it differs from what was sent last; one write
//! at a time, so that whatever happens meanwhile goes out together with the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use call::{DeleteOptions, PatchKind, Precondition, WriteOptions};
use meta::Status;
use types::core::v1::{Pod, PodStatus};

use super::steps::Wake;
use super::{Done, Life, Worker};
use crate::pod::container_status::Facts;
use crate::pod::ending::finish;
use crate::pod::patch::patch;
use crate::pod::status::{Surroundings, pod_status, rejected};

impl Worker {
    pub(super) fn sync_status(&mut self, wake: &mut Wake) {
        if self.gone && !self.is_static {
            return;
        }
        let status = self.compute();
        if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
            self.shared.room.release(&self.uid);
        }
        self.publish(&status);
        self.count_status(&status);
        let ended = matches!(self.life, Life::Ended);
        if let Some(rest) = self.send_rests {
            match rest.duration_since(self.now()) {
                Ok(rest) if !rest.is_zero() => return wake.after(rest),
                _ => self.send_rests = None,
            }
        }
        let Some(target) = self.target.clone() else { return };
        if self.sending {
            return;
        }
        if let Some(body) = patch(&target.metadata.uid, &self.sent, &status) {
            self.sending = true;
            let api = self.shared.client.namespaced::<Pod>(&target.metadata.namespace);
            let name = target.metadata.name.clone();
            self.ops.spawn(async move {
                let options = WriteOptions::default();
                let result = api.patch_status(&name, PatchKind::Strategic, Bytes::from(body), &options).await;
                Done::StatusSent { status: Box::new(status), result: Box::new(result) }
            });
        } else if ended && self.pod.metadata.deletion_timestamp.is_some() && !self.deleting && !self.gone {
            self.delete(&target);
        }
    }

    /// The pod has ended and its status says so: now its object may go.
    fn delete(&mut self, target: &Pod) {
        self.deleting = true;
        let api = self.shared.client.namespaced::<Pod>(&target.metadata.namespace);
        let (name, uid) = (target.metadata.name.clone(), target.metadata.uid.clone());
        self.ops.spawn(async move {
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                precondition: Precondition { uid: Some(uid), resource_version: None },
                ..Default::default()
            };
            let result = api.delete(&name, &options).await;
            Done::Deleted(match result {
                // A conflict means that the name belongs to another pod by now.
                Ok(_) => Ok(()),
                Err(status) if matches!(status.code, 404 | 409) => Ok(()),
                Err(status) => Err(status),
            })
        });
    }

    fn compute(&self) -> PodStatus {
        if self.rejected
            && let Some(verdict) = &self.verdict
        {
            let mut status = rejected(&self.pod, verdict, self.now());
            if self.sent.phase == "Failed" {
                status.start_time = self.sent.start_time;
            }
            return status;
        }
        let ended = matches!(self.life, Life::Ended);
        let started = |id: &str| self.watched.get(id).is_some_and(|w| w.started);
        let ready = |id: &str| self.watched.get(id).is_some_and(|w| w.ready);
        let facts = Facts {
            pod: &self.pod,
            view: &self.view,
            runtime_name: self.shared.runtime.name(),
            waiting: &self.waiting,
            started: &started,
            ready: &ready,
            messages: &self.messages,
            resources: self.resize.granted(),
        };
        let around = Surroundings {
            old: &self.sent,
            host_ips: &self.shared.host_ips(),
            ending: ended,
            verdict: self.verdict.as_ref(),
            resize: self.resize_conditions(),
            in_effect: &self.resize.in_effect(&self.pod),
            now: self.now(),
        };
        let mut status = pod_status(&facts, &around);
        if ended {
            finish(&mut status, &self.pod.spec, self.is_static);
        }
        status
    }

    /// For the kubelet's own API.
    fn publish(&self, status: &PodStatus) {
        let now = self.published.borrow().clone();
        if *now.status == *status && Arc::ptr_eq(&now, &self.pod) {
            return;
        }
        if *now.status != *status || now.metadata != self.pod.metadata {
            let mut pod = (*self.pod).clone();
            *pod.status = status.clone();
            self.published.send_replace(Arc::new(pod));
        }
    }

    pub(super) fn status_sent(&mut self, status: PodStatus, result: Result<Arc<Pod>, Status>) {
        self.sending = false;
        match result {
            Ok(pod) => {
                self.count_status_sent();
                self.sent = status;
                self.sent_version = informer::revision(&pod.metadata);
            }
            // Its end is on the way as an event, or has been seen already.
            Err(error) if matches!(error.code, 404 | 409) => {
                self.send_rests = Some(self.now() + Duration::from_secs(5));
            }
            Err(error) => {
                tracing::debug!(pod = %crate::pod::format(&self.pod), status = %error.message, "cannot write a pod's status");
                self.send_rests = Some(self.now() + Duration::from_secs(1));
            }
        }
    }
}
