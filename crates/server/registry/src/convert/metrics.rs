//! Metrics of horizontal pod autoscalers in the older form, in which annotations of autoscaling/v1 keep them.

use meta::{Codec as _, LabelSelector, Quantity, Str, Struct};
use types::autoscaling::v1::{self as old, CrossVersionObjectReference as OldReference};
use types::autoscaling::v2::{self as new, CrossVersionObjectReference as NewReference};

/// A list as the JSON text of an annotation; `None` when it is empty.
pub(super) fn text<T: Struct>(items: &[T]) -> Option<Str> {
    if items.is_empty() {
        return None;
    }
    let items: Vec<String> =
        items.iter().map(|item| String::from_utf8_lossy(&item.to_json()).into_owned()).collect();
    Some(format!("[{}]", items.join(",")).into())
}

/// Reads what [`text`] wrote; `None` for a text that a user spoiled, be it in one item, and for none.
pub(super) fn parse<T: Struct>(text: &str) -> Option<Vec<T>> {
    let items: Option<Vec<serde_json::Value>> = serde_json::from_str(text).ok()?;
    // Nothing in place of an item is an empty one.
    let item = |item: serde_json::Value| match item {
        serde_json::Value::Null => Ok(T::default()),
        item => meta::from_value(item),
    };
    items.unwrap_or_default().into_iter().map(item).collect::<Result<_, _>>().ok()
}

fn old_reference(r: &NewReference) -> OldReference {
    OldReference { kind: r.kind.clone(), name: r.name.clone(), api_version: r.api_version.clone() }
}

fn new_reference(r: &OldReference) -> NewReference {
    NewReference { kind: r.kind.clone(), name: r.name.clone(), api_version: r.api_version.clone() }
}

fn identifier(name: &Str, selector: &Option<Box<LabelSelector>>) -> new::MetricIdentifier {
    new::MetricIdentifier { name: name.clone(), selector: selector.clone() }
}

/// A target by its average, or by its value where there is none.
fn target(value: Option<Quantity>, average: Option<Quantity>, utilization: Option<i32>) -> new::MetricTarget {
    let type_ = match (&average, utilization) {
        (_, Some(_)) => "Utilization",
        (Some(_), _) => "AverageValue",
        (None, None) => "Value",
    };
    new::MetricTarget { type_: type_.into(), value, average_value: average, average_utilization: utilization }
}

/// The status that autoscaling/v1 has a field for.
pub(super) fn cpu_status(percentage: i32) -> new::MetricStatus {
    let current = new::MetricValueStatus { average_utilization: Some(percentage), ..Default::default() };
    new::MetricStatus {
        type_: "Resource".into(),
        resource: Some(Box::new(new::ResourceMetricStatus { name: "cpu".into(), current })),
        ..Default::default()
    }
}

pub(super) fn to_old(m: &new::MetricSpec) -> old::MetricSpec {
    old::MetricSpec {
        type_: m.type_.clone(),
        object: m.object.as_ref().map(|o| {
            Box::new(old::ObjectMetricSource {
                target: old_reference(&o.described_object),
                metric_name: o.metric.name.clone(),
                target_value: o.target.value.unwrap_or_default(),
                selector: o.metric.selector.clone(),
                average_value: o.target.average_value,
            })
        }),
        pods: m.pods.as_ref().map(|p| {
            Box::new(old::PodsMetricSource {
                metric_name: p.metric.name.clone(),
                target_average_value: p.target.average_value.unwrap_or_default(),
                selector: p.metric.selector.clone(),
            })
        }),
        resource: m.resource.as_ref().map(|r| {
            Box::new(old::ResourceMetricSource {
                name: r.name.clone(),
                target_average_utilization: r.target.average_utilization,
                target_average_value: r.target.average_value,
            })
        }),
        container_resource: m.container_resource.as_ref().map(|r| {
            Box::new(old::ContainerResourceMetricSource {
                name: r.name.clone(),
                target_average_utilization: r.target.average_utilization,
                target_average_value: r.target.average_value,
                container: r.container.clone(),
            })
        }),
        external: m.external.as_ref().map(|e| {
            Box::new(old::ExternalMetricSource {
                metric_name: e.metric.name.clone(),
                metric_selector: e.metric.selector.clone(),
                target_value: e.target.value,
                target_average_value: e.target.average_value,
            })
        }),
    }
}

pub(super) fn to_new(m: &old::MetricSpec) -> new::MetricSpec {
    new::MetricSpec {
        type_: m.type_.clone(),
        object: m.object.as_ref().map(|o| {
            // The older version always has a value; beside an average, zero says that there was none.
            let has_value = o.average_value.is_none() || !o.target_value.is_zero();
            let value = has_value.then_some(o.target_value);
            Box::new(new::ObjectMetricSource {
                described_object: new_reference(&o.target),
                metric: identifier(&o.metric_name, &o.selector),
                target: target(value, o.average_value, None),
            })
        }),
        pods: m.pods.as_ref().map(|p| {
            Box::new(new::PodsMetricSource {
                metric: identifier(&p.metric_name, &p.selector),
                target: target(None, Some(p.target_average_value), None),
            })
        }),
        resource: m.resource.as_ref().map(|r| {
            Box::new(new::ResourceMetricSource {
                name: r.name.clone(),
                target: target(None, r.target_average_value, r.target_average_utilization),
            })
        }),
        container_resource: m.container_resource.as_ref().map(|r| {
            Box::new(new::ContainerResourceMetricSource {
                name: r.name.clone(),
                target: target(None, r.target_average_value, r.target_average_utilization),
                container: r.container.clone(),
            })
        }),
        external: m.external.as_ref().map(|e| {
            Box::new(new::ExternalMetricSource {
                metric: identifier(&e.metric_name, &e.metric_selector),
                target: target(e.target_value, e.target_average_value, None),
            })
        }),
    }
}

fn current(
    value: Option<Quantity>,
    average: Option<Quantity>,
    utilization: Option<i32>,
) -> new::MetricValueStatus {
    new::MetricValueStatus { value, average_value: average, average_utilization: utilization }
}

pub(super) fn status_to_old(m: &new::MetricStatus) -> old::MetricStatus {
    old::MetricStatus {
        type_: m.type_.clone(),
        object: m.object.as_ref().map(|o| {
            Box::new(old::ObjectMetricStatus {
                target: old_reference(&o.described_object),
                metric_name: o.metric.name.clone(),
                current_value: o.current.value.unwrap_or_default(),
                selector: o.metric.selector.clone(),
                average_value: o.current.average_value,
            })
        }),
        pods: m.pods.as_ref().map(|p| {
            Box::new(old::PodsMetricStatus {
                metric_name: p.metric.name.clone(),
                current_average_value: p.current.average_value.unwrap_or_default(),
                selector: p.metric.selector.clone(),
            })
        }),
        resource: m.resource.as_ref().map(|r| {
            Box::new(old::ResourceMetricStatus {
                name: r.name.clone(),
                current_average_utilization: r.current.average_utilization,
                current_average_value: r.current.average_value.unwrap_or_default(),
            })
        }),
        container_resource: m.container_resource.as_ref().map(|r| {
            Box::new(old::ContainerResourceMetricStatus {
                name: r.name.clone(),
                current_average_utilization: r.current.average_utilization,
                current_average_value: r.current.average_value.unwrap_or_default(),
                container: r.container.clone(),
            })
        }),
        external: m.external.as_ref().map(|e| {
            Box::new(old::ExternalMetricStatus {
                metric_name: e.metric.name.clone(),
                metric_selector: e.metric.selector.clone(),
                current_value: e.current.value.unwrap_or_default(),
                current_average_value: e.current.average_value,
            })
        }),
    }
}

pub(super) fn status_to_new(m: &old::MetricStatus) -> new::MetricStatus {
    new::MetricStatus {
        type_: m.type_.clone(),
        object: m.object.as_ref().map(|o| {
            Box::new(new::ObjectMetricStatus {
                described_object: new_reference(&o.target),
                metric: identifier(&o.metric_name, &o.selector),
                current: current(Some(o.current_value), o.average_value, None),
            })
        }),
        pods: m.pods.as_ref().map(|p| {
            Box::new(new::PodsMetricStatus {
                metric: identifier(&p.metric_name, &p.selector),
                current: current(None, Some(p.current_average_value), None),
            })
        }),
        resource: m.resource.as_ref().map(|r| {
            let average = Some(r.current_average_value);
            Box::new(new::ResourceMetricStatus {
                name: r.name.clone(),
                current: current(None, average, r.current_average_utilization),
            })
        }),
        container_resource: m.container_resource.as_ref().map(|r| {
            let average = Some(r.current_average_value);
            Box::new(new::ContainerResourceMetricStatus {
                name: r.name.clone(),
                current: current(None, average, r.current_average_utilization),
                container: r.container.clone(),
            })
        }),
        external: m.external.as_ref().map(|e| {
            Box::new(new::ExternalMetricStatus {
                metric: identifier(&e.metric_name, &e.metric_selector),
                current: current(Some(e.current_value), e.current_average_value, None),
            })
        }),
    }
}
