//! The group `resource.k8s.io`: claims, templates, classes and slices of devices.

mod capacity;
mod claim;
mod claim_status;
mod device;
mod slice;

use crate::Path;
use crate::check::{BadValue, Errs};
use crate::core::volume_source::csi_driver_name;
use cel::Type;
use meta::List;
use types::resource::v1::{DeviceSelector, OpaqueDeviceConfiguration};

const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;

/// Selectors of devices.
fn selectors(e: &mut Errs, at: &Path<'_>, selectors: &List<DeviceSelector>) {
    if selectors.len() > SELECTORS_MAX {
        return e.too_many(at, selectors.len(), SELECTORS_MAX);
    }
    for (i, s) in selectors.iter().enumerate() {
        let item = at.index(i);
        let at = item.child("cel");
        match &s.cel {
            None => e.required(&at, ""),
            Some(cel) if cel.expression.len() > EXPRESSION_BYTES_MAX => {
                e.too_long(&at.child("expression"), EXPRESSION_BYTES_MAX);
            }
            Some(cel) => {
                let at = at.child("expression");
                let env = crate::environments::device();
                let Some(program) = crate::admission::expression(e, &at, env, &cel.expression, &[]) else {
                    continue;
                };
                // What an attribute is shows when there is a device.
                if !matches!(program.result_type(), Type::Bool | Type::Dyn) {
                    let found = program.result_type();
                    let why = format!("must evaluate to bool or the unknown type, not {found}");
                    e.invalid(&at, &cel.expression, why);
                }
            }
        }
    }
}

fn opaque(e: &mut Errs, at: &Path<'_>, config: Option<&OpaqueDeviceConfiguration>) {
    let opaque_at = at.child("opaque");
    let Some(config) = config else { return e.required(&opaque_at, "") };
    csi_driver_name(e, &opaque_at.child("driver"), &config.driver);
    let parameters = opaque_at.child("parameters");
    let bytes = config.parameters.as_bytes();
    if bytes.is_empty() || bytes.trim_ascii() == b"null" {
        e.required(&parameters, "");
    } else if bytes.len() > PARAMETERS_BYTES_MAX {
        e.too_long(&parameters, PARAMETERS_BYTES_MAX);
    } else if !bytes.trim_ascii_start().starts_with(b"{") {
        e.invalid(&parameters, "<value omitted>", "must be a valid JSON object");
    }
}

/// A name with a domain: `example.com/name`.
fn fully_qualified(e: &mut Errs, at: &Path<'_>, name: &str) {
    device::key(e, at, name);
    if !name.contains('/') {
        e.invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// An identifier of up to 32 bytes, as CEL can name it.
fn identifier(e: &mut Errs, at: &Path<'_>, id: &str) {
    if id.len() > 32 {
        e.too_long(at, 32);
    }
    e.each(at, id, crate::check::c_identifier(id));
}

/// A value quoted as JSON.
fn quoted<T: meta::Struct>(value: &T) -> BadValue {
    crate::diff::shown(value)
}
