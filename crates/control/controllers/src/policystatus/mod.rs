//! Status of ValidatingAdmissionPolicies: what their expressions get wrong about the kinds that they are for.

mod check;

use std::sync::Arc;

use informer::Key;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use serde_json::json;
use types::admissionregistration::v1::ValidatingAdmissionPolicy;
use types::apiextensions::v1::CustomResourceDefinition;

/// Whose fields the status is.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new(MANAGER, "validatingadmissionpolicy-status-controller", context.clone(), PolicyStatus)
        .reads::<CustomResourceDefinition>()
        .on::<ValidatingAdmissionPolicy>(|policy, _| vec![Key::of(policy)])
        .start()
}

/// Applies what was found to the status.
fn apply(policy: &ValidatingAdmissionPolicy, definitions: &[Arc<CustomResourceDefinition>]) -> Write {
    let warnings = check::warnings(&policy.spec, definitions);
    let warnings: Vec<serde_json::Value> = warnings.iter().map(meta::to_value).collect();
    let checking = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    let status = json!({ "observedGeneration": policy.metadata.generation, "typeChecking": checking });
    let fields = json!({ "status": status });
    Write::apply::<ValidatingAdmissionPolicy>("", &policy.metadata.name, "status", MANAGER, fields)
}

pub(crate) struct PolicyStatus;

impl Reconciler for PolicyStatus {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(policy) = world.get_key::<ValidatingAdmissionPolicy>(key) else { return Next::Done };
        if policy.metadata.generation <= policy.status.observed_generation {
            return Next::Done;
        }
        plan.push(apply(&policy, &world.list_all::<CustomResourceDefinition>()).ignore(404));
        Next::Done
    }
}
