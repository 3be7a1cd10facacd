//! What one metric asks for: a number of replicas and the metric's status, or why it cannot tell.

use meta::{LabelSelector, Quantity, Selector, Status};
use reconcile::Answer;
use types::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricIdentifier, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
};

use super::calculate::{Proposed, Workload, sum};
use super::metrics::{self, Api};
use super::requests::requests;
use crate::common::selector::go_string;

/// A number of replicas that a metric asks for.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// The metric as messages name it.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// Why a metric asks for nothing.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    /// The cause, as the condition and the metric's own event tell it.
    pub(super) cause: String,
    /// The cause in the words of the whole look.
    pub(super) message: String,
}

/// The answer to the question that a metric is, `None` when it could not be asked.
pub(super) type Answered<'a> = Option<&'a Result<Answer, Status>>;

const NO_ANSWER: &str = "the server could not find the requested resource";

/// What `spec` asks for.
pub(super) fn propose(
    spec: &MetricSpec,
    namespace: &str,
    workload: &Workload<'_>,
    answer: Answered<'_>,
) -> Result<Proposal, Failure> {
    let fail = |reason, cause: String, before: String| {
        let message = format!("{before}: {cause}");
        Failure { reason, cause, message }
    };
    match spec.type_.as_str() {
        "Resource" => resource(spec, workload, answer).map_err(|cause| {
            let name = spec.resource.as_ref().map(|source| source.name.clone()).unwrap_or_default();
            fail("FailedGetResourceMetric", cause, format!("failed to get {name} resource metric value"))
        }),
        "ContainerResource" => container(spec, workload, answer).map_err(|cause| {
            let name =
                spec.container_resource.as_ref().map(|source| source.container.clone()).unwrap_or_default();
            fail(
                "FailedGetContainerResourceMetric",
                cause,
                format!("failed to get {name} container metric value"),
            )
        }),
        "Pods" => of_pods(spec, workload, answer)
            .map_err(|cause| fail("FailedGetPodsMetric", cause, "failed to get pods metric value".into())),
        "Object" => object(spec, namespace, workload, answer).map_err(|cause| {
            fail("FailedGetObjectMetric", cause, "failed to get object metric value".into())
        }),
        "External" => external(spec, namespace, workload, answer).map_err(|cause| {
            let name = spec.external.as_ref().map(|source| source.metric.name.clone()).unwrap_or_default();
            fail("FailedGetExternalMetric", cause, format!("failed to get {name} external metric value"))
        }),
        other => {
            let cause = format!("unknown metric source type {}", meta::go_quote(other));
            Err(Failure { reason: "InvalidMetricSourceType", message: cause.clone(), cause })
        }
    }
}

fn answered<'a>(answer: Answered<'a>) -> Result<&'a Result<Answer, Status>, String> {
    answer.ok_or_else(|| NO_ANSWER.to_owned())
}

/// The number of replicas by a resource of the pods or of one container, and what to say about it.
fn by_resource(
    target: &MetricTarget,
    (resource, container): (&str, &str),
    workload: &Workload<'_>,
    answer: Answered<'_>,
) -> Result<(Proposed, String, MetricValueStatus), String> {
    let api = Api { name: "resource", asked: "pods.metrics.k8s.io".into() };
    let samples = || {
        let members = metrics::members(answered(answer)?, &api)?;
        metrics::usage(members, resource, container)
    };
    let samples = || samples().map_err(|why| format!("unable to get metrics for resource {resource}: {why}"));
    if let Some(average) = target.average_value {
        let proposed = samples()
            .and_then(|samples| workload.by_average(resource, samples, average.milli_value()))
            .map_err(|why| format!("failed to get {resource} usage: {why}"))?;
        let status = per_pod(proposed.value);
        return Ok((proposed, format!("{resource} resource"), status));
    }
    let Some(percent) = target.average_utilization else {
        return Err(
            "invalid resource metric source: neither an average utilization target nor an average value \
                    (usage) target was set"
                .to_owned(),
        );
    };
    let requests = || requests(workload.pods, resource, container);
    let proposed = samples()
        .and_then(|samples| workload.by_utilization(resource, samples, requests, percent))
        .map_err(|why| format!("failed to get {resource} utilization: {why}"))?;
    let of = if container.is_empty() { "resource" } else { "container resource" };
    let status = MetricValueStatus { average_utilization: proposed.utilization, ..per_pod(proposed.value) };
    Ok((proposed, format!("{resource} {of} utilization (percentage of request)"), status))
}

fn resource(spec: &MetricSpec, workload: &Workload<'_>, answer: Answered<'_>) -> Result<Proposal, String> {
    let source = spec.resource.as_deref().ok_or(NO_ANSWER)?;
    let (proposed, name, current) = by_resource(&source.target, (&source.name, ""), workload, answer)?;
    let status = ResourceMetricStatus { name: source.name.clone(), current };
    let status =
        MetricStatus { type_: "Resource".into(), resource: Some(Box::new(status)), ..Default::default() };
    Ok(Proposal { replicas: proposed.replicas, name, status })
}

fn container(spec: &MetricSpec, workload: &Workload<'_>, answer: Answered<'_>) -> Result<Proposal, String> {
    let source = spec.container_resource.as_deref().ok_or(NO_ANSWER)?;
    let about = (source.name.as_str(), source.container.as_str());
    let (proposed, name, current) = by_resource(&source.target, about, workload, answer)?;
    let status = ContainerResourceMetricStatus {
        name: source.name.clone(),
        container: source.container.clone(),
        current,
    };
    let status = MetricStatus {
        type_: "ContainerResource".into(),
        container_resource: Some(Box::new(status)),
        ..Default::default()
    };
    Ok(Proposal { replicas: proposed.replicas, name, status })
}

/// The custom metrics API. What it is asked cannot carry a selector of metrics, so such a metric cannot be had.
fn custom(metric: &MetricIdentifier, answer: Answered<'_>) -> Result<Vec<serde_json::Value>, String> {
    let api = Api { name: "custom", asked: format!("{}.custom.metrics.k8s.io", metric.name) };
    let wanted = metric.selector.as_deref().filter(|selector| **selector != LabelSelector::default());
    match (metrics::members(answered(answer)?, &api), wanted) {
        (Ok(_), Some(_)) => {
            Err("unable to fetch metrics from custom metrics API: a selector of metrics is not \
                                 supported"
                .to_owned())
        }
        (members, _) => members,
    }
}

fn of_pods(spec: &MetricSpec, workload: &Workload<'_>, answer: Answered<'_>) -> Result<Proposal, String> {
    let source = spec.pods.as_deref().ok_or(NO_ANSWER)?;
    checked(source.metric.selector.as_deref())?;
    let name = &source.metric.name;
    let target = source.target.average_value.map_or(0, Quantity::milli_value);
    let members =
        custom(&source.metric, answer).map_err(|why| format!("unable to get metric {name}: {why}"))?;
    let proposed = workload.by_average("", metrics::of_pods(&members), target)?;
    let status = PodsMetricStatus { metric: source.metric.clone(), current: per_pod(proposed.value) };
    let status = MetricStatus { type_: "Pods".into(), pods: Some(Box::new(status)), ..Default::default() };
    Ok(Proposal { replicas: proposed.replicas, name: format!("pods metric {name}"), status })
}

fn object(
    spec: &MetricSpec,
    namespace: &str,
    workload: &Workload<'_>,
    answer: Answered<'_>,
) -> Result<Proposal, String> {
    let source = spec.object.as_deref().ok_or(NO_ANSWER)?;
    checked(source.metric.selector.as_deref())?;
    let (metric, described, target) = (&source.metric, &source.described_object, &source.target);
    let measured = || {
        let members = custom(metric, answer).map_err(|why| {
            format!(
                "unable to get metric {}: {} on {namespace} {}/{why}",
                metric.name, described.kind, described.name
            )
        })?;
        Ok::<i64, String>(metrics::values(&members).next().unwrap_or(0))
    };
    let (proposed, name, current) = match (target.type_.as_str(), target.value, target.average_value) {
        ("Value", Some(value), _) => {
            let proposed = workload.by_value(measured()?, value.milli_value())?;
            let current = whole(proposed.value);
            (proposed, format!("{} metric {}", described.kind, metric.name), current)
        }
        ("AverageValue", _, Some(value)) => {
            let measured =
                measured().map_err(|why| format!("failed to get {} object metric: {why}", metric.name))?;
            let proposed = workload.by_value_per_pod(measured, value.milli_value());
            let current = per_pod(proposed.value);
            (proposed, external_name(metric), current)
        }
        _ => {
            return Err(
                "invalid object metric source: neither a value target nor an average value target was \
                        set"
                .to_owned(),
            );
        }
    };
    // With an average the status does not say whose metric it is, as upstream's does not.
    let described = if target.type_ == "Value" { described.clone() } else { Default::default() };
    let status = ObjectMetricStatus { metric: metric.clone(), current, described_object: described };
    let status =
        MetricStatus { type_: "Object".into(), object: Some(Box::new(status)), ..Default::default() };
    Ok(Proposal { replicas: proposed.replicas, name, status })
}

fn external(
    spec: &MetricSpec,
    namespace: &str,
    workload: &Workload<'_>,
    answer: Answered<'_>,
) -> Result<Proposal, String> {
    let source = spec.external.as_deref().ok_or(NO_ANSWER)?;
    let metric = &source.metric;
    let api = Api { name: "external", asked: format!("{}.external.metrics.k8s.io", metric.name) };
    let measured = || {
        checked(metric.selector.as_deref())?;
        let members = answered(answer).and_then(|answer| metrics::members(answer, &api)).map_err(|why| {
            let selector = go_string(metric.selector.as_deref());
            format!("unable to get external metric {namespace}/{}/{selector}: {why}", metric.name)
        })?;
        Ok::<i64, String>(sum(metrics::values(&members)))
    };
    let (proposed, current) = if let Some(value) = source.target.average_value {
        let measured =
            measured().map_err(|why| format!("failed to get {} external metric: {why}", metric.name))?;
        let proposed = workload.by_value_per_pod(measured, value.milli_value());
        let current = per_pod(proposed.value);
        (proposed, current)
    } else if let Some(value) = source.target.value {
        let proposed = measured()
            .and_then(|measured| workload.by_value(measured, value.milli_value()))
            .map_err(|why| format!("failed to get external metric {}: {why}", metric.name))?;
        let current = whole(proposed.value);
        (proposed, current)
    } else {
        return Err(
            "invalid external metric source: neither a value target nor an average value target was set"
                .to_owned(),
        );
    };
    let status = ExternalMetricStatus { metric: metric.clone(), current };
    let status =
        MetricStatus { type_: "External".into(), external: Some(Box::new(status)), ..Default::default() };
    Ok(Proposal { replicas: proposed.replicas, name: external_name(metric), status })
}

fn checked(selector: Option<&LabelSelector>) -> Result<(), String> {
    Selector::from_label_selector(selector).map(|_| ()).map_err(|problem| problem.to_string())
}

fn external_name(metric: &MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, go_string(metric.selector.as_deref()))
}

fn per_pod(millis: i64) -> MetricValueStatus {
    MetricValueStatus { average_value: Some(Quantity::from_millis(millis)), ..Default::default() }
}

fn whole(millis: i64) -> MetricValueStatus {
    MetricValueStatus { value: Some(Quantity::from_millis(millis)), ..Default::default() }
}
