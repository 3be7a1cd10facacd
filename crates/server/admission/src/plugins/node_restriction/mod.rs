//! NodeRestriction: a kubelet writes its own Node, its own Lease and the pods bound to it, and nothing else.
//!
//! The Node authorizer lets a node's requests through by kind; what is inside the objects is checked here.

mod claims;
mod node;
mod pods;
#[cfg(test)]
mod tests;
mod token;

use meta::{GroupResource, Object, Status, go_quote};
use types::certificates::v1::CertificateSigningRequest;

use super::Plugin;
use super::certificates::subject_name;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::World;

/// See the module.
pub struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        check(review, Some(object), world)
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        // Deletions have no object to mutate, so they are checked here.
        if review.operation == Operation::Delete { check(review, object, world) } else { Ok(()) }
    }
}

/// Why a node's request is refused.
enum Refusal {
    /// It is not allowed, for this reason.
    Forbidden(String),
    /// Something that it refers to is not there.
    Missing { kind: &'static str, name: String },
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal::Forbidden(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Refusal::Forbidden(why.to_owned())
    }
}

/// A node's request and what is needed to judge it.
struct Case<'a> {
    review: &'a Review<'a>,
    node: &'a str,
    object: Option<&'a dyn Object>,
    world: &'a dyn World,
}

impl Case<'_> {
    /// The name of the object, which is in the object when it is created.
    fn name(&self) -> &str {
        match self.object {
            Some(object) if self.review.target.name.is_empty() => &object.meta().name,
            _ => &self.review.target.name,
        }
    }

    /// The node's name in quotes.
    fn quoted(&self) -> String {
        go_quote(self.node)
    }

    /// What is said of an operation that nodes have no use for.
    fn unexpected(&self) -> Refusal {
        format!("unexpected operation {}", go_quote(self.review.operation.name())).into()
    }
}

fn check(review: &Review<'_>, object: Option<&dyn Object>, world: &dyn World) -> Result<(), Status> {
    let Some(node) = review.user.as_node() else { return Ok(()) };
    if node.is_empty() {
        let why = format!("could not determine node from user {}", go_quote(&review.user.name));
        return Err(forbidden(review, object, &why));
    }
    let target = review.target;
    let case = Case { review, node, object, world };
    let judged = match (target.group.as_str(), target.resource.as_str(), target.subresource.as_str()) {
        ("", "pods", "") => pods::pod(&case),
        ("", "pods", "status") => pods::status(&case),
        ("", "pods", "eviction") => pods::eviction(&case),
        ("", "pods", other) => Err(format!(
            "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
            go_quote(other)
        )
        .into()),
        ("", "nodes", _) => node::check(&case),
        ("", "persistentvolumeclaims", "status") => claims::status(&case),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".into()),
        ("", "serviceaccounts", "token") if review.operation == Operation::Create => token::check(&case),
        ("certificates.k8s.io", "certificatesigningrequests", _) => request(&case),
        ("coordination.k8s.io", "leases", _) => lease(&case),
        ("storage.k8s.io", "csinodes", _) if case.name() != node => {
            Err("can only access CSINode with the same name as the requesting node".into())
        }
        ("resource.k8s.io", "resourceslices", _) => slice(&case),
        _ => Ok(()),
    };
    judged.map_err(|refusal| match refusal {
        Refusal::Forbidden(why) => forbidden(review, object, &why),
        Refusal::Missing { kind, name } => Status::not_found(&GroupResource::new("", kind), &name),
    })
}

fn lease(case: &Case<'_>) -> Result<(), Refusal> {
    if case.review.namespace() != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".into());
    }
    if case.name() != case.node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

/// Other changes of slices are for the Node authorizer to judge, which does not see into new ones, nor into the elements
/// of a collection that is deleted.
fn slice(case: &Case<'_>) -> Result<(), Refusal> {
    let own = |object: Option<&dyn Object>| {
        let slice = object.and_then(as_ref::<types::resource::v1::ResourceSlice>);
        slice.is_none_or(|slice| slice.spec.node_name.as_deref() == Some(case.node))
    };
    match case.review.operation {
        Operation::Create if !own(case.object) => {
            Err("can only create ResourceSlice with the same NodeName as the requesting node".into())
        }
        Operation::Delete if !own(case.review.old) => {
            Err("can only delete ResourceSlice with the same NodeName as the requesting node".into())
        }
        _ => Ok(()),
    }
}

/// A kubelet asks for certificates in its own name only.
fn request(case: &Case<'_>) -> Result<(), Refusal> {
    const SIGNERS: [&str; 2] =
        ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    let Some(request) = case.object.and_then(as_ref::<CertificateSigningRequest>) else { return Ok(()) };
    if case.review.operation != Operation::Create || !SIGNERS.contains(&request.spec.signer_name.as_str()) {
        return Ok(());
    }
    let name = subject_name(&request.spec.request.0).map_err(|why| format!("unable to parse csr: {why}"))?;
    let wanted = format!("system:node:{}", case.node);
    if name != wanted {
        return Err(format!("can only create a node CSR with CN={wanted}").into());
    }
    Ok(())
}
