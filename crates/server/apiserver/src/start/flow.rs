//! Flow control's configuration: writes the objects that every cluster has, follows all of their kinds, and tells each
//! FlowSchema whether its priority level exists.
//!
//! It begins once the server serves, so that starting waits for none of it; until then every request runs.

use std::sync::Arc;

use feed::{ReadAt, Scope, Start, WatchOptions};
use flow::bootstrap::{self, AUTO_UPDATE, MANDATORY};
use meta::{Codec, Kind, Object, Status, Time};
use registry::Served;
use tokio::task::JoinHandle;
use types::flowcontrol::v1::{FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration};

use super::first::Writer;
use super::hooks;
use super::until_stopped;
use crate::server::Server;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Pause before objects that could not be written are written again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
const DANGLING: &str = "Dangling";

/// Starts to configure, and keeps at it until the server stops.
pub(crate) fn follow_flow(server: &Arc<Server>) -> JoinHandle<()> {
    let running = server.clone();
    let task = until_stopped(server, async move { run(&running).await });
    server.hooks.lives(hooks::FLOW, &task);
    task
}

async fn run(server: &Arc<Server>) {
    while let Err(error) = write_objects(server).await {
        tracing::warn!(%error, "objects of priority and fairness could not be written");
        tokio::time::sleep(RETRY).await;
    }
    server.hooks.done(hooks::FLOW_OBJECTS);
    let kinds = ["flowschemas", "prioritylevelconfigurations"];
    let served = kinds.map(|plural| Served::stored_version(GROUP, plural));
    let [Some(schemas), Some(levels)] = served else { return };
    loop {
        let start = || Start::State { at: ReadAt::Any, end_bookmark: false };
        let (Ok(of_schemas), Ok(of_levels)) = (server.registry.feed(&schemas), server.registry.feed(&levels))
        else {
            return;
        };
        let (Ok(mut schema_changes), Ok(mut level_changes)) = (
            of_schemas.watch(WatchOptions::new(Scope::All, start())).await,
            of_levels.watch(WatchOptions::new(Scope::All, start())).await,
        ) else {
            return;
        };
        loop {
            let changed = tokio::select! {
                changed = schema_changes.next() => changed.is_ok(),
                changed = level_changes.next() => changed.is_ok(),
            };
            // Fallen behind: both are followed anew from their current state.
            if !changed {
                break;
            }
            if let Err(error) = configure(server, &schemas, &levels).await {
                tracing::warn!(%error, "priority and fairness could not be configured");
            }
        }
    }
}

/// Writes what is missing, and puts back what the server may put back.
async fn write_objects(server: &Arc<Server>) -> Result<(), Status> {
    let writer = Writer::new(server, "api-priority-and-fairness-config-producer-v1");
    for level in bootstrap::levels() {
        writer
            .reconcile(level, |old: &mut PriorityLevelConfiguration, new| {
                let changed = ours(old) && old.spec != new.spec;
                if changed {
                    old.spec.clone_from(&new.spec);
                }
                changed
            })
            .await?;
    }
    for schema in bootstrap::schemas() {
        writer
            .reconcile(schema, |old: &mut FlowSchema, new| {
                let changed = ours(old) && old.spec != new.spec;
                if changed {
                    old.spec.clone_from(&new.spec);
                }
                changed
            })
            .await?;
    }
    Ok(())
}

/// Whether the server may change the object: it is mandatory, or says so.
fn ours(object: &dyn Object) -> bool {
    let metadata = object.meta();
    MANDATORY.contains(&metadata.name.as_str())
        || match metadata.annotations.get(AUTO_UPDATE) {
            Some(said) => said == "true",
            // Nobody has changed it since it was created.
            None => metadata.generation == 1,
        }
}

async fn configure(server: &Arc<Server>, schemas: &Served, levels: &Served) -> Result<(), Status> {
    let schemas: Vec<Arc<FlowSchema>> = all(server, schemas).await?;
    let levels: Vec<Arc<PriorityLevelConfiguration>> = all(server, levels).await?;
    server.flow.configure(schemas.clone(), &levels);
    let writer = Writer::new(server, "api-priority-and-fairness-config-consumer-v1");
    for schema in schemas {
        if let Some(condition) = new_condition(&schema, &levels, Time::from_unix(server.now_s())) {
            let condition = serde_json::from_slice(&condition.to_json()).unwrap_or_default();
            writer.apply_condition::<FlowSchema>(&schema.metadata.name, condition).await?;
        }
    }
    Ok(())
}

async fn all<K: Kind + Object>(server: &Server, served: &Served) -> Result<Vec<Arc<K>>, Status> {
    let stored = server.registry.all(served, "").await?;
    Ok(stored.into_iter().filter_map(|stored| meta::downcast::<K>(stored.object().clone())).collect())
}

/// The condition that says whether the level of a schema exists; `None` when the schema says so already.
fn new_condition(
    schema: &FlowSchema,
    levels: &[Arc<PriorityLevelConfiguration>],
    now: Time,
) -> Option<FlowSchemaCondition> {
    let level = &schema.spec.priority_level_configuration.name;
    let found = levels.iter().any(|one| one.metadata.name == *level);
    let (status, reason, rest) = if found {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {rest}");
    let old = schema.status.conditions.iter().find(|condition| condition.type_ == DANGLING);
    if old.is_some_and(|old| old.status == status && old.reason == reason && old.message == message.as_str())
    {
        return None;
    }
    let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time);
    Some(FlowSchemaCondition {
        type_: DANGLING.into(),
        status: status.into(),
        last_transition_time: Some(since.unwrap_or(now)),
        reason: reason.into(),
        message: message.into(),
    })
}
