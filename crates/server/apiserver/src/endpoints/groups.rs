//! Groups and versions in the order in which clients should prefer them, derived from the table of kinds.

use std::sync::LazyLock;

use scheme::Resource;

/// Groups in upstream's order of preference; groups of the table that are not named follow by name.
const ORDER: [&str; 20] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// A group with its versions, the preferred one first.
#[derive(Debug)]
pub(crate) struct Group {
    /// Group name.
    pub name: &'static str,
    /// Versions.
    pub versions: Vec<&'static str>,
}

/// All named groups.
pub(crate) fn all() -> &'static [Group] {
    static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
        let mut names: Vec<&str> =
            scheme::RESOURCES.iter().map(|r| &*r.group).filter(|g| !g.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        names.sort_by_key(|name| ORDER.iter().position(|o| o == name).unwrap_or(ORDER.len()));
        names
            .into_iter()
            .map(|name| {
                let mut versions: Vec<&str> =
                    scheme::RESOURCES.iter().filter(|r| r.group == name).map(|r| &*r.version).collect();
                versions.sort_unstable();
                versions.dedup();
                versions.reverse();
                Group { name, versions }
            })
            .collect()
    });
    &GROUPS
}

/// One group.
pub(crate) fn find(name: &str) -> Option<&'static Group> {
    all().iter().find(|g| g.name == name)
}

/// Resources of a version, by name.
pub(crate) fn resources(group: &str, version: &str) -> Vec<&'static Resource> {
    let mut found: Vec<&Resource> = scheme::resources_of(group, version).collect();
    found.sort_by(|a, b| a.plural.cmp(&b.plural));
    found
}
