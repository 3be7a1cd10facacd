//! Who may ask a component that has an endpoint of its own, such as a kubelet or a scheduler: client certificates of the
//! cluster's authority, and tokens; both judged by the API server (TokenReview, SubjectAccessReview), as upstream's delegated
//! authentication and authorization.
//!
//! [`User`] is who asks; [`Access`] asks the API server and remembers its answers for a while.

mod access;
mod metrics;
mod user;

pub use access::{Access, Freshness, Refused, Wanted};
pub use user::User;

/// How the API's rules name a method on a path that is no resource, and on a kubelet's API: in lower case. One that has no
/// name is nobody's right.
pub fn verb(method: &str) -> &'static str {
    const METHODS: [(&str, &str); 8] = [
        ("GET", "get"),
        ("HEAD", "head"),
        ("POST", "post"),
        ("PUT", "put"),
        ("PATCH", "patch"),
        ("DELETE", "delete"),
        ("OPTIONS", "options"),
        ("CONNECT", "connect"),
    ];
    METHODS.iter().find(|(known, _)| *known == method).map_or("", |(_, verb)| verb)
}
