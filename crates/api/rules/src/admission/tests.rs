//! What policies and their bindings are refused for.

use serde_json::{Value, json};

use crate::Context;

/// The causes of a refusal, one a line; none of an object that is accepted.
fn refused(kind: &str, spec: Value) -> Vec<String> {
    let object = json!({ "metadata": { "name": "p" }, "spec": spec });
    macro_rules! decode {
        ($($known:ident)*) => {
            match kind {
                $(stringify!($known) => Box::new(
                    meta::from_value::<types::admissionregistration::v1::$known>(object).expect("an object"),
                ) as Box<dyn meta::Object>,)*
                other => panic!("no kind {other}"),
            }
        };
    }
    let mut object =
        decode!(ValidatingAdmissionPolicy MutatingAdmissionPolicy ValidatingAdmissionPolicyBinding);
    let of = object.group_version_kind();
    let rules = crate::of(&of.group, &of.version, &of.kind).expect("rules");
    let cx = Context::default();
    rules.default(object.as_mut());
    rules.prepare_create(&cx, object.as_mut());
    let errors = rules.validate_create(&cx, object.as_ref());
    errors.iter().map(|e| format!("{}: {}", e.field, e.body())).collect()
}

fn with(base: Value, more: Value) -> Value {
    let mut spec = base;
    for (name, value) in more.as_object().expect("an object") {
        spec[name] = value.clone();
    }
    spec
}

fn constraints() -> Value {
    json!({ "resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
    }] })
}

fn validating(more: Value) -> Vec<String> {
    let base = json!({ "matchConstraints": constraints(), "validations": [{ "expression": "true" }] });
    refused("ValidatingAdmissionPolicy", with(base, more))
}

fn mutating(mutation: Value) -> Vec<String> {
    let spec = json!({
        "matchConstraints": constraints(), "reinvocationPolicy": "Never", "mutations": [mutation],
    });
    refused("MutatingAdmissionPolicy", spec)
}

fn validation(expression: &str) -> Vec<String> {
    validating(json!({
        "variables": [{ "name": "d", "expression": "object.x" }, { "name": "b", "expression": "true" }],
        "validations": [{ "expression": expression }],
    }))
}

#[test]
fn results_are_of_the_very_type() {
    let accepted = [
        "true",
        "variables.b",
        "!object.x",
        "object.x && true",
        "has(object.x)",
        "[true][0]",
        "bool(object.x)",
    ];
    for expression in accepted {
        assert_eq!(validation(expression), Vec::<String>::new(), "{expression}");
    }
    for expression in ["object.x", "variables.d", "dyn(true)", "[object.x][0]", "true ? object.x : true"] {
        let why = format!(
            "spec.validations[0].expression: Invalid value: {expression:?}: must evaluate to bool but got dyn"
        );
        assert_eq!(validation(expression), [why], "{expression}");
    }
    let conditions = json!([{ "name": "a", "expression": "object.x" }]);
    let why =
        "spec.matchConditions[0].expression: Invalid value: \"object.x\": must evaluate to bool but got dyn";
    assert_eq!(validating(json!({ "matchConditions": conditions })), [why]);
    let apply =
        json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": "object" } });
    let why = "spec.mutations[0].applyConfiguration.expression: Invalid value: \"object\": must evaluate to Object but got dyn";
    assert_eq!(mutating(apply), [why]);
}

#[test]
fn audit_annotations() {
    let of = |key: &str, expression: &str| json!({ "auditAnnotations": [{ "key": key, "valueExpression": expression }] });
    let cases = [
        (of("k", "'v'"), &[][..]),
        (of("k", "null"), &[]),
        // A prefix of its own leaves no room for the policy's name.
        (
            of("a/b", "'v'"),
            &["spec.auditAnnotations[0].key: Invalid value: \"p/a/b\": a valid label key must consist of"],
        ),
        (
            of("k", " "),
            &["spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified"],
        ),
        (
            of("k", "object.x"),
            &[
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"object.x\": must evaluate to one of [string null_type] but got dyn",
            ],
        ),
        (
            of("k", &format!("'{}'", "v".repeat(6000))),
            &[
                "spec.auditAnnotations[0].valueExpression: Required value: must not exceed 5120 bytes in length",
            ],
        ),
    ];
    for (spec, wanted) in cases {
        starts(&validating(spec.clone()), wanted, &spec);
    }
}

fn starts(found: &[String], wanted: &[&str], of: &Value) {
    let fits = found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| f.starts_with(w));
    assert!(fits, "{of}: {found:#?}");
}

#[test]
fn variables() {
    let cases = [
        (
            json!({ "variables": [{ "name": "for", "expression": "1" }] }),
            &["spec.variables[0].name: Invalid value: \"for\": must be a valid CEL identifier"][..],
        ),
        (
            json!({ "variables": [{ "name": " ", "expression": "1" }] }),
            &["spec.variables[0].name: Required value: name is not specified"],
        ),
        // Without variables there is nothing of that name.
        (
            json!({ "validations": [{ "expression": "variables.a == 1" }] }),
            &[
                "spec.validations[0].expression: Invalid value: \"variables.a == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables'",
            ],
        ),
    ];
    for (spec, wanted) in cases {
        starts(&validating(spec.clone()), wanted, &spec);
    }
}

#[test]
fn messages() {
    let of = |message: &str| json!({ "validations": [{ "expression": "true", "message": message }] });
    let cases = [
        (of(&"m".repeat(10_000)), &[][..]),
        (of(" "), &["spec.validations[0].message: Invalid value: \" \": must be non-empty if specified"]),
        (
            of("a\nb"),
            &["spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks"],
        ),
        (
            of("a\rb"),
            &["spec.validations[0].message: Invalid value: \"a\\rb\": must not contain line breaks"],
        ),
        // An expression of several lines needs no message.
        (json!({ "validations": [{ "expression": "true\n&& true" }] }), &[]),
    ];
    for (spec, wanted) in cases {
        starts(&validating(spec.clone()), wanted, &spec);
    }
}

#[test]
fn parameters_of_bindings() {
    let of = |param: Value| json!({ "policyName": "p", "validationActions": ["Deny"], "paramRef": param });
    let cases = [
        (of(json!({ "name": "a", "parameterNotFoundAction": "Deny" })), &[][..]),
        (
            of(json!({ "parameterNotFoundAction": "Deny" })),
            &["spec.paramRef: Required value: one of name or selector must be specified"],
        ),
        (
            of(json!({ "name": "a", "parameterNotFoundAction": "" })),
            &["spec.paramRef.parameterNotFoundAction: Required value"],
        ),
        (
            of(json!({ "name": "a", "parameterNotFoundAction": "Some" })),
            &[
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Some\": supported values: \"Deny\", \"Allow\"",
            ],
        ),
    ];
    for (spec, wanted) in cases {
        starts(&refused("ValidatingAdmissionPolicyBinding", spec.clone()), wanted, &spec);
    }
}

#[test]
fn of_two_variables_of_one_name_the_last_is_meant() {
    let of = |expression: &str| {
        validating(json!({
            "variables": [{ "name": "a", "expression": "1" }, { "name": "a", "expression": "'x'" }],
            "validations": [{ "expression": expression }],
        }))
    };
    assert_eq!(of("variables.a == 'x'"), Vec::<String>::new());
    let why = "spec.validations[0].expression: Invalid value: \"variables.a == 1\": compilation failed: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(string, int)'";
    starts(&of("variables.a == 1"), &[why], &json!(null));
}

#[test]
fn patterns_that_cannot_be_read_are_found_when_the_program_is_made() {
    let why = "spec.validations[0].expression: Internal error: program instantiation failed: error parsing regexp: missing closing ]: `[`";
    assert_eq!(validation("'a'.find('[') == ''"), [why]);
}

#[test]
fn patches() {
    let of = |expression: &str| {
        mutating(json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }))
    };
    let field = |why: &str, expression: &str| {
        vec![format!("spec.mutations[0].jsonPatch.expression: Invalid value: {expression:?}: {why}")]
    };
    assert_eq!(of("[JSONPatch{}]"), Vec::<String>::new());
    for (expression, why) in [
        (
            "[JSONPatch{foo: 1}]",
            "compilation failed: ERROR: <input>:1:15: expected type of field 'foo' is '' but provided type is 'int'\n | [JSONPatch{foo: 1}]\n | ..............^",
        ),
        ("JSONPatch{}.foo", "must evaluate to list(JSONPatch) but got "),
        ("[]", "must evaluate to list(JSONPatch) but got list(dyn)"),
    ] {
        assert_eq!(of(expression), field(why, expression), "{expression}");
    }
}

#[test]
fn too_many_audit_annotations_are_quoted() {
    let annotations: Vec<Value> =
        (0..21).map(|i| json!({ "key": format!("k{i}"), "valueExpression": "'a'" })).collect();
    let quoted: Vec<String> =
        (0..21).map(|i| format!("{{\"Key\":\"k{i}\",\"ValueExpression\":\"'a'\"}}")).collect();
    let why = format!(
        "spec.auditAnnotations: Invalid value: [{}]: must not have more than 20 auditAnnotations",
        quoted.join(",")
    );
    assert_eq!(validating(json!({ "auditAnnotations": annotations })), [why]);
}
