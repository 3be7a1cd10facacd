//! Field ownership on every write, and server-side apply.
//!
//! What a client sends in `metadata.managedFields` counts only on the object's own path, where it may set or empty the
//! list; the entries themselves are computed by [`schema::apply`] from what changed between two states. This happens
//! before admission, whose changes belong to nobody, and before the kind's rules, which put back what an endpoint
//! cannot write; [`reset`] says which fields those are.

mod apply;
mod reset;
mod scale;
mod versions;

use call::WriteOptions;
use meta::v1::ManagedFieldsEntry;
use meta::{List, Object, Time, is_absent};
use schema::apply::{Managers, Place, Updater};

use crate::served::Served;
use crate::stored::Stored;
use versions::Others;

pub(crate) use apply::apply;
pub(crate) use scale::{to_parent, to_scale};

/// Who the server is where it writes itself.
const SERVER: &str = "kube-apiserver";

/// A state of an object before a write.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    /// The object.
    pub object: &'a dyn Object,
    /// Its JSON.
    pub json: &'a [u8],
}

/// Where and by whom an object is written.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint<'a> {
    /// The kind.
    pub served: &'a Served,
    /// The subresource, empty for the object itself.
    pub subresource: &'a str,
    /// The request's options, of which the manager's name counts.
    pub options: &'a WriteOptions,
    /// Seconds since 1970.
    pub now_s: i64,
}

impl Endpoint<'_> {
    /// Records which fields of `object` the write's manager now owns. `before` is `None` for a new object.
    /// All entries go when those of the state before cannot be told from its fields.
    pub(crate) fn record(&self, object: &mut dyn Object, before: Option<Before<'_>>) {
        let given = std::mem::take(&mut object.meta_mut().managed_fields);
        let live = before.map(|b| b.object.meta().managed_fields.clone()).unwrap_or_default();
        let entries = match self.recorded(object, before, &given, &live) {
            Some(entries) => entries,
            None => live,
        };
        object.meta_mut().managed_fields = entries;
    }

    /// The new entries; `None` when those of the state before stay as they are.
    fn recorded(
        &self,
        object: &dyn Object,
        before: Option<Before<'_>>,
        given: &List<ManagedFieldsEntry>,
        live: &[ManagedFieldsEntry],
    ) -> Option<List<ManagedFieldsEntry>> {
        // What is read as a map loses an empty list before anybody looks.
        let given = if self.served.custom().is_some() && given.is_empty() { &List::new() } else { given };
        let source = if self.subresource.is_empty() { source(given, live) } else { Source::Live };
        let existed = before.is_some_and(|b| !b.object.meta().uid.is_empty());
        let nobody = match &source {
            Source::Live => live.is_empty(),
            Source::Reset => true,
            Source::Given(managers) => managers.0.is_empty(),
        };
        if nobody && existed {
            // An object that nobody tracks is tracked again from the first apply on.
            return Some(List::new());
        }
        let mut new = Vec::with_capacity(1024);
        object.encode_json_as_sent(&mut new);
        let mut empty = Vec::new();
        let old = match before {
            Some(before) => before.json,
            None => {
                empty_object(self.served, object, &mut empty);
                &empty
            }
        };
        let gvk = object.group_version_kind();
        let api_version = gvk.api_version();
        let others = Others { served: self.served };
        let updater = Updater {
            api_version: &api_version,
            place: place(self.served, object),
            versions: &others,
            reset: reset::of(self.served, self.subresource),
            subresource: self.subresource,
        };
        let changes = updater.changes(old, &new).ok()?;
        if changes.untyped {
            // Upstream gives up on an object that it cannot read by its schema, and on all entries with it.
            return Some(List::new());
        }
        let own = |version: &str| is_of_group(version, &gvk.group);
        let foreign = |entry: &ManagedFieldsEntry| !own(&entry.api_version);
        let mut managers = match source {
            Source::Live if !Updater::matters(&changes) && !live.iter().any(foreign) => return None,
            Source::Live => Managers::decode(live).unwrap_or_default(),
            Source::Reset => Managers::default(),
            Source::Given(managers) => managers,
        };
        managers.0.retain(|manager| own(&manager.id.api_version));
        let now = Time::from_unix(self.now_s);
        let manager = self.options.manager().as_str();
        let managers = updater.update(old, &new, changes, managers, manager, now).ok()?;
        Some(managers.encode())
    }
}

/// Records which fields of a status are the server's own after it wrote them itself, as upstream's does through its API.
pub(crate) fn record_own_status(served: &Served, object: &mut dyn Object, before: &Stored, now_s: i64) {
    let options = WriteOptions { field_manager: SERVER.into(), ..WriteOptions::default() };
    let json = before.json();
    let state = Before { object: &**before.object(), json: &json };
    Endpoint { served, subresource: "status", options: &options, now_s }.record(object, Some(state));
}

/// Whether the server's own entry has the field of this name somewhere in the status.
pub(crate) fn owns_in_status(managers: &[ManagedFieldsEntry], field: &str) -> bool {
    let named = format!("\"f:{field}\"");
    managers.iter().any(|entry| {
        entry.manager == SERVER
            && entry.subresource == "status"
            && entry.fields_v1.as_ref().is_some_and(|fields| {
                fields.as_bytes().windows(named.len()).any(|window| window == named.as_bytes())
            })
    })
}

/// Where the managers before a write come from.
enum Source {
    /// The stored object.
    Live,
    /// The client asks for an empty list.
    Reset,
    /// The client sent others.
    Given(Managers),
}

fn source(given: &List<ManagedFieldsEntry>, live: &[ManagedFieldsEntry]) -> Source {
    if given.as_slice() == live {
        return Source::Live;
    }
    // One empty entry means what an explicitly empty list means.
    let forget = match given.as_slice() {
        [] => !is_absent(given),
        [one] => *one == ManagedFieldsEntry::default(),
        _ => false,
    };
    if forget {
        return Source::Reset;
    }
    match Managers::decode(given) {
        Ok(managers) if !managers.0.is_empty() => Source::Given(managers),
        // Clients that do not understand the field must not delete it by accident.
        _ => Source::Live,
    }
}

/// What an object is.
pub(crate) fn place<'s>(served: &'s Served, object: &dyn Object) -> Place<'s> {
    match (object.type_info(), served.custom()) {
        (Some(info), _) => Place::Struct(info),
        (None, Some(custom)) => Place::Type(custom.kind.apply_type()),
        (None, None) => Place::Deduced,
    }
}

/// The JSON of an object of the same kind with nothing in it, which is what a new object is compared with.
fn empty_object(served: &Served, object: &dyn Object, out: &mut Vec<u8>) {
    let gvk = object.group_version_kind();
    if gvk.kind == *served.resource().kind {
        served.resource().object.new_object().encode_json(out);
    } else if let Some(kind) = scheme::kind(&gvk.group, &gvk.version, &gvk.kind) {
        (kind.new)().encode_json(out);
    } else {
        out.extend_from_slice(b"{}");
    }
}

/// Whether a version is one of this group: what was written through the other group of events counts no more once this
/// one writes.
fn is_of_group(api_version: &str, group: &str) -> bool {
    api_version.split_once('/').map_or("", |(group, _)| group) == group
}

/// Puts back the times of entries where nothing but times changed, so that a write that changes nothing stays one.
pub(crate) fn keep_times(object: &mut dyn Object, old: &dyn Object) {
    let (now, then) = (&object.meta().managed_fields, &old.meta().managed_fields);
    let alike = |(a, b): (&ManagedFieldsEntry, &ManagedFieldsEntry)| {
        a.manager == b.manager
            && a.operation == b.operation
            && a.api_version == b.api_version
            && a.subresource == b.subresource
            && a.fields_v1 == b.fields_v1
    };
    if now.len() != then.len() || now == then || !now.iter().zip(then.iter()).all(alike) {
        return;
    }
    let times: Vec<Option<Time>> = now.iter().map(|entry| entry.time).collect();
    let stored: Vec<Option<Time>> = then.iter().map(|entry| entry.time).collect();
    set_times(object, &stored);
    if !object.eq_object(old) {
        set_times(object, &times);
    }
}

fn set_times(object: &mut dyn Object, times: &[Option<Time>]) {
    for (entry, time) in object.meta_mut().managed_fields.iter_mut().zip(times) {
        entry.time = *time;
    }
}
