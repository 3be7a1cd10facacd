//! The group `autoscaling`: HorizontalPodAutoscaler in both versions, and Scale.

use crate::check::{Errs, dns_label, path_segment};
use crate::core::names;
use crate::fill::{set, text_opt};
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use meta::{List, Map, Quantity, Str, is_absent, thin_vec};
use types::autoscaling::{v1, v2};

/// What the older version keeps in annotations; a newer one that carries them loses them.
const OLDER_VERSION: [&str; 4] = [
    "autoscaling.alpha.kubernetes.io/metrics",
    "autoscaling.alpha.kubernetes.io/behavior",
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/current-metrics",
];
const CPU_UTILIZATION: i32 = 80;
const POLICY_SECONDS: i32 = 15;
const POLICY_SECONDS_MAX: i32 = 1800;
const WINDOW_SECONDS_MAX: i32 = 3600;

/// Of those, what belongs to the spec and what to the status.
const SPEC_NOTES: [&str; 2] = [OLDER_VERSION[0], OLDER_VERSION[1]];
const STATUS_NOTES: [&str; 2] = [OLDER_VERSION[2], OLDER_VERSION[3]];

/// Takes annotations as another object has them.
fn take_notes(to: &mut Map<Str>, from: &Map<Str>, keys: [&str; 2]) {
    for key in keys {
        match from.get(key) {
            Some(note) => _ = to.insert(key, note.clone()),
            None => _ = to.remove(key),
        }
    }
}

impl Rules for v1::HorizontalPodAutoscaler {
    fn clear_status(&mut self) {
        self.status = Default::default();
        take_notes(&mut self.metadata.annotations, &Map::default(), STATUS_NOTES);
    }

    fn keep_status(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        take_notes(&mut self.metadata.annotations, &old.metadata.annotations, STATUS_NOTES);
    }

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        take_notes(&mut self.metadata.annotations, &old.metadata.annotations, SPEC_NOTES);
    }

    fn spec_differs(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

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
        for key in OLDER_VERSION {
            self.metadata.annotations.remove(key);
        }
        let spec = &mut self.spec;
        set(&mut spec.min_replicas, 1);
        if spec.metrics.is_empty() {
            spec.metrics = default_metrics();
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
        let group = match self.spec.scale_target_ref.kind.as_str() {
            // The only kind of the core group that can be scaled.
            "ReplicationController" => Group::Optional,
            _ => Group::Required,
        };
        spec(e, &Path::root("spec"), &self.spec, 1, group, Group::Optional);
    }

    fn check_update(&self, old: &Self, e: &mut Errs, _cx: &Context) {
        let (new, then) = (&self.spec.scale_target_ref, &old.spec.scale_target_ref);
        let target = match new.kind.as_str() {
            _ if (&new.api_version, &new.kind) == (&then.api_version, &then.kind) => Group::Any,
            "ReplicationController" => Group::Optional,
            _ => Group::Required,
        };
        let was_invalid = |m: &v2::MetricSpec| {
            let described = m.object.as_ref().filter(|_| m.type_ == "Object");
            described
                .is_some_and(|o| group_problem(&o.described_object.api_version, Group::Optional).is_some())
        };
        let described = if old.spec.metrics.iter().any(was_invalid) { Group::Any } else { Group::Optional };
        let lowest = if old.spec.min_replicas == Some(0) { 0 } else { 1 };
        spec(e, &Path::root("spec"), &self.spec, lowest, target, described);
    }

    fn check_status(&self, _old: &Self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("status");
        e.non_negative(&at.child("currentReplicas"), self.status.current_replicas);
        e.non_negative(&at.child("desiredReplicas"), self.status.desired_replicas);
    }
}

/// What an autoscaler goes by that names no metric: how busy the CPUs are.
pub fn default_metrics() -> List<v2::MetricSpec> {
    let target = v2::MetricTarget {
        type_: "Utilization".into(),
        average_utilization: Some(CPU_UTILIZATION),
        ..Default::default()
    };
    thin_vec![v2::MetricSpec {
        type_: "Resource".into(),
        resource: Some(Box::new(v2::ResourceMetricSource { name: "cpu".into(), target })),
        ..Default::default()
    }]
}

fn policy(kind: &str, value: i32) -> v2::HPAScalingPolicy {
    v2::HPAScalingPolicy { type_: kind.into(), value, period_seconds: POLICY_SECONDS }
}

/// What the API version of a reference must tell.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    /// A group.
    Required,
    /// A version, with or without a group.
    Optional,
    /// Nothing that can be read.
    Any,
}

/// What is wrong with the API version of a reference.
fn group_problem(api_version: &str, group: Group) -> Option<String> {
    match (group, api_version.matches('/').count()) {
        (Group::Any, _) => None,
        (_, 2..) => Some(format!("unexpected GroupVersion string: {api_version}")),
        (Group::Required, _) if api_version.split_once('/').is_none_or(|(g, _)| g.is_empty()) => {
            Some("apiVersion must specify API group".into())
        }
        _ => None,
    }
}

fn spec(
    e: &mut Errs,
    at: &Path<'_>,
    spec: &v2::HorizontalPodAutoscalerSpec,
    lowest: i32,
    target: Group,
    described: Group,
) {
    let min = spec.min_replicas;
    if let Some(min) = min.filter(|m| *m < lowest) {
        e.invalid(&at.child("minReplicas"), min, format!("must be greater than or equal to {lowest}"));
    }
    let max_at = at.child("maxReplicas");
    if spec.max_replicas == 0 {
        e.required(&max_at, "must be set and greater than 0");
    } else if spec.max_replicas < 0 {
        e.invalid(&max_at, spec.max_replicas, "must be greater than or equal to 1");
    }
    if min.is_some_and(|m| spec.max_replicas < m) {
        e.invalid(&max_at, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    object_reference(e, &at.child("scaleTargetRef"), &spec.scale_target_ref, target);
    metrics(e, &at.child("metrics"), &spec.metrics, min, described);
    if let Some(behavior) = &spec.behavior {
        let at = at.child("behavior");
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                scaling_rules(e, &at.child(field), rules);
            }
        }
    }
}

fn object_reference(e: &mut Errs, at: &Path<'_>, r: &v2::CrossVersionObjectReference, group: Group) {
    for (field, value) in [("kind", &r.kind), ("name", &r.name)] {
        if e.present(&at.child(field), value) {
            e.each(&at.child(field), value, path_segment(value, false));
        }
    }
    if let Some(problem) = group_problem(&r.api_version, group) {
        e.invalid(&at.child("apiVersion"), &r.api_version, problem);
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

fn metrics(e: &mut Errs, at: &Path<'_>, metrics: &List<v2::MetricSpec>, min: Option<i32>, described: Group) {
    let external = metrics.iter().any(|m| m.type_ == "Object" || m.type_ == "External");
    for (i, m) in metrics.iter().enumerate() {
        metric(e, &at.index(i), m, described);
    }
    if min == Some(0) && !external {
        e.forbidden(
            at,
            "must specify at least one Object or External metric to support scaling to zero replicas",
        );
    }
}

fn metric(e: &mut Errs, at: &Path<'_>, m: &v2::MetricSpec, described: Group) {
    // The sources in the order in which upstream looks at them; only the first is checked.
    let sources = [
        ("Object", "object", m.object.is_some()),
        ("External", "external", m.external.is_some()),
        ("Pods", "pods", m.pods.is_some()),
        ("Resource", "resource", m.resource.is_some()),
        ("ContainerResource", "containerResource", m.container_resource.is_some()),
    ];
    const KINDS: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    if m.type_.is_empty() {
        e.required(&at.child("type"), "must specify a metric source type");
    }
    e.one_of(&at.child("type"), &m.type_, &KINDS);
    match sources.iter().find(|(.., set)| *set).map(|(kind, ..)| *kind) {
        Some("Object") => object(e, &at.child("object"), m.object.as_deref(), described),
        Some("External") => external(e, &at.child("external"), m.external.as_deref()),
        Some("Pods") => pods(e, &at.child("pods"), m.pods.as_deref()),
        Some("Resource") => resource(e, &at.child("resource"), m.resource.as_deref()),
        Some(_) => container_resource(e, &at.child("containerResource"), m.container_resource.as_deref()),
        None => {}
    }
    match sources.iter().find(|(kind, ..)| *kind == m.type_) {
        Some((_, field, false)) => {
            e.required(&at.child(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => e.unsupported(&at.child("type"), &m.type_, &KINDS),
    }
    if sources.iter().filter(|(.., set)| *set).count() > 1 {
        for (_, field, _) in sources.iter().filter(|(kind, _, set)| *set && *kind != m.type_) {
            e.forbidden(&at.child(field), "must populate the given metric source only");
        }
    }
}

fn object(e: &mut Errs, at: &Path<'_>, s: Option<&v2::ObjectMetricSource>, described: Group) {
    let Some(s) = s else { return };
    object_reference(e, &at.child("describedObject"), &s.described_object, described);
    identifier(e, &at.child("metric"), &s.metric);
    let target_at = at.child("target");
    target(e, &target_at, &s.target);
    if s.target.value.is_none() && s.target.average_value.is_none() {
        e.required(&target_at.child("averageValue"), "must set either a target value or averageValue");
    }
}

fn external(e: &mut Errs, at: &Path<'_>, s: Option<&v2::ExternalMetricSource>) {
    let Some(s) = s else { return };
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

fn pods(e: &mut Errs, at: &Path<'_>, s: Option<&v2::PodsMetricSource>) {
    let Some(s) = s else { return };
    identifier(e, &at.child("metric"), &s.metric);
    let target_at = at.child("target");
    target(e, &target_at, &s.target);
    if s.target.average_value.is_none() {
        e.required(&target_at.child("averageValue"), "must specify a positive target averageValue");
    }
}

fn container_resource(e: &mut Errs, at: &Path<'_>, s: Option<&v2::ContainerResourceMetricSource>) {
    let Some(s) = s else { return };
    if s.name.is_empty() {
        e.required(&at.child("name"), "must specify a resource name");
    } else {
        names::container_name(e, &at.child("name"), &s.name);
    }
    if s.container.is_empty() {
        e.required(&at.child("container"), "must specify a container");
    } else {
        e.each(&at.child("container"), &s.container, dns_label(&s.container));
    }
    resource_target(e, &at.child("target"), &s.target);
}

fn resource(e: &mut Errs, at: &Path<'_>, s: Option<&v2::ResourceMetricSource>) {
    let Some(s) = s else { return };
    if s.name.is_empty() {
        e.required(&at.child("name"), "must specify a resource name");
    }
    resource_target(e, &at.child("target"), &s.target);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;

    #[test]
    fn the_older_version_keeps_what_its_annotations_tell() {
        let of = |annotations: &str| {
            let json = format!(r#"{{"metadata":{{"annotations":{annotations}}}}}"#);
            v1::HorizontalPodAutoscaler::from_json(json.as_bytes()).expect("JSON")
        };
        let (metrics, current) = (SPEC_NOTES[0], STATUS_NOTES[1]);
        let old = of(&format!(r#"{{"{metrics}":"old","{current}":"old"}}"#));
        let told = |hpa: &v1::HorizontalPodAutoscaler, key: &str| hpa.metadata.annotations.get(key).cloned();
        let mut new = of(&format!(r#"{{"{current}":"new","a":"b"}}"#));
        new.keep_status(&old);
        assert_eq!((told(&new, current), told(&new, metrics)), (Some("old".into()), None));
        new.keep_spec(&old);
        assert_eq!(told(&new, metrics), Some("old".into()));
        new.clear_status();
        assert_eq!((told(&new, current), told(&new, "a")), (None, Some("b".into())));
    }
}
