//! The table of resources: names, keys, kinds; custom resources beside it.

use meta::{Codec as _, DecodeContext, Envelope, Kind as _, Object};
use scheme::{RESOURCES, Unstructured, by_kind, fields, lookup};

#[test]
fn keys_follow_upstreams_layout() {
    let cases = [
        ("", "v1", "pods", "ns", "/registry/pods/ns/a"),
        ("", "v1", "nodes", "", "/registry/minions/a"),
        ("", "v1", "services", "ns", "/registry/services/specs/ns/a"),
        ("", "v1", "endpoints", "ns", "/registry/services/endpoints/ns/a"),
        ("", "v1", "replicationcontrollers", "ns", "/registry/controllers/ns/a"),
        ("apps", "v1", "deployments", "ns", "/registry/deployments/ns/a"),
        ("coordination.k8s.io", "v1", "leases", "ns", "/registry/leases/ns/a"),
        ("networking.k8s.io", "v1", "ingresses", "ns", "/registry/ingress/ns/a"),
        ("events.k8s.io", "v1", "events", "ns", "/registry/events/ns/a"),
        ("rbac.authorization.k8s.io", "v1", "clusterroles", "", "/registry/clusterroles/a"),
        (
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "",
            "/registry/apiextensions.k8s.io/customresourcedefinitions/a",
        ),
        ("apiregistration.k8s.io", "v1", "apiservices", "", "/registry/apiregistration.k8s.io/apiservices/a"),
    ];
    for (group, version, plural, namespace, want) in cases {
        let r = lookup(group, version, plural).unwrap_or_else(|| panic!("{plural}"));
        assert_eq!(r.key(namespace, "a"), want);
    }
}

#[test]
fn entries_agree_with_their_types() {
    for r in RESOURCES {
        assert_eq!(r.object.info().expect("built in").name, r.kind, "{}", r.plural);
        assert_eq!(r.object.new_object().group_version_kind(), r.gvk());
        assert!(std::ptr::eq(lookup(&r.group, &r.version, &r.plural).expect("found"), r));
        assert_eq!(by_kind(&r.group, &r.version, &r.kind).expect("found").plural, r.plural);
        if r.has_verb("list") {
            assert!(!r.list_kind.is_empty(), "{}", r.plural);
        }
        assert!(r.verbs.is_sorted() && r.subresources.is_sorted_by_key(|s| s.name));
    }
    let pods = lookup("", "v1", "pods").expect("pods");
    assert_eq!((&pods.short_names[..], &pods.categories[..]), (&["po".into()][..], &["all".into()][..]));
    assert!(pods.namespaced);
    assert_eq!(
        pods.subresource("eviction").map(|s| (&*s.group, &*s.version, &*s.kind)),
        Some(("policy", "v1", "Eviction"))
    );
    assert_eq!(lookup("", "v1", "events").expect("events").storage_group, "");
    assert_eq!(lookup("events.k8s.io", "v1", "events").expect("events").storage_group, "");
    assert_eq!(types::core::v1::Node::PLURAL, "nodes");
    const { assert!(!types::core::v1::Node::NAMESPACED) };
}

#[test]
fn facts_lead_from_struct_to_struct() {
    let spec = fields::of("io.k8s.api.core.v1.PodSpec").expect("PodSpec");
    let containers = spec.field("containers").expect("containers");
    assert_eq!((containers.patch_strategy, containers.patch_merge_key), ("merge", "name"));
    assert_eq!((containers.list_type, containers.list_map_keys), ("map", &["name"][..]));
    let meta::Ty::List(meta::Ty::Struct(container)) = containers.ty else { panic!("{:?}", containers.ty) };
    assert_eq!(container.model, "io.k8s.api.core.v1.Container");
    let ports = container.field("ports").expect("ports");
    assert_eq!(ports.list_map_keys, ["containerPort", "protocol"]);
    assert!(fields::of("io.k8s.api.core.v1.NodeSelector").expect("NodeSelector").atomic);
    assert!(fields::of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").is_some());
    assert_eq!(spec.field("restartPolicy").map(|f| f.values), Some(&["Always", "Never", "OnFailure"][..]));
}

#[test]
fn documents_decode_by_what_they_say_they_are() {
    let mut context = DecodeContext::strict();
    let json = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"}}"#;
    let object = scheme::decode_json(json, &mut context).expect("decodes");
    assert_eq!(object.group_version_kind().to_string(), "apps/v1, Kind=Deployment");
    let deployment = meta::downcast_ref::<types::apps::v1::Deployment>(&*object).expect("is one");
    let mut pb = Vec::new();
    Envelope::encode("apps/v1", "Deployment", &deployment.to_proto(), &mut pb);
    assert!(scheme::decode_proto(&pb).expect("decodes").eq_object(&*object));
    let none = scheme::decode_json(b"{\"a\":1}", &mut context).expect_err("no kind").to_string();
    assert_eq!(none, "Object 'Kind' is missing in '{\"a\":1}'");
    let broken = scheme::decode_json(b"this is not json", &mut context).expect_err("no JSON").to_string();
    assert_eq!(
        broken,
        "couldn't get version/kind; json parse error: invalid character 'h' in literal true (expecting 'r')"
    );
}

#[test]
fn custom_resources_keep_their_fields() {
    let json = br#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"w","bogus":1},"spec":{"n":1,"f":1.50,"s":"<","l":[null,true]},"a":{},"spec2":1}"#;
    let mut context = DecodeContext::strict();
    let w = Unstructured::from_json(json, &mut context).expect("decodes");
    assert_eq!(context.findings, [r#"unknown field "metadata.bogus""#]);
    assert_eq!(w.group_version_kind().to_string(), "example.com/v1, Kind=Widget");
    assert_eq!(w.get(&["spec", "n"]), Some(&1.into()));
    let mut out = Vec::new();
    assert_eq!(w.encode_json(&mut out), 1);
    assert_eq!(
        String::from_utf8_lossy(&out),
        r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"a":{},"spec":{"f":1.5,"l":[null,true],"n":1,"s":"\u003c"},"spec2":1}"#
    );
    let duplicate = br#"{"kind":"W","apiVersion":"e/v1","spec":{"a":1,"a":2},"spec":{}}"#;
    let mut context = DecodeContext::strict();
    Unstructured::from_json(duplicate, &mut context).expect("decodes");
    assert_eq!(context.findings, [r#"duplicate field "spec.a""#, r#"duplicate field "spec""#]);
    let pod = types::core::v1::Pod::from_json(br#"{"metadata":{"name":"p"}}"#).expect("decodes");
    let untyped = Unstructured::try_from(&pod as &dyn Object).expect("any object");
    assert_eq!(untyped.decode::<types::core::v1::Pod>().expect("back"), pod);
}
