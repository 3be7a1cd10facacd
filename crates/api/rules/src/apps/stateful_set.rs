//! StatefulSets.

use super::{at_most_all, collisions, count_or_percent, matches_template, selector};
use crate::check::{Errs, dns_label, labels, name_label};
use crate::core::claim;
use crate::core::controller::replica_counts;
use crate::core::pod::{default, drop_disabled, template, warnings};
use crate::fill::{round_up, set, text};
use crate::rule::{counted, spec_and_status};
use crate::{Context, Path, Rules, diff};
use meta::{IntOrString, Str};
use types::apps::v1::{StatefulSet, StatefulSetSpec};
use types::core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};

const MUTABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

impl Rules for StatefulSet {
    const NAME: crate::check::NameCheck = name_label;
    spec_and_status!(generation);

    fn default(&mut self) {
        let spec = &mut self.spec;
        default::spec(&mut spec.template.spec);
        for claim in spec.volume_claim_templates.iter_mut() {
            text(&mut claim.status.phase, "Pending");
            default::claim_spec(&mut claim.spec);
            round_up(&mut claim.status.capacity);
        }
        text(&mut spec.pod_management_policy, "OrderedReady");
        if spec.update_strategy.type_.is_empty() {
            spec.update_strategy.type_ = "RollingUpdate".into();
            spec.update_strategy.rolling_update.get_or_insert_default();
        }
        if spec.update_strategy.type_ == "RollingUpdate"
            && let Some(rolling) = &mut spec.update_strategy.rolling_update
        {
            set(&mut rolling.partition, 0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        text(&mut retention.when_deleted, "Retain");
        text(&mut retention.when_scaled, "Retain");
        set(&mut spec.replicas, 1);
        set(&mut spec.revision_history_limit, 10);
    }

    fn drop_disabled(&mut self) {
        drop_disabled(&mut self.spec.template.spec);
        // MaxUnavailableStatefulSet is off.
        if let Some(rolling) = &mut self.spec.update_strategy.rolling_update {
            rolling.max_unavailable = None;
        }
    }

    fn check(&self, e: &mut Errs, cx: &Context) {
        check(e, &Path::root("spec"), &self.spec, Judged::Created, cx);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        // What was stored with a template that is no longer valid can still be changed.
        let mut before = Errs::new();
        check(&mut before, &Path::root("spec"), &old.spec, Judged::Updated, cx);
        let judged = if before.is_empty() { Judged::Updated } else { Judged::UpdatedFromInvalid };
        check(e, &Path::root("spec"), &self.spec, judged, cx);
        let mut rest = self.spec.clone();
        rest.replicas = old.spec.replicas;
        rest.ordinals.clone_from(&old.spec.ordinals);
        rest.template.clone_from(&old.spec.template);
        rest.update_strategy.clone_from(&old.spec.update_strategy);
        rest.revision_history_limit = old.spec.revision_history_limit;
        rest.min_ready_seconds = old.spec.min_ready_seconds;
        rest.persistent_volume_claim_retention_policy
            .clone_from(&old.spec.persistent_volume_claim_retention_policy);
        if rest != old.spec {
            e.forbidden(&Path::root("spec"), MUTABLE);
        }
    }

    fn check_status(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        let s = &self.status;
        let status = Path::root("status");
        e.non_negative_opt(&status.child("collisionCount"), s.collision_count);
        replica_counts(
            e,
            s.replicas,
            s.observed_generation,
            &[
                ("readyReplicas", s.ready_replicas),
                ("currentReplicas", s.current_replicas),
                ("updatedReplicas", s.updated_replicas),
                ("availableReplicas", s.available_replicas),
            ],
        );
        if s.available_replicas > s.ready_replicas {
            let at = Path::root("status").child("availableReplicas").to_string();
            e.invalid(&Path::root(&at), s.available_replicas, "cannot be greater than status.readyReplicas");
        }
        collisions(e, s.collision_count, old.status.collision_count);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let spec = Path::root("spec");
        let mut out = Vec::new();
        if counted(self, old) {
            out.extend(warnings::template(&spec.child("template"), &self.spec.template));
        }
        let list = spec.child("volumeClaimTemplates");
        for (i, c) in self.spec.volume_claim_templates.iter().enumerate() {
            claim::warnings(&mut out, &list.index(i), &c.spec);
        }
        if self.spec.revision_history_limit.is_some_and(|n| n < 0) {
            out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
        }
        out
    }
}

/// How much of a spec is judged.
#[derive(Clone, Copy, PartialEq)]
enum Judged {
    /// Everything.
    Created,
    /// What can change.
    Updated,
    /// As before, but for the template.
    UpdatedFromInvalid,
}

fn check(e: &mut Errs, at: &Path<'_>, spec: &StatefulSetSpec, judged: Judged, cx: &Context) {
    match spec.pod_management_policy.as_str() {
        "" => e.required(&at.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => e.invalid(&at.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"),
    }
    strategy(e, &at.child("updateStrategy"), spec);
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let at = at.child("persistentVolumeClaimRetentionPolicy");
        e.one_of(&at.child("whenDeleted"), &retention.when_deleted, &["Retain", "Delete"]);
        e.one_of(&at.child("whenScaled"), &retention.when_scaled, &["Retain", "Delete"]);
    }
    if judged == Judged::Created {
        let list = at.child("volumeClaimTemplates");
        for (i, c) in spec.volume_claim_templates.iter().enumerate() {
            claim::spec(e, &list.index(i).child("spec"), &c.spec);
        }
    }
    e.non_negative_opt(&at.child("replicas"), spec.replicas);
    e.non_negative(&at.child("minReadySeconds"), spec.min_ready_seconds);
    if let Some(ordinals) = &spec.ordinals {
        let at = at.child("ordinals");
        e.non_negative(&at.child("start"), ordinals.start);
    }
    if judged == Judged::Created && !spec.service_name.is_empty() {
        e.each(&at.child("serviceName"), &spec.service_name, dns_label(&spec.service_name));
    }
    let chosen = spec.selector.as_deref();
    let t = &spec.template;
    let template_at = at.child("template");
    if selector(e, &at.child("selector"), chosen, "statefulset", "") {
        if let Some(chosen) = chosen
            && !labels::is_empty(chosen)
        {
            matches_template(e, &template_at, t, Some(chosen));
        } else if chosen.is_none() {
            matches_template(e, &template_at, t, None);
        }
        if judged != Judged::UpdatedFromInvalid {
            template::check(e, &template_at, &as_pods_will_be(spec), cx);
        }
        // Upstream looks at labels and annotations a second time.
        labels::labels(e, &template_at.child("labels"), &t.metadata.labels);
        let annotations = template_at.child("annotations");
        labels::annotations(e, &annotations, &t.metadata.annotations);
        template::annotations(e, &annotations, &t.metadata.annotations, &t.spec);
    }
    let spec_at = template_at.child("spec");
    if t.spec.restart_policy != "Always" {
        e.unsupported(&spec_at.child("restartPolicy"), &t.spec.restart_policy, &["Always"]);
    }
    if t.spec.active_deadline_seconds.is_some() {
        e.forbidden(
            &spec_at.child("activeDeadlineSeconds"),
            "activeDeadlineSeconds in StatefulSet is not Supported",
        );
    }
}

/// The template with what the controller will set: names that it gives, and the volumes of the claims.
fn as_pods_will_be(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = (*spec.template).clone();
    template.spec.subdomain = Default::default();
    template.spec.hostname = Default::default();
    let mut volumes: Vec<Volume> = Vec::new();
    for claim in spec.volume_claim_templates.iter() {
        let name = &claim.metadata.name;
        let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), ..Default::default() };
        volumes.retain(|v| v.name != *name);
        volumes.push(Volume {
            name: name.clone(),
            persistent_volume_claim: Some(Box::new(source)),
            ..Default::default()
        });
    }
    let claimed: Vec<Str> = volumes.iter().map(|v| v.name.clone()).collect();
    let own = template.spec.volumes.iter().filter(|v| !claimed.contains(&v.name));
    template.spec.volumes = volumes.into_iter().chain(own.cloned()).collect();
    template
}

fn strategy(e: &mut Errs, at: &Path<'_>, spec: &StatefulSetSpec) {
    let strategy = &spec.update_strategy;
    let rolling_at = at.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("", _) => e.required(at, ""),
        ("OnDelete", Some(rolling)) => {
            e.invalid(
                &rolling_at,
                crate::diff::shown(&**rolling),
                "only allowed for updateStrategy 'RollingUpdate'",
            );
        }
        ("OnDelete", None) | ("RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            e.non_negative_opt(&rolling_at.child("partition"), rolling.partition);
            if let Some(value) = &rolling.max_unavailable {
                let at = rolling_at.child("maxUnavailable");
                count_or_percent(e, &at, value);
                if matches!(value, IntOrString::Int(0)) {
                    e.invalid(&at, 0, "cannot be 0");
                }
                at_most_all(e, &at, value);
            }
        }
        _ => e.invalid(at, diff::shown(strategy), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}
