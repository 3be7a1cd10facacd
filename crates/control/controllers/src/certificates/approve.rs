//! Approves the client certificates of kubelets whose users may have one.

use call::{Action, Target, WriteOptions};
use informer::Key;
use meta::Object;
use reconcile::{Answer, Context, Controller, Next, Outcome, Plan, Reconciler, Running, World, Write};
use types::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use types::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use super::authority::subject;
use super::signers::{Signer, has, kubelet_client};

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    let name = "certificatesigningrequest-approving-controller";
    Controller::new("certificate_approve", name, context.clone(), Approval)
        .of::<CertificateSigningRequest>()
        .start()
}

pub(crate) struct Approval;

/// A kind of request that may be approved without a person: the right that it takes, and what is said then.
#[derive(Clone, Copy)]
struct Recognizer {
    right: &'static str,
    message: &'static str,
}

const SELF: Recognizer = Recognizer {
    right: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const NODE: Recognizer = Recognizer {
    right: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

impl Reconciler for Approval {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(csr) = world.get_key::<CertificateSigningRequest>(key) else { return Next::Done };
        let decided = has(&csr, "Approved") || has(&csr, "Denied") || !csr.status.certificate.0.is_empty();
        if decided || Signer::of(&csr) != Some(Signer::KubeletClient) {
            return Next::Done;
        }
        let Ok(subject) = subject(&csr.spec.request.0) else { return Next::Done };
        if kubelet_client(&subject, &csr.spec.usages).is_some() {
            return Next::Done;
        }
        // A node that renews its own certificate needs the lesser right; either will do.
        let own = subject.common_name == csr.spec.username.as_str();
        let recognizers: &[Recognizer] = if own { &[SELF, NODE] } else { &[NODE] };
        ask(plan, (*csr).clone(), recognizers.to_vec(), world.now());
        Next::Done
    }
}

/// Asks for the first right, and on refusal for the next.
fn ask(plan: &mut Plan, csr: CertificateSigningRequest, mut rights: Vec<Recognizer>, now: meta::Time) {
    if rights.is_empty() {
        return;
    }
    let first = rights.remove(0);
    plan.push(Write::create(review(&csr, first.right)));
    plan.then(move |outcome, plan| {
        if outcome.error().is_some() {
            return Next::Retry;
        }
        if allowed(outcome) {
            plan.push(approval(csr, first.message, now));
            return Next::Done;
        }
        // Asked again with back-off: the right may come later.
        if rights.is_empty() {
            return Next::Retry;
        }
        ask(plan, csr, rights, now);
        Next::Done
    });
}

fn allowed(outcome: &Outcome) -> bool {
    outcome.results.iter().any(|result| match result {
        Ok(Answer::Object(object)) => {
            meta::downcast_ref::<SubjectAccessReview>(&**object).is_some_and(|review| review.status.allowed)
        }
        _ => false,
    })
}

fn review(csr: &CertificateSigningRequest, right: &str) -> SubjectAccessReview {
    let mut review = SubjectAccessReview::default();
    review.spec.user = csr.spec.username.clone();
    review.spec.uid = csr.spec.uid.clone();
    review.spec.groups = csr.spec.groups.clone();
    review.spec.extra = csr.spec.extra.clone();
    review.spec.resource_attributes = Some(Box::new(ResourceAttributes {
        group: "certificates.k8s.io".into(),
        version: "*".into(),
        resource: "certificatesigningrequests".into(),
        verb: "create".into(),
        subresource: right.into(),
        ..ResourceAttributes::default()
    }));
    review
}

fn approval(mut csr: CertificateSigningRequest, message: &str, now: meta::Time) -> Write {
    csr.status.conditions.push(CertificateSigningRequestCondition {
        type_: "Approved".into(),
        status: "True".into(),
        reason: "AutoApproved".into(),
        message: message.into(),
        last_update_time: Some(now),
        ..CertificateSigningRequestCondition::default()
    });
    let target = Target::of::<CertificateSigningRequest>("").named(&csr.meta().name).subresource("approval");
    Write::call(target, Action::Update(Box::new(csr), WriteOptions::default())).ignore(404)
}
