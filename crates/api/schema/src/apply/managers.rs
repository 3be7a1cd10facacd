//! Who owns what: `metadata.managedFields` decoded, and back.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use meta::v1::ManagedFieldsEntry;
use meta::{RawJson, Str, Time};

use super::path::PathElement;
use super::set::Set;
use super::wire::BadFields;

/// The manager that old update entries are merged into.
const ANCIENT: &str = "ancient-changes";
/// Update entries that an object keeps.
const UPDATE_ENTRIES_MAX: usize = 10;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Manager, operation, subresource, and for updaters the version.
type Name = (Str, Operation, Str, Str);

/// Names one entry. Appliers have one entry whatever the version they apply in; updaters have one for each version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the manager.
    pub manager: Str,
    /// How it writes.
    pub operation: Operation,
    /// The subresource that it writes through, empty for the object itself.
    pub subresource: Str,
    /// The version of its set's paths.
    pub api_version: Str,
}

impl Identity {
    /// Whether both name the same entry.
    pub fn is(&self, other: &Identity) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
}

impl Identity {
    /// What tells entries apart, for maps: an applier's version is no part of it.
    fn name(&self) -> Name {
        let version = if self.operation == Operation::Apply { Str::new() } else { self.api_version.clone() };
        (self.manager.clone(), self.operation, self.subresource.clone(), version)
    }

    /// The identity as JSON, which is what upstream sorts managers by where nothing else decides.
    pub(super) fn as_json(&self) -> String {
        let subresource = match self.subresource.as_str() {
            "" => String::new(),
            name => format!(",\"subresource\":{}", meta::go_quote(name)),
        };
        let version = match self.operation {
            Operation::Apply => String::new(),
            Operation::Update => format!(",\"apiVersion\":{}", meta::go_quote(&self.api_version)),
        };
        let (manager, operation) = (meta::go_quote(&self.manager), self.operation.name());
        format!("{{\"manager\":{manager},\"operation\":\"{operation}\"{version}{subresource}}}")
    }
}

impl std::fmt::Display for Identity {
    /// As conflicts name it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&meta::go_quote(&self.manager))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", meta::go_quote(&self.subresource))?;
        }
        if self.operation == Operation::Update {
            write!(f, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// One manager and its fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Manager {
    /// Which entry.
    pub id: Identity,
    /// When its set last changed.
    pub time: Option<Time>,
    /// What it owns.
    pub set: Set,
}

/// The managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers(pub Vec<Manager>);

/// Why `managedFields` cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadManagers {
    /// Neither `Apply` nor `Update`.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// No version.
    #[error("apiVersion must not be empty")]
    Version,
    /// No `fieldsType`.
    #[error("missing fieldsType in managed fields entry {0}")]
    NoType(usize),
    /// A `fieldsType` other than `FieldsV1`.
    #[error("invalid fieldsType {0:?} in managed fields entry {1}")]
    Type(String, usize),
    /// The set is malformed.
    #[error("error decoding set: {0}")]
    Fields(#[from] BadFields),
}

impl Managers {
    /// Decodes the entries of an object.
    ///
    /// # Errors
    /// The first entry that cannot be understood.
    pub fn decode(entries: &[ManagedFieldsEntry]) -> Result<Self, BadManagers> {
        let mut managers = Managers(Vec::with_capacity(entries.len() + 1));
        let mut seen = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let operation = match entry.operation.as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(BadManagers::Operation),
            };
            if entry.api_version.is_empty() {
                return Err(BadManagers::Version);
            }
            match entry.fields_type.as_str() {
                "FieldsV1" => {}
                "" => return Err(BadManagers::NoType(at)),
                other => return Err(BadManagers::Type(other.to_owned(), at)),
            }
            let set = match &entry.fields_v1 {
                Some(fields) if !fields.is_empty() => Set::from_fields(fields.as_bytes())?,
                _ => Set::default(),
            };
            let id = Identity {
                manager: entry.manager.clone(),
                operation,
                subresource: entry.subresource.clone(),
                api_version: entry.api_version.clone(),
            };
            // Entries of one name are one: the last counts. Clients may send very many.
            let name = id.name();
            let manager = Manager { id, time: entry.time, set };
            match seen.entry(name) {
                Entry::Occupied(known) => managers.0[*known.get()] = manager,
                Entry::Vacant(new) => {
                    new.insert(managers.0.len());
                    managers.0.push(manager);
                }
            }
        }
        Ok(managers)
    }

    /// Encodes the entries in upstream's order: appliers first, then by time and name.
    pub fn encode(mut self) -> meta::List<ManagedFieldsEntry> {
        self.0.sort_by(order);
        let entries = self.0.into_iter().map(|manager| ManagedFieldsEntry {
            manager: manager.id.manager,
            operation: manager.id.operation.name().into(),
            api_version: manager.id.api_version,
            time: manager.time,
            fields_type: "FieldsV1".into(),
            fields_v1: Some(RawJson::new(manager.set.to_fields())),
            subresource: manager.id.subresource,
        });
        entries.collect()
    }

    /// The entry of that name.
    pub fn find(&self, id: &Identity) -> Option<&Manager> {
        self.0.iter().find(|manager| manager.id.is(id))
    }

    /// Sets an entry, in the place of the one of its name.
    pub fn put(&mut self, manager: Manager) {
        match self.0.iter_mut().find(|found| found.id.is(&manager.id)) {
            Some(found) => *found = manager,
            None => self.0.push(manager),
        }
    }

    /// Takes an entry out.
    pub fn take(&mut self, id: &Identity) -> Option<Manager> {
        let at = self.0.iter().position(|manager| manager.id.is(id))?;
        Some(self.0.remove(at))
    }

    /// Adds what an update changed to its manager's entry, and merges the oldest update entries when there are too many.
    pub fn record_update(&mut self, id: Identity, set: Set, now: Time) {
        let set = match self.take(&id) {
            Some(before) => set.union(&before.set),
            None => set,
        };
        self.0.push(Manager { id, time: Some(now), set });
        self.cap();
    }

    /// Merges the oldest update entries of each version into one, until few enough are left.
    fn cap(&mut self) {
        let count = self.0.iter().filter(|m| m.id.operation == Operation::Update).count();
        let Some(mut excess) = count.checked_sub(UPDATE_ENTRIES_MAX).filter(|excess| *excess > 0) else {
            return;
        };
        let (mut updates, kept): (Vec<Manager>, Vec<Manager>) =
            std::mem::take(&mut self.0).into_iter().partition(|m| m.id.operation == Operation::Update);
        updates.sort_by_cached_key(|m| (seconds(m), m.id.as_json()));
        let ids: Vec<Identity> = updates.iter().map(|m| m.id.clone()).collect();
        let mut updates: HashMap<Name, Manager> = updates.into_iter().map(|m| (m.id.name(), m)).collect();
        let mut first_of: HashMap<Str, Name> = HashMap::new();
        for id in ids {
            if excess == 0 {
                break;
            }
            // The first of a version stays what it is until there is a second.
            let Some(first) = first_of.get(&id.api_version) else {
                first_of.insert(id.api_version.clone(), id.name());
                continue;
            };
            let bucket = Identity {
                manager: ANCIENT.into(),
                operation: Operation::Update,
                subresource: Str::new(),
                api_version: id.api_version.clone(),
            };
            let before = updates.remove(&bucket.name()).or_else(|| updates.remove(first));
            let Some(merged) = updates.remove(&id.name()) else { continue };
            let set = before.map_or_else(Set::default, |m| m.set).union(&merged.set);
            updates.insert(bucket.name(), Manager { id: bucket, time: merged.time, set });
            excess -= 1;
        }
        self.0 = kept;
        self.0.extend(updates.into_values());
        self.0.sort_by(order);
    }
}

fn seconds(manager: &Manager) -> i64 {
    manager.time.map_or(0, |time| time.seconds)
}

fn order(a: &Manager, b: &Manager) -> Ordering {
    let name = |m: &Manager| (m.id.operation, seconds(m));
    name(a)
        .cmp(&name(b))
        .then_with(|| a.id.manager.as_str().cmp(b.id.manager.as_str()))
        .then_with(|| a.id.api_version.as_str().cmp(b.id.api_version.as_str()))
        .then_with(|| a.id.subresource.as_str().cmp(b.id.subresource.as_str()))
}

/// A field that an apply wants and another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner.
    pub manager: Identity,
    /// The field.
    pub path: Vec<PathElement>,
}

impl Conflict {
    /// The path as text.
    pub fn field(&self) -> String {
        self.path.iter().map(ToString::to_string).collect()
    }
}

/// The message of an apply that failed for conflicts.
pub fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.field());
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last: Option<&Identity> = None;
    for conflict in conflicts {
        if last.is_none_or(|id| !id.is(&conflict.manager)) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.field()));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
