//! Deployments, sets, jobs and autoscalers.

use meta::Time;
use serde_json::{Value, json};
use types::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use types::autoscaling::v1::Scale;
use types::batch::v1::{CronJob, Job};
use types::core::v1::Container;

use crate::human::{age, age_cell, labels, name, selector, since};
use crate::{Column, Printer, flag, named, number, printer, text, wide};

pub const TABLE: &[Printer] = &[
    printer!(Deployment, DEPLOYMENT, deployment),
    printer!(ReplicaSet, REPLICA_SET, replica_set),
    printer!(StatefulSet, STATEFUL_SET, stateful_set),
    printer!(DaemonSet, DAEMON_SET, daemon_set),
    printer!(
        ControllerRevision,
        &[named("Name"), text("Controller"), text("Revision"), text("Age")],
        revision
    ),
    printer!(Job, JOB, job),
    printer!(CronJob, CRON_JOB, cron_job),
    printer!(
        Scale,
        &[named("Name"), number("Desired"), number("Available"), text("Age")],
        |scale, now| vec![
            name(scale),
            json!(scale.spec.replicas),
            json!(scale.status.replicas),
            age_cell(scale, now)
        ]
    ),
];

const DEPLOYMENT: &[Column] = &[
    named("Name"),
    text("Ready"),
    text("Up-to-date"),
    text("Available"),
    text("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
const REPLICA_SET: &[Column] = &[
    named("Name"),
    number("Desired"),
    number("Current"),
    number("Ready"),
    text("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
const STATEFUL_SET: &[Column] =
    &[named("Name"), text("Ready"), text("Age"), wide("Containers"), wide("Images")];
const DAEMON_SET: &[Column] = &[
    named("Name"),
    number("Desired"),
    number("Current"),
    number("Ready"),
    number("Up-to-date"),
    number("Available"),
    text("Node Selector"),
    text("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
const JOB: &[Column] = &[
    named("Name"),
    text("Status"),
    text("Completions"),
    text("Duration"),
    text("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
const CRON_JOB: &[Column] = &[
    named("Name"),
    text("Schedule"),
    text("Timezone"),
    flag("Suspend"),
    number("Active"),
    text("Last Schedule"),
    text("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

/// The names of containers, joined by commas.
pub fn container_names(containers: &[Container]) -> Value {
    json!(containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(","))
}

/// Their images, joined by commas.
pub fn images(containers: &[Container]) -> Value {
    json!(containers.iter().map(|container| container.image.as_str()).collect::<Vec<_>>().join(","))
}

fn deployment(deployment: &Deployment, now: Time) -> Vec<Value> {
    let (spec, status) = (&deployment.spec, &deployment.status);
    let containers = &spec.template.spec.containers;
    vec![
        name(deployment),
        json!(format!("{}/{}", status.ready_replicas, spec.replicas.unwrap_or(0))),
        json!(status.updated_replicas),
        json!(status.available_replicas),
        age_cell(deployment, now),
        container_names(containers),
        images(containers),
        selector(spec.selector.as_deref(), ""),
    ]
}

fn replica_set(set: &ReplicaSet, now: Time) -> Vec<Value> {
    let containers = &set.spec.template.spec.containers;
    vec![
        name(set),
        json!(set.spec.replicas.unwrap_or(0)),
        json!(set.status.replicas),
        json!(set.status.ready_replicas),
        age_cell(set, now),
        container_names(containers),
        images(containers),
        selector(set.spec.selector.as_deref(), ""),
    ]
}

fn stateful_set(set: &StatefulSet, now: Time) -> Vec<Value> {
    let containers = &set.spec.template.spec.containers;
    vec![
        name(set),
        json!(format!("{}/{}", set.status.ready_replicas, set.spec.replicas.unwrap_or(0))),
        age_cell(set, now),
        container_names(containers),
        images(containers),
    ]
}

fn daemon_set(set: &DaemonSet, now: Time) -> Vec<Value> {
    let containers = &set.spec.template.spec.containers;
    let status = &set.status;
    vec![
        name(set),
        json!(status.desired_number_scheduled),
        json!(status.current_number_scheduled),
        json!(status.number_ready),
        json!(status.updated_number_scheduled),
        json!(status.number_available),
        labels(&set.spec.template.spec.node_selector),
        age_cell(set, now),
        container_names(containers),
        images(containers),
        selector(set.spec.selector.as_deref(), ""),
    ]
}

fn revision(revision: &ControllerRevision, now: Time) -> Vec<Value> {
    let owner = revision.metadata.owner_references.iter().find(|owner| owner.controller == Some(true));
    let owner = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let kind = owner.kind.to_lowercase();
            match owner.api_version.split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
                None => format!("{kind}/{}", owner.name),
            }
        },
    );
    vec![name(revision), json!(owner), json!(revision.revision), age_cell(revision, now)]
}

fn job(job: &Job, now: Time) -> Vec<Value> {
    let (spec, status) = (&job.spec, &job.status);
    let has = |wanted: &str| status.conditions.iter().any(|one| one.type_ == wanted && one.status == "True");
    let state = match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if job.metadata.deletion_timestamp.is_some() => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    let completions = match (spec.completions, spec.parallelism.unwrap_or(0)) {
        (Some(wanted), _) => format!("{}/{wanted}", status.succeeded),
        (None, parallel) if parallel > 1 => format!("{}/1 of {parallel}", status.succeeded),
        (None, _) => format!("{}/1", status.succeeded),
    };
    let duration = match (status.start_time, status.completion_time) {
        (None, _) => String::new(),
        (Some(start), Some(end)) => age(end.seconds_since(start)),
        (Some(start), None) => age(now.seconds_since(start)),
    };
    let containers = &spec.template.spec.containers;
    vec![
        name(job),
        json!(state),
        json!(completions),
        json!(duration),
        age_cell(job, now),
        container_names(containers),
        images(containers),
        selector(spec.selector.as_deref(), ""),
    ]
}

fn cron_job(cron: &CronJob, now: Time) -> Vec<Value> {
    let template = &cron.spec.job_template.spec;
    let containers = &template.template.spec.containers;
    let last =
        cron.status.last_schedule_time.map_or_else(|| "<none>".to_owned(), |last| since(Some(last), now));
    vec![
        name(cron),
        json!(cron.spec.schedule.as_str()),
        json!(cron.spec.time_zone.as_deref().unwrap_or("<none>")),
        json!(match cron.spec.suspend {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        }),
        json!(cron.status.active.len()),
        json!(last),
        age_cell(cron, now),
        container_names(containers),
        images(containers),
        selector(template.selector.as_deref(), ""),
    ]
}
