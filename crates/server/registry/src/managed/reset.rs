//! Which fields each endpoint puts back whatever the client sends, so that nobody can own them through it.

use schema::apply::Reset;

use crate::served::Served;

const NOTHING_BUT_STATUS: Reset = Reset(&[&["spec"], &["metadata"]]);

/// What an endpoint resets. Kinds with a status keep it from the object's own path, and their spec from the status'.
pub(super) fn of(served: &Served, subresource: &str) -> Option<Reset> {
    let resource = served.resource();
    let status = served.subresource("status").is_some();
    match (&*resource.group, &*resource.plural, subresource) {
        ("", "namespaces", "finalize") => Some(Reset(&[&["status"]])),
        ("", "pods", "status") => {
            Some(Reset(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]))
        }
        ("apps", "deployments", "status") => Some(Reset(&[&["spec"], &["metadata", "labels"]])),
        // A request is what it was made as; only its status is decided upon.
        ("certificates.k8s.io", _, "") => Some(Reset(&[&["spec"], &["status"]])),
        ("certificates.k8s.io", _, "status") => Some(Reset(&[&["spec"], &["status", "conditions"]])),
        ("certificates.k8s.io", _, "approval") => Some(Reset(&[&["spec"], &["status", "certificate"]])),
        ("networking.k8s.io", "servicecidrs", "status") => Some(NOTHING_BUT_STATUS),
        ("networking.k8s.io", "networkpolicies", "") => Some(Reset(&[&["status"]])),
        (
            "storage.k8s.io"
            | "resource.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "apiregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "internal.apiserver.k8s.io"
            | "storagemigration.k8s.io"
            | "admissionregistration.k8s.io",
            _,
            "status",
        ) => Some(NOTHING_BUT_STATUS),
        // Custom resources: their definition decides whether there is a status.
        (_, _, "status") if resource.object.info().is_none() => Some(NOTHING_BUT_STATUS),
        (_, _, "status") => Some(Reset(&[&["spec"]])),
        (_, _, "") if status => Some(Reset(&[&["status"]])),
        _ => None,
    }
}
