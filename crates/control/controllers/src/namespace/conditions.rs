//! What the end of a namespace tells about its progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Resource;
use meta::{Object, Status, Str, Time};
use reconcile::{Answer, Outcome};
use types::core::v1::{NamespaceCondition, NamespaceStatus};

use super::finalizers;

/// What a round of deletion left.
#[derive(Default)]
pub(super) struct Findings {
    /// Instances left of each resource, by its `plural.group`.
    remaining: BTreeMap<String, usize>,
    /// How many of them carry each finalizer.
    finalizers: BTreeMap<Str, usize>,
    errors: Vec<Status>,
    /// Groups and versions of extension API servers that do not say what they have.
    pub(super) stale: Vec<String>,
    /// Longest grace period of a pod that is left.
    grace_seconds: u64,
}

impl Findings {
    /// Takes in the lists of `resources`, which are the last results, and the failures of the deletes before them.
    pub(super) fn take(&mut self, resources: &[Resource], outcome: &Outcome) {
        let lists = outcome.results.len().saturating_sub(resources.len());
        let (carried, lists) = outcome.results.split_at(lists);
        self.errors.extend(carried.iter().filter_map(|result| result.clone().err()));
        for (resource, result) in resources.iter().zip(lists) {
            match result {
                Ok(Answer::List(items, _)) if !items.is_empty() => self.add(resource, items),
                Ok(_) => {}
                Err(status) => self.errors.push(status.clone()),
            }
        }
    }

    fn add(&mut self, resource: &Resource, items: &[Arc<dyn Object>]) {
        // The core group's resources are shown with a dot and no group behind it.
        let name = format!("{}.{}", resource.plural, resource.group);
        *self.remaining.entry(name).or_default() += items.len();
        for finalizer in finalizers(items) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        let grace =
            items.iter().filter_map(|item| item.meta().deletion_grace_period_seconds).max().unwrap_or(0);
        self.grace_seconds = self.grace_seconds.max(grace.max(0) as u64);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.remaining.is_empty() && !self.failed()
    }

    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty() || !self.stale.is_empty()
    }

    /// Half the time that pods may take to end, so that two looks cover it.
    pub(super) fn seconds_to_wait(&self) -> u64 {
        self.grace_seconds / 2 + 1
    }

    /// Which servers did not say what they have, in the words of upstream's discovery.
    fn undiscovered(&self) -> String {
        let each = |version: &String| format!("{version}: stale GroupVersion discovery: {version}");
        let each: Vec<String> = self.stale.iter().map(each).collect();
        format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            each.len(),
            each.join(", ")
        )
    }

    /// Writes the conditions. One that would be news only in its text keeps its time.
    pub(super) fn tell(&self, status: &mut NamespaceStatus, now: Time) {
        let join = |parts: Vec<String>| parts.join(", ");
        let remaining = join(
            self.remaining
                .iter()
                .map(|(name, count)| format!("{name} has {count} resource instances"))
                .collect(),
        );
        let held = join(
            self.finalizers
                .iter()
                .map(|(name, count)| format!("{name} in {count} resource instances"))
                .collect(),
        );
        let errors = join(self.errors.iter().map(|error| error.message.to_string()).collect());
        let left: usize = self.remaining.values().sum();
        let conditions = [
            (
                "NamespaceDeletionDiscoveryFailure",
                (!self.stale.is_empty()).then(|| ("DiscoveryFailed", self.undiscovered())),
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            (
                "NamespaceDeletionContentFailure",
                (!self.errors.is_empty()).then(|| {
                    (
                        "ContentDeletionFailed",
                        format!("Failed to delete all resource types, {left} remaining: {errors}"),
                    )
                }),
                ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            ),
            (
                "NamespaceContentRemaining",
                (!self.remaining.is_empty())
                    .then(|| ("SomeResourcesRemain", format!("Some resources are remaining: {remaining}"))),
                ("ContentRemoved", "All content successfully removed"),
            ),
            (
                "NamespaceFinalizersRemaining",
                (!self.finalizers.is_empty()).then(|| {
                    (
                        "SomeFinalizersRemain",
                        format!("Some content in the namespace has finalizers remaining: {held}"),
                    )
                }),
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ),
        ];
        for (type_, trouble, (reason, message)) in conditions {
            let condition = match trouble {
                Some((reason, message)) => condition(type_, "True", reason, message.into(), now),
                None => condition(type_, "False", reason, message.into(), now),
            };
            put(status, condition);
        }
    }
}

fn condition(type_: &str, status: &str, reason: &str, message: Str, now: Time) -> NamespaceCondition {
    NamespaceCondition {
        type_: type_.into(),
        status: status.into(),
        last_transition_time: Some(now),
        reason: reason.into(),
        message,
    }
}

fn put(status: &mut NamespaceStatus, condition: NamespaceCondition) {
    let Some(known) = status.conditions.iter_mut().find(|known| known.type_ == condition.type_) else {
        status.conditions.push(condition);
        return;
    };
    if known.status != condition.status
        || known.message != condition.message
        || known.reason != condition.reason
    {
        *known = condition;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_say_what_it_has_keeps_the_namespace() {
        let findings = Findings { stale: vec!["g.io/v1".to_owned()], ..Findings::default() };
        assert!(!findings.is_clean() && findings.failed());
        let mut status = NamespaceStatus::default();
        findings.tell(&mut status, Time::from_unix(0));
        let told: Vec<_> = status.conditions.iter().filter(|condition| condition.status == "True").collect();
        assert_eq!(told.len(), 1);
        assert_eq!(
            (&*told[0].type_, &*told[0].reason),
            ("NamespaceDeletionDiscoveryFailure", "DiscoveryFailed")
        );
        assert_eq!(
            told[0].message,
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
             g.io/v1: stale GroupVersion discovery: g.io/v1"
        );
    }
}
