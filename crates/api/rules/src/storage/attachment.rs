//! VolumeAttachments.

use crate::check::{Errs, dns_subdomain, metadata, name_subdomain};
use crate::core::persistent_volume::{default_source, spec};
use crate::core::volume_source::csi_driver_name;
use crate::rule::spec_and_status;
use crate::{Context, Path, Rules};
use types::storage::v1::VolumeAttachment;

const ERROR_BYTES_MAX: usize = 1024;
/// Most bytes of an attachment's metadata. The refusal of a long error names this limit too.
const METADATA_BYTES_MAX: usize = 256 * 1024;

impl Rules for VolumeAttachment {
    const UNCONDITIONAL_UPDATE: bool = false;
    const REVALIDATES_METADATA: u8 = 1;
    const RECHECKS_UPDATED_METADATA: bool = false;
    spec_and_status!();

    fn default(&mut self) {
        if let Some(spec) = &mut self.spec.source.inline_volume_spec {
            default_source(spec);
        }
    }

    fn prepare_status(&mut self, old: &Self, _cx: &Context) {
        self.spec.clone_from(&old.spec);
        metadata::keep_described(&mut self.metadata, &old.metadata);
    }

    fn check(&self, e: &mut Errs, _cx: &Context) {
        let at = Path::root("spec");
        csi_driver_name(e, &at.child("attacher"), &self.spec.attacher);
        let source = at.child("source");
        let s = &self.spec.source;
        match (&s.inline_volume_spec, &s.persistent_volume_name) {
            (None, None) => {
                e.required(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
            }
            (Some(_), Some(_)) => {
                e.forbidden(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
            }
            (None, Some(name)) if name.is_empty() => {
                e.required(
                    &source.child("persistentVolumeName"),
                    "must specify non empty persistentVolumeName",
                );
            }
            (None, Some(_)) => {}
            (Some(inline), None) => {
                spec(e, &source.child("inlineVolumeSpec"), inline, "", true);
            }
        }
        e.each(&at.child("nodeName"), &self.spec.node_name, dns_subdomain(&self.spec.node_name));
        status(e, self);
        if let Some(name) = &s.persistent_volume_name {
            e.each(&source.child("persistentVolumeName"), name, name_subdomain(name, false));
        }
    }

    fn check_update(&self, old: &Self, e: &mut Errs, cx: &Context) {
        self.check(e, cx);
        if self.spec != old.spec {
            e.invalid(&Path::root("spec"), crate::diff::shown(&self.spec), crate::check::IMMUTABLE);
        }
    }

    fn check_status(&self, old: &Self, e: &mut Errs, cx: &Context) {
        // A status is held to all that the object itself is held to.
        metadata::create(e, &self.metadata, false, name_subdomain);
        metadata::known_finalizers(e, &self.metadata);
        self.check_update(old, e, cx);
    }
}

fn status(e: &mut Errs, attachment: &VolumeAttachment) {
    let at = Path::root("status");
    let s = &attachment.status;
    let bytes: usize = s.attachment_metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        e.too_long(&at.child("attachmentMetadata"), METADATA_BYTES_MAX);
    }
    for (field, error) in [("attachError", &s.attach_error), ("detachError", &s.detach_error)] {
        let (at, Some(error)) = (at.child(field), error) else { continue };
        if error.message.len() > ERROR_BYTES_MAX {
            e.too_long(&at.child("message"), METADATA_BYTES_MAX);
        }
        if let Some(code) = error.error_code.filter(|code| *code < 0) {
            e.invalid(&at.child("errorCode"), code, "must be between 0 and 2147483647, inclusive");
        }
    }
}
