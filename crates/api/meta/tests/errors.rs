//! Status objects and field errors in upstream's words.

use meta::{
    BadValue, Codec as _, FieldError, FieldPath, GroupKind, GroupResource, IntOrString, Map, Status, go_quote,
};

#[test]
fn statuses_read_as_upstreams() {
    let pods = GroupResource::new("", "pods");
    let deployments = GroupResource::new("apps", "deployments");
    let cases = [
        (Status::not_found(&pods, "a"), 404, "NotFound", "pods \"a\" not found"),
        (
            Status::already_exists(&deployments, "a"),
            409,
            "AlreadyExists",
            "deployments.apps \"a\" already exists",
        ),
        (
            Status::conflict(&pods, "a", "the object has been modified"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on pods \"a\": the object has been modified",
        ),
        (Status::forbidden(&pods, "", "no"), 403, "Forbidden", "pods is forbidden: no"),
        (Status::forbidden(&pods, "a", "no"), 403, "Forbidden", "pods \"a\" is forbidden: no"),
        (Status::bad_request("x"), 400, "BadRequest", "x"),
        (
            Status::method_not_supported(&pods, "head"),
            405,
            "MethodNotAllowed",
            "head is not supported on resources of kind \"pods\"",
        ),
        (Status::resource_expired("old"), 410, "Expired", "old"),
        (Status::internal_error("x"), 500, "InternalError", "Internal error occurred: x"),
        (Status::timeout("x", 0), 504, "Timeout", "Timeout: x"),
        (Status::unauthorized(""), 401, "Unauthorized", "not authorized"),
        (Status::too_many_requests("slow", 1), 429, "TooManyRequests", "slow"),
    ];
    for (status, code, reason, message) in cases {
        assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (code, reason, message));
    }
    assert_eq!(
        String::from_utf8_lossy(&Status::not_found(&deployments, "a").to_json()),
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"a\" not found","reason":"NotFound","details":{"name":"a","group":"apps","kind":"deployments"},"code":404}"#
    );
}

#[test]
fn invalid_lists_its_causes() {
    let spec = FieldPath::new("spec");
    let port = spec.child("ports").index(0).child("port");
    let one = vec![FieldError::required(&spec.child("x"), "")];
    let s = Status::invalid(&GroupKind::new("", "Pod"), "p", one);
    assert_eq!((s.code, s.message.as_str()), (422, "Pod \"p\" is invalid: spec.x: Required value"));
    let two = vec![
        FieldError::invalid(&port, 70_000, "must be between 1 and 65535, inclusive"),
        FieldError::not_supported(&spec.child("type"), "X", ["A", "B"]),
    ];
    let s = Status::invalid(&GroupKind::new("apps", "Thing"), "t", two);
    assert_eq!(
        s.message,
        "Thing.apps \"t\" is invalid: [spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive, spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\"]"
    );
    let details = s.details.expect("details");
    assert_eq!(
        (details.causes[0].reason.as_str(), details.causes[0].field.as_str()),
        ("FieldValueInvalid", "spec.ports[0].port")
    );
    assert_eq!(details.causes[1].message, "Unsupported value: \"X\": supported values: \"A\", \"B\"");
}

#[test]
fn field_errors_read_as_upstreams() {
    let p = FieldPath::new("metadata").child("labels").key("a/b");
    let selector: Map<meta::Str> = [("a", meta::Str::from("<b>"))].into();
    let cases = [
        (FieldError::duplicate(&p, "x\"y"), "metadata.labels[a/b]: Duplicate value: \"x\\\"y\""),
        (FieldError::forbidden(&p, "why"), "metadata.labels[a/b]: Forbidden: why"),
        (FieldError::not_found(&p, 3i64), "metadata.labels[a/b]: Not found: 3"),
        (FieldError::too_long(&p, 1), "metadata.labels[a/b]: Too long: may not be more than 1 byte"),
        (FieldError::too_many(&p, 3, 2), "metadata.labels[a/b]: Too many: 3: must have at most 2 items"),
        (FieldError::too_many(&p, -1, 1), "metadata.labels[a/b]: Too many: must have at most 1 item"),
        (FieldError::internal(&p, "broken"), "metadata.labels[a/b]: Internal error: broken"),
        (
            FieldError::invalid(&p, BadValue::of(&selector), ""),
            r#"metadata.labels[a/b]: Invalid value: {"a":"\u003cb\u003e"}"#,
        ),
        (
            FieldError::invalid(&p, &IntOrString::from("x"), "d"),
            "metadata.labels[a/b]: Invalid value: \"x\": d",
        ),
        (FieldError::invalid(&FieldPath::root(), true, "d"), "<nil>: Invalid value: true: d"),
    ];
    for (error, want) in cases {
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn quoting_is_gos() {
    assert_eq!(go_quote("a\n\t\u{1}\u{7f}\"\\é\u{a0}😀"), r#""a\n\t\x01\x7f\"\\é\u00a0😀""#);
}

#[test]
fn json_strings_are_escaped_as_in_go() {
    let status = Status { message: "<a>&\u{2028}\u{8}\u{c}\u{1f}\u{7f}é".into(), ..Status::default() };
    let json = String::from_utf8(status.to_json()).expect("UTF-8");
    assert!(json.contains("\"message\":\"\\u003ca\\u003e\\u0026\\u2028\\b\\f\\u001f\u{7f}é\""), "{json}");
    let odd = Status::from_json(b"{\"message\":\"a\xff\\ud800\\ud83d\\ude00\\u0041\"}").expect("decodes");
    assert_eq!(odd.message, "a\u{fffd}\u{fffd}😀A");
}

#[test]
fn floats_are_written_as_in_go() {
    for (n, want) in [
        (1.0, "1"),
        (0.5, "0.5"),
        (-0.0, "-0"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (123456789.125, "123456789.125"),
    ] {
        let mut w = meta::json::JsonWriter::default();
        w.float(n);
        assert_eq!(String::from_utf8_lossy(&w.out), want);
    }
}

#[test]
fn scaled_values_round_as_asked() {
    let cases = [
        ("25%", 10, true, Ok(3)),
        ("25%", 10, false, Ok(2)),
        ("0%", 5, true, Ok(0)),
        ("150%", 4, true, Ok(6)),
    ];
    for (text, total, up, want) in cases {
        assert_eq!(IntOrString::from(text).scaled_value(total, up), want);
    }
    assert_eq!(IntOrString::Int(7).scaled_value(10, true), Ok(7));
    assert!(IntOrString::from("x").scaled_value(10, true).is_err());
}
