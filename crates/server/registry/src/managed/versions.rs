//! The other versions of a kind, in which managers may have written their fields.

use std::sync::Arc;

use custom::Kind;
use meta::{DecodeContext, Object as _};
use schema::apply::{Place, Versions};
use scheme::Unstructured;

use crate::convert;
use crate::definitions::{Conversion, Custom};
use crate::served::Served;

/// The versions beside the one that `served` is.
pub(super) struct Others<'a> {
    pub served: &'a Served,
}

impl Others<'_> {
    fn find(&self, api_version: &str) -> Option<Served> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Served::find(group, version, &self.served.resource().plural)
    }
}

/// A custom object's JSON in another version; a webhook is not asked for the sake of managers.
fn convert_custom(custom: &Custom, version: &str, json: &[u8]) -> Option<Vec<u8>> {
    if !matches!(custom.definition.conversion, Conversion::None) {
        return None;
    }
    let object = Unstructured::from_json(json, &mut DecodeContext::lenient()).ok()?;
    let mut out = Vec::with_capacity(json.len());
    kind_of(custom, version)?.convert(&object).encode_json(&mut out);
    Some(out)
}

fn kind_of<'c>(custom: &'c Custom, version: &str) -> Option<&'c Arc<Kind>> {
    let (group, version) = version.split_once('/')?;
    let kind = custom.definition.kinds.get(version)?;
    (kind.resource().group == group).then_some(kind)
}

/// An object's JSON in one version as JSON in another.
fn convert(from: &Served, to: &Served, json: &[u8]) -> Option<Vec<u8>> {
    let object = from.resource().object.decode_json(json, &mut DecodeContext::lenient()).ok()?;
    let stored = convert::to_storage(from, object);
    let there = convert::to_served(to, &*stored).unwrap_or(stored);
    let mut out = Vec::with_capacity(json.len());
    there.encode_json(&mut out);
    Some(out)
}

impl Versions for Others<'_> {
    fn to(&self, version: &str, object: &[u8]) -> Option<Vec<u8>> {
        if let Some(custom) = self.served.custom() {
            return convert_custom(custom, version, object);
        }
        convert(self.served, &self.find(version)?, object)
    }

    fn back(&self, version: &str, object: &[u8]) -> Option<Vec<u8>> {
        if let Some(custom) = self.served.custom() {
            kind_of(custom, version)?;
            return convert_custom(custom, &self.served.api_version(), object);
        }
        convert(&self.find(version)?, self.served, object)
    }

    fn place(&self, version: &str) -> Option<Place<'_>> {
        if let Some(custom) = self.served.custom() {
            return kind_of(custom, version).map(|kind| Place::Type(kind.apply_type()));
        }
        self.find(version)?.resource().object.info().map(Place::Struct)
    }
}
