//! Admission policies, devices and the autoscaler's second version.

use meta::v1::LabelSelector;
use meta::{Quantity, Time};
use serde_json::{Value, json};
use types::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ParamRef, ValidatingAdmissionPolicyBinding,
};
use types::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use types::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};

use crate::human::{age_cell, name};
use crate::{Column, Printer, named, number, printer, text};

pub const TABLE: &[Printer] = &[
    printer!(
        MutatingAdmissionPolicy,
        &[named("Name"), number("Mutations"), text("ParamKind"), text("Age")],
        |policy, now| {
            let kind = policy.spec.param_kind.as_ref();
            let kind = kind
                .map_or_else(|| "<unset>".to_owned(), |kind| format!("{}/{}", kind.api_version, kind.kind));
            vec![name(policy), json!(policy.spec.mutations.len()), json!(kind), age_cell(policy, now)]
        }
    ),
    printer!(MutatingAdmissionPolicyBinding, BINDING, |binding, now| vec![
        name(binding),
        json!(binding.spec.policy_name.as_str()),
        parameter(binding.spec.param_ref.as_deref()),
        age_cell(binding, now)
    ]),
    printer!(ValidatingAdmissionPolicyBinding, BINDING, |binding, now| vec![
        name(binding),
        json!(binding.spec.policy_name.as_str()),
        parameter(binding.spec.param_ref.as_deref()),
        age_cell(binding, now)
    ]),
    printer!(DeviceClass, &[named("Name"), text("Age")], |class, now| vec![
        name(class),
        age_cell(class, now)
    ]),
    printer!(ResourceClaimTemplate, &[named("Name"), text("Age")], |template, now| vec![
        name(template),
        age_cell(template, now)
    ]),
    printer!(ResourceClaim, &[named("Name"), text("State"), text("Age")], |claim, now| vec![
        name(claim),
        json!(claim_state(claim)),
        age_cell(claim, now)
    ]),
    printer!(
        ResourceSlice,
        &[named("Name"), text("Node"), text("Driver"), text("Pool"), text("Age")],
        |slice, now| vec![
            name(slice),
            json!(slice.spec.node_name.as_deref().unwrap_or_default()),
            json!(slice.spec.driver.as_str()),
            json!(slice.spec.pool.name.as_str()),
            age_cell(slice, now)
        ]
    ),
    printer!(HorizontalPodAutoscaler, AUTOSCALER, autoscaler),
];

const BINDING: &[Column] = &[named("Name"), text("PolicyName"), text("ParamRef"), text("Age")];
const AUTOSCALER: &[Column] = &[
    named("Name"),
    text("Reference"),
    text("Targets"),
    text("MinPods"),
    text("MaxPods"),
    text("Replicas"),
    text("Age"),
];

/// A selector as Go's generated code prints it.
fn go_selector(selector: &LabelSelector) -> String {
    let labels: String = selector.match_labels.iter().map(|(k, v)| format!("{k}: {v},")).collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .map(|r| {
            let values = r.values.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(" ");
            format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", r.key, r.operator)
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

fn parameter(reference: Option<&ParamRef>) -> Value {
    json!(match reference {
        None => "<unset>".to_owned(),
        Some(reference) if !reference.name.is_empty() => {
            // Whether parameters live in namespaces cannot be told from here.
            let namespace = if reference.namespace.is_empty() { "*" } else { &*reference.namespace };
            format!("{namespace}/{}", reference.name)
        }
        Some(reference) => reference.selector.as_deref().map_or_else(|| "<unset>".to_owned(), go_selector),
    })
}

fn claim_state(claim: &ResourceClaim) -> String {
    let mut states = Vec::new();
    if claim.metadata.deletion_timestamp.is_some() {
        states.push("deleted");
    }
    if claim.status.allocation.is_some() {
        states.push("allocated");
        if !claim.status.reserved_for.is_empty() {
            states.push("reserved");
        }
    } else if states.is_empty() {
        states.push("pending");
    }
    states.join(",")
}

fn autoscaler(autoscaler: &HorizontalPodAutoscaler, now: Time) -> Vec<Value> {
    let (spec, status) = (&autoscaler.spec, &autoscaler.status);
    let reference = &spec.scale_target_ref;
    let targets: Vec<String> = spec
        .metrics
        .iter()
        .enumerate()
        .map(|(at, metric)| target(metric, status.current_metrics.get(at)))
        .collect();
    let targets = match targets.len() {
        0 => "<none>".to_owned(),
        1 | 2 => targets.join(", "),
        len => format!("{} + {} more...", targets[..2].join(", "), len - 2),
    };
    vec![
        name(autoscaler),
        json!(format!("{}/{}", reference.kind, reference.name)),
        json!(targets),
        json!(spec.min_replicas.map_or_else(|| "<unset>".to_owned(), |least| least.to_string())),
        json!(spec.max_replicas),
        json!(status.current_replicas),
        age_cell(autoscaler, now),
    ]
}

/// One metric as `cpu: 12%/80%`: what is, over what is wanted.
fn target(metric: &MetricSpec, current: Option<&MetricStatus>) -> String {
    let (label, wanted, is) = match metric.type_.as_str() {
        "Resource" => {
            let Some(source) = &metric.resource else { return "<unknown>".to_owned() };
            let is = current.and_then(|current| current.resource.as_ref()).map(|current| &current.current);
            (format!("{}: ", source.name), &source.target, is)
        }
        "ContainerResource" => {
            let Some(source) = &metric.container_resource else { return "<unknown>".to_owned() };
            let is = current
                .and_then(|current| current.container_resource.as_ref())
                .map(|current| &current.current);
            (format!("{}: ", source.name), &source.target, is)
        }
        "Pods" => {
            let Some(source) = &metric.pods else { return "<unknown>".to_owned() };
            (String::new(), &source.target, current.and_then(|one| one.pods.as_ref()).map(|one| &one.current))
        }
        "Object" => {
            let Some(source) = &metric.object else { return "<unknown>".to_owned() };
            (
                String::new(),
                &source.target,
                current.and_then(|one| one.object.as_ref()).map(|one| &one.current),
            )
        }
        "External" => {
            let Some(source) = &metric.external else { return "<unknown>".to_owned() };
            (
                String::new(),
                &source.target,
                current.and_then(|one| one.external.as_ref()).map(|one| &one.current),
            )
        }
        _ => return "<unknown type>".to_owned(),
    };
    // Upstream says of averages that they are averages only where there could be something else.
    let said = if matches!(metric.type_.as_str(), "Object" | "External") { " (avg)" } else { "" };
    let (is, wanted) = amounts(wanted, is, said);
    format!("{label}{is}/{wanted}")
}

/// What is and what is wanted. A value that a status has not is upstream's nil, unless the whole status is unknown.
fn amounts(wanted: &MetricTarget, is: Option<&MetricValueStatus>, said: &str) -> (String, String) {
    let unknown = || "<unknown>".to_owned();
    let quantity = |value: Option<&Quantity>| value.map_or_else(|| "<nil>".to_owned(), ToString::to_string);
    if let Some(value) = &wanted.average_value {
        let is = match is {
            Some(is) if said.is_empty() => quantity(is.average_value.as_ref()),
            is => is.and_then(|is| is.average_value.as_ref()).map_or_else(unknown, ToString::to_string),
        };
        return (is, format!("{value}{said}"));
    }
    if let Some(percent) = wanted.average_utilization {
        let is =
            is.and_then(|is| is.average_utilization).map_or_else(unknown, |percent| format!("{percent}%"));
        return (is, format!("{percent}%"));
    }
    match &wanted.value {
        Some(value) => (is.map_or_else(unknown, |is| quantity(is.value.as_ref())), value.to_string()),
        None => (unknown(), "<auto>".to_owned()),
    }
}
