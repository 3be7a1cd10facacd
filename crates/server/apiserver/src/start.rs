//! What the server does before it serves: it begins to follow the policy objects and writes what every cluster starts
//! with.

use tokio::task::JoinHandle;

use crate::serve::listen::stopped;
use crate::server::Server;

mod addresses;
mod aggregate;
mod aggregation;
mod counts;
mod definitions;
mod feeds;
mod files;
mod first;
mod flow;
mod follow;
pub(crate) mod hooks;
mod keep;
mod keys;
mod lease;
mod policy;
mod used_tokens;

pub(crate) use addresses::follow_addresses;
pub(crate) use aggregate::aggregate_roles;
pub(crate) use aggregation::follow_aggregation;
pub(crate) use counts::count_objects;
pub(crate) use definitions::follow_definitions;
pub(crate) use files::{Followed, follow_file};
pub(crate) use first::write_first_objects;
pub(crate) use flow::follow_flow;
pub(crate) use follow::follow_policy;
pub(crate) use hooks::Hooks;
pub(crate) use keep::keep_first_objects;
pub(crate) use keys::{FollowedKeys, follow_keys, follow_token_keys, identity, kubelet_files, pair_files};
pub(crate) use lease::keep_leases;
pub(crate) use used_tokens::note_used_tokens;

/// Works on a task of its own until the server stops.
fn until_stopped(server: &Server, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let mut stopping = server.shared.stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = work => {}
            () = stopped(&mut stopping) => {}
        }
    })
}
