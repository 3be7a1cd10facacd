//! Refusals of the API as [`Status`] values, with upstream's texts.

use call::Target;
use meta::{FieldError, Status, StatusCause, StatusDetails};

/// The text of every optimistic-concurrency conflict.
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A failure with these parts and no details.
pub fn failure(code: i32, reason: &str, message: impl Into<String>) -> Status {
    Status {
        status: "Failure".into(),
        message: message.into().into(),
        reason: reason.into(),
        code,
        ..Status::default()
    }
}

/// The same, about an object.
fn about(mut status: Status, group: &str, kind: &str, name: &str) -> Status {
    status.details = Some(Box::new(StatusDetails {
        group: group.into(),
        kind: kind.into(),
        name: name.into(),
        ..StatusDetails::default()
    }));
    status
}

/// `deployments.apps`, or `pods` for the core group.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// 404 for an object.
pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
    let text = format!("{} {name:?} not found", qualified(group, resource));
    about(failure(404, "NotFound", text), group, resource, name)
}

/// 404 for a path that names no resource.
pub fn no_such_resource() -> Status {
    let mut status = failure(404, "NotFound", "the server could not find the requested resource");
    status.details = Some(Box::default());
    status
}

/// 405.
pub fn method_not_allowed() -> Status {
    let mut status =
        failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    status.details = Some(Box::default());
    status
}

/// 409 for a name that is taken.
pub fn already_exists(group: &str, resource: &str, name: &str, prefix: &str) -> Status {
    let text = format!("{prefix}{} {name:?} already exists", qualified(group, resource));
    about(failure(409, "AlreadyExists", text), group, resource, name)
}

/// Why a precondition fails that names this uid, if it names one and the object has another.
pub(crate) fn other_uid(wanted: &str, found: &str) -> Option<String> {
    other("UID", wanted, found)
}

/// Why a precondition fails that names this resource version, if it names one and the object has another.
pub(crate) fn other_version(wanted: &str, found: &str) -> Option<String> {
    other("ResourceVersion", wanted, found)
}

fn other(what: &str, wanted: &str, found: &str) -> Option<String> {
    let differs = !wanted.is_empty() && wanted != found;
    differs.then(|| {
        format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}")
    })
}

/// 409 for a precondition that does not hold. `kind` is a resource, or a kind where upstream names the kind.
pub fn conflict(group: &str, kind: &str, name: &str, why: &str) -> Status {
    let text = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, kind));
    about(failure(409, "Conflict", text), group, kind, name)
}

/// 403 for an object.
pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let text = match name {
        "" => format!("{} is forbidden: {why}", qualified(group, resource)),
        name => format!("{} {name:?} is forbidden: {why}", qualified(group, resource)),
    };
    about(failure(403, "Forbidden", text), group, resource, name)
}

/// 400.
pub fn bad_request(why: impl Into<String>) -> Status {
    failure(400, "BadRequest", why)
}

/// 500 whose text is upstream's bare error, without a reason.
pub fn bare(why: impl Into<String>) -> Status {
    failure(500, "", why)
}

/// The same, of an error.
pub fn bare_of(error: impl std::fmt::Display) -> Status {
    bare(error.to_string())
}

/// 500 of the server's own making.
pub fn internal(why: impl std::fmt::Display) -> Status {
    let mut status = failure(500, "InternalError", format!("Internal error occurred: {why}"));
    let mut details = StatusDetails::default();
    details.causes.push(StatusCause { message: why.to_string().into(), ..StatusCause::default() });
    status.details = Some(Box::new(details));
    status
}

/// 422 with one cause per error.
pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Status {
    // Events are checked as the core group's, whichever group they come by.
    let group = if group == "events.k8s.io" { "" } else { group };
    Status::invalid(&meta::GroupKind::new(group, kind), name, errors)
}

/// 410 for a revision that is gone.
pub fn expired(why: impl Into<String>) -> Status {
    failure(410, "Expired", why)
}

/// 429 with a time to wait.
pub fn too_many_requests(why: impl Into<String>, retry_after_s: i32) -> Status {
    let mut status = failure(429, "TooManyRequests", why);
    let details = StatusDetails { retry_after_seconds: retry_after_s, ..StatusDetails::default() };
    status.details = Some(Box::new(details));
    status
}

/// 504 for a revision of the future.
pub fn too_large_version(wanted: u64, current: u64) -> Status {
    let why = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let mut status = failure(504, "Timeout", why);
    let mut details = StatusDetails { retry_after_seconds: 1, ..StatusDetails::default() };
    details.causes.push(StatusCause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        ..StatusCause::default()
    });
    status.details = Some(Box::new(details));
    status
}

/// What the store's refusal means to a client.
pub fn from_store(error: mvcc::StoreError) -> Status {
    use mvcc::StoreError as E;
    match error {
        E::Compacted { .. } => expired("The resourceVersion for the provided watch is too old."),
        E::NoSpace => bare("etcdserver: mvcc: database space exceeded"),
        E::Unavailable(why) => failure(503, "ServiceUnavailable", why),
        other => internal(other),
    }
}

/// The 404 of a request's target.
pub fn target_not_found(target: &Target) -> Status {
    not_found(&target.group, &target.resource, &target.name)
}
