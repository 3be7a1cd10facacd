//! ControllerRevisions: the history of a workload's template.

use std::sync::Arc;

use meta::{Codec, Kind, LabelSelector, Object, RawJson, Str};
use reconcile::{Outcome, Plan, Write};
use types::apps::v1::ControllerRevision;
use types::core::v1::PodTemplateSpec;

use super::hash::{encode, fnv32};
use super::owners::{controller_of, controller_ref, is_controlled_by};
use super::selector::selects;

/// What pods carry of their revision, and the revisions of a DaemonSet themselves.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// What the revisions of a StatefulSet carry.
pub(crate) const HISTORY_LABEL: &str = "controller.kubernetes.io/hash";

/// The part of a workload that a revision keeps, as a patch that restores it.
pub(crate) fn data(template: &PodTemplateSpec) -> Vec<u8> {
    let mut template: serde_json::Value = serde_json::from_slice(&template.to_json()).unwrap_or_default();
    template["$patch"] = "replace".into();
    let text = serde_json::json!({ "spec": { "template": template } }).to_string();
    // As Go's encoder writes it: the revision's name is a hash of these bytes. Such characters occur in strings only.
    let mut data = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                data.push_str(&format!("\\u{:04x}", u32::from(letter)))
            }
            other => data.push(other),
        }
    }
    data.into_bytes()
}

fn equal(revision: &ControllerRevision, data: &[u8]) -> bool {
    let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    parse(revision.data.as_bytes()) == parse(data)
}

/// The revisions of a workload and which of them is the present one.
pub(crate) struct History {
    /// Oldest first.
    pub(crate) revisions: Vec<Arc<ControllerRevision>>,
    /// The revision of the present template, `None` when it is not stored yet.
    pub(crate) present: Option<Arc<ControllerRevision>>,
    /// Revisions that an earlier owner of the same pods left behind.
    orphans: Vec<Arc<ControllerRevision>>,
}

impl History {
    /// The history of `owner` out of all revisions of its namespace.
    pub(crate) fn of<K: Kind>(
        owner: &K,
        selector: Option<&LabelSelector>,
        all: Vec<Arc<ControllerRevision>>,
        template: &PodTemplateSpec,
    ) -> History {
        let mut revisions = all;
        let is_orphan = |revision: &&Arc<ControllerRevision>| {
            controller_of(&revision.metadata).is_none()
                && revision.metadata.deletion_timestamp.is_none()
                && selects(selector, &revision.metadata.labels)
        };
        let orphans = revisions.iter().filter(is_orphan).cloned().collect();
        revisions.retain(|revision| is_controlled_by(&revision.metadata, owner.meta()));
        revisions.sort_by_key(|revision| (revision.revision, super::rank::oldest_first(&revision.metadata)));
        let data = data(template);
        let present = revisions.iter().rfind(|revision| equal(revision, &data)).cloned();
        History { revisions, present, orphans }
    }

    /// Makes what an earlier owner left behind part of the history. Returns whether something has to be written first.
    pub(crate) fn adopt<K: Kind>(&self, owner: &K, plan: &mut Plan) -> bool {
        if owner.meta().deletion_timestamp.is_some() || self.orphans.is_empty() {
            return false;
        }
        for orphan in &self.orphans {
            let mut adopted = (**orphan).clone();
            adopted.metadata.owner_references.push(controller_ref(owner));
            plan.push(Write::change(&**orphan, &adopted, "").ignore(404));
        }
        true
    }

    /// Makes the present template the newest revision, whose hash is told by `label`. Returns whether something has to be
    /// written first.
    pub(crate) fn sync<K: Kind>(
        &self,
        owner: &K,
        label: &str,
        template: &PodTemplateSpec,
        collisions: Option<i32>,
        plan: &mut Plan,
    ) -> bool {
        let newest = self.revisions.last().map_or(0, |revision| revision.revision);
        if let Some(present) = &self.present {
            if present.revision == newest {
                return false;
            }
            // The template went back to an earlier one: that revision becomes the newest again.
            let mut moved = (**present).clone();
            moved.revision = newest + 1;
            plan.update(moved);
            return true;
        }
        let data = data(template);
        let hash = hash_of(&data, collisions);
        let mut revision =
            ControllerRevision { data: RawJson::new(data), revision: newest + 1, ..Default::default() };
        revision.metadata.namespace = owner.meta().namespace.clone();
        revision.metadata.name = Str::from(format!("{}-{hash}", owner.meta().name));
        revision.metadata.labels = template.metadata.labels.clone();
        revision.metadata.labels.insert(label, Str::from(hash));
        revision.metadata.annotations = owner.meta().annotations.clone();
        revision.metadata.owner_references.push(controller_ref(owner));
        plan.push(Write::create(revision));
        true
    }

    /// The name of the present revision.
    pub(crate) fn name(&self) -> Str {
        self.present.as_ref().map(|revision| revision.metadata.name.clone()).unwrap_or_default()
    }

    /// The hash of the present revision.
    pub(crate) fn hash(&self) -> Str {
        self.present
            .as_ref()
            .and_then(|revision| revision.metadata.labels.get(HASH_LABEL).cloned())
            .unwrap_or_default()
    }

    /// Deletes the oldest revisions beyond `limit` that are not in use.
    pub(crate) fn clean_up(&self, limit: i32, in_use: impl Fn(&ControllerRevision) -> bool, plan: &mut Plan) {
        let present = self.name();
        let old: Vec<_> = self
            .revisions
            .iter()
            .filter(|revision| revision.metadata.name != present && !in_use(revision))
            .collect();
        let surplus = old.len().saturating_sub(limit.max(0) as usize);
        plan.all(old.into_iter().take(surplus).map(|revision| Write::delete(&**revision)).collect());
    }
}

/// What tells a revision with this data from others of the same owner.
fn hash_of(data: &[u8], collisions: Option<i32>) -> String {
    encode(fnv32(&[data, collisions.unwrap_or(0).to_string().as_bytes()]))
}

/// Whether a create was refused because the name, made from a hash, is taken.
pub(crate) fn collided(outcome: &Outcome) -> bool {
    outcome.error().is_some_and(|status| status.code == 409)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As upstream named the revision of a StatefulSet with this template.
    #[test]
    fn revisions_are_named_as_upstream_names_them() {
        let template = br#"{"metadata":{"labels":{"app":"db"},"annotations":{"note":"a<b & c"}},"spec":{"containers":[{"image":"x","imagePullPolicy":"Always","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}"#;
        let data = data(&PodTemplateSpec::from_json(template).unwrap());
        assert_eq!(hash_of(&data, Some(0)), "68fbf6bcd6", "{}", String::from_utf8_lossy(&data));
        assert_ne!(hash_of(&data, Some(1)), "68fbf6bcd6");
    }
}
