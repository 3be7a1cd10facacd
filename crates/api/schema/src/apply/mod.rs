//! Server-side apply: who owns which field of an object, and how an applied configuration is merged into it.
//!
//! Everything is pure and works on JSON text: [`Doc`] indexes it, a [`Place`] says what may stand where, [`Set`] holds
//! field paths. [`Comparison`] finds what a write changed, and [`Updater`] turns that into managers, or merges a
//! configuration. Documents are compared as bytes wherever they are equal, so that the ordinary write, which changes
//! little, costs little.
//!
//! The model is upstream's structured-merge-diff v6 with the managers of apimachinery's `managedfields` around it.
//!
//! Start at [`Updater::update`] and [`Updater::apply`].

mod collect;
mod compare;
mod doc;
mod keys;
mod managers;
mod merge;
mod overlay;
mod path;
mod place;
mod reconcile;
mod remove;
mod scale;
mod set;
mod updater;
mod validate;
mod wire;

#[cfg(test)]
mod tests;

pub use compare::Comparison;
pub use doc::{Doc, Form, Malformed, Val};
pub use managers::{BadManagers, Conflict, Identity, Manager, Managers, Operation, conflict_message};
pub use overlay::{OverlayError, overlay};
pub use path::PathElement;
pub use place::{Element, FieldType, ListType, MapType, Place, Relation, Scalar, Type};
pub use scale::ScaleManagers;
pub use set::Set;
pub use updater::{Applied, ApplyError, OneVersion, Reset, Updater, Versions};
pub use wire::BadFields;

/// What `last-applied-configuration` still allows an apply to take without conflict: its fields, as far as the live object
/// still has them as they were applied.
///
/// # Errors
/// [`Malformed`] when one of the two is no JSON.
pub fn unchanged_since(last_applied: &[u8], live: &[u8], place: Place<'_>) -> Result<Set, Malformed> {
    let (last, live) = (Doc::parse(last_applied)?, Doc::parse(live)?);
    let changes = Comparison::of(&last.root(), &live.root(), place);
    let fields = collect::applied(&last.root(), place);
    Ok(fields.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}
