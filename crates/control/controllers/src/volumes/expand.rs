//! Claims that want to grow. The controllers of storage drivers do the growing; this one says on the claim that it waits
//! for them.

use informer::Key;
use reconcile::{Context, Controller, Next, Note, Plan, Reconciler, Running, World};
use types::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};

const WAITS: &str = "didn't find a plugin capable of expanding the volume; waiting for an external controller to process this PVC";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("volume_expand", "volume_expand", context.clone(), Expander)
        .reads::<PersistentVolume>()
        .on_change::<PersistentVolumeClaim>(|change, _| {
            let claim = change.object();
            let grows = change.old().is_none_or(|old| {
                let size = |claim: &PersistentVolumeClaim| {
                    claim.spec.resources.requests.get("storage").map(|size| size.nanos())
                };
                size(claim) > size(old)
            });
            if grows { vec![Key::of(&**claim)] } else { Vec::new() }
        })
        .start()
}

pub(crate) struct Expander;

impl Reconciler for Expander {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(claim) = world.get_key::<PersistentVolumeClaim>(key) else { return Next::Done };
        let Some(volume) = world.get::<PersistentVolume>("", &claim.spec.volume_name) else {
            return Next::Done;
        };
        let bound = volume.spec.claim_ref.as_ref().is_some_and(|claimed| claimed.uid == claim.metadata.uid);
        let wanted = claim.spec.resources.requests.get("storage").map(|size| size.nanos());
        let present = claim.status.capacity.get("storage").map(|size| size.nanos());
        if !bound || claim.status.phase != "Bound" || wanted <= present {
            return Next::Done;
        }
        plan.event(if external(&volume.spec) {
            Note::normal(&*claim, "ExternalExpanding", WAITS)
        } else {
            Note::warning(&*claim, "ExternalExpanding", WAITS)
        });
        Next::Done
    }
}

/// Whether the volume's driver has a controller of its own. The other kinds of volume do not grow.
fn external(spec: &PersistentVolumeSpec) -> bool {
    spec.csi.is_some() || spec.flex_volume.is_some()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;
    use crate::common::testing::look;

    fn claim(capacity: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": "default", "name": "data", "uid": "claim"},
            "spec": {"volumeName": "disk", "resources": {"requests": {"storage": "2Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": capacity}}})
    }

    fn volume(source: Value) -> Value {
        let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
            "spec": {"claimRef": {"uid": "claim"}}});
        volume["spec"].as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        volume
    }

    #[test]
    fn a_claim_that_grows_waits_for_its_driver() {
        let csi = || volume(json!({"csi": {"driver": "disks.example.com", "volumeHandle": "1"}}));
        let mut text = String::new();
        for objects in [vec![claim("1Gi"), csi()], vec![claim("2Gi"), csi()], vec![claim("1Gi")]] {
            text += &look(&Expander, ("default", "data"), &objects);
        }
        text += &look(
            &Expander,
            ("default", "data"),
            &[claim("1Gi"), volume(json!({"hostPath": {"path": "/x"}}))],
        );
        expect![[r#"
            event Normal PersistentVolumeClaim data ExternalExpanding: didn't find a plugin capable of expanding the volume; waiting for an external controller to process this PVC
            Done
            Done
            Done
            event Warning PersistentVolumeClaim data ExternalExpanding: didn't find a plugin capable of expanding the volume; waiting for an external controller to process this PVC
            Done
        "#]]
        .assert_eq(&text);
    }
}
