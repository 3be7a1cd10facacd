//! Signs requests that were approved, for the signers of Kubernetes.

use std::sync::Arc;

use env::Env;
use informer::Key;
use meta::Time;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use super::authority::{Authority, Terms, subject};
use super::signers::{Signer, has};

/// Longest life of a certificate (`--cluster-signing-duration`).
const LIFETIME_MAX_S: i64 = 365 * 24 * 3600;
/// Shortest life of a certificate.
const LIFETIME_MIN_S: i64 = 10 * 60;

/// Starts the controller.
pub(crate) fn start(context: &Context, authority: Arc<Authority>) -> Running {
    let signing = Signing { authority, env: context.env.clone() };
    Controller::new("certificate", "certificatesigningrequest-signing-controller", context.clone(), signing)
        .of::<CertificateSigningRequest>()
        .start()
}

pub(crate) struct Signing {
    pub(super) authority: Arc<Authority>,
    pub(super) env: Env,
}

impl Reconciler for Signing {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(csr) = world.get_key::<CertificateSigningRequest>(key) else { return Next::Done };
        let waits = csr.status.certificate.0.is_empty()
            && has(&csr, "Approved")
            && !has(&csr, "Denied")
            && !has(&csr, "Failed");
        let Some(signer) = Signer::of(&csr).filter(|_| waits) else { return Next::Done };
        let mut told = (*csr).clone();
        let problem = match subject(&csr.spec.request.0) {
            Ok(subject) => signer.problem(&subject, &csr.spec.usages),
            Err(error) => Some(error.to_string()),
        };
        if let Some(message) = problem {
            fail(&mut told, "SignerValidationFailure", &message, world.now());
            plan.push(Write::update_status(told).ignore(404));
            return Next::Done;
        }
        let mut serial = [0; 16];
        if let Err(error) = self.env.random.fill_secret(&mut serial) {
            tracing::error!(%error, "no randomness for a certificate's serial number");
            return Next::Retry;
        }
        let asked = csr.spec.expiration_seconds.map_or(LIFETIME_MAX_S, i64::from);
        let terms = Terms {
            usages: &csr.spec.usages,
            lifetime_s: asked.clamp(LIFETIME_MIN_S, LIFETIME_MAX_S),
            now: world.now(),
            serial,
        };
        match self.authority.sign(&csr.spec.request.0, &terms) {
            Ok(certificate) => told.status.certificate = certificate,
            Err(error) => fail(&mut told, "SignerValidationFailure", &error.to_string(), world.now()),
        }
        plan.push(Write::update_status(told).ignore(404));
        Next::Done
    }
}

fn fail(csr: &mut CertificateSigningRequest, reason: &str, message: &str, now: Time) {
    csr.status.conditions.push(CertificateSigningRequestCondition {
        type_: "Failed".into(),
        status: "True".into(),
        reason: reason.into(),
        message: message.into(),
        last_update_time: Some(now),
        ..CertificateSigningRequestCondition::default()
    });
}
