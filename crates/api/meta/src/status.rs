//! [`Status`]: the error of the API, with upstream's codes, reasons and wording.

use std::fmt;

use crate::v1::{GroupKind, GroupResource, Status, StatusCause, StatusDetails};
use crate::{FieldError, List, Str, aggregate_message, go_quote};

/// The result of an API call.
pub type StatusResult<T> = Result<T, Box<Status>>;

/// Values of `Status.reason`.
pub mod reason {
    #![allow(missing_docs)]
    pub const UNAUTHORIZED: &str = "Unauthorized";
    pub const FORBIDDEN: &str = "Forbidden";
    pub const NOT_FOUND: &str = "NotFound";
    pub const ALREADY_EXISTS: &str = "AlreadyExists";
    pub const CONFLICT: &str = "Conflict";
    pub const GONE: &str = "Gone";
    pub const INVALID: &str = "Invalid";
    pub const SERVER_TIMEOUT: &str = "ServerTimeout";
    pub const STORE_READ_ERROR: &str = "StorageReadError";
    pub const TIMEOUT: &str = "Timeout";
    pub const TOO_MANY_REQUESTS: &str = "TooManyRequests";
    pub const BAD_REQUEST: &str = "BadRequest";
    pub const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
    pub const NOT_ACCEPTABLE: &str = "NotAcceptable";
    pub const REQUEST_ENTITY_TOO_LARGE: &str = "RequestEntityTooLarge";
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "UnsupportedMediaType";
    pub const INTERNAL_ERROR: &str = "InternalError";
    pub const EXPIRED: &str = "Expired";
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
}

impl Status {
    /// A failure with nothing more than code, reason and message.
    pub fn failure(code: i32, reason: &str, message: impl Into<Str>) -> Self {
        Self {
            status: "Failure".into(),
            code,
            reason: reason.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Success, as delete requests answer it.
    pub fn success() -> Self {
        Self { status: "Success".into(), ..Self::default() }
    }

    fn about(self, resource: &GroupResource, name: &str) -> Self {
        self.with_details(StatusDetails {
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            name: name.into(),
            ..StatusDetails::default()
        })
    }

    /// The same with details.
    pub fn with_details(mut self, details: StatusDetails) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 404: the object does not exist.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::failure(404, reason::NOT_FOUND, format!("{resource} {} not found", go_quote(name)))
            .about(resource, name)
    }

    /// 409: an object with the name exists.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::failure(409, reason::ALREADY_EXISTS, format!("{resource} {} already exists", go_quote(name)))
            .about(resource, name)
    }

    /// 409: generated names collided; clients may try again after a second.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            go_quote(name)
        );
        let mut s = Self::failure(409, reason::ALREADY_EXISTS, message).about(resource, name);
        s.details_mut().retry_after_seconds = retry_after_seconds;
        s
    }

    /// 401.
    pub fn unauthorized(message: &str) -> Self {
        let message = if message.is_empty() { "not authorized" } else { message };
        Self::failure(401, reason::UNAUTHORIZED, message)
    }

    /// 403: `why` is what follows `is forbidden: `.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", go_quote(name))
        };
        Self::failure(403, reason::FORBIDDEN, message).about(resource, name)
    }

    /// 409: the object changed meanwhile, or another precondition failed.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", go_quote(name));
        Self::failure(409, reason::CONFLICT, message).about(resource, name)
    }

    /// 409: somebody else owns fields that an apply request sets.
    pub fn apply_conflict(causes: List<StatusCause>, message: impl Into<Str>) -> Self {
        Self::failure(409, reason::CONFLICT, message)
            .with_details(StatusDetails { causes, ..StatusDetails::default() })
    }

    /// 410: the item is gone for good.
    pub fn gone(message: impl Into<Str>) -> Self {
        Self::failure(410, reason::GONE, message)
    }

    /// 410: a resource version or continue token is too old.
    pub fn resource_expired(message: impl Into<Str>) -> Self {
        Self::failure(410, reason::EXPIRED, message)
    }

    /// 422: validation found errors.
    pub fn invalid(kind: &GroupKind, name: &str, errors: Vec<FieldError>) -> Self {
        let mut message = format!("{kind} {} is invalid", go_quote(name));
        if !errors.is_empty() {
            let all = aggregate_message(errors.iter().map(ToString::to_string));
            message.push_str(": ");
            message.push_str(&all);
        }
        Self::failure(422, reason::INVALID, message).with_details(StatusDetails {
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            name: name.into(),
            causes: errors
                .iter()
                .map(|e| StatusCause {
                    reason: e.kind.cause().into(),
                    message: e.body().into(),
                    field: e.field.as_str().into(),
                })
                .collect(),
            ..StatusDetails::default()
        })
    }

    /// 400.
    pub fn bad_request(message: impl Into<Str>) -> Self {
        Self::failure(400, reason::BAD_REQUEST, message)
    }

    /// 429 with a time to wait.
    pub fn too_many_requests(message: impl Into<Str>, retry_after_seconds: i32) -> Self {
        Self::failure(429, reason::TOO_MANY_REQUESTS, message)
            .with_details(StatusDetails { retry_after_seconds, ..StatusDetails::default() })
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<Str>) -> Self {
        Self::failure(503, reason::SERVICE_UNAVAILABLE, message)
    }

    /// 405: the resource does not have the verb.
    pub fn method_not_supported(resource: &GroupResource, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", go_quote(&resource.to_string()));
        Self::failure(405, reason::METHOD_NOT_ALLOWED, message).with_details(StatusDetails {
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..StatusDetails::default()
        })
    }

    /// 500: the server could not finish in time; the client should try again.
    pub fn server_timeout(resource: &GroupResource, operation: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        Self::failure(500, reason::SERVER_TIMEOUT, message).with_details(StatusDetails {
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            name: operation.into(),
            retry_after_seconds,
            ..StatusDetails::default()
        })
    }

    /// 500.
    pub fn internal_error(error: impl fmt::Display) -> Self {
        let text = error.to_string();
        let cause = StatusCause { message: text.as_str().into(), ..StatusCause::default() };
        Self::failure(500, reason::INTERNAL_ERROR, format!("Internal error occurred: {text}"))
            .with_details(StatusDetails { causes: List::from_iter([cause]), ..StatusDetails::default() })
    }

    /// 504: the request took too long.
    pub fn timeout(message: &str, retry_after_seconds: i32) -> Self {
        Self::failure(504, reason::TIMEOUT, format!("Timeout: {message}"))
            .with_details(StatusDetails { retry_after_seconds, ..StatusDetails::default() })
    }

    /// 413.
    pub fn request_entity_too_large(message: &str) -> Self {
        Self::failure(413, reason::REQUEST_ENTITY_TOO_LARGE, format!("Request entity too large: {message}"))
    }

    /// The details, created when absent.
    pub fn details_mut(&mut self) -> &mut StatusDetails {
        self.details.get_or_insert_default()
    }

    /// The reason is this one.
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.is(reason::NOT_FOUND)
    }

    /// Another writer was faster.
    pub fn is_conflict(&self) -> bool {
        self.is(reason::CONFLICT)
    }

    /// The object exists.
    pub fn is_already_exists(&self) -> bool {
        self.is(reason::ALREADY_EXISTS)
    }

    /// The resource version or continue token is too old.
    pub fn is_expired(&self) -> bool {
        self.is(reason::EXPIRED) || self.is(reason::GONE)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}
