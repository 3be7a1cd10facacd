//! Policies.

use serde_json::{Value as Json, json};
use types::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use types::core::v1::{ConfigMap, Namespace};

use super::{Cluster, admit, apply, config_map};
use crate::dynamic::Dynamic;

fn constraints() -> Json {
    json!({ "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }] })
}

fn validating(spec: Json, binding: Json) -> Dynamic {
    let dynamic = Dynamic::default();
    let mut spec = spec;
    spec["matchConstraints"] = constraints();
    apply::<ValidatingAdmissionPolicy>(&dynamic, json!({ "metadata": { "name": "p" }, "spec": spec }));
    let mut binding = binding;
    binding["policyName"] = "p".into();
    if binding.get("validationActions").is_none() {
        binding["validationActions"] = json!(["Deny"]);
    }
    apply::<ValidatingAdmissionPolicyBinding>(
        &dynamic,
        json!({ "metadata": { "name": "b" }, "spec": binding }),
    );
    dynamic
}

fn cluster() -> Cluster {
    Cluster::new().with::<Namespace>(json!({ "metadata": { "name": "ns", "labels": { "env": "prod" } } })).with::<ConfigMap>(
        json!({ "metadata": { "name": "limits", "namespace": "ns", "labels": { "limits": "yes" } }, "data": { "max": "1" } }),
    )
}

#[tokio::test]
async fn validations_refuse_as_upstream_words_it() {
    const PREFIX: &str =
        "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ";
    let rows = [
        (
            json!({ "validations": [{ "expression": "size(object.data) < 2" }] }),
            json!({}),
            "failed expression: size(object.data) < 2",
        ),
        (json!({ "validations": [{ "expression": "false", "message": "no" }] }), json!({}), "no"),
        (
            json!({ "variables": [{ "name": "n", "expression": "size(object.data)" }, { "name": "m", "expression": "variables.n + 1" }],
                "validations": [{ "expression": "variables.m < 2", "messageExpression": "'got ' + string(variables.m)" }] }),
            json!({}),
            "got 3",
        ),
        (
            json!({ "variables": [{ "name": "n", "expression": "1" }, { "name": "n", "expression": "2" }],
                "validations": [{ "expression": "variables.n == 1" }] }),
            json!({}),
            "failed expression: variables.n == 1",
        ),
        (
            json!({ "variables": [{ "name": "n", "expression": "1" }, { "name": "n", "expression": "variables.n + 1" }],
                "validations": [{ "expression": "variables.n == 2" }] }),
            json!({}),
            "expression 'variables.n == 2' resulted in error: composited variable \"n\" fails to evaluate: composited variable \"n\" needs itself",
        ),
        (
            json!({ "validations": [{ "expression": "object.nope == 1" }] }),
            json!({}),
            "expression 'object.nope == 1' resulted in error: no such key: nope",
        ),
        (
            json!({ "failurePolicy": "Ignore", "validations": [{ "expression": "object.nope == 1" }] }),
            json!({}),
            "",
        ),
        (
            json!({ "validations": [{ "expression": "namespaceObject.metadata.labels.env != 'prod'" }] }),
            json!({}),
            "failed expression: namespaceObject.metadata.labels.env != 'prod'",
        ),
        (
            json!({ "validations": [{ "expression": "request.userInfo.username != 'alice' || request.operation != 'CREATE'" }] }),
            json!({}),
            "failed expression: request.userInfo.username != 'alice' || request.operation != 'CREATE'",
        ),
        (
            json!({ "validations": [{ "expression": "authorizer.group('').resource('pods').namespace('ns').check('list').allowed()" }] }),
            json!({}),
            "failed expression: authorizer.group('').resource('pods').namespace('ns').check('list').allowed()",
        ),
        (
            json!({ "validations": [{ "expression": "authorizer.requestResource.check('get').allowed()" }] }),
            json!({}),
            "failed expression: authorizer.requestResource.check('get').allowed()",
        ),
        (
            json!({ "matchConditions": [{ "name": "c", "expression": "object.metadata.name == 'y'" }], "validations": [{ "expression": "false" }] }),
            json!({}),
            "",
        ),
        (
            json!({ "validations": [{ "expression": "false" }] }),
            json!({ "matchResources": { "namespaceSelector": { "matchLabels": { "env": "dev" } } } }),
            "",
        ),
        (
            json!({ "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" }, "validations": [{ "expression": "size(object.data) <= int(params.data.max)" }] }),
            json!({ "paramRef": { "name": "limits", "parameterNotFoundAction": "Deny" } }),
            "failed expression: size(object.data) <= int(params.data.max)",
        ),
        (
            json!({ "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" }, "validations": [{ "expression": "true" }] }),
            json!({ "paramRef": { "name": "none", "parameterNotFoundAction": "Deny" } }),
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
        ),
        (
            json!({ "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" }, "validations": [{ "expression": "false" }] }),
            json!({ "paramRef": { "selector": { "matchLabels": { "limits": "no" } }, "parameterNotFoundAction": "Allow" } }),
            "",
        ),
    ];
    for (spec, binding, expected) in rows {
        let outcome = admit(
            &validating(spec.clone(), binding),
            &cluster(),
            config_map("x", json!({ "a": "1", "b": "2" })),
            false,
        )
        .await;
        let expected = if expected.is_empty() { String::new() } else { format!("{PREFIX}{expected}") };
        assert_eq!(outcome.message(), expected, "{spec}");
    }
}

#[tokio::test]
async fn bindings_may_only_warn() {
    let spec = json!({ "validations": [{ "expression": "false", "message": "no" }] });
    let dynamic = validating(spec, json!({ "validationActions": ["Warn", "Audit"] }));
    let outcome = admit(&dynamic, &cluster(), config_map("x", json!({})), false).await;
    assert!(outcome.result.is_ok());
    assert_eq!(
        outcome.warnings,
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]
    );
}

#[tokio::test]
async fn a_policy_that_costs_too_much_refuses() {
    let list = "[1,2,3,4,5,6,7,8,9,10]";
    let mut expression = "true".to_owned();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        expression = format!("{list}.all({name}, {expression})");
    }
    let spec = json!({ "validations": [{ "expression": expression }] });
    let outcome = admit(&validating(spec, json!({})), &cluster(), config_map("x", json!({})), false).await;
    assert!(
        outcome.message().ends_with("resulted in error: operation cancelled: actual cost limit exceeded")
    );
}

fn mutating(mutation: &Json) -> Dynamic {
    let dynamic = Dynamic::default();
    let spec =
        json!({ "matchConstraints": constraints(), "reinvocationPolicy": "Never", "mutations": [mutation] });
    apply::<MutatingAdmissionPolicy>(&dynamic, json!({ "metadata": { "name": "p" }, "spec": spec }));
    let binding = json!({ "metadata": { "name": "b" }, "spec": { "policyName": "p" } });
    apply::<MutatingAdmissionPolicyBinding>(&dynamic, binding);
    dynamic
}

#[tokio::test]
async fn mutations_apply_and_patch() {
    let apply = |expression: &str| json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } });
    let patch =
        |expression: &str| json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } });
    for (mutation, labels, message) in [
        (apply("Object{metadata: Object.metadata{labels: {'a': 'b'}}}"), json!({ "a": "b" }), ""),
        (
            apply("Object{metadata: Object.metadata{labels: {?'n': object.?data.?x}}}"),
            json!({ "n": "1" }),
            "",
        ),
        (
            patch(
                "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'c': string(size(object.data))}}]",
            ),
            json!({ "c": "1" }),
            "",
        ),
        // A test that fails leaves the object as it is.
        (
            patch(
                "[JSONPatch{op: 'test', path: '/data/x', value: '2'}, JSONPatch{op: 'remove', path: '/nope'}]",
            ),
            Json::Null,
            "",
        ),
        (
            patch("[JSONPatch{op: 'remove', path: '/nope'}]"),
            Json::Null,
            "policy 'p' with binding 'b' denied request: JSON Patch: error in remove for path: '/nope': Unable to remove nonexistent key: nope: missing value",
        ),
        (
            patch("[JSONPatch{path: '/a'}]"),
            Json::Null,
            "policy 'p' with binding 'b' denied request: JSON Patch: Unexpected kind: ",
        ),
        (
            patch("[JSONPatch{op: 'add', path: '/data', value: 5}]"),
            Json::Null,
            "Internal error occurred: json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            apply("Object{metadata: Object.spec{}}"),
            Json::Null,
            "unexpected type name \"Object.spec\", expected \"Object.metadata\"",
        ),
        (apply("Object{nope: 1}"), Json::Null, "field not declared in schema"),
    ] {
        let outcome =
            admit(&mutating(&mutation), &cluster(), config_map("x", json!({ "x": "1" })), false).await;
        assert_eq!(outcome.object["metadata"]["labels"], labels, "{mutation}");
        assert!(
            outcome.message().contains(message) && outcome.result.is_ok() == message.is_empty(),
            "{}",
            outcome.message()
        );
    }
}

#[tokio::test]
async fn all_mutations_tell_what_is_wrong_with_them() {
    let dynamic = Dynamic::default();
    let apply_of = |expression: &str| json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } });
    for (name, param) in [("p", None), ("q", Some(json!({ "apiVersion": "nope.io/v1", "kind": "Nope" })))] {
        let mutations = [
            apply_of("Object{metadata: Object.metadata{labels: {'n': object.nope}}}"),
            apply_of("Object{metadata: Object.metadata{labels: {'m': 'ok'}}}"),
            apply_of("Object{nope: 1}"),
        ];
        let spec = json!({ "matchConstraints": constraints(), "reinvocationPolicy": "Never",
            "paramKind": param, "mutations": mutations });
        apply::<MutatingAdmissionPolicy>(&dynamic, json!({ "metadata": { "name": name }, "spec": spec }));
        let binding = json!({ "metadata": { "name": name }, "spec": { "policyName": name } });
        apply::<MutatingAdmissionPolicyBinding>(&dynamic, binding);
    }
    let outcome = admit(&dynamic, &cluster(), config_map("x", json!({})), false).await;
    let status = outcome.result.unwrap_err();
    // The configuration comes first, and the first tells.
    let unknown = "policy \"q\" denied request: failed to configure policy: failed to find resource referenced by paramKind: 'nope.io/v1, Kind=Nope'";
    assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (403, "Forbidden", unknown));
    let causes: Vec<String> =
        status.details.unwrap().causes.iter().map(|cause| cause.message.to_string()).collect();
    assert_eq!(causes.len(), 3, "{causes:?}");
    assert!(causes[1].ends_with("resulted in error: no such key: nope"), "{causes:?}");
    assert!(causes[2].ends_with(".nope: field not declared in schema"), "{causes:?}");
    assert_eq!(outcome.object["metadata"]["labels"], json!({ "m": "ok" }));
}

#[tokio::test]
async fn the_audit_log_is_told_what_policies_say_of_requests() {
    let ask = async |spec: Json, actions: Json| {
        let dynamic = validating(spec, json!({ "validationActions": actions }));
        admit(&dynamic, &cluster(), config_map("x", json!({ "a": "1" })), false).await
    };
    let told = json!([{ "key": "k", "valueExpression": "'  ' + object.metadata.name + ' '" }]);
    let outcome = ask(
        json!({ "validations": [{ "expression": "true" }, { "expression": "false", "message": "no" }], "auditAnnotations": told }),
        json!(["Warn", "Audit"]),
    )
    .await;
    assert_eq!(outcome.message(), "");
    assert_eq!(outcome.note("p/k"), Some("x"));
    let failures: Json =
        serde_json::from_str(outcome.note("validation.policy.admission.k8s.io/validation_failure").unwrap())
            .unwrap();
    assert_eq!(
        failures,
        json!([{ "message": "no", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Warn", "Audit"] }])
    );
    // What cannot be told refuses, whatever the binding does with refusals, unless the policy is to be passed over.
    let broken = json!([{ "key": "k", "valueExpression": "string(object.data.nope)" }]);
    let why = "expression 'string(object.data.nope)' resulted in error: no such key: nope";
    for (policy, message) in [
        (
            "Fail",
            format!(
                "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"
            ),
        ),
        ("Ignore", String::new()),
    ] {
        let spec = json!({ "failurePolicy": policy, "validations": [{ "expression": "true" }], "auditAnnotations": broken });
        let outcome = ask(spec, json!(["Warn"])).await;
        assert_eq!(outcome.message(), message);
        assert_eq!(outcome.note("p/k"), None);
    }
}
