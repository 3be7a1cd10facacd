//! What a client reads when its document does not fit: upstream's texts, as recorded from the reference server.

use meta::{Codec as _, DecodeContext};
use types::apps::v1::Deployment;
use types::core::v1::{ConfigMap, Pod, Secret};

fn error<T: meta::Struct>(json: &str) -> String {
    T::from_json(json.as_bytes()).map(|v| format!("decoded {v:?}")).unwrap_or_else(|e| e.to_string())
}

#[test]
fn wrong_types_are_named_as_go_names_them() {
    let cases = [
        (
            error::<Pod>(r#"{"spec":{"hostNetwork":"yes"}}"#),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            error::<Deployment>(r#"{"spec":{"replicas":"2"}}"#),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            error::<Pod>(r#"{"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}}"#),
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            error::<Pod>(r#"{"spec":{"nodeName":5}}"#),
            "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeName of type string",
        ),
        (
            error::<Deployment>(r#"{"spec":{"replicas":3000000000}}"#),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            error::<Deployment>(r#"{"spec":{"replicas":2.5}}"#),
            "json: cannot unmarshal number 2.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            error::<Pod>(r#"{"metadata":{"name":true}}"#),
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name of type string",
        ),
        (
            error::<ConfigMap>(r#"{"data":["a"]}"#),
            "json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            error::<ConfigMap>(r#"{"data":{"a":1}}"#),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (error::<ConfigMap>("[1]"), "json: cannot unmarshal array into Go value of type v1.ConfigMap"),
        (
            error::<Pod>(r#"{"metadata":{"creationTimestamp":1}}"#),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
        (
            error::<Pod>(r#"{"spec":{"containers":{}}}"#),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            error::<Pod>(r#"{"kind":1}"#),
            "json: cannot unmarshal number into Go struct field Pod.TypeMeta.kind of type string",
        ),
        (error::<Secret>(r#"{"data":{"a":"*"}}"#), "illegal base64 data at input byte 0"),
        (
            error::<Pod>(r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ];
    for (got, want) in cases {
        assert_eq!(got, want);
    }
}

#[test]
fn syntax_errors_win_and_read_as_in_go() {
    let cases = [
        ("{\"data\":{\"a\":1}", "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
        ("{\"data\":nope}", "invalid character 'o' in literal null (expecting 'u')"),
        ("this is not json", "invalid character 'h' in literal true (expecting 'r')"),
        ("{\"data\":{\"a\":1}}}", "invalid character '}' after top-level value"),
        ("{\"data\" 1}", "invalid character '1' after object key"),
        ("{data:1}", "invalid character 'd' looking for beginning of object key string"),
        ("{\"data\":{\"a\":\"\u{1}\"}}", "invalid character '\\x01' in string literal"),
        ("{\"data\":{\"a\":\"b\" \"c\"}}", "invalid character '\"' after object key:value pair"),
        ("{\"binaryData\":01}", "invalid character '1' after object key:value pair"),
    ];
    for (json, want) in cases {
        assert_eq!(error::<ConfigMap>(json), want, "{json}");
    }
    let deep = format!("{{\"x\":{}", "[".repeat(20_000));
    assert_eq!(error::<ConfigMap>(&deep), "exceeded max depth");
    let schema =
        "{\"spec\":{\"versions\":[{\"schema\":{\"openAPIV3Schema\":".to_owned() + &"{\"not\":".repeat(5_000);
    let crd = error::<types::apiextensions::v1::CustomResourceDefinition>(&schema);
    assert_eq!(crd, "exceeded max depth");
}

#[test]
fn unknown_and_duplicate_fields_are_recorded_with_their_paths() {
    let json = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","extra":1,"labels":{"x":"1","x":"2"}},
        "spec":{"containers":[{"name":"c","imagee":"i"},{"name":"d","name":"e"}],"nope":{"deep":[1]}},"Spec":{},"kind":"Pod"}"#;
    let mut context = DecodeContext::strict();
    let pod = Pod::from_json_with(json, &mut context).expect("findings are no errors");
    assert_eq!(
        context.findings,
        [
            r#"unknown field "metadata.extra""#,
            r#"duplicate field "metadata.labels.x""#,
            r#"unknown field "spec.containers[0].imagee""#,
            r#"duplicate field "spec.containers[1].name""#,
            r#"unknown field "spec.nope""#,
            r#"unknown field "Spec""#,
            r#"duplicate field "kind""#,
        ]
    );
    assert_eq!(pod.metadata.label("x"), "2");
    let text = context.strict_error().expect("strict").to_string();
    assert!(
        text.starts_with("strict decoding error: unknown field \"metadata.extra\", duplicate field"),
        "{text}"
    );
    let mut context = DecodeContext::lenient();
    Pod::from_json_with(json, &mut context).expect("decodes");
    assert!(context.findings.is_empty() && context.strict_error().is_none());
}

#[test]
fn null_and_zero_follow_go() {
    let pod = Pod::from_json(br#"{"metadata":{"creationTimestamp":null,"name":null},"spec":{"containers":null,"hostNetwork":null,"priority":null},"status":null}"#)
        .expect("null fits everything");
    assert_eq!(
        String::from_utf8_lossy(&pod.to_json()),
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":null},"status":{}}"#
    );
    let list = types::core::v1::PodList::default();
    assert_eq!(
        String::from_utf8_lossy(&list.to_json()),
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#
    );
    // A zero time in protobuf is an empty message, not 1970.
    let back = Pod::from_proto(&Pod::default().to_proto()).expect("decodes");
    assert_eq!(back, Pod::default());
}

#[test]
fn hostile_protobuf_is_refused_without_large_allocations() {
    let cases: [&[u8]; 6] = [
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0f\x01",
        b"\x08\x01",
        b"\x0c",
    ];
    for bytes in cases {
        assert!(Pod::from_proto(bytes).is_err(), "{bytes:?}");
    }
    // Schemas may contain schemas, but not without end.
    let mut schema = Vec::new();
    for _ in 0..5_000 {
        let mut w = meta::proto::ProtoWriter::default();
        w.bytes(28, &schema);
        schema = w.finish();
    }
    let e = types::apiextensions::v1::JSONSchemaProps::from_proto(&schema).expect_err("too deep");
    assert_eq!(e.to_string(), "proto: exceeded max depth");
    // Unknown fields, groups included, are skipped.
    assert_eq!(Pod::from_proto(b"\xf2\x07\x01a\xfb\x07\x08\x01\xfc\x07").expect("skips"), Pod::default());
}

#[test]
fn an_item_of_a_list_is_a_suffix_of_the_object() {
    use meta::Object as _;
    let pod = Pod::from_json(br#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}}"#)
        .expect("decodes");
    let mut out = Vec::new();
    let prefix = pod.encode_json(&mut out);
    let item = format!("{{{}", String::from_utf8_lossy(&out[prefix..]));
    let list = types::core::v1::PodList { items: [pod].into_iter().collect(), ..Default::default() };
    assert!(String::from_utf8_lossy(&list.to_json()).contains(&item), "{item}");
}
