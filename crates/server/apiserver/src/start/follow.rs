//! Keeps the authorizer's indexes in step with the stored roles, bindings, pods, volumes and attachments, and admission with
//! the stored policies and webhooks.
//!
//! The indexes are filled before the first request and then follow the feeds. A feed that ends (the server fell too
//! far behind) is opened again from its current state.

use std::sync::Arc;

use authz::rbac::Change;
use feed::{EventKind, Item, ReadAt, Scope, Start, WatchOptions};
use meta::{Object, Status};
use registry::Served;
use tokio::task::JoinHandle;
use types::core::v1::{PersistentVolume, Pod};
use types::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use types::resource::v1::ResourceSlice;
use types::storage::v1::VolumeAttachment;

use super::hooks;
use super::until_stopped;
use crate::server::Server;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The kinds that are followed.
const FOLLOWED: [(&str, &str); 8] = [
    (RBAC, "clusterroles"),
    (RBAC, "clusterrolebindings"),
    (RBAC, "roles"),
    (RBAC, "rolebindings"),
    ("", "pods"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
    ("resource.k8s.io", "resourceslices"),
];

/// Fills the indexes and starts to follow.
pub(crate) async fn follow_policy(server: &Arc<Server>) -> Result<Vec<JoinHandle<()>>, Status> {
    let mut tasks = Vec::new();
    let (registration, plurals) = admission::Dynamic::FOLLOWED;
    let programmed = plurals.into_iter().map(|plural| (registration, plural));
    for (group, plural) in FOLLOWED.into_iter().chain(programmed) {
        let Some(served) = Served::stored_version(group, plural) else { continue };
        for stored in server.registry.all(&served, "").await? {
            apply(server, &**stored.object(), false);
        }
        let following = server.clone();
        let task = until_stopped(server, async move { follow(&following, served).await });
        server.hooks.lives(if group == registration { hooks::ADMISSION } else { hooks::POLICY }, &task);
        tasks.push(task);
    }
    Ok(tasks)
}

async fn follow(server: &Arc<Server>, served: Served) {
    loop {
        let Ok(feed) = server.registry.feed(&served) else { return };
        let start = Start::State { at: ReadAt::Any, end_bookmark: false };
        let options = WatchOptions { capacity: 64 << 10, ..WatchOptions::new(Scope::All, start) };
        let Ok(mut watcher) = feed.watch(options).await else { return };
        loop {
            match watcher.next().await {
                Ok(items) => {
                    for item in items {
                        match item {
                            Item::Initial(entry) => apply(server, &**entry.object(), false),
                            Item::Event(event) => {
                                apply(server, &**event.entry.object(), event.kind == EventKind::Deleted);
                            }
                            Item::Bookmark { .. } => {}
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, resource = &*served.resource().plural, "following policy objects anew");
                    break;
                }
            }
        }
    }
}

fn apply(server: &Server, object: &dyn Object, gone: bool) {
    let metadata = object.meta();
    let (namespace, name) = (metadata.namespace.as_str(), metadata.name.as_str());
    if let Some(role) = meta::downcast_ref::<ClusterRole>(object) {
        let change = if gone { Change::ClusterRoleGone(name) } else { Change::ClusterRole(role) };
        server.authorizer.policy.write().apply(change);
    } else if let Some(role) = meta::downcast_ref::<Role>(object) {
        let change = if gone { Change::RoleGone(namespace, name) } else { Change::Role(role) };
        server.authorizer.policy.write().apply(change);
    } else if let Some(binding) = meta::downcast_ref::<ClusterRoleBinding>(object) {
        let change =
            if gone { Change::ClusterRoleBindingGone(name) } else { Change::ClusterRoleBinding(binding) };
        server.authorizer.policy.write().apply(change);
    } else if let Some(binding) = meta::downcast_ref::<RoleBinding>(object) {
        let change =
            if gone { Change::RoleBindingGone(namespace, name) } else { Change::RoleBinding(binding) };
        server.authorizer.policy.write().apply(change);
    } else if let Some(pod) = meta::downcast_ref::<Pod>(object) {
        let mut graph = server.authorizer.graph.write();
        if gone { graph.pod_gone(namespace, name) } else { graph.pod(pod) }
    } else if let Some(volume) = meta::downcast_ref::<PersistentVolume>(object) {
        let mut graph = server.authorizer.graph.write();
        if gone { graph.volume_gone(name) } else { graph.volume(volume) }
    } else if let Some(attachment) = meta::downcast_ref::<VolumeAttachment>(object) {
        let mut graph = server.authorizer.graph.write();
        if gone { graph.attachment_gone(name) } else { graph.attachment(name, &attachment.spec.node_name) }
    } else if let Some(slice) = meta::downcast_ref::<ResourceSlice>(object) {
        let mut graph = server.authorizer.graph.write();
        if gone { graph.slice_gone(name) } else { graph.slice(name, slice.spec.node_name.as_deref()) }
    } else {
        server.registry.dynamic().apply(object, gone);
    }
}
