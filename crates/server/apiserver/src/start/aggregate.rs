//! Aggregated cluster roles: their rules are those of every role that their selectors match.
//!
//! The roles are few and change rarely, so each change computes all aggregating roles anew and writes the ones that
//! differ.

use std::collections::HashSet;
use std::sync::Arc;

use feed::{ReadAt, Scope, Start, WatchOptions};
use meta::{Selector, Status};
use registry::Served;
use tokio::task::JoinHandle;
use types::rbac::v1::{ClusterRole, PolicyRule};

use super::first::Writer;
use super::until_stopped;
use crate::server::Server;

/// Starts to aggregate, and keeps at it until the server stops.
pub(crate) fn aggregate_roles(server: &Arc<Server>) -> JoinHandle<()> {
    let following = server.clone();
    until_stopped(server, async move { follow(&following).await })
}

async fn follow(server: &Arc<Server>) {
    let Some(served) = Served::stored_version("rbac.authorization.k8s.io", "clusterroles") else { return };
    loop {
        let Ok(feed) = server.registry.feed(&served) else { return };
        let start = Start::State { at: ReadAt::Any, end_bookmark: false };
        let Ok(mut watcher) = feed.watch(WatchOptions::new(Scope::All, start)).await else { return };
        while watcher.next().await.is_ok() {
            if let Err(error) = aggregate(server, &served).await {
                tracing::warn!(%error, "cluster roles could not be aggregated");
            }
        }
    }
}

/// Writes every aggregating role whose rules differ from what its selectors match.
async fn aggregate(server: &Arc<Server>, served: &Served) -> Result<(), Status> {
    let roles: Vec<Arc<ClusterRole>> = server
        .registry
        .all(served, "")
        .await?
        .into_iter()
        .filter_map(|stored| meta::downcast::<ClusterRole>(stored.object().clone()))
        .collect();
    let writer = Writer::new(server, "clusterrole-aggregation-controller");
    for role in &roles {
        let Some(rule) = &role.aggregation_rule else { continue };
        let rules = union(role, &rule.cluster_role_selectors, &roles);
        if rules[..] == role.rules[..] {
            continue;
        }
        let rules: Vec<serde_json::Value> = rules.iter().map(meta::to_value).collect();
        writer.apply::<ClusterRole>(&role.metadata.name, serde_json::json!({ "rules": rules })).await?;
    }
    Ok(())
}

/// The rules of all roles that any selector matches, by role name, each rule once.
fn union(
    own: &ClusterRole,
    selectors: &[meta::LabelSelector],
    roles: &[Arc<ClusterRole>],
) -> Vec<PolicyRule> {
    let (mut rules, mut seen): (Vec<PolicyRule>, HashSet<String>) = Default::default();
    for selector in selectors {
        let Ok(selector) = Selector::from_label_selector(Some(selector)) else { continue };
        for role in roles {
            if role.metadata.name == own.metadata.name || !selector.matches(&role.metadata.labels) {
                continue;
            }
            rules.extend(role.rules.iter().filter(|rule| seen.insert(format!("{rule:?}"))).cloned());
        }
    }
    rules
}
