//! Deletes bootstrap tokens whose time is over.

use std::time::Duration;

use informer::Key;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World};
use types::core::v1::Secret;

use super::{is_token, left_s};

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    Controller::new("token_cleaner", "token-cleaner-controller", context.clone(), Cleaner)
        .on::<Secret>(|secret, _| if is_token(secret) { vec![Key::of(secret)] } else { Vec::new() })
        .start()
}

pub(crate) struct Cleaner;

impl Reconciler for Cleaner {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(secret) = world.get_key::<Secret>(key) else { return Next::Done };
        let Some(left) = left_s(&secret, world.unix_seconds()) else { return Next::Done };
        if left > 0 {
            return Next::After(Duration::from_secs(left.unsigned_abs()));
        }
        plan.delete(&*secret);
        Next::Done
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::{Value, json};

    use super::Cleaner;
    use crate::common::testing::look;

    fn token(expiration: &str) -> Value {
        let expiration = base64::engine::general_purpose::STANDARD.encode(expiration);
        json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef", "uid": "t"},
            "data": {"expiration": expiration}})
    }

    #[test]
    fn tokens_end_when_they_say() {
        let look = |text: &str| look(&Cleaner, ("kube-system", "bootstrap-token-abcdef"), &[token(text)]);
        assert_eq!(look("2026-01-01T01:00:00Z"), "After(3600s)\n");
        let gone = "delete /api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef\nDone\n";
        assert_eq!(look("2025-12-31T00:00:00Z"), gone);
        assert_eq!(look("soon"), gone);
    }
}
