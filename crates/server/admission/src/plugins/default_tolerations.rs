//! DefaultTolerationSeconds: pods tolerate a node that is not ready or unreachable for five minutes.

use meta::{Object, Status};
use types::core::v1::{Pod, Toleration};

use super::Plugin;
use crate::review::{Operation, Review, as_mut};
use crate::world::World;

/// How long, in seconds.
const TOLERATION_S: i64 = 300;

/// See the module.
pub struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        _: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "", "pods") && !review.is(Operation::Update, "", "pods") {
            return Ok(());
        }
        let Some(pod) = as_mut::<Pod>(object) else { return Ok(()) };
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = pod.spec.tolerations.iter().any(|t| {
                (t.key == key || t.key.is_empty()) && (t.effect == "NoExecute" || t.effect.is_empty())
            });
            if !tolerated {
                pod.spec.tolerations.push(Toleration {
                    key: key.into(),
                    operator: "Exists".into(),
                    effect: "NoExecute".into(),
                    toleration_seconds: Some(TOLERATION_S),
                    ..Default::default()
                });
            }
        }
        Ok(())
    }
}
