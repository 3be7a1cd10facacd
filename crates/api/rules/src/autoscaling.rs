//! The group `autoscaling`: HorizontalPodAutoscaler in both versions, and Scale.

use crate::check::{Errs, labels, path_segment};
use crate::fill::{set, text_opt};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{List, Quantity, is_absent, thin_vec};
use types::autoscaling::{v1, v2};

const CPU_UTILIZATION: i32 = 80;
const POLICY_SECONDS: i32 = 15;
const POLICY_SECONDS_MAX: i32 = 1800;
const WINDOW_SECONDS_MAX: i32 = 3600;

impl Rules for v1::HorizontalPodAutoscaler {
    spec_and_status!();

    fn default(&mut self) {
        set(&mut self.spec.min_replicas, 1);
    }
}

impl Rules for v1::Scale {
    fn check(&self, e: &mut Errs, _cx: &Context) {
        e.non_negative(&Path::root("spec").child("replicas"), self.spec.replicas);
    }
}

impl Rules for v2::HorizontalPodAutoscaler {
    spec_and_status!();

    fn default(&mut self) {
        let spec = &mut self.spec;
        set(&mut spec.min_replicas, 1);
        if spec.metrics.is_empty() {
            let target = v2::MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(CPU_UTILIZATION),
                ..Default::default()
            };
            spec.metrics = thin_vec![v2::MetricSpec {
                type_: "Resource".into(),
                resource: Some(Box::new(v2::ResourceMetricSource { name: "cpu".into(), target })),
                ..Default::default()
            }];
        }
        if let Some(behavior) = &mut spec.behavior {
            let up = behavior.scale_up.get_or_insert_default();
            set(&mut up.stabilization_window_seconds, 0);
            text_opt(&mut up.select_policy, "Max");
            if is_absent(&up.policies) {
                up.policies = thin_vec![policy("Pods", 4), policy("Percent", 100)];
            }
            let down = behavior.scale_down.get_or_insert_default();
            text_opt(&mut down.select_policy, "Max");
            if is_absent(&down.policies) {
                down.policies = thin_vec![policy("Percent", 100)];
            }
        }
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        spec(e, &Path::root("spec"), &self.spec);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("status");
        e.non_negative(&at.child("currentReplicas"), self.status.current_replicas);
        e.non_negative(&at.child("desiredReplicas"), self.status.desired_replicas);
    }
}

fn policy(kind: &str, value: i32) -> v2::HPAScalingPolicy {
    v2::HPAScalingPolicy { type_: kind.into(), value, period_seconds: POLICY_SECONDS }
}

fn spec(e: &mut Errs, at: &Path<'_>, spec: &v2::HorizontalPodAutoscalerSpec) {
    let min = spec.min_replicas;
    if let Some(min) = min.filter(|m| *m < 1) {
        e.invalid(&at.child("minReplicas"), min, "must be greater than or equal to 1");
    }
    let max_at = at.child("maxReplicas");
    if spec.max_replicas < 1 {
        e.invalid(&max_at, spec.max_replicas, "must be greater than 0");
    }
    if min.is_some_and(|m| spec.max_replicas < m) {
        e.invalid(&max_at, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    let target = &spec.scale_target_ref;
    object_reference(e, &at.child("scaleTargetRef"), target);
    metrics(e, &at.child("metrics"), &spec.metrics, min);
    if let Some(behavior) = &spec.behavior {
        let at = at.child("behavior");
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                scaling_rules(e, &at.child(field), rules);
            }
        }
    }
}

fn object_reference(e: &mut Errs, at: &Path<'_>, r: &v2::CrossVersionObjectReference) {
    for (field, value) in [("kind", &r.kind), ("name", &r.name)] {
        if e.present(&at.child(field), value) {
            e.each(&at.child(field), value, path_segment(value, false));
        }
    }
    // The core group has one kind with replicas; without a group, anything else cannot be meant.
    if !r.api_version.contains('/') && r.kind != "ReplicationController" {
        e.invalid(&at.child("apiVersion"), &r.api_version, "apiVersion must specify API group");
    }
}

fn scaling_rules(e: &mut Errs, at: &Path<'_>, rules: &v2::HPAScalingRules) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let at = at.child("stabilizationWindowSeconds");
        if seconds < 0 {
            e.invalid(&at, seconds, "must be greater than or equal to zero");
        }
        if seconds > WINDOW_SECONDS_MAX {
            e.invalid(&at, seconds, format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
        }
    }
    if let Some(select) = &rules.select_policy {
        e.one_of(&at.child("selectPolicy"), select, &["Disabled", "Max", "Min"]);
    }
    let list = at.child("policies");
    if rules.policies.is_empty() {
        e.required(&list, "must specify at least one Policy");
    }
    for (i, p) in rules.policies.iter().enumerate() {
        let at = list.index(i);
        e.one_of(&at.child("type"), &p.type_, &["Percent", "Pods"]);
        if p.value <= 0 {
            e.invalid(&at.child("value"), p.value, "must be greater than zero");
        }
        let seconds_at = at.child("periodSeconds");
        if p.period_seconds <= 0 {
            e.invalid(&seconds_at, p.period_seconds, "must be greater than zero");
        }
        if p.period_seconds > POLICY_SECONDS_MAX {
            e.invalid(
                &seconds_at,
                p.period_seconds,
                format!("must be less than or equal to {POLICY_SECONDS_MAX}"),
            );
        }
    }
    if let Some(tolerance) = rules.tolerance.as_ref().filter(|t| **t < Quantity::default()) {
        e.invalid(&at.child("tolerance"), tolerance, crate::check::NOT_NEGATIVE);
    }
}

fn metrics(e: &mut Errs, at: &Path<'_>, metrics: &List<v2::MetricSpec>, min: Option<i32>) {
    let mut external = false;
    for (i, m) in metrics.iter().enumerate() {
        external |= m.object.is_some() || m.external.is_some();
        metric(e, &at.index(i), m);
    }
    if min == Some(0) && !external {
        e.forbidden(
            at,
            "must specify at least one Object or External metric to support scaling to zero replicas",
        );
    }
}

fn metric(e: &mut Errs, at: &Path<'_>, m: &v2::MetricSpec) {
    let kinds = [
        ("ContainerResource", "containerResource", m.container_resource.is_some()),
        ("External", "external", m.external.is_some()),
        ("Object", "object", m.object.is_some()),
        ("Pods", "pods", m.pods.is_some()),
        ("Resource", "resource", m.resource.is_some()),
    ];
    if m.type_.is_empty() {
        e.required(&at.child("type"), "must specify a metric source type");
    }
    e.one_of(&at.child("type"), &m.type_, &kinds.map(|(kind, ..)| kind));
    if let Some(s) = &m.object {
        let at = at.child("object");
        object_reference(e, &at.child("describedObject"), &s.described_object);
        identifier(e, &at.child("metric"), &s.metric);
        let target_at = at.child("target");
        target(e, &target_at, &s.target);
        if s.target.value.is_none() && s.target.average_value.is_none() {
            e.required(&target_at.child("averageValue"), "must set either a target value or averageValue");
        }
    }
    if let Some(s) = &m.external {
        let at = at.child("external");
        identifier(e, &at.child("metric"), &s.metric);
        let target_at = at.child("target");
        target(e, &target_at, &s.target);
        match (s.target.value.is_some(), s.target.average_value.is_some()) {
            (false, false) => e.required(
                &target_at.child("averageValue"),
                "must set either a target value for metric or a per-pod target",
            ),
            (true, true) => e.forbidden(
                &target_at.child("value"),
                "may not set both a target value for metric and a per-pod target",
            ),
            _ => {}
        }
    }
    if let Some(s) = &m.pods {
        let at = at.child("pods");
        identifier(e, &at.child("metric"), &s.metric);
        let target_at = at.child("target");
        target(e, &target_at, &s.target);
        if s.target.average_value.is_none_or(|v| v <= Quantity::default()) {
            e.required(&target_at.child("averageValue"), "must specify a positive target averageValue");
        }
    }
    if let Some(s) = &m.container_resource {
        let at = at.child("containerResource");
        if s.name.is_empty() {
            e.required(&at.child("name"), "must specify a resource name");
        }
        if s.container.is_empty() {
            e.required(&at.child("container"), "must specify a container");
        }
        resource_target(e, &at.child("target"), &s.target);
    }
    if let Some(s) = &m.resource {
        let at = at.child("resource");
        if s.name.is_empty() {
            e.required(&at.child("name"), "must specify a resource name");
        }
        resource_target(e, &at.child("target"), &s.target);
    }
    for (kind, field, set) in kinds {
        if kind == m.type_ && !set {
            e.required(&at.child(field), "must populate information for the given metric source");
        } else if kind != m.type_ && set && kinds.iter().filter(|(.., s)| *s).count() > 1 {
            e.forbidden(&at.child(field), "must populate the given metric source only");
        }
    }
}

fn resource_target(e: &mut Errs, at: &Path<'_>, t: &v2::MetricTarget) {
    target(e, at, t);
    match (t.average_utilization, t.average_value) {
        (None, None) => e.required(
            &at.child("averageUtilization"),
            "must set either a target raw value or a target utilization",
        ),
        (Some(_), Some(_)) => {
            e.forbidden(
                &at.child("averageValue"),
                "may not set both a target raw value and a target utilization",
            );
        }
        _ => {}
    }
}

fn target(e: &mut Errs, at: &Path<'_>, t: &v2::MetricTarget) {
    if t.type_.is_empty() {
        e.required(&at.child("type"), "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&t.type_.as_str()) {
        e.invalid(&at.child("type"), &t.type_, "must be either Utilization, Value, or AverageValue");
    }
    for (field, value) in [("value", &t.value), ("averageValue", &t.average_value)] {
        if let Some(value) = value.as_ref().filter(|v| **v <= Quantity::default()) {
            e.invalid(&at.child(field), value, "must be positive");
        }
    }
    if let Some(percent) = t.average_utilization.filter(|p| *p < 1) {
        e.invalid(&at.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn identifier(e: &mut Errs, at: &Path<'_>, m: &v2::MetricIdentifier) {
    if m.name.is_empty() {
        e.required(&at.child("name"), "must specify a metric name");
    } else {
        e.each(&at.child("name"), &m.name, path_segment(&m.name, false));
    }
    labels::selector_opt(e, &at.child("selector"), m.selector.as_deref());
}
