//! How many objects there are of each resource, for `/metrics`: counted when somebody looks.

use std::sync::Arc;

use super::hooks;
use crate::server::Server;

const OBJECTS: (&str, &str) =
    ("apiserver_resource_objects", "Number of stored objects, by group and resource.");
const OLD_OBJECTS: (&str, &str) = (
    "apiserver_storage_objects",
    "Number of stored objects, by resource. Older name of apiserver_resource_objects.",
);

/// Shows the counts for as long as the server is there.
pub(crate) fn count_objects(server: &Arc<Server>) {
    let registry = Arc::downgrade(&server.registry);
    telemetry::collector(move |page| {
        let Some(registry) = registry.upgrade() else { return };
        let mut counts = registry.counts();
        counts.sort_unstable();
        page.header(OBJECTS.0, OBJECTS.1, "gauge");
        for (group, plural, count) in &counts {
            page.sample(
                OBJECTS.0,
                &[("group", group.as_str().into()), ("resource", plural.as_str().into())],
                *count as f64,
            );
        }
        page.header(OLD_OBJECTS.0, OLD_OBJECTS.1, "gauge");
        for (group, plural, count) in &counts {
            let name = registry::errors::qualified(group, plural);
            page.sample(OLD_OBJECTS.0, &[("resource", name.into())], *count as f64);
        }
    });
    server.hooks.done(hooks::COUNTS);
}
