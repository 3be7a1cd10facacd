//! Collections as a list call returns them.

use std::sync::Arc;

use call::{Action, Call, ListOptions, Reply, Target};
use meta::{Object, Status, Str};

use crate::Client;
use crate::api::unexpected;

/// One page of a collection, at one revision.
#[derive(Clone, Debug)]
pub struct ObjectList<T: ?Sized> {
    /// Members in key order.
    pub items: Vec<Arc<T>>,
    /// Revision of the whole collection: where to watch from.
    pub resource_version: u64,
    /// Token of the next page, empty at the end.
    pub continue_token: Str,
    /// How many more there are at least, when the server knows.
    pub remaining: Option<i64>,
}

/// Lists `target` page by page until its end. The revision is that of the last page, which an unbroken walk shares with
/// the first.
///
/// # Errors
/// Whatever the server refuses; `Expired` when the walk took longer than the server keeps the revision.
pub async fn list_all(
    client: &Client,
    target: &Target,
    mut options: ListOptions,
) -> Result<ObjectList<dyn Object>, Status> {
    let mut whole =
        ObjectList { items: Vec::new(), resource_version: 0, continue_token: Str::new(), remaining: None };
    loop {
        let call = Call { target: target.clone(), action: Action::List(options.clone()) };
        let Reply::List { items, resource_version, continue_token, .. } = client.call(call).await? else {
            return Err(unexpected("list"));
        };
        whole.items.extend(items);
        whole.resource_version = resource_version;
        if continue_token.is_empty() {
            return Ok(whole);
        }
        options.continue_token = continue_token;
        // A continued page takes its revision from the token.
        options.resource_version = Str::new();
        options.resource_version_match = None;
    }
}
