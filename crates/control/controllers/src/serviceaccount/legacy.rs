//! Secrets of type `kubernetes.io/service-account-token`: they get a token that does not end before they do, and go
//! with their ServiceAccount.

use std::sync::Arc;

use informer::Key;
use meta::{ByteString, Str};
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use types::core::v1::{Secret, ServiceAccount};

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Whom a token is for, and the secret that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyToken {
    /// Namespace of both.
    pub namespace: Str,
    /// Name of the ServiceAccount.
    pub account: Str,
    /// Its uid.
    pub account_uid: Str,
    /// Name of the secret.
    pub secret: Str,
}

/// Signs tokens; the text of an error is for the log.
pub type SignLegacy = Arc<dyn Fn(&LegacyToken) -> Result<String, String> + Send + Sync>;

/// Starts the controller; `root_ca` are the PEM certificates that secrets carry along.
pub(crate) fn start(context: &Context, sign: SignLegacy, root_ca: &str) -> Running {
    let tokens = Tokens { sign, root_ca: ByteString(root_ca.as_bytes().to_vec()) };
    Controller::new(
        "serviceaccount_tokens_secret",
        "serviceaccount-token-controller",
        context.clone(),
        tokens,
    )
    .on::<Secret>(|secret, _| if secret.type_ == TYPE { vec![Key::of(secret)] } else { Vec::new() })
    .on::<ServiceAccount>(|account, world| {
        let secrets = world.list::<Secret>(&account.metadata.namespace);
        let own = secrets.iter().filter(|secret| {
            secret.type_ == TYPE && secret.metadata.annotations.get(NAME) == Some(&account.metadata.name)
        });
        own.map(|secret| Key::of(&**secret)).collect()
    })
    .start()
}

pub(crate) struct Tokens {
    pub(crate) sign: SignLegacy,
    pub(crate) root_ca: ByteString,
}

impl Reconciler for Tokens {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(secret) = world.get_key::<Secret>(key).filter(|s| s.metadata.deletion_timestamp.is_none())
        else {
            return Next::Done;
        };
        let annotations = &secret.metadata.annotations;
        let Some(name) = annotations.get(NAME).filter(|name| !name.is_empty()) else { return Next::Done };
        let account = world.get::<ServiceAccount>(&key.namespace, name);
        let same = |account: &Arc<ServiceAccount>| {
            annotations.get(UID).is_none_or(|uid| uid.is_empty() || *uid == account.metadata.uid)
        };
        let Some(account) = account.filter(same) else {
            plan.delete(&*secret);
            return Next::Done;
        };
        let mut wanted = (*secret).clone();
        wanted.metadata.annotations.insert(UID, account.metadata.uid.clone());
        wanted.data.insert("ca.crt", self.root_ca.clone());
        wanted.data.insert("namespace", ByteString(key.namespace.as_bytes().to_vec()));
        if secret.data.get("token").is_none_or(|token| token.0.is_empty()) {
            let token = LegacyToken {
                namespace: key.namespace.clone(),
                account: name.clone(),
                account_uid: account.metadata.uid.clone(),
                secret: key.name.clone(),
            };
            match (self.sign)(&token) {
                Ok(token) => drop(wanted.data.insert("token", ByteString(token.into_bytes()))),
                Err(error) => {
                    tracing::error!(%error, "cannot sign the token of a secret");
                    return Next::Retry;
                }
            }
        }
        if wanted != *secret {
            plan.push(Write::update(wanted).ignore(404));
        }
        Next::Done
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::common::testing::look;

    fn secret(annotations: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "type": TYPE,
            "metadata": {"namespace": "ns", "name": "s", "uid": "s", "annotations": annotations}})
    }

    fn account() -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"namespace": "ns", "name": "robot", "uid": "robot-uid"}})
    }

    fn plan(objects: &[Value]) -> String {
        let sign: SignLegacy = Arc::new(|token| Ok(format!("{}/{}", token.account_uid, token.secret)));
        look(&Tokens { sign, root_ca: ByteString(b"ca".to_vec()) }, ("ns", "s"), objects)
    }

    #[test]
    fn secrets_get_tokens_and_go_with_their_account() {
        let made = plan(&[secret(json!({NAME: "robot"})), account()]);
        let token = base64::engine::general_purpose::STANDARD.encode("robot-uid/s");
        assert!(
            made.starts_with("update /api/v1/namespaces/ns/secrets/s") && made.contains(&token),
            "{made}"
        );
        let gone = "delete /api/v1/namespaces/ns/secrets/s\nDone\n";
        assert_eq!(plan(&[secret(json!({NAME: "robot"}))]), gone);
        assert_eq!(plan(&[secret(json!({NAME: "robot", UID: "another"})), account()]), gone);
        assert_eq!(plan(&[secret(json!({})), account()]), "Done\n");
    }
}
