//! A configuration laid over an object, with nobody owning anything: what mutating policies do.

use super::doc::{Doc, Form, Malformed, Val};
use super::merge;
use super::path::PathElement;
use super::place::{Kind, Place, Relation};
use super::validate;

/// Why a configuration cannot be laid over an object; the text is upstream's.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// One of the two is no JSON, which neither object nor expression makes.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The configuration does not fit the kind. Another attempt ends the same.
    #[error("failed to convert patch object to typed object: {0}")]
    Unfit(String),
    /// The configuration changes a part of what is one unit, which would drop the rest of it unseen.
    #[error("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {0}")]
    Atomic(String),
}

/// The object with the configuration in it.
///
/// # Errors
/// See [`OverlayError`].
pub fn overlay(live: &[u8], config: &[u8], place: Place<'_>) -> Result<Vec<u8>, OverlayError> {
    let (live, config) = (Doc::parse(live)?, Doc::parse(config)?);
    let (live, config) = (live.root(), config.root());
    if let Some(problems) = validate::problems(&config, place) {
        return Err(OverlayError::Unfit(problems));
    }
    let mut atomics = Vec::new();
    find_atomics(&config, place, &mut String::new(), &mut atomics);
    match atomics.is_empty() {
        true => Ok(merge::merge(&live, &config, place)),
        false => Err(OverlayError::Atomic(atomics.join(", "))),
    }
}

/// The places of objects and lists that are one unit.
fn find_atomics(value: &Val<'_>, place: Place<'_>, path: &mut String, found: &mut Vec<String>) {
    let (atom, narrowed) = place.atom_for(Some(value));
    let length = path.len();
    match (atom.kind(narrowed), value.form(), atom.list, atom.map) {
        (Kind::Map, Form::Map, _, Some(map)) => {
            if map.atomic {
                found.push(path.clone());
            }
            let mut hint = 0;
            for (key, item) in value.members() {
                let name = key.string();
                // Only declared fields are looked into.
                let Some(place) = map.field(name.as_bytes(), &mut hint) else { continue };
                path.push('.');
                path.push_str(&name);
                find_atomics(&item, place, path, found);
                path.truncate(length);
            }
        }
        (Kind::List, Form::List, Some(list), _) => {
            if list.relation == Relation::Atomic {
                found.push(path.clone());
            }
            for (index, item) in value.elements().enumerate() {
                path.push_str(&PathElement::Index(index as i64).to_string());
                find_atomics(&item, list.element, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
