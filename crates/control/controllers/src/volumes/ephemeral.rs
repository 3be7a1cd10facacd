//! The claims of ephemeral volumes: made for one pod, and gone with it.

use std::sync::LazyLock;

use informer::Key;
use meta::Str;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World, Write};
use telemetry::Counter;
use types::core::v1::{PersistentVolumeClaim, Pod};

use crate::common::owners::{controller_of, controller_ref, is_controlled_by};
use crate::replicas::namespace_ends;

static CREATES: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Claims that were to be made for ephemeral volumes.";
    telemetry::counter("ephemeral_volume_controller_create_total", help, &[]).with(&[])
});
static FAILURES: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Claims for ephemeral volumes that could not be made.";
    telemetry::counter("ephemeral_volume_controller_create_failures_total", help, &[]).with(&[])
});

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    LazyLock::force(&FAILURES);
    Controller::new("ephemeral_volume", "ephemeral_volume", context.clone(), Ephemeral)
        .on::<Pod>(|pod, _| {
            let any = pod.spec.volumes.iter().any(|volume| volume.ephemeral.is_some());
            if any { vec![Key::of(pod)] } else { Vec::new() }
        })
        .on::<PersistentVolumeClaim>(|claim, _| {
            let owner = controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
            owner.map(|owner| Key::new(&claim.metadata.namespace, &owner.name)).into_iter().collect()
        })
        .start()
}

pub(crate) struct Ephemeral;

impl Reconciler for Ephemeral {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let pod = world.get_key::<Pod>(key).filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let Some(pod) = pod else { return Next::Done };
        for volume in &pod.spec.volumes {
            let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
            let Some(template) = template else { continue };
            let name = Str::from(format!("{}-{}", pod.metadata.name, volume.name));
            if let Some(known) = world.get::<PersistentVolumeClaim>(&key.namespace, &name) {
                if !is_controlled_by(&known.metadata, &pod.metadata) {
                    let message = format!(
                        "ephemeral volume {}: PVC {}/{name} was not created for pod {key} (pod is not owner)",
                        volume.name, key.namespace
                    );
                    plan.event(Note::warning(&*pod, "FailedBinding", message));
                }
                continue;
            }
            let mut claim =
                PersistentVolumeClaim { spec: template.spec.clone(), ..PersistentVolumeClaim::default() };
            claim.metadata.namespace = key.namespace.clone();
            claim.metadata.name = name;
            claim.metadata.labels = template.metadata.labels.clone();
            claim.metadata.annotations = template.metadata.annotations.clone();
            claim.metadata.owner_references.push(controller_ref(&*pod));
            let about = pod.clone();
            let write = Write::create(claim).on_failure(move |status| {
                let message = format!("ephemeral volume: create PVC: {}", status.message);
                Some(Note::warning(&*about, "FailedBinding", message))
            });
            plan.push(write.measured(|refusal| {
                CREATES.inc();
                if refusal.is_some() {
                    FAILURES.inc();
                }
            }));
        }
        plan.then(|outcome, _| match outcome.error() {
            Some(status) if namespace_ends(status) => Next::Done,
            _ => outcome.verdict(),
        });
        Next::Done
    }
}
