//! Refusals as plugins word them.

use meta::{GroupResource, Object, Status};

use crate::review::{Operation, Review};

/// A 403 for the object under review: `pods "x" is forbidden: <why>`.
pub fn forbidden(review: &Review<'_>, object: Option<&dyn Object>, why: &str) -> Status {
    let mut name = review.target.name.as_str();
    if let Some(object) = object.filter(|_| name.is_empty()) {
        name = &object.meta().name;
        if name.is_empty() {
            name = &object.meta().generate_name;
        }
    }
    if name.is_empty() && review.operation == Operation::Delete {
        // Of a collection; nothing else tells upstream which object it is.
        name = "Unknown";
    }
    let resource = GroupResource::new(review.target.group.clone(), review.target.resource.clone());
    Status::forbidden(&resource, name, why)
}

/// The same with one machine-readable cause.
pub fn forbidden_because(
    review: &Review<'_>,
    object: Option<&dyn Object>,
    why: &str,
    cause: (&str, &str, &str),
) -> Status {
    let mut status = forbidden(review, object, why);
    let (reason, field, message) = cause;
    status.details_mut().causes.push(meta::StatusCause {
        reason: reason.into(),
        message: message.into(),
        field: field.into(),
    });
    status
}

/// An error of a plugin that is no verdict on the request, as upstream passes those on.
pub(crate) fn failed(why: impl Into<meta::Str>) -> Status {
    Status::failure(500, "", why)
}
