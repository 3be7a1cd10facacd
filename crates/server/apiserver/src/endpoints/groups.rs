//! Groups and versions in the order in which clients should prefer them, derived from the table of kinds.

use std::cmp::Ordering;
use std::sync::LazyLock;

use registry::Definitions;
use scheme::{Name, Resource};

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
    pub name: Name,
    /// Versions.
    pub versions: Vec<Name>,
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
                Group { name: name.into(), versions: versions.into_iter().map(Name::from).collect() }
            })
            .collect()
    });
    &GROUPS
}

/// One group.
pub(crate) fn find(name: &str) -> Option<&'static Group> {
    all().iter().find(|g| g.name == name)
}

/// The groups of definitions, by name.
pub(crate) fn custom(definitions: &Definitions) -> Vec<Group> {
    definitions.groups().into_iter().filter_map(|name| of_definitions(definitions, name)).collect()
}

/// One group of definitions.
pub(crate) fn of_definitions(definitions: &Definitions, name: &str) -> Option<Group> {
    let mut versions: Vec<Name> =
        definitions.of_group(name).map(|served| served.resource().version.clone()).collect();
    versions.sort_by(|a, b| compare_versions(b, a));
    versions.dedup();
    (!versions.is_empty()).then(|| Group { name: name.to_owned().into(), versions })
}

/// Versions as clients should prefer them, the better one greater: stable ones before betas before alphas, newer ones before
/// older ones, and names of any other form last, by the alphabet.
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// `v2beta1` as stability, major and minor.
fn parse_version(text: &str) -> Option<(u8, u64, u64)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let rest = text.strip_prefix('v')?;
    for (word, stability) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

/// Resources of a version, by name.
pub(crate) fn resources(group: &str, version: &str) -> Vec<&'static Resource> {
    let mut found: Vec<&Resource> = scheme::resources_of(group, version).collect();
    found.sort_by(|a, b| a.plural.cmp(&b.plural));
    found
}

#[cfg(test)]
mod tests {
    use super::compare_versions;

    #[test]
    fn versions_in_order_of_preference() {
        let mut versions =
            ["v1alpha1", "foo10", "v10", "v1", "v11beta2", "v3beta1", "v2", "foo1", "v12alpha1", "v10beta3"];
        versions.sort_by(|a, b| compare_versions(b, a));
        let expected =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v1alpha1", "foo1", "foo10"];
        assert_eq!(versions, expected);
    }
}
