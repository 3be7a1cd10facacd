//! Collects the descriptions of all types from `k8s-openapi` into one compressed table.
//!
//! Records are sorted by key, `<model>` for a type and `<model>.<field>` for a field; key and text are separated by
//! U+001F and records end with U+001E.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::schemars::{SchemaGenerator, generate::SchemaSettings};

/// Registers the schemas of types, and with them of all that they refer to.
macro_rules! roots {
    ($generator:ident: $($module:path { $($name:ident)* })*) => {
        $({
            use $module as module;
            $( $generator.subschema_for::<module::$name>(); )*
        })*
    };
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let mut generator: SchemaGenerator = SchemaSettings::draft2020_12().into();
    roots! { generator:
        k8s_openapi::api::admissionregistration::v1 {
            MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
        }
        k8s_openapi::api::apps::v1 { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
        k8s_openapi::api::authentication::v1 { SelfSubjectReview TokenRequest TokenReview }
        k8s_openapi::api::authorization::v1 {
            LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
        }
        k8s_openapi::api::autoscaling::v1 { HorizontalPodAutoscaler Scale }
        k8s_openapi::api::autoscaling::v2 { HorizontalPodAutoscaler }
        k8s_openapi::api::batch::v1 { CronJob Job }
        k8s_openapi::api::certificates::v1 { CertificateSigningRequest }
        k8s_openapi::api::coordination::v1 { Lease }
        k8s_openapi::api::core::v1 {
            Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
            PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
        }
        k8s_openapi::api::discovery::v1 { EndpointSlice }
        k8s_openapi::api::events::v1 { Event }
        k8s_openapi::api::flowcontrol::v1 { FlowSchema PriorityLevelConfiguration }
        k8s_openapi::api::networking::v1 { IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR }
        k8s_openapi::api::node::v1 { RuntimeClass }
        k8s_openapi::api::policy::v1 { Eviction PodDisruptionBudget }
        k8s_openapi::api::rbac::v1 { ClusterRole ClusterRoleBinding Role RoleBinding }
        k8s_openapi::api::resource::v1 { DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice }
        k8s_openapi::api::scheduling::v1 { PriorityClass }
        k8s_openapi::api::storage::v1 {
            CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
        }
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 { CustomResourceDefinition }
        k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 { APIService }
        k8s_openapi::apimachinery::pkg::apis::meta::v1 {
            APIGroup APIGroupList APIResourceList APIVersions Condition DeleteOptions LabelSelector Patch Status
        }
        k8s_openapi::apimachinery::pkg::version { Info }
    }
    let mut records = BTreeMap::new();
    for (model, schema) in generator.definitions() {
        collect(model, schema, &mut records);
    }
    let mut text = String::new();
    for (key, description) in records {
        text.extend([&key, "\u{1f}", &description, "\u{1e}"]);
    }
    let packed = zstd::bulk::compress(text.as_bytes(), 19).expect("compressing into memory cannot fail");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let path = PathBuf::from(out).join("descriptions.zst");
    std::fs::write(path, packed).expect("cargo's output directory can be written");
    println!("cargo:rustc-env=DESCRIPTIONS_BYTES={}", text.len());
}

fn collect(model: &str, schema: &k8s_openapi::serde_json::Value, records: &mut BTreeMap<String, String>) {
    if let Some(text) = schema["description"].as_str() {
        records.insert(model.to_owned(), text.to_owned());
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    for (field, property) in properties {
        if let Some(text) = property["description"].as_str() {
            records.insert(format!("{model}.{field}"), text.to_owned());
        }
    }
}
