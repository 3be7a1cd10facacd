//! [`Updater`]: what a write does to the managers of an object, and what an apply does to the object itself.
//!
//! The steps and their order are those of upstream's `merge.Updater` with the managers around it: a write takes the
//! fields that it changes from everybody else; an apply owns exactly what its configuration says, and removes what its
//! last one said, this one does not say and nobody else owns.

use meta::{Str, Time};

use super::collect::applied;
use super::compare::Comparison;
use super::doc::{Doc, Malformed};
use super::managers::{Conflict, Identity, Manager, Managers, Operation};
use super::merge::merge;
use super::path::PathElement;
use super::place::Place;
use super::reconcile::reconcile;
use super::remove::remove;
use super::set::Set;
use super::validate;

/// Fields that no manager ever owns.
const STRIPPED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// The manager of what was there before an object that was never tracked is first applied to.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The fields that a write through an endpoint cannot own, because the endpoint resets them and all below.
#[derive(Clone, Copy, Debug)]
pub struct Reset(pub &'static [&'static [&'static str]]);

impl Reset {
    fn apply(self, mut set: Set) -> Set {
        for path in self.0 {
            set.remove_subtree(path);
        }
        set
    }
}

/// The versions of a kind, for field sets that were written in another one.
pub trait Versions {
    /// JSON of the object in the version of the write as JSON in `version`; `None` when that is not served (any more).
    fn to(&self, version: &str, object: &[u8]) -> Option<Vec<u8>>;
    /// JSON of an object in `version` as JSON in the version of the write.
    fn back(&self, version: &str, object: &[u8]) -> Option<Vec<u8>>;
    /// What the object is in `version`.
    fn place(&self, version: &str) -> Option<Place<'_>>;
}

/// The versions of a kind that has no other than the one of the write.
#[derive(Clone, Copy, Debug)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn to(&self, _: &str, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn back(&self, _: &str, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn place(&self, _: &str) -> Option<Place<'_>> {
        None
    }
}

/// Why an apply failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The configuration does not fit the kind.
    #[error("{0}")]
    Config(String),
    /// Others own what it wants to change.
    #[error("{}", super::managers::conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The object itself cannot be read, which must not happen.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What an apply leads to.
#[derive(Debug)]
pub struct Applied {
    /// The merged object, `None` when it equals the live one.
    pub object: Option<Vec<u8>>,
    /// Its managers.
    pub managers: Managers,
}

/// The rules of one endpoint.
#[derive(Clone, Copy)]
pub struct Updater<'c> {
    /// The version of the write, `apps/v1`.
    pub api_version: &'c str,
    /// What the object is in that version.
    pub place: Place<'c>,
    /// Its other versions.
    pub versions: &'c dyn Versions,
    /// What the endpoint resets.
    pub reset: Option<Reset>,
    /// The subresource, empty for the object itself.
    pub subresource: &'c str,
}

impl Updater<'_> {
    fn id(&self, manager: &str, operation: Operation) -> Identity {
        Identity {
            manager: if manager.is_empty() { "unknown".into() } else { manager.into() },
            operation,
            subresource: self.subresource.into(),
            api_version: self.api_version.into(),
        }
    }

    fn filter(&self, set: Set) -> Set {
        match self.reset {
            Some(reset) => reset.apply(set),
            None => set,
        }
    }

    fn compare(&self, old: &[u8], new: &[u8], place: Place<'_>) -> Result<Comparison, Malformed> {
        let (old, new) = (Doc::parse(old)?, Doc::parse(new)?);
        Ok(Comparison::of(&old.root(), &new.root(), place).map(|set| self.filter(set)))
    }

    /// What changed between two states, as a write through this endpoint may claim it.
    ///
    /// # Errors
    /// [`Malformed`] when one of them is no JSON.
    pub fn changes(&self, old: &[u8], new: &[u8]) -> Result<Comparison, Malformed> {
        self.compare(old, new, self.place)
    }

    /// Records a write that is no apply: its manager takes what it changed.
    ///
    /// # Errors
    /// [`Malformed`] when one of the states is no JSON.
    pub fn update(
        &self,
        old: &[u8],
        new: &[u8],
        changes: Comparison,
        managers: Managers,
        manager: &str,
        now: Time,
    ) -> Result<Managers, Malformed> {
        let mut managers = self.reconciled(managers);
        self.claims(old, new, &changes, &managers, None)?.settle(&mut managers);
        let mut set = self.filter(changes.modified.union(&changes.added));
        strip(&mut set);
        if !set.is_empty() {
            managers.record_update(self.id(manager, Operation::Update), set, now);
        }
        Ok(managers)
    }

    /// Whether anything in a set of changes would change managers.
    pub fn matters(changes: &Comparison) -> bool {
        let rest = |set: &Set| {
            let mut set = set.clone();
            strip(&mut set);
            !set.is_empty()
        };
        rest(&changes.added) || rest(&changes.modified) || rest(&changes.removed)
    }

    /// Applies a configuration to the live object. `empty` is an object with nothing in it: what an object that nobody
    /// tracked before is compared with.
    ///
    /// # Errors
    /// [`ApplyError::Config`] for a configuration that does not fit the kind, [`ApplyError::Conflicts`] without `force`.
    #[expect(clippy::too_many_arguments, reason = "they are what an apply consists of")]
    pub fn apply(
        &self,
        live: &[u8],
        empty: &[u8],
        config: &[u8],
        mut managers: Managers,
        manager: &str,
        force: bool,
        now: Time,
    ) -> Result<Applied, ApplyError> {
        if managers.0.is_empty() {
            let changes = self.compare(empty, live, self.place)?;
            managers = self.update(empty, live, changes, managers, BEFORE_FIRST_APPLY, now)?;
        }
        let mut managers = self.reconciled(managers);
        let config_doc = Doc::parse(config)?;
        let live_doc = Doc::parse(live)?;
        let merged = merge(&live_doc.root(), &config_doc.root(), self.place);
        let id = self.id(manager, Operation::Apply);
        let last = managers.take(&id);
        let set = self.filter(applied(&config_doc.root(), self.place));
        let time = last.as_ref().and_then(|m| m.time);
        managers.0.push(Manager { id: id.clone(), time, set });
        let object = match last.filter(|m| !m.set.is_empty()) {
            Some(last) => self.prune(merged, &managers, &last)?,
            None => merged,
        };
        let changes = self.compare(live, &object, self.place)?;
        let claims = self.claims(live, &object, &changes, &managers, Some(&id))?;
        if !force && !claims.contested.is_empty() {
            return Err(ApplyError::Conflicts(claims.conflicts(&managers)));
        }
        claims.settle(&mut managers);
        let same = live_doc.root().same(&Doc::parse(&object)?.root());
        if let Some(own) = managers.0.iter_mut().find(|m| m.id.is(&id)) {
            strip(&mut own.set);
            if !same {
                own.time = Some(now);
            }
        }
        managers.0.retain(|m| !m.set.is_empty());
        Ok(Applied { object: (!same).then_some(object), managers })
    }

    /// What the configuration does not fit in, in upstream's words.
    ///
    /// # Errors
    /// [`Malformed`] when it is no JSON.
    pub fn problems(&self, config: &[u8]) -> Result<Option<String>, Malformed> {
        Ok(validate::problems(&Doc::parse(config)?.root(), self.place))
    }

    /// The sets as the schema of today has them; those of versions that are gone are dropped.
    fn reconciled(&self, managers: Managers) -> Managers {
        let kept = managers.0.into_iter().filter_map(|mut manager| {
            let place = self.place_of(&manager.id.api_version)?;
            manager.set = reconcile(&manager.set, place);
            Some(manager)
        });
        Managers(kept.collect())
    }

    fn place_of(&self, version: &str) -> Option<Place<'_>> {
        if version == self.api_version { Some(self.place) } else { self.versions.place(version) }
    }

    fn to(&self, version: &str, object: &[u8]) -> Option<Vec<u8>> {
        if version == self.api_version { Some(object.to_vec()) } else { self.versions.to(version, object) }
    }

    /// What a change touches of the fields of every manager but `own`.
    fn claims(
        &self,
        old: &[u8],
        new: &[u8],
        changes: &Comparison,
        managers: &Managers,
        own: Option<&Identity>,
    ) -> Result<Claims, Malformed> {
        let mut elsewhere: Vec<(Str, Comparison)> = Vec::new();
        let mut claims = Claims::default();
        for (at, manager) in managers.0.iter().enumerate() {
            if own.is_some_and(|own| own.is(&manager.id)) {
                continue;
            }
            let version = &manager.id.api_version;
            if *version != self.api_version && !elsewhere.iter().any(|(v, _)| v == version) {
                let both = self.to(version, old).zip(self.to(version, new));
                let (Some((old, new)), Some(place)) = (both, self.place_of(version)) else { continue };
                elsewhere.push((version.clone(), self.compare(&old, &new, place)?));
            }
            let found = elsewhere.iter().find(|(v, _)| v == version).map(|(_, changes)| changes);
            let changes = found.unwrap_or(changes);
            let contested = manager.set.intersection(&changes.modified.union(&changes.added));
            if !contested.is_empty() {
                claims.contested.push((at, contested));
            }
            if manager.set.meets(&changes.removed) {
                claims.removed.push((at, changes.removed.clone()));
            }
        }
        Ok(claims)
    }

    /// Removes from the merged object what this manager applied last time and does not any more, unless others own it.
    fn prune(&self, merged: Vec<u8>, managers: &Managers, last: &Manager) -> Result<Vec<u8>, Malformed> {
        let version = last.id.api_version.as_str();
        let (Some(converted), Some(place)) = (self.to(version, &merged), self.place_of(version)) else {
            return Ok(merged);
        };
        let last_set = last.set.with_named_fields(Some(place));
        let mut pruned = remove(&Doc::parse(&converted)?.root(), &last_set, place);
        pruned = self.add_back_owned(&converted, pruned, version, managers)?;
        pruned = add_back_dangling(&converted, &pruned, &last_set, place)?;
        Ok(if version == self.api_version {
            pruned
        } else {
            self.versions.back(version, &pruned).unwrap_or(merged)
        })
    }

    /// Puts back what others, or this manager's new configuration, own.
    fn add_back_owned(
        &self,
        merged: &[u8],
        mut pruned: Vec<u8>,
        version: &str,
        managers: &Managers,
    ) -> Result<Vec<u8>, Malformed> {
        let mut owned: Vec<(Str, Set)> = Vec::new();
        for manager in &managers.0 {
            match owned.iter_mut().find(|(v, _)| *v == manager.id.api_version) {
                Some((_, set)) => *set = set.union(&manager.set),
                None => owned.push((manager.id.api_version.clone(), manager.set.clone())),
            }
        }
        // The version at hand first: conversions fail without what they need.
        owned.sort_by_key(|(v, _)| v != version);
        for (other, set) in owned {
            let Some(place) = self.place_of(&other) else { continue };
            if other == version {
                pruned = add_back(merged, &pruned, &set, place)?;
                continue;
            }
            let across = |object: &[u8]| {
                let own = if version == self.api_version {
                    object.to_vec()
                } else {
                    self.versions.back(version, object)?
                };
                self.to(&other, &own)
            };
            let (Some(merged), Some(there)) = (across(merged), across(&pruned)) else { continue };
            let there = add_back(&merged, &there, &set, place)?;
            let own =
                if other == self.api_version { Some(there) } else { self.versions.back(&other, &there) };
            if let Some(back) = own.and_then(|own| self.to(version, &own)) {
                pruned = back;
            }
        }
        Ok(pruned)
    }
}

fn strip(set: &mut Set) {
    for path in STRIPPED {
        set.remove_member(path);
    }
}

/// The merged object without what was pruned, except what `owned` holds.
fn add_back(merged: &[u8], pruned: &[u8], owned: &Set, place: Place<'_>) -> Result<Vec<u8>, Malformed> {
    let (merged, pruned) = (Doc::parse(merged)?, Doc::parse(pruned)?);
    let named = |set: Set| set.with_named_fields(Some(place));
    let all = named(applied(&merged.root(), place));
    let kept = named(applied(&pruned.root(), place)).union(&owned.with_named_fields(Some(place)));
    Ok(remove(&merged.root(), &all.difference(&kept), place))
}

/// The merged object without what was pruned and this manager owned before.
fn add_back_dangling(
    merged: &[u8],
    pruned: &[u8],
    last: &Set,
    place: Place<'_>,
) -> Result<Vec<u8>, Malformed> {
    let (merged, pruned) = (Doc::parse(merged)?, Doc::parse(pruned)?);
    let all = applied(&merged.root(), place).with_named_fields(Some(place));
    let kept = applied(&pruned.root(), place).with_named_fields(Some(place));
    Ok(remove(&merged.root(), &all.difference(&kept).intersection(last), place))
}

/// What a change touches of the fields of others; managers are named by their place in the list.
#[derive(Debug, Default)]
struct Claims {
    /// Owned by them, and now with another value.
    contested: Vec<(usize, Set)>,
    /// Gone.
    removed: Vec<(usize, Set)>,
}

impl Claims {
    /// Takes the fields from their owners, and drops owners of nothing.
    fn settle(self, managers: &mut Managers) {
        for (at, set) in self.contested.into_iter().chain(self.removed) {
            managers.0[at].set = managers.0[at].set.difference(&set);
        }
        managers.0.retain(|m| !m.set.is_empty());
    }

    /// Every contested field, by manager.
    fn conflicts(&self, managers: &Managers) -> Vec<Conflict> {
        let mut contested: Vec<(&Identity, &Set)> =
            self.contested.iter().map(|(at, set)| (&managers.0[*at].id, set)).collect();
        contested.sort_by_key(|(id, _)| id.as_json());
        let mut found = Vec::new();
        for (manager, set) in contested {
            set.each(&mut |path| {
                let path: Vec<PathElement> = path.iter().map(|element| (*element).clone()).collect();
                found.push(Conflict { manager: manager.clone(), path });
            });
        }
        found
    }
}
