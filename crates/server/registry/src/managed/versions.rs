//! The other versions of a kind, in which managers may have written their fields.

use meta::DecodeContext;
use schema::apply::{Place, Versions};

use crate::convert;
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
        convert(self.served, &self.find(version)?, object)
    }

    fn back(&self, version: &str, object: &[u8]) -> Option<Vec<u8>> {
        convert(&self.find(version)?, self.served, object)
    }

    fn place(&self, version: &str) -> Option<Place<'_>> {
        self.find(version)?.resource().object.info().map(Place::Struct)
    }
}
