//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may approve and sign for which
//! signer, and that nobody becomes `system:masters` by a certificate request.

use authz::Attributes;
use meta::{Object, Status, Str};
use types::certificates::v1::CertificateSigningRequest;

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_ref};
use crate::world::World;

const GROUP: &str = "certificates.k8s.io";

/// Approving needs the verb `approve` on the signer.
pub struct CertificateApproval;
/// Signing needs the verb `sign` on the signer.
pub struct CertificateSigning;
/// No client certificate for `system:masters`.
pub struct CertificateSubjectRestriction;

fn old<'a>(review: &'a Review<'_>, subresource: &str) -> Option<&'a CertificateSigningRequest> {
    let matches = review.operation == Operation::Update
        && review.on(GROUP, "certificatesigningrequests")
        && review.target.subresource.as_str() == subresource;
    review.old.filter(|_| matches).and_then(as_ref)
}

/// Whether the user holds `verb` on `signers` for this signer, by full name or by its domain.
fn may(review: &Review<'_>, world: &dyn World, verb: &str, signer: &Str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_string(), format!("{domain}/*")]
        .iter()
        .any(|name| world.allows(review.user, &Attributes::resource(verb, GROUP, "signers", "", name)))
}

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let Some(request) = old(review, "approval") else { return Ok(()) };
        let signer = &request.spec.signer_name;
        if may(review, world, "approve", signer) {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {:?}", signer.as_str());
        Err(forbidden(review, object, &why))
    }
}

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let (Some(old), Some(new)) =
            (old(review, "status"), object.and_then(as_ref::<CertificateSigningRequest>))
        else {
            return Ok(());
        };
        if old.status.certificate == new.status.certificate && old.status.conditions == new.status.conditions
        {
            return Ok(());
        }
        let signer = &old.spec.signer_name;
        if may(review, world, "sign", signer) {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {:?}", signer.as_str());
        Err(forbidden(review, object, &why))
    }
}

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        _: &dyn World,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, GROUP, "certificatesigningrequests") {
            return Ok(());
        }
        let Some(request) = object.and_then(as_ref::<CertificateSigningRequest>) else { return Ok(()) };
        if request.spec.signer_name != "kubernetes.io/kube-apiserver-client" {
            return Ok(());
        }
        if organizations(&request.spec.request.0).iter().any(|o| o == authn::MASTERS) {
            let why = format!(
                "use of kubernetes.io/kube-apiserver-client signer with {} group is not allowed",
                authn::MASTERS
            );
            return Err(forbidden(review, object, &why));
        }
        Ok(())
    }
}

/// The common name in the subject of a PEM certificate request; the error says why there is none, in upstream's words.
pub(super) fn subject_name(pem: &[u8]) -> Result<String, &'static str> {
    use x509_parser::prelude::*;
    let block = parse_x509_pem(pem).ok().map(|(_, block)| block);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|_| "x509: malformed certificate request")?;
    let names: Vec<_> = request
        .certification_request_info
        .subject
        .iter_common_name()
        .filter_map(|n| n.as_str().ok())
        .collect();
    // Go takes the last.
    Ok(names.last().copied().unwrap_or_default().to_owned())
}

/// Organizations in the subject of a PEM certificate request; none when it cannot be read, which validation refuses.
fn organizations(pem: &[u8]) -> Vec<String> {
    use x509_parser::prelude::*;
    let Ok((_, pem)) = parse_x509_pem(pem) else { return Vec::new() };
    let Ok((_, request)) = X509CertificationRequest::from_der(&pem.contents) else { return Vec::new() };
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect()
}
