//! How many objects there are of each resource and how large they are, for `/metrics`: asked when somebody looks.

use std::sync::Arc;

use registry::Amount;

use super::hooks;
use crate::server::Server;

const OBJECTS: (&str, &str) =
    ("apiserver_resource_objects", "Number of stored objects, by group and resource.");
const BYTES: (&str, &str) =
    ("apiserver_resource_size_estimate_bytes", "Bytes of stored objects, by group and resource.");
const OLD_OBJECTS: (&str, &str) = (
    "apiserver_storage_objects",
    "Number of stored objects, by resource. Older name of apiserver_resource_objects.",
);

/// Shows the counts for as long as the server is there.
pub(crate) fn count_objects(server: &Arc<Server>) {
    let registry = Arc::downgrade(&server.registry);
    telemetry::collector(move |page| {
        let Some(registry) = registry.upgrade() else { return };
        let mut amounts = registry.amounts();
        amounts.sort_unstable();
        let labels = |amount: &Amount| {
            [("group", amount.group.as_str().into()), ("resource", amount.plural.as_str().into())]
        };
        page.header(OBJECTS.0, OBJECTS.1, "gauge");
        for amount in &amounts {
            page.sample(OBJECTS.0, &labels(amount), amount.objects as f64);
        }
        page.header(BYTES.0, BYTES.1, "gauge");
        for amount in &amounts {
            page.sample(BYTES.0, &labels(amount), amount.stored_bytes as f64);
        }
        page.header(OLD_OBJECTS.0, OLD_OBJECTS.1, "gauge");
        for amount in &amounts {
            let name = registry::errors::qualified(&amount.group, &amount.plural);
            page.sample(OLD_OBJECTS.0, &[("resource", name.into())], amount.objects as f64);
        }
    });
    server.hooks.done(hooks::COUNTS);
}
