//! The three metrics APIs: which call asks for a metric, and what an answer says.
//!
//! All are served by extensions of the API. The answers are read in their JSON form, since only the resource metrics are
//! of a kind that is known here.

use std::collections::BTreeMap;

use call::{ListOptions, Target};
use client::Resource;
use meta::{Object, Quantity, Selector, Status, Str, Time};
use reconcile::{Answer, World, Write};
use serde_json::Value;
use types::autoscaling::v2::{CrossVersionObjectReference, MetricSpec};
use types::metrics::v1beta1::PodMetrics;

use super::target;

/// Seconds that a custom metric covers when it does not say.
const WINDOW_S: i64 = 60;

/// What was measured of one pod, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) value: i64,
    /// When, in seconds since 1970.
    pub(super) at_s: i64,
    /// Over how many seconds before.
    pub(super) window_s: i64,
}

/// What was measured of each pod, by name.
pub(super) type Samples = BTreeMap<Str, Sample>;

/// The call that asks for what `spec` wants to know; `None` when the metric is not one that can be asked for.
pub(super) fn question(spec: &MetricSpec, namespace: &str, pods: &Selector, world: &World) -> Option<Write> {
    let selected = |selector: &Selector| ListOptions {
        label_selector: selector.to_string().into(),
        ..ListOptions::default()
    };
    let (target, options) = match spec.type_.as_str() {
        "Resource" | "ContainerResource" => {
            (Resource::new("metrics.k8s.io", "v1beta1", "pods").target(namespace), selected(pods))
        }
        "Pods" => {
            let metric = &spec.pods.as_ref()?.metric;
            (custom("pods", namespace, "*", &metric.name), selected(pods))
        }
        "Object" => {
            let object = spec.object.as_ref()?;
            (
                described(&object.described_object, namespace, &object.metric.name, world)?,
                ListOptions::default(),
            )
        }
        "External" => {
            let metric = &spec.external.as_ref()?.metric;
            let selector =
                Selector::from_label_selector(Some(metric.selector.as_deref().unwrap_or(&EVERYTHING)));
            let resource = Resource::new("external.metrics.k8s.io", "v1beta1", &metric.name);
            (resource.target(namespace), selected(&selector.ok()?))
        }
        _ => return None,
    };
    Some(Write::list(target, options))
}

static EVERYTHING: std::sync::LazyLock<meta::LabelSelector> = std::sync::LazyLock::new(Default::default);

fn custom(resource: &str, namespace: &str, name: &str, metric: &str) -> Target {
    Resource::new("custom.metrics.k8s.io", "v1beta2", resource)
        .target(namespace)
        .named(name)
        .subresource(metric)
}

/// The metric of one object. Resources of other groups than the core are named with their group.
fn described(
    object: &CrossVersionObjectReference,
    namespace: &str,
    metric: &str,
    world: &World,
) -> Option<Target> {
    let group = target::group_of(&object.api_version).ok()?;
    let found = target::mapping(group, &object.kind, world)?;
    let resource =
        if group.is_empty() { found.plural.to_string() } else { format!("{}.{group}", found.plural) };
    let namespace = if object.kind == "Namespace" && group.is_empty() { "" } else { namespace };
    Some(custom(&resource, namespace, &object.name, metric))
}

/// The members of an answer, in JSON, or why there is none.
pub(super) fn members(answer: &Result<Answer, Status>, api: &Api) -> Result<Vec<Value>, String> {
    let objects = match answer {
        Ok(Answer::List(objects, _)) => objects.as_slice(),
        Ok(_) => &[],
        Err(status) => {
            return Err(format!(
                "unable to fetch metrics from {} metrics API: {}",
                api.name,
                api.refusal(status)
            ));
        }
    };
    if objects.is_empty() {
        return Err(format!("no metrics returned from {} metrics API", api.name));
    }
    let json = |object: &std::sync::Arc<dyn Object>| {
        let mut text = Vec::new();
        object.encode_json(&mut text);
        serde_json::from_slice(&text).unwrap_or_default()
    };
    Ok(objects.iter().map(json).collect())
}

/// One of the APIs, as messages name it.
pub(super) struct Api {
    pub(super) name: &'static str,
    /// What was asked for, as client-go names it when nobody serves it.
    pub(super) asked: String,
}

impl Api {
    /// The text of a refusal. An API that nobody serves is not refused by a server of it, so the client says what it asked.
    fn refusal(&self, status: &Status) -> String {
        let unserved =
            status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty());
        match self.name {
            "custom" if unserved => "no custom metrics API (custom.metrics.k8s.io) registered".to_owned(),
            _ if unserved => format!("the server could not find the requested resource (get {})", self.asked),
            _ => status.message.to_string(),
        }
    }
}

/// The usage of `resource` by each pod, or by its container of this name.
pub(super) fn usage(members: Vec<Value>, resource: &str, container: &str) -> Result<Samples, String> {
    let mut samples = Samples::new();
    for member in members {
        let Ok(pod) = meta::from_value::<PodMetrics>(member) else { continue };
        let name = &pod.metadata.name;
        let mut of_containers =
            pod.containers.iter().filter(|known| container.is_empty() || known.name == container);
        let value = if container.is_empty() {
            let values: Option<Vec<i64>> =
                of_containers.map(|known| Some(known.usage.get(resource)?.milli_value())).collect();
            values.filter(|values| !values.is_empty()).map(|values| values.iter().sum())
        } else {
            let Some(found) = of_containers.next() else {
                return Err(format!(
                    "container {container} not present in metrics for pod {}/{name}",
                    pod.metadata.namespace
                ));
            };
            found.usage.get(resource).map(|quantity| quantity.milli_value())
        };
        // A pod of which one container was not measured is like a pod that was not measured.
        if let Some(value) = value {
            let at_s = pod.timestamp.map_or(0, |time| time.seconds);
            let window_s = pod.window.nanos / 1_000_000_000;
            samples.insert(name.clone(), Sample { value, at_s, window_s });
        }
    }
    Ok(samples)
}

/// A custom metric of each pod.
pub(super) fn of_pods(members: &[Value]) -> Samples {
    let sample = |member: &Value| {
        let name = member["describedObject"]["name"].as_str()?;
        let at_s =
            member["timestamp"].as_str().and_then(|text| Time::parse(text).ok()).map_or(0, |t| t.seconds);
        let window_s = member["windowSeconds"].as_i64().unwrap_or(WINDOW_S);
        Some((Str::from(name), Sample { value: value(member)?, at_s, window_s }))
    };
    members.iter().filter_map(sample).collect()
}

/// The values of custom or external metrics, in thousandths.
pub(super) fn values(members: &[Value]) -> impl Iterator<Item = i64> {
    members.iter().filter_map(value)
}

fn value(member: &Value) -> Option<i64> {
    let text = member["value"].as_str()?;
    Some(Quantity::parse(text).ok()?.milli_value())
}
