//! Kinds that are served in several versions and stored in one: events in two groups, horizontal pod autoscalers in two
//! versions.
//!
//! What a version cannot say is kept in annotations, as upstream keeps it, so that a round trip through the poorer
//! version loses nothing.

mod behavior;
mod metrics;

use custom::Kind;
use meta::{Object, Str};
use scheme::Unstructured;
use types::autoscaling::{v1 as hpa1, v2 as hpa2};
use types::core::v1 as core;
use types::events::v1 as events;

use crate::definitions::{Conversion, Custom};
use crate::served::Served;

/// Annotation that carries metrics other than CPU utilization in autoscaling/v1.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// Annotation that carries the scaling behaviour.
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Annotation that carries the conditions.
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// Annotation that carries the observed metrics.
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

/// A stored object in the version of `served`; `None` when it is in that version already.
pub(crate) fn to_served(served: &Served, stored: &dyn Object) -> Option<Box<dyn Object>> {
    if let Some(custom) = served.custom() {
        return custom_to(custom, &custom.kind, stored);
    }
    if served.resource().is_storage_version() {
        return None;
    }
    if let Some(event) = meta::downcast_ref::<core::Event>(stored) {
        return Some(Box::new(to_new_event(event)));
    }
    meta::downcast_ref::<hpa2::HorizontalPodAutoscaler>(stored)
        .map(|hpa| Box::new(to_hpa1(hpa)) as Box<dyn Object>)
}

/// An object of a served version in the version that is stored.
pub(crate) fn to_storage(served: &Served, object: Box<dyn Object>) -> Box<dyn Object> {
    if let Some(custom) = served.custom() {
        return custom_to(custom, &custom.definition.storage, &*object).unwrap_or(object);
    }
    if served.resource().is_storage_version() {
        return object;
    }
    if let Some(event) = meta::downcast_ref::<events::Event>(&*object) {
        return Box::new(to_core_event(event));
    }
    if let Some(hpa) = meta::downcast_ref::<hpa1::HorizontalPodAutoscaler>(&*object) {
        return Box::new(to_hpa2(hpa));
    }
    object
}

/// The version in which an object is validated, where that is not its own: autoscalers are checked as what is stored.
/// Events have rules of their own in each of their groups.
pub(crate) fn to_validated(object: &dyn Object) -> Option<(Served, Box<dyn Object>)> {
    let hpa = meta::downcast_ref::<hpa1::HorizontalPodAutoscaler>(object)?;
    let served = Served::stored_version("autoscaling", "horizontalpodautoscalers")?;
    Some((served, Box::new(to_hpa2(hpa))))
}

/// Gives an autoscaler of the older version the annotations that it will have when it is read: managers own them.
pub(crate) fn round_trip(object: &mut Box<dyn Object>) {
    if let Some(hpa) = meta::downcast_ref::<hpa1::HorizontalPodAutoscaler>(&**object) {
        *object = Box::new(to_hpa1(&to_hpa2(hpa)));
    }
}

/// An object as its kind is stored, where another version says less of it.
pub fn in_stored_version(object: &dyn Object) -> Option<Box<dyn Object>> {
    to_validated(object).map(|(_, stored)| stored)
}

/// A custom object in another version of its kind; `None` when it is in that version already, or only a webhook can bring
/// it there.
fn custom_to(custom: &Custom, kind: &Kind, object: &dyn Object) -> Option<Box<dyn Object>> {
    let object = meta::downcast_ref::<Unstructured>(object)?;
    if kind.is_version_of(object) || !matches!(custom.definition.conversion, Conversion::None) {
        return None;
    }
    Some(Box::new(kind.convert(object)))
}

fn to_new_event(e: &core::Event) -> events::Event {
    events::Event {
        metadata: e.metadata.clone(),
        event_time: e.event_time,
        series: e.series.as_ref().map(|s| {
            Box::new(events::EventSeries { count: s.count, last_observed_time: s.last_observed_time })
        }),
        reporting_controller: e.reporting_component.clone(),
        reporting_instance: e.reporting_instance.clone(),
        action: e.action.clone(),
        reason: e.reason.clone(),
        regarding: e.involved_object.clone(),
        related: e.related.clone(),
        note: e.message.clone(),
        type_: e.type_.clone(),
        deprecated_source: e.source.clone(),
        deprecated_first_timestamp: e.first_timestamp,
        deprecated_last_timestamp: e.last_timestamp,
        deprecated_count: e.count,
    }
}

fn to_core_event(e: &events::Event) -> core::Event {
    core::Event {
        metadata: e.metadata.clone(),
        involved_object: e.regarding.clone(),
        reason: e.reason.clone(),
        message: e.note.clone(),
        source: e.deprecated_source.clone(),
        first_timestamp: e.deprecated_first_timestamp,
        last_timestamp: e.deprecated_last_timestamp,
        count: e.deprecated_count,
        type_: e.type_.clone(),
        event_time: e.event_time,
        series: e.series.as_ref().map(|s| {
            Box::new(core::EventSeries { count: s.count, last_observed_time: s.last_observed_time })
        }),
        action: e.action.clone(),
        related: e.related.clone(),
        reporting_component: e.reporting_controller.clone(),
        reporting_instance: e.reporting_instance.clone(),
    }
}

/// Whether a metric is the one that autoscaling/v1 has a field for.
fn is_cpu(metric: &hpa2::MetricSpec) -> bool {
    metric.type_ == "Resource"
        && metric.resource.as_ref().is_some_and(|r| r.name == "cpu" && r.target.average_utilization.is_some())
}

fn to_hpa1(hpa: &hpa2::HorizontalPodAutoscaler) -> hpa1::HorizontalPodAutoscaler {
    let mut out = hpa1::HorizontalPodAutoscaler { metadata: hpa.metadata.clone(), ..Default::default() };
    let target = &hpa.spec.scale_target_ref;
    out.spec = hpa1::HorizontalPodAutoscalerSpec {
        scale_target_ref: hpa1::CrossVersionObjectReference {
            kind: target.kind.clone(),
            name: target.name.clone(),
            api_version: target.api_version.clone(),
        },
        min_replicas: hpa.spec.min_replicas,
        max_replicas: hpa.spec.max_replicas,
        target_cpu_utilization_percentage: hpa
            .spec
            .metrics
            .iter()
            .filter(|m| m.type_ == "Resource")
            .find_map(|m| m.resource.as_ref().filter(|r| r.name == "cpu"))
            .and_then(|r| r.target.average_utilization),
    };
    // The first of what is wanted, the last of what was seen.
    let of_cpu = |m: &hpa2::MetricStatus| {
        let resource = m.resource.as_ref().filter(|r| m.type_ == "Resource" && r.name == "cpu");
        resource.and_then(|r| r.current.average_utilization)
    };
    let current = hpa.status.current_metrics.iter().filter_map(of_cpu).next_back();
    out.status = hpa1::HorizontalPodAutoscalerStatus {
        observed_generation: hpa.status.observed_generation,
        last_scale_time: hpa.status.last_scale_time,
        current_replicas: hpa.status.current_replicas,
        desired_replicas: hpa.status.desired_replicas,
        current_cpu_utilization_percentage: current,
    };
    let others: Vec<_> = hpa.spec.metrics.iter().filter(|m| !is_cpu(m)).map(metrics::to_old).collect();
    let current: Vec<_> = hpa.status.current_metrics.iter().map(metrics::status_to_old).collect();
    let behavior = hpa.spec.behavior.as_deref().map(behavior::text);
    for key in [METRICS, BEHAVIOR, CONDITIONS, CURRENT] {
        out.metadata.annotations.remove(key);
    }
    let notes: [(&str, Option<Str>); 4] = [
        (METRICS, metrics::text(&others)),
        (BEHAVIOR, behavior),
        (CONDITIONS, metrics::text(&hpa.status.conditions)),
        (CURRENT, metrics::text(&current)),
    ];
    for (key, text) in notes {
        if let Some(text) = text {
            out.metadata.annotations.insert(key, text);
        }
    }
    out
}

fn to_hpa2(hpa: &hpa1::HorizontalPodAutoscaler) -> hpa2::HorizontalPodAutoscaler {
    let mut metadata = hpa.metadata.clone();
    let mut out = hpa2::HorizontalPodAutoscaler::default();
    let mut note = |key: &str| metadata.annotations.remove(key).unwrap_or_default();
    let others = metrics::parse(&note(METRICS)).unwrap_or_default();
    out.spec.metrics = others.iter().map(metrics::to_new).collect();
    out.spec.behavior = behavior::parse(&note(BEHAVIOR)).map(Box::new);
    out.status.conditions = metrics::parse(&note(CONDITIONS)).unwrap_or_default().into_iter().collect();
    // What the annotation tells is more than what the one field does.
    if let Some(current) = metrics::parse(&note(CURRENT)) {
        out.status.current_metrics = current.iter().map(metrics::status_to_new).collect();
    } else if let Some(percentage) = hpa.status.current_cpu_utilization_percentage {
        out.status.current_metrics.push(metrics::cpu_status(percentage));
    }
    out.metadata = metadata;
    let target = &hpa.spec.scale_target_ref;
    out.spec.scale_target_ref = hpa2::CrossVersionObjectReference {
        kind: target.kind.clone(),
        name: target.name.clone(),
        api_version: target.api_version.clone(),
    };
    out.spec.min_replicas = hpa.spec.min_replicas;
    out.spec.max_replicas = hpa.spec.max_replicas;
    if let Some(percentage) = hpa.spec.target_cpu_utilization_percentage {
        out.spec.metrics.push(hpa2::MetricSpec {
            type_: "Resource".into(),
            resource: Some(Box::new(hpa2::ResourceMetricSource {
                name: "cpu".into(),
                target: hpa2::MetricTarget {
                    type_: "Utilization".into(),
                    average_utilization: Some(percentage),
                    ..Default::default()
                },
            })),
            ..Default::default()
        });
    }
    if out.spec.metrics.is_empty() {
        out.spec.metrics = rules::default_metrics();
    }
    out.status.observed_generation = hpa.status.observed_generation;
    out.status.last_scale_time = hpa.status.last_scale_time;
    out.status.current_replicas = hpa.status.current_replicas;
    out.status.desired_replicas = hpa.status.desired_replicas;
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;

    #[test]
    fn autoscalers_survive_the_poorer_version() {
        let json = br#"{"metadata":{"name":"h"},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"d"},"maxReplicas":5,
            "metrics":[{"type":"Resource","resource":{"name":"memory","target":{"type":"Utilization","averageUtilization":70}}},
            {"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}]}}"#;
        let hpa = hpa2::HorizontalPodAutoscaler::from_json(json).unwrap();
        let poor = to_hpa1(&hpa);
        assert_eq!(poor.spec.target_cpu_utilization_percentage, Some(50));
        assert_eq!(to_hpa2(&poor), hpa);
    }

    #[test]
    fn what_the_older_version_says_is_kept() {
        let json = br#"{"metadata":{"name":"h"},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"d"},"maxReplicas":5,
            "targetCPUUtilizationPercentage":50},"status":{"currentReplicas":1,"desiredReplicas":1,"currentCPUUtilizationPercentage":4}}"#;
        let old = hpa1::HorizontalPodAutoscaler::from_json(json).unwrap();
        let new = to_hpa2(&old);
        assert_eq!(
            new.status.current_metrics[0].resource.as_ref().unwrap().current.average_utilization,
            Some(4)
        );
        let again = to_hpa1(&new);
        assert_eq!(again.status, old.status);
        let told = again.metadata.annotations.get(CURRENT).map(Str::as_str).unwrap_or_default();
        assert_eq!(
            told,
            r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":4,"currentAverageValue":"0"}}]"#
        );
    }

    #[test]
    fn one_field_tells_of_cpu() {
        let json = br#"{"metadata":{"name":"h"},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"d"},"maxReplicas":5,
            "metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"AverageValue","averageValue":"1"}}},
            {"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}]},
            "status":{"currentReplicas":1,"desiredReplicas":1,"currentMetrics":[
            {"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":3}}},
            {"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":4}}},
            {"type":"Other","resource":{"name":"cpu","current":{"averageUtilization":5}}}]}}"#;
        let poor = to_hpa1(&hpa2::HorizontalPodAutoscaler::from_json(json).unwrap());
        assert_eq!(poor.spec.target_cpu_utilization_percentage, None);
        assert_eq!(poor.status.current_cpu_utilization_percentage, Some(4));
    }

    #[test]
    fn annotations_count_as_a_whole() {
        let with = |key: &str, text: &str| {
            let mut hpa = hpa1::HorizontalPodAutoscaler::default();
            hpa.status.current_cpu_utilization_percentage = Some(4);
            hpa.metadata.annotations.insert(key, text.into());
            to_hpa2(&hpa)
        };
        let object = r#"{"type":"Object","object":{"target":{"kind":"K","name":"n"},"metricName":"m","targetValue":"@","averageValue":"2"}}"#;
        let torn = with(METRICS, &format!("[{},7]", object.replace('@', "0")));
        assert_eq!(torn.spec.metrics.len(), 1);
        assert_eq!(
            torn.spec.metrics[0].type_, "Resource",
            "one spoiled item spoils all: the default is left"
        );
        for (value, kept) in [("0", None), ("5", Some("5"))] {
            let hpa = with(METRICS, &format!("[{}]", object.replace('@', value)));
            let target = &hpa.spec.metrics[0].object.as_ref().unwrap().target;
            assert_eq!(target.type_, "AverageValue");
            assert_eq!(target.value.map(|value| value.to_string()).as_deref(), kept);
        }
        assert!(with(CURRENT, "null").status.current_metrics.is_empty());
        assert_eq!(with(CURRENT, "nonsense").status.current_metrics.len(), 1);
    }

    #[test]
    fn events_translate_both_ways() {
        let event = core::Event { message: "m".into(), count: 3, ..Default::default() };
        assert_eq!(to_core_event(&to_new_event(&event)), event);
    }
}
