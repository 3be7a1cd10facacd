//! What the pods that a namespace has break of a standard that it is about to enforce.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meta::Str;
use types::core::v1::Pod;

use super::checks::violations;
use super::policy::Standard;
use super::subject::Subject;
use super::words::reasons;
use crate::world::{World, WorldExt};

/// Most pods that one change of a label looks at.
const PODS_MAX: usize = 3000;

/// Warnings for the client, one per combination of broken rules.
/// Pods that are exempt are not looked at.
pub fn warnings(
    namespace: &str,
    standard: Standard,
    world: &dyn World,
    exempt: impl Fn(&Pod) -> bool,
) -> Vec<String> {
    let mut pods = prioritized(world.list::<Pod>(namespace));
    pods.retain(|pod| !exempt(pod));
    // Broken rules, with the first pod's name and the number of pods.
    let mut broken: BTreeMap<String, (Str, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let found = violations(standard, &Subject::new(&pod.metadata.annotations, &pod.spec));
        if found.is_empty() {
            continue;
        }
        let name = &pod.metadata.name;
        let entry = broken.entry(reasons(&found)).or_insert_with(|| (name.clone(), 0));
        entry.1 += 1;
        if *name < entry.0 {
            entry.0 = name.clone();
        }
    }
    let mut texts = Vec::new();
    if pods.len() > PODS_MAX {
        texts.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if !broken.is_empty() {
        texts.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut lines: Vec<String> =
        broken.iter().map(|(reasons, (name, count))| line(reasons, name, *count)).collect();
    lines.sort();
    texts.extend(lines);
    texts
}

fn line(reasons: &str, name: &str, count: usize) -> String {
    match count {
        0 | 1 => format!("{name}: {reasons}"),
        2 => format!("{name} (and 1 other pod): {reasons}"),
        more => format!("{name} (and {} other pods): {reasons}", more - 1),
    }
}

/// One pod of each controller first: its others are the same.
fn prioritized(pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
    let mut seen = BTreeSet::new();
    let (mut first, rest): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| {
        let owner = pod.metadata.owner_references.iter().find(|owner| owner.controller == Some(true));
        owner.is_none_or(|owner| seen.insert(owner.uid.clone()))
    });
    first.extend(rest);
    first
}
