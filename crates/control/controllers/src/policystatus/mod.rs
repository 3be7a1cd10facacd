//! Status of ValidatingAdmissionPolicies: what their expressions get wrong about the kinds that they are for.

mod check;

use call::{Action, PatchKind, Target, WriteOptions};
use informer::Key;
use meta::Typed as _;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use serde_json::json;
use types::admissionregistration::v1::ValidatingAdmissionPolicy;

/// Whose fields the status is.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new(MANAGER, "validatingadmissionpolicy-status-controller", context.clone(), PolicyStatus)
        .on::<ValidatingAdmissionPolicy>(|policy, _| vec![Key::of(policy)])
        .start()
}

/// Applies what was found to the status.
fn apply(policy: &ValidatingAdmissionPolicy) -> Write {
    let warnings: Vec<serde_json::Value> = check::warnings(&policy.spec).iter().map(meta::to_value).collect();
    let checking = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    let body = json!({
        "apiVersion": ValidatingAdmissionPolicy::api_version(),
        "kind": ValidatingAdmissionPolicy::KIND,
        "metadata": { "name": policy.metadata.name.as_str() },
        "status": { "observedGeneration": policy.metadata.generation, "typeChecking": checking },
    });
    let options = WriteOptions { field_manager: MANAGER.into(), force: true, ..WriteOptions::default() };
    let mut target = Target::of::<ValidatingAdmissionPolicy>("").named(&policy.metadata.name);
    target.subresource = "status".into();
    Write::call(target, Action::Patch(PatchKind::Apply, body.to_string().into(), options))
}

pub(crate) struct PolicyStatus;

impl Reconciler for PolicyStatus {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(policy) = world.get_key::<ValidatingAdmissionPolicy>(key) else { return Next::Done };
        if policy.metadata.generation <= policy.status.observed_generation {
            return Next::Done;
        }
        plan.push(apply(&policy).ignore(404));
        Next::Done
    }
}
