//! Tables of field sets, merges and applies on built-in kinds.

use meta::Time;
use serde_json::{Value, json};

use super::*;

fn place(kind: &str) -> Place<'static> {
    let group = if kind == "Deployment" { "apps" } else { "" };
    Place::Struct(scheme::kind(group, "v1", kind).unwrap().info)
}

fn updater(kind: &str) -> Updater<'static> {
    Updater { api_version: "v1", place: place(kind), versions: &OneVersion, reset: None, subresource: "" }
}

fn text(set: &Set) -> String {
    String::from_utf8(set.to_fields()).unwrap()
}

fn compare(kind: &str, old: Value, new: Value) -> [String; 3] {
    let (old, new) = (old.to_string(), new.to_string());
    let (old, new) = (Doc::parse(old.as_bytes()).unwrap(), Doc::parse(new.as_bytes()).unwrap());
    let found = Comparison::of(&old.root(), &new.root(), place(kind));
    [text(&found.removed), text(&found.modified), text(&found.added)]
}

#[test]
fn differences() {
    for (kind, old, new, removed, modified, added) in [
        (
            "ConfigMap",
            json!({"metadata": {}}),
            json!({"metadata": {}, "data": {"a": "1", "b": "2"}}),
            "{}",
            "{}",
            r#"{"f:data":{".":{},"f:a":{},"f:b":{}}}"#,
        ),
        (
            "ConfigMap",
            json!({"data": {"a": "1", "b": "2", "c": "3"}}),
            json!({"data": {"a": "1", "b": "9", "d": "4"}}),
            r#"{"f:data":{"f:c":{}}}"#,
            r#"{"f:data":{"f:b":{}}}"#,
            r#"{"f:data":{"f:d":{}}}"#,
        ),
        // A list that was null before is nobody's own, its elements are.
        (
            "Pod",
            json!({"spec": {"containers": null}}),
            json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {}}], "nodeSelector": {"a": "b"}}}),
            "{}",
            "{}",
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:resources":{}}},"f:nodeSelector":{}}}"#,
        ),
        // Elements are known by their keys, wherever they stand; defaults stand in for keys that were left out.
        (
            "Service",
            json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            json!({"spec": {"ports": [{"port": 53, "protocol": "UDP", "name": "dns"}, {"port": 80}]}}),
            r#"{"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:protocol":{}}}}}"#,
            "{}",
            r#"{"f:spec":{"f:ports":{"k:{\"port\":53,\"protocol\":\"UDP\"}":{"f:name":{}}}}}"#,
        ),
        (
            "Pod",
            json!({"metadata": {"finalizers": ["a/b", "c/d"]}, "spec": {"tolerations": [{"key": "x"}]}}),
            json!({"metadata": {"finalizers": ["c/d", "e/f"]}, "spec": {"tolerations": [{"key": "y"}]}}),
            r#"{"f:metadata":{"f:finalizers":{"v:\"a/b\"":{}}}}"#,
            r#"{"f:spec":{"f:tolerations":{}}}"#,
            r#"{"f:metadata":{"f:finalizers":{"v:\"e/f\"":{}}}}"#,
        ),
    ] {
        let found = compare(kind, old.clone(), new.clone());
        assert_eq!(found, [removed, modified, added], "{old} {new}");
    }
}

#[test]
fn field_sets_survive_their_text() {
    for fields in [
        r#"{"f:spec":{".":{},"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}"#,
        r#"{"f:metadata":{"f:finalizers":{".":{},"v:\"a\"":{}}},"i:3":{}}"#,
        "{}",
    ] {
        assert_eq!(text(&Set::from_fields(fields.as_bytes()).unwrap()), fields);
    }
    // Unsorted, repeated and unknown elements are put right.
    let set = Set::from_fields(br#"{"f:b":{},"x:future":{},"f:a":{"f:c":{}},"f:a":{".":{}}}"#).unwrap();
    assert_eq!(text(&set), r#"{"f:a":{".":{},"f:c":{}},"f:b":{}}"#);
    for bad in [r#"{"f":{}}"#, r#"{"fa":{}}"#, r#"{"k:5":{}}"#, r#"{"v:{":{}}"#, r#"{"f:a":5}"#, "[]"] {
        assert!(Set::from_fields(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = format!("{}{{}}{}", r#"{"f:a":"#.repeat(100_000), "}".repeat(100_000));
    assert!(Set::from_fields(deep.as_bytes()).is_err());
}

#[test]
fn configurations_that_do_not_fit() {
    for (kind, config, wanted) in [
        ("ConfigMap", json!({"bogus": 1}), ".bogus: field not declared in schema"),
        (
            "ConfigMap",
            json!({"data": {"a": 5}}),
            ".data.a: expected string, got &value.valueUnstructured{Value:5}",
        ),
        ("ConfigMap", json!({"data": []}), ".data: expected map, got &{[]}"),
        ("ConfigMap", json!({"immutable": "yes"}), ".immutable: expected boolean, got &{yes}"),
        (
            "Pod",
            json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}], "activeDeadlineSeconds": "1"}}),
            "errors:\n  .spec.activeDeadlineSeconds: expected numeric (int or float), got string\n  .spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            "ServiceAccount",
            json!({"secrets": [{"namespace": "a"}]}),
            ".secrets: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
    ] {
        let found = updater(kind).problems(config.to_string().as_bytes()).unwrap();
        assert_eq!(found.as_deref(), Some(wanted));
    }
    let fits = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"creationTimestamp": null},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
        "ports": [{"containerPort": 80}]}, {"image": "keys that Go always writes have a default"}]}});
    assert_eq!(updater("Pod").problems(fits.to_string().as_bytes()).unwrap(), None);
}

/// Applies in turn, each as `(manager, force, config)`; gives the object and the managers, or the refusal.
fn applies(kind: &str, live: Value, steps: &[(&str, bool, Value)]) -> Result<(Value, Vec<String>), String> {
    let rules = updater(kind);
    let mut live = live;
    let mut managers = Managers::default();
    for (at, (manager, force, config)) in steps.iter().enumerate() {
        let now = Time::from_unix(at as i64 + 1);
        let applied = rules
            .apply(
                live.to_string().as_bytes(),
                b"{}",
                config.to_string().as_bytes(),
                managers,
                manager,
                *force,
                now,
            )
            .map_err(|error| error.to_string())?;
        managers = applied.managers;
        if let Some(object) = applied.object {
            live = serde_json::from_slice(&object).unwrap();
        }
    }
    let shown = managers.0.iter().map(|m| {
        let at = m.time.map_or(0, |time| time.seconds);
        format!("{} {:?}@{at} {}", m.id.manager, m.id.operation, text(&m.set))
    });
    Ok((live, shown.collect()))
}

#[test]
fn applying() {
    let data = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data});
    // A field that is not applied any more goes, unless somebody else applied it too.
    let (object, managers) = applies(
        "ConfigMap",
        json!({}),
        &[
            ("m1", false, data(json!({"a": "1", "b": "1"}))),
            ("m2", false, data(json!({"a": "1"}))),
            ("m1", false, data(json!({"b": "2"}))),
        ],
    )
    .unwrap();
    assert_eq!(object["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(managers, ["m2 Apply@0 {\"f:data\":{\"f:a\":{}}}", "m1 Apply@3 {\"f:data\":{\"f:b\":{}}}"]);
    // Two values for one field are a conflict, which force decides.
    let contested =
        [("m1", false, data(json!({"a": "1", "b": "1"}))), ("m2", false, data(json!({"a": "2", "b": "2"})))];
    assert_eq!(
        applies("ConfigMap", json!({}), &contested).unwrap_err(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b"
    );
    let mut forced = contested;
    forced[1].1 = true;
    let (object, managers) = applies("ConfigMap", json!({}), &forced).unwrap();
    assert_eq!(object["data"], json!({"a": "2", "b": "2"}));
    assert_eq!(managers, ["m2 Apply@2 {\"f:data\":{\"f:a\":{},\"f:b\":{}}}"]);
    // What was there before anybody applied belongs to a manager of its own.
    assert_eq!(
        applies("ConfigMap", data(json!({"a": "1"})), &[("m1", false, data(json!({"a": "2"})))]).unwrap_err(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
}

#[test]
fn lists_keep_a_common_order() {
    let pod = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": containers}})
    };
    let order = |value: &Value| -> String {
        let names = value["spec"]["containers"].as_array().unwrap().iter();
        names.map(|c| c["name"].as_str().unwrap()).collect()
    };
    for (live, config, wanted) in [
        (&["a", "b"][..], &["a", "b"][..], "ab"),
        (&["a", "b"], &["b", "a"], "ba"),
        (&["a", "b", "c"], &["c", "x", "a"], "bcxa"),
        (&["a", "b"], &["x"], "abx"),
        (&[], &["x", "y"], "xy"),
        (&["a", "a"], &["a"], "a"),
    ] {
        let (live, config) = (pod(live).to_string(), pod(config).to_string());
        let (live, config) = (Doc::parse(live.as_bytes()).unwrap(), Doc::parse(config.as_bytes()).unwrap());
        let merged = super::merge::merge(&live.root(), &config.root(), place("Pod"));
        assert_eq!(order(&serde_json::from_slice(&merged).unwrap()), wanted);
    }
}

#[test]
fn old_updaters_are_merged() {
    let rules = updater("ConfigMap");
    let mut managers = Managers::default();
    let mut old = json!({"data": {}});
    for n in 0..13 {
        let mut new = old.clone();
        new["data"][format!("k{n:02}")] = json!("v");
        let (was, is) = (old.to_string(), new.to_string());
        let changes = rules.changes(was.as_bytes(), is.as_bytes()).unwrap();
        let now = Time::from_unix(n + 1);
        managers =
            rules.update(was.as_bytes(), is.as_bytes(), changes, managers, &format!("m{n:02}"), now).unwrap();
        old = new;
    }
    let entries = managers.encode();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0].manager, "ancient-changes");
    assert_eq!(entries[0].time, Some(Time::from_unix(4)));
    let fields = entries[0].fields_v1.as_ref().unwrap().as_bytes();
    assert_eq!(
        String::from_utf8_lossy(fields),
        r#"{"f:data":{"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{}}}"#
    );
}

#[test]
fn a_type_that_became_atomic_is_owned_whole() {
    let set =
        Set::from_fields(br#"{"f:spec":{"f:tolerations":{"i:0":{}},"f:nodeSelector":{"f:a":{}}}}"#).unwrap();
    assert_eq!(
        text(&super::reconcile::reconcile(&set, place("Pod"))),
        r#"{"f:spec":{"f:nodeSelector":{},"f:tolerations":{}}}"#
    );
}

#[test]
fn updaters_of_replicas_move_through_the_scale() {
    const PATH: &[&str] = &["spec", "replicas"];
    let scale = ScaleManagers { api_version: "apps/v1", path: &|v| (v == "apps/v1").then_some(PATH) };
    let id = |manager: &str, operation, api_version: &str| Identity {
        manager: manager.into(),
        operation,
        subresource: "".into(),
        api_version: api_version.into(),
    };
    let set = |fields: &str| Set::from_fields(fields.as_bytes()).unwrap();
    let owns = r#"{"f:spec":{"f:replicas":{},"f:paused":{}}}"#;
    let parent = Managers(vec![
        Manager { id: id("a", Operation::Apply, "apps/v1"), time: None, set: set(owns) },
        Manager { id: id("u", Operation::Update, "apps/v1"), time: None, set: set(owns) },
    ]);
    let of_scale = scale.of_scale(&parent);
    assert!(
        of_scale.0.iter().all(|m| m.id.api_version == "autoscaling/v1" && m.set.has(&["spec", "replicas"]))
    );
    let back = scale.of_parent(parent, of_scale);
    let shown: Vec<String> = back.0.iter().map(|m| format!("{} {}", m.id.manager, text(&m.set))).collect();
    assert_eq!(
        shown,
        [
            r#"a {"f:spec":{"f:paused":{},"f:replicas":{}}}"#,
            r#"u {"f:spec":{"f:paused":{}}}"#,
            r#"u {"f:spec":{"f:replicas":{}}}"#
        ]
    );
}

#[test]
fn elements_without_names_are_told() {
    let typed = json!({"secrets": [{"name": "a"}]});
    for (kind, old, new, untyped) in [
        ("ServiceAccount", json!({}), typed.clone(), false),
        ("ServiceAccount", typed.clone(), typed.clone(), false),
        ("ServiceAccount", typed.clone(), json!({"secrets": [{"name": "b"}, {"kind": "k"}]}), true),
        ("ServiceAccount", json!({}), json!({"secrets": [{}]}), true),
        // The name of a container has a default.
        ("Pod", json!({}), json!({"spec": {"containers": [{"image": "i"}]}}), false),
        ("ConfigMap", json!({"data": {"a": "1"}}), json!({"data": {"a": null}}), false),
        ("ConfigMap", json!({"data": {"a": "1"}}), json!({"data": {"a": []}}), true),
    ] {
        let (before, after) = (old.to_string(), new.to_string());
        let (before, after) = (Doc::parse(before.as_bytes()).unwrap(), Doc::parse(after.as_bytes()).unwrap());
        let found = Comparison::of(&before.root(), &after.root(), place(kind));
        assert_eq!(found.untyped, untyped, "{old} {new}");
    }
}
