//! Status of ValidatingAdmissionPolicies: what their expressions get wrong about the kinds that they are for.

mod check;

use informer::Key;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::admissionregistration::v1::{TypeChecking, ValidatingAdmissionPolicy};

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new(
        "validatingadmissionpolicy-status",
        "validatingadmissionpolicy-status-controller",
        context.clone(),
        PolicyStatus,
    )
    .on::<ValidatingAdmissionPolicy>(|policy, _| vec![Key::of(policy)])
    .start()
}

pub(crate) struct PolicyStatus;

impl Reconciler for PolicyStatus {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(policy) = world.get_key::<ValidatingAdmissionPolicy>(key) else { return Next::Done };
        if policy.metadata.generation <= policy.status.observed_generation {
            return Next::Done;
        }
        let mut checked = (*policy).clone();
        checked.status.observed_generation = policy.metadata.generation;
        let warnings = check::warnings(&policy.spec).into_iter().collect();
        checked.status.type_checking = Some(Box::new(TypeChecking { expression_warnings: warnings }));
        plan.push(Write::update_status(checked).ignore(404));
        Next::Done
    }
}
