//! Groups and versions in the order in which clients should prefer them, and the APIService objects of those that this
//! server serves itself. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use meta::Str;
use types::apiregistration::v1::{APIService, APIServiceSpec};

/// The label of objects that this server keeps up to date, or makes once.
pub const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Made when the server starts, and left to its users from then on.
pub const ON_START: &str = "onstart";
/// Kept up to date for as long as the group and version is served.
pub const ALWAYS: &str = "true";

/// The group that describes all others; always first.
pub const OWN_GROUP: &str = "apiregistration.k8s.io";
/// What definitions' groups and versions have for priorities.
pub const OF_DEFINITIONS: (i32, i32) = (1000, 100);

/// Priorities of group and version, as upstream's.
const BUILT_IN: [(&str, &str, i32, i32); 22] = [
    ("", "v1", 18000, 1),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    (OWN_GROUP, "v1", 20001, 15),
    ("apps", "v1", 17800, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("networking.k8s.io", "v1", 17200, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("resource.k8s.io", "v1", 16200, 21),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("storage.k8s.io", "v1", 16800, 15),
];

/// The APIServices that are made at start. Nobody registers the group of APIServices itself.
pub fn built_in() -> impl Iterator<Item = APIService> {
    BUILT_IN.iter().filter(|(group, ..)| *group != OWN_GROUP).map(
        |&(group, version, priority, of_version)| local(group, version, (priority, of_version), ON_START),
    )
}

/// The APIService of a group and version that this server serves itself.
pub fn local(group: &str, version: &str, (priority, of_version): (i32, i32), managed: &str) -> APIService {
    let mut api = APIService {
        spec: APIServiceSpec {
            group: group.into(),
            version: version.into(),
            group_priority_minimum: priority,
            version_priority: of_version,
            ..APIServiceSpec::default()
        },
        ..APIService::default()
    };
    api.metadata.name = format!("{version}.{group}").into();
    api.metadata.labels.insert(MANAGED, managed.into());
    api
}

/// Priorities of a built-in group and version.
pub fn priorities(group: &str, version: &str) -> Option<(i32, i32)> {
    let found = BUILT_IN.iter().find(|(g, v, ..)| *g == group && *v == version);
    found.map(|&(_, _, priority, of_version)| (priority, of_version))
}

/// A group with its versions, the preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Group name.
    pub name: Str,
    /// Versions.
    pub versions: Vec<Str>,
}

/// All groups of these versions, with their priorities, in order: greater group priorities first, then by name; within a
/// group greater version priorities first, then as versions of Kubernetes are preferred.
pub fn ordered(versions: impl Iterator<Item = (Str, Str, (i32, i32))>) -> Vec<Group> {
    let mut groups: BTreeMap<Str, BTreeMap<Str, (i32, i32)>> = BTreeMap::new();
    for (group, version, priorities) in versions {
        groups.entry(group).or_default().insert(version, priorities);
    }
    let mut ordered: Vec<(i32, Group)> = groups
        .into_iter()
        .map(|(name, versions)| {
            let priority = versions.values().map(|(priority, _)| *priority).max().unwrap_or_default();
            let mut versions: Vec<(Str, (i32, i32))> = versions.into_iter().collect();
            versions.sort_by(|(a, (_, of_a)), (b, (_, of_b))| {
                of_b.cmp(of_a).then_with(|| compare_versions(b, a))
            });
            let versions = versions.into_iter().map(|(version, _)| version).collect();
            (priority, Group { name, versions })
        })
        .collect();
    // The names are in order already.
    ordered.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    ordered.into_iter().map(|(_, group)| group).collect()
}

/// Versions as clients should prefer them, the better one greater: stable ones before betas before alphas, newer ones before
/// older ones, and names of any other form last, by the alphabet.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_order_of_preference() {
        let mut versions =
            ["v1alpha1", "foo10", "v10", "v1", "v11beta2", "v3beta1", "v2", "foo1", "v12alpha1", "v10beta3"];
        versions.sort_by(|a, b| compare_versions(b, a));
        let expected =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v1alpha1", "foo1", "foo10"];
        assert_eq!(versions, expected);
    }

    #[test]
    fn groups_in_order_of_priority() {
        let versions = [
            ("b.io", "v1", (1000, 100)),
            ("a.io", "v1", (1000, 100)),
            ("a.io", "v2beta1", (1000, 100)),
            ("a.io", "v1alpha1", (2000, 200)),
            ("metrics.k8s.io", "v1beta1", (100, 100)),
        ];
        let versions = versions.into_iter().map(|(group, version, p)| (group.into(), version.into(), p));
        let ordered = ordered(versions);
        let shown: Vec<String> =
            ordered.iter().map(|g| format!("{}: {}", g.name, g.versions.join(" "))).collect();
        assert_eq!(shown, ["a.io: v1alpha1 v1 v2beta1", "b.io: v1", "metrics.k8s.io: v1beta1"]);
    }
}
