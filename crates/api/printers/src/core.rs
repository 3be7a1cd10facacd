//! Nodes, namespaces, events and the small kinds of the core group.

use meta::{Object, Time};
use serde_json::{Value, json};
use types::core::v1::{
    ComponentStatus, ConfigMap, Event, EventSource, Namespace, Node, NodeSystemInfo, PodTemplate,
    ReplicationController, ResourceQuota, Secret, ServiceAccount,
};

use crate::human::{age_cell, labels, name, or, or_none, since};
use crate::workloads::{container_names, images};
use crate::{Column, Printer, named, number, printer, text, wide};

pub const TABLE: &[Printer] = &[
    printer!(Node, NODE, node),
    printer!(Namespace, &[named("Name"), text("Status"), text("Age")], |ns, now| vec![
        name(ns),
        json!(ns.status.phase.as_str()),
        age_cell(ns, now)
    ]),
    printer!(ConfigMap, &[named("Name"), text("Data"), text("Age")], |map, now| vec![
        name(map),
        json!(map.data.len() + map.binary_data.len()),
        age_cell(map, now)
    ]),
    printer!(Secret, &[named("Name"), text("Type"), text("Data"), text("Age")], |secret, now| vec![
        name(secret),
        json!(secret.type_.as_str()),
        json!(secret.data.len()),
        age_cell(secret, now)
    ]),
    printer!(ServiceAccount, &[named("Name"), text("Age")], |account, now| vec![
        name(account),
        age_cell(account, now)
    ]),
    printer!(Event, EVENT, event),
    printer!(types::events::v1::Event, EVENT, new_event),
    printer!(ReplicationController, CONTROLLER, replication_controller),
    printer!(ResourceQuota, &[named("Name"), text("Request"), text("Limit"), text("Age")], quota),
    printer!(
        PodTemplate,
        &[named("Name"), text("Containers"), text("Images"), text("Pod Labels")],
        |template, _| vec![
            name(template),
            container_names(&template.template.spec.containers),
            images(&template.template.spec.containers),
            labels(&template.template.metadata.labels)
        ]
    ),
    printer!(ComponentStatus, &[named("Name"), text("Status"), text("Message"), text("Error")], component),
];

const NODE: &[Column] = &[
    named("Name"),
    text("Status"),
    text("Roles"),
    text("Age"),
    text("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

const EVENT: &[Column] = &[
    text("Last Seen"),
    text("Type"),
    text("Reason"),
    text("Object"),
    wide("Subobject"),
    wide("Source"),
    text("Message"),
    wide("First Seen"),
    wide("Count"),
    Column { name: "Name", type_: "string", format: "name", priority: 1 },
];

const CONTROLLER: &[Column] = &[
    named("Name"),
    number("Desired"),
    number("Current"),
    number("Ready"),
    text("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn node(node: &Node, now: Time) -> Vec<Value> {
    let ready = node.status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let mut status = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.spec.unschedulable {
        status.push_str(",SchedulingDisabled");
    }
    let address = |wanted: &str| {
        let found = node.status.addresses.iter().find(|address| address.type_ == wanted);
        json!(found.map_or("<none>", |address| address.address.as_str()))
    };
    let info = &node.status.node_info;
    vec![
        name(node),
        json!(status),
        or_none(&roles(node).join(",")),
        age_cell(node, now),
        json!(info.kubelet_version.as_str()),
        address("InternalIP"),
        address("ExternalIP"),
        or(&info.os_image, "<unknown>"),
        kernel(info),
        or(&info.container_runtime_version, "<unknown>"),
    ]
}

/// The kernel, and what processor it is for.
fn kernel(info: &NodeSystemInfo) -> Value {
    let version = if info.kernel_version.is_empty() { "<unknown>" } else { &*info.kernel_version };
    match info.architecture.as_str() {
        "" => json!(version),
        architecture => json!(format!("{version} ({architecture})")),
    }
}

fn roles(node: &Node) -> Vec<&str> {
    let mut roles: Vec<&str> = node
        .metadata
        .labels
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role),
            _ => (key == "kubernetes.io/role" && !value.is_empty()).then_some(value.as_str()),
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn event(event: &Event, now: Time) -> Vec<Value> {
    let micro = event.event_time.map(|time| Time::from_system(time.to_system()));
    let (series_last, series_count) = match &event.series {
        Some(series) => {
            (series.last_observed_time.map(|time| Time::from_system(time.to_system())), series.count)
        }
        None => (None, 0),
    };
    let first = since(event.first_timestamp.or(micro), now);
    let last = if event.series.is_some() {
        since(series_last, now)
    } else {
        match event.last_timestamp {
            Some(last) => since(Some(last), now),
            None => first.clone(),
        }
    };
    let count = match (&event.series, event.count) {
        (Some(_), _) => series_count,
        (None, 0) => 1,
        (None, count) => count,
    };
    let target = object_path(&event.involved_object.kind, &event.involved_object.name);
    let source = source(&event.source, &event.reporting_component, &event.reporting_instance);
    vec![
        json!(last),
        json!(event.type_.as_str()),
        json!(event.reason.as_str()),
        json!(target),
        json!(event.involved_object.field_path.as_str()),
        json!(source),
        json!(event.message.trim()),
        json!(first),
        json!(count),
        name(event),
    ]
}

/// Who tells of an event, and which one of them.
fn source(source: &EventSource, controller: &str, instance: &str) -> String {
    let component = if source.component.is_empty() { controller } else { &source.component };
    match if source.host.is_empty() { instance } else { &source.host } {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

fn object_path(kind: &str, name: &str) -> String {
    let kind = kind.to_lowercase();
    if name.is_empty() { kind } else { format!("{kind}/{name}") }
}

fn new_event(event: &types::events::v1::Event, now: Time) -> Vec<Value> {
    let micro = event.event_time.map(|time| Time::from_system(time.to_system()));
    let first = since(event.deprecated_first_timestamp.or(micro), now);
    let (last, count) = match &event.series {
        Some(series) => (
            since(series.last_observed_time.map(|time| Time::from_system(time.to_system())), now),
            series.count,
        ),
        None => {
            let last =
                event.deprecated_last_timestamp.map_or_else(|| first.clone(), |last| since(Some(last), now));
            (last, event.deprecated_count.max(1))
        }
    };
    vec![
        json!(last),
        json!(event.type_.as_str()),
        json!(event.reason.as_str()),
        json!(object_path(&event.regarding.kind, &event.regarding.name)),
        json!(event.regarding.field_path.as_str()),
        json!(source(&event.deprecated_source, &event.reporting_controller, &event.reporting_instance)),
        json!(event.note.trim()),
        json!(first),
        json!(count),
        name(event),
    ]
}

fn replication_controller(controller: &ReplicationController, now: Time) -> Vec<Value> {
    let containers =
        controller.spec.template.as_ref().map(|template| &template.spec.containers[..]).unwrap_or_default();
    vec![
        name(controller),
        json!(controller.spec.replicas.unwrap_or(0)),
        json!(controller.status.replicas),
        json!(controller.status.ready_replicas),
        age_cell(controller, now),
        container_names(containers),
        images(containers),
        labels(&controller.spec.selector),
    ]
}

fn quota(quota: &ResourceQuota, now: Time) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in quota.status.hard.iter() {
        let used = quota.status.used.get(resource).map_or_else(|| "0".to_owned(), ToString::to_string);
        let text = format!("{resource}: {used}/{hard}");
        if resource.starts_with("limits") { limits.push(text) } else { requests.push(text) }
    }
    vec![name(quota), json!(requests.join(", ")), json!(limits.join(", ")), age_cell(quota, now)]
}

fn component(component: &ComponentStatus, _: Time) -> Vec<Value> {
    let healthy = component.conditions.iter().find(|condition| condition.type_ == "Healthy");
    let status = match healthy.map(|condition| condition.status.as_str()) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let text =
        |pick: fn(&types::core::v1::ComponentCondition) -> &str| json!(healthy.map(pick).unwrap_or_default());
    vec![
        json!(component.meta().name.as_str()),
        json!(status),
        text(|condition| condition.message.as_str()),
        text(|condition| condition.error.as_str()),
    ]
}
