//! Signs the ConfigMap `kube-public/cluster-info` with every bootstrap token that may: a machine that knows a token can
//! tell that the kubeconfig in it comes from the cluster that knows the token too.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use informer::Key;
use meta::Str;
use reconcile::{Context, Controller, Next, Plan, Reconciler, Running, World, Write};
use ring::hmac;
use types::core::v1::{ConfigMap, Secret};

use super::{NAMESPACE, is_token, signing};

const PUBLIC: &str = "kube-public";
const NAME: &str = "cluster-info";
/// What is signed.
const CONTENT: &str = "kubeconfig";
/// Beginning of the keys of signatures; the token's id follows.
const SIGNATURE: &str = "jws-kubeconfig-";

/// Starts the controller.
pub(crate) fn start(context: &Context) -> Running {
    let own = || Key::new(PUBLIC, NAME);
    Controller::new("bootstrap_signer_queue", "bootstrap-signer-controller", context.clone(), Signer)
        .on::<ConfigMap>(move |map, _| if Key::of(map) == own() { vec![own()] } else { Vec::new() })
        .on::<Secret>(move |secret, _| if is_token(secret) { vec![own()] } else { Vec::new() })
        .start()
}

pub(crate) struct Signer;

impl Reconciler for Signer {
    fn reconcile(&self, key: &Key, world: &World, plan: &mut Plan) -> Next {
        let Some(known) = world.get_key::<ConfigMap>(key) else { return Next::Done };
        let Some(content) = known.data.get(CONTENT) else { return Next::Done };
        let secrets = world.list::<Secret>(NAMESPACE);
        let (tokens, ends) = signing(secrets.iter().map(|secret| &**secret), world.unix_seconds());
        let others = known.data.iter().filter(|(key, _)| !key.starts_with(SIGNATURE));
        let mut wanted = (*known).clone();
        wanted.data = others.map(|(key, value)| (key.clone(), value.clone())).collect();
        for (id, secret) in tokens {
            wanted.data.insert(format!("{SIGNATURE}{id}"), Str::from(signature(content, id, secret)));
        }
        if wanted.data != known.data {
            plan.push(Write::update(wanted).ignore(404));
        }
        match ends {
            // Its signature goes with the token.
            Some(left_s) => Next::After(Duration::from_secs(left_s.unsigned_abs())),
            None => Next::Done,
        }
    }
}

/// A signature (JWS, HS256) whose payload is left out, since it is beside it.
fn signature(content: &str, id: &str, secret: &str) -> String {
    // The header's members in the order of their names, as every signer of Kubernetes writes them. An id is letters and digits.
    let header = B64.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{header}.{}", B64.encode(content)).as_bytes());
    format!("{header}..{}", B64.encode(tag))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;
    use crate::common::testing::look;

    fn token(id: &str, change: Value) -> Value {
        let mut data =
            json!({"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"});
        data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let data: Value = data
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(STANDARD.encode(value.as_str().unwrap()))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"namespace": "kube-system", "name": format!("bootstrap-token-{id}"), "uid": id}, "data": data})
    }

    fn info(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"namespace": "kube-public", "name": "cluster-info", "uid": "i"}})
    }

    fn looked(objects: &[Value]) -> String {
        look(&Signer, ("kube-public", "cluster-info"), objects)
    }

    #[test]
    fn signatures_are_those_that_upstream_expects() {
        // Made with another program, which also makes the signature that upstream's own test expects.
        assert_eq!(
            signature("kind: Config\n", "abcdef", "0123456789abcdef"),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..3ZR7IfHD4V0NLYjj9trDyCFIZSwMzkyMpnxx9vCiSPI"
        );
    }

    #[test]
    fn every_token_that_may_signs_and_no_other() {
        let kubeconfig = json!({"kubeconfig": "k"});
        assert_eq!(looked(&[token("abcdef", json!({}))]), "Done\n");
        assert_eq!(looked(&[info(json!({})), token("abcdef", json!({}))]), "Done\n");
        let plan = looked(&[info(kubeconfig.clone()), token("abcdef", json!({}))]);
        assert!(plan.contains("jws-kubeconfig-abcdef") && plan.ends_with("Done\n"), "{plan}");
        let signed =
            json!({"kubeconfig": "k", "jws-kubeconfig-abcdef": signature("k", "abcdef", "0123456789abcdef")});
        assert_eq!(looked(&[info(signed.clone()), token("abcdef", json!({}))]), "Done\n");
        let later = token("abcdef", json!({"expiration": "2026-01-01T01:00:00Z"}));
        assert_eq!(looked(&[info(signed.clone()), later]), "After(3600s)\n");
        for change in [
            json!({"expiration": "2025-12-31T00:00:00Z"}),
            json!({"expiration": "soon"}),
            json!({"usage-bootstrap-signing": "false"}),
            json!({"token-id": "other1"}),
            json!({"token-secret": "short"}),
        ] {
            let plan = looked(&[info(signed.clone()), token("abcdef", change.clone())]);
            assert!(plan.starts_with("update") && !plan.contains("jws-kubeconfig"), "{change}: {plan}");
        }
    }
}
