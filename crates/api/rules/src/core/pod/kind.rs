//! The rules of the kind Pod.

use super::{
    app_armor, check_spec, container, default, prepare, resize, status, template, update, volume, warnings,
};
use crate::check::Errs;
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::Str;
use types::core::v1::Pod;

impl Rules for Pod {
    const REVALIDATES_METADATA: u8 = 1;
    const FIELD_LABELS: &'static [&'static str] = &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ];
    spec_and_status!(generation);

    fn default(&mut self) {
        default::pod(self);
    }

    fn drop_disabled(&mut self) {
        super::drop_disabled(&mut self.spec);
    }

    fn early_warnings(&self) -> Vec<String> {
        app_armor::warnings(self)
    }

    fn prepare_create(&mut self, cx: &Context) {
        app_armor::to_fields(self);
        prepare::create(self, cx.now);
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        prepare::status(self, old);
    }

    fn prepare_subresource(&mut self, old: &Self, name: &str, cx: &Context) {
        match name {
            "ephemeralcontainers" => prepare::ephemeral_containers(self, old),
            "resize" => prepare::resize(self, old),
            _ => self.prepare_update(old, cx),
        }
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        check_pod(self, e, cx);
        let at = Path::root("spec");
        if !self.spec.ephemeral_containers.is_empty() {
            e.forbidden(&at.child("ephemeralContainers"), "cannot be set on create");
        }
        if !self.spec.node_name.is_empty() && !self.spec.scheduling_gates.is_empty() {
            e.forbidden(&at.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
        }
        template::profiles_match(e, &at, &self.metadata, &self.spec);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        check_pod(self, e, cx);
        update::pod(self, old, e);
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        status::check(self, old, e);
    }

    fn check_subresource(&self, old: &Self, name: &str, e: &mut Errs, cx: &Context) {
        match name {
            "ephemeralcontainers" => {
                check_pod(self, e, cx);
                update::ephemeral_containers(self, old, e);
            }
            "resize" => {
                check_pod(self, e, cx);
                resize::check(self, old, e);
            }
            _ => self.check_update(old, e, cx),
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        // Pods are changed by programs, seldom by people: only who makes one is told.
        if old.is_some() {
            return Vec::new();
        }
        let mut out = warnings::pod(self);
        out.extend(warnings::name(&self.metadata.name));
        out
    }

    fn status_warnings(&self) -> Vec<String> {
        status::warnings(self)
    }

    fn graceful_delete(&self, requested_seconds: Option<i64>) -> Option<i64> {
        Some(prepare::grace_seconds(self, requested_seconds))
    }

    fn field(&self, label: &str) -> Option<Str> {
        Some(match label {
            "spec.nodeName" => self.spec.node_name.clone(),
            "spec.restartPolicy" => self.spec.restart_policy.clone(),
            "spec.schedulerName" => self.spec.scheduler_name.clone(),
            "spec.serviceAccountName" => self.spec.service_account_name.clone(),
            "spec.hostNetwork" => if self.spec.host_network { "true" } else { "false" }.into(),
            "status.phase" => self.status.phase.clone(),
            "status.podIP" | "status.podIPs" => {
                self.status.pod_ips.first().map_or_else(|| self.status.pod_ip.clone(), |ip| ip.ip.clone())
            }
            "status.nominatedNodeName" => self.status.nominated_node_name.clone(),
            _ => return None,
        })
    }
}

/// The checks that create and update share.
fn check_pod(pod: &Pod, e: &mut Errs, cx: &Context) {
    let metadata = Path::root("metadata");
    let at = Path::root("spec");
    template::annotations(e, &metadata.child("annotations"), &pod.metadata.annotations, &pod.spec);
    check_spec(e, &at, &pod.spec, Some(&pod.metadata), cx);
    volume::tokens_need_account(e, &at, &pod.spec);
    for (field, list) in [("containers", &pod.spec.containers), ("initContainers", &pod.spec.init_containers)]
    {
        let at = at.child(field);
        for (i, c) in list.iter().enumerate() {
            container::image_whitespace(e, &at.index(i), &c.into());
        }
    }
}
