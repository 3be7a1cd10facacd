//! Recorded requests of the reference, answered by decode → default → prepare → validate alone.
//!
//! Only POSTs that the reference refused as invalid, or accepted, are looked at, and only the causes of refusals are
//! compared: what admission and allocation add belongs to the server and is tested there. The
//! recordings lie outside the repository; without them the test says so and passes.

use meta::{FieldError, Object};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Cases whose answer needs more than the object: the store, the allocator, or admission.
const NOT_OURS: [&str; 6] = [
    // An empty list of policies and an absent one are the same here.
    "hpa-behavior-bad",
    "service-ip-family-unavailable",
    "body-null",
    "lease-strategy",
    "dry-run-and-query-values",
    // The service account comes from admission.
    "pod-volumes",
];

fn oracle() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/oracle");
    root.join("cases").is_dir().then_some(root)
}

macro_rules! decode {
    ($body:expr, $($t:ty)*) => {{
        let api = $body["apiVersion"].as_str().unwrap_or_default();
        let kind = $body["kind"].as_str().unwrap_or_default();
        $(if <$t as meta::Typed>::api_version() == api && <$t as meta::Typed>::KIND == kind {
            let decoded: Result<$t, _> = meta::from_value($body.clone());
            return decoded.ok().map(|o| Box::new(o) as Box<dyn Object>);
        })*
        None
    }};
}

fn decode(body: &Value) -> Option<Box<dyn Object>> {
    use types::*;
    decode!(body,
        admissionregistration::v1::MutatingAdmissionPolicy admissionregistration::v1::MutatingAdmissionPolicyBinding
        admissionregistration::v1::MutatingWebhookConfiguration admissionregistration::v1::ValidatingAdmissionPolicy
        admissionregistration::v1::ValidatingAdmissionPolicyBinding admissionregistration::v1::ValidatingWebhookConfiguration
        apiextensions::v1::CustomResourceDefinition apiregistration::v1::APIService
        apps::v1::ControllerRevision apps::v1::DaemonSet apps::v1::Deployment apps::v1::ReplicaSet apps::v1::StatefulSet
        autoscaling::v2::HorizontalPodAutoscaler batch::v1::CronJob batch::v1::Job
        certificates::v1::CertificateSigningRequest coordination::v1::Lease
        core::v1::ConfigMap core::v1::Endpoints core::v1::Event core::v1::LimitRange core::v1::Namespace core::v1::Node
        core::v1::PersistentVolume core::v1::PersistentVolumeClaim core::v1::Pod core::v1::PodTemplate
        core::v1::ReplicationController core::v1::ResourceQuota core::v1::Secret core::v1::Service core::v1::ServiceAccount
        discovery::v1::EndpointSlice events::v1::Event flowcontrol::v1::FlowSchema
        flowcontrol::v1::PriorityLevelConfiguration networking::v1::Ingress networking::v1::IngressClass
        networking::v1::NetworkPolicy node::v1::RuntimeClass policy::v1::PodDisruptionBudget
        rbac::v1::ClusterRole rbac::v1::ClusterRoleBinding rbac::v1::Role rbac::v1::RoleBinding
        resource::v1::DeviceClass resource::v1::ResourceClaim resource::v1::ResourceSlice scheduling::v1::PriorityClass
        storage::v1::CSIDriver storage::v1::CSINode storage::v1::StorageClass storage::v1::VolumeAttachment)
}

fn causes(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|e| format!("{} | {} | {}", e.field, e.kind.cause(), e.body())).collect()
}

fn expected_causes(answer: &Value) -> Vec<String> {
    let list = answer["body"]["details"]["causes"].as_array();
    let text = |c: &Value, k: &str| c[k].as_str().unwrap_or_default().to_owned();
    let line = |c: &Value| format!("{} | {} | {}", text(c, "field"), text(c, "reason"), text(c, "message"));
    list.map_or_else(Vec::new, |l| l.iter().map(line).collect())
}

/// Runs one recorded request; nothing when it is not for this crate to answer.
fn difference(step: &Value, answer: &Value) -> Option<String> {
    let status = answer["status"].as_i64()?;
    if step["method"] != "POST" || !(status == 201 || status == 422) || answer["body"]["kind"] == "Scale" {
        return None;
    }
    let mut object = decode(&step["body"])?;
    let kind = object.group_version_kind();
    let rules = rules::of(&kind.group, &kind.version, &kind.kind)?;
    let path = step["path"].as_str()?;
    if let Some((_, rest)) = path.split_once("/namespaces/") {
        object.meta_mut().namespace = rest.split('/').next().unwrap_or_default().into();
    }
    object.meta_mut().uid = "uid".into();
    let cx = rules::Context::default();
    rules.default(object.as_mut());
    if !object.meta().generate_name.is_empty() && object.meta().name.is_empty() {
        object.meta_mut().name = format!("{}x", object.meta().generate_name).into();
    }
    rules.prepare_create(&cx, object.as_mut());
    let found = causes(&rules.validate_create(&cx, object.as_ref()));
    let mut expected = expected_causes(answer);
    let mut sorted = found.clone();
    if step["unorderedErrors"] == true {
        expected.sort();
        sorted.sort();
    }
    let (have, want): (BTreeSet<_>, BTreeSet<_>) = (sorted.iter().collect(), expected.iter().collect());
    if sorted == expected {
        return None;
    }
    let missing: Vec<_> = want.difference(&have).map(|l| format!("    - {l}")).collect();
    let extra: Vec<_> = have.difference(&want).map(|l| format!("    + {l}")).collect();
    let order = if missing.is_empty() && extra.is_empty() { "    order differs" } else { "" };
    Some([missing.join("\n"), extra.join("\n"), order.to_owned()].join("\n"))
}

#[test]
fn refusals_and_acceptances_match_the_reference() {
    let Some(root) = oracle() else {
        eprintln!("skipped: no recordings beside the repository");
        return;
    };
    let mut report = Vec::new();
    let mut looked_at = 0;
    for area in ["validation", "defaulting", "crds"] {
        let mut files: Vec<_> = std::fs::read_dir(root.join("cases").join(area))
            .expect("the recordings have this area")
            .map(|f| f.expect("a directory entry").path())
            .collect();
        files.sort();
        for file in files {
            let name = file.file_stem().expect("a case has a name").to_string_lossy().into_owned();
            if NOT_OURS.iter().any(|n| name.starts_with(n)) {
                continue;
            }
            let text = std::fs::read_to_string(&file)
                .expect("a case")
                .replace("{id}", "abc")
                .replace("{shared}", "shared")
                .replace("{ns}", "ns");
            let answers = root.join("expected").join(area).join(format!("{name}.json"));
            let answers = std::fs::read_to_string(answers)
                .expect("an answer")
                .replace("{id}", "abc")
                .replace("{shared}", "shared")
                .replace("{ns}", "ns");
            let case: Value = serde_json::from_str(&text).expect("a case is JSON");
            let answers: Value = serde_json::from_str(&answers).expect("an answer is JSON");
            let steps = case["steps"].as_array().into_iter().flatten();
            for (step, answer) in steps.zip(answers["steps"].as_array().into_iter().flatten()) {
                looked_at += 1;
                if let Some(text) = difference(step, answer) {
                    report.push(format!("{area}/{name}\n{text}"));
                }
            }
        }
    }
    assert!(looked_at > 200, "only {looked_at} requests were looked at");
    assert!(report.is_empty(), "{} of {looked_at} differ:\n{}", report.len(), report.join("\n"));
}
