//! Approval and signing of certificate requests: each signer's rules, and requests that ask for more than they may get.

use std::sync::Arc;

use base64::Engine as _;
use env::Env;
use serde_json::{Value, json};

use super::approve::Approval;
use super::authority::tests::{authority, request};
use super::clean::Cleaning;
use super::sign::Signing;
use crate::common::testing::look;

const GROUP: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request that a kubelet `system:node:n1` makes, with more in its status.
fn csr(signer: &str, organization: &str, status: Value) -> Value {
    let pem = request("system:node:n1", organization, vec![]);
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "c", "uid": "c", "creationTimestamp": "2025-12-31T23:00:00Z"},
        "spec": {"signerName": format!("kubernetes.io/{signer}"), "username": "system:node:n1",
            "usages": ["client auth", "digital signature"],
            "request": base64::engine::general_purpose::STANDARD.encode(pem)},
        "status": status})
}

fn condition(kind: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": "True", "lastUpdateTime": "2025-12-31T23:30:00Z"}]})
}

fn first_words(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn approved_requests_are_signed() {
    let signing = Signing { authority: Arc::new(authority()), env: Env::real() };
    let status = format!("update {GROUP}/c/status");
    for (signer, organization, conditions, acts, says) in [
        ("kube-apiserver-client", "o", condition("Approved"), true, "\"certificate\":\"LS0"),
        ("kube-apiserver-client", "o", json!({}), false, ""),
        ("kube-apiserver-client", "o", condition("Denied"), false, ""),
        (
            "kube-apiserver-client-kubelet",
            "system:nodes",
            condition("Approved"),
            true,
            "\"certificate\":\"LS0",
        ),
        (
            "kube-apiserver-client-kubelet",
            "o",
            condition("Approved"),
            true,
            "organization is not system:nodes",
        ),
        ("somebody-elses", "o", condition("Approved"), false, ""),
    ] {
        let plan = look(&signing, ("", "c"), &[csr(signer, organization, conditions)]);
        let expected = if acts { vec![status.clone(), "Done".into()] } else { vec!["Done".into()] };
        assert_eq!(first_words(&plan), expected, "{signer}");
        assert!(plan.contains(says), "{signer}: {plan}");
    }
}

#[test]
fn kubelets_are_approved_when_they_may() {
    let plan = look(&Approval, ("", "c"), &[csr("kube-apiserver-client-kubelet", "system:nodes", json!({}))]);
    assert!(plan.contains("\"subresource\":\"selfnodeclient\""), "{plan}");
    for (signer, organization, status) in [
        ("kube-apiserver-client", "system:nodes", json!({})),
        ("kube-apiserver-client-kubelet", "o", json!({})),
        ("kube-apiserver-client-kubelet", "system:nodes", condition("Denied")),
    ] {
        assert_eq!(look(&Approval, ("", "c"), &[csr(signer, organization, status)]), "Done\n", "{signer}");
    }
}

#[test]
fn old_requests_go() {
    // Half an hour after the decision, an hour after the creation.
    for (status, left) in [
        (condition("Denied"), "After(1800s)\n"),
        (condition("Failed"), "After(1800s)\n"),
        (condition("Approved"), "After(84600s)\n"),
        (json!({}), "After(82800s)\n"),
    ] {
        assert_eq!(look(&Cleaning, ("", "c"), &[csr("x", "o", status)]), left);
    }
    let mut old = csr("x", "o", condition("Denied"));
    old["status"]["conditions"][0]["lastUpdateTime"] = "2025-12-31T22:00:00Z".into();
    assert_eq!(
        first_words(&look(&Cleaning, ("", "c"), &[old])),
        [format!("delete {GROUP}/c"), "Done".into()]
    );
}
