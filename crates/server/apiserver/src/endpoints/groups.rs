//! All groups and versions in the order in which clients should prefer them: those of the table of kinds, of definitions and
//! of APIServices.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aggregate::groups::{ALWAYS, MANAGED, OF_DEFINITIONS, ordered, priorities};
use meta::Str;
use scheme::Resource;

pub(crate) use aggregate::groups::Group;

use crate::server::Server;

/// Groups and versions of the table of kinds.
static BUILT_IN: LazyLock<BTreeSet<(&str, &str)>> = LazyLock::new(|| {
    let named = scheme::RESOURCES.iter().filter(|resource| !resource.group.is_empty());
    named.map(|resource| (&*resource.group, &*resource.version)).collect()
});

/// All named groups.
pub(crate) fn all(server: &Server) -> Vec<Group> {
    let built_in = BUILT_IN.iter().map(|&(group, version)| (Str::from(group), Str::from(version)));
    let definitions = server.registry.definitions();
    let defined = definitions.all().map(|served| {
        let resource = served.resource();
        (Str::from(&*resource.group), Str::from(&*resource.version))
    });
    let served: BTreeSet<(Str, Str)> = built_in.chain(defined).collect();
    // The registration of a definition that went follows it soon.
    let registered = server.aggregator.all().into_iter().filter(|api| {
        let key = (api.spec.group.clone(), api.spec.version.clone());
        !key.0.is_empty() && (api.metadata.label(MANAGED) != ALWAYS || served.contains(&key))
    });
    let registered: Vec<(Str, Str, (i32, i32))> = registered
        .map(|api| {
            let spec = &api.spec;
            let priorities = (spec.group_priority_minimum, spec.version_priority);
            (spec.group.clone(), spec.version.clone(), priorities)
        })
        .collect();
    let served = served.into_iter().map(|(group, version)| {
        let priorities = priorities(&group, &version).unwrap_or(OF_DEFINITIONS);
        (group, version, priorities)
    });
    // What an APIService says of a version counts.
    ordered(served.chain(registered))
}

/// One group.
pub(crate) fn find(server: &Server, name: &str) -> Option<Group> {
    all(server).into_iter().find(|group| group.name == name)
}

/// Whether the table of kinds has the version, or any of the group where `version` is `None`.
pub(crate) fn is_built_in(group: &str, version: Option<&str>) -> bool {
    BUILT_IN.iter().any(|(g, v)| *g == group && version.is_none_or(|version| *v == version))
}

/// Resources of a version, by name.
pub(crate) fn resources(group: &str, version: &str) -> Vec<&'static Resource> {
    let mut found: Vec<&Resource> = scheme::resources_of(group, version).collect();
    found.sort_by(|a, b| a.plural.cmp(&b.plural));
    found
}
