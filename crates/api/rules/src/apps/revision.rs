//! ControllerRevisions.

use crate::check::{Errs, IMMUTABLE};
use crate::{Context, Path, Rules};
use meta::BadValue;
use types::apps::v1::ControllerRevision;

impl Rules for ControllerRevision {
    const REVALIDATES_METADATA: u8 = 1;

    fn check(&self, e: &mut Errs, _cx: &Context) {
        e.non_negative(&Path::root("revision"), self.revision);
    }

    fn check_created(&self, e: &mut Errs) {
        let data = self.data.as_bytes().trim_ascii();
        if data.is_empty() || data == b"null" {
            e.required(&Path::root("data"), "data is mandatory");
        } else if !data.starts_with(b"{") {
            e.required(&Path::root("data"), "data must be a valid JSON object");
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        if self.data != old.data {
            e.invalid(&Path::root("data"), BadValue::of(&self.data), IMMUTABLE);
        }
    }
}
