//! Cells of typical objects, and columns compared with recordings where those are at hand.

use std::path::Path;

use meta::Codec;
use types::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use types::flowcontrol::v1::FlowSchema;
use types::networking::v1::Ingress;
use types::storage::v1::VolumeAttributesClass;

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn shown<T: meta::Kind>(json: &str) -> String {
    let object = T::from_json(json.as_bytes()).unwrap();
    let cells = of(T::INFO.group, T::INFO.version, T::INFO.name).cells(&object, Time::parse(NOW).unwrap());
    cells
        .iter()
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join("|")
}

#[test]
fn ages() {
    for (seconds, want) in [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (3600, "60m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 60, "5h1m"),
        (47 * 3600, "47h"),
        (50 * 3600, "2d2h"),
        (9 * 86_400, "9d"),
        (731 * 86_400, "2y1d"),
        (3000 * 86_400, "8y"),
    ] {
        assert_eq!(age(seconds), want, "{seconds}");
    }
}

#[test]
fn pods() {
    let meta = r#""metadata":{"name":"p","creationTimestamp":"2026-01-01T00:55:00Z"}"#;
    for (rest, want) in [
        (
            r#""spec":{"containers":[{"name":"c"}]},"status":{"phase":"Pending"}"#,
            "p|0/1|Pending|0|5m|<none>|<none>|<none>|<none>",
        ),
        (
            r#""spec":{"nodeName":"n","containers":[{"name":"c"}]},"status":{"phase":"Running","podIPs":[{"ip":"1.2.3.4"}],
               "containerStatuses":[{"name":"c","ready":true,"restartCount":2,"state":{"running":{}},
               "lastState":{"terminated":{"exitCode":1,"finishedAt":"2026-01-01T00:58:00Z"}}}]}"#,
            "p|1/1|Running|2 (2m ago)|5m|1.2.3.4|n|<none>|<none>",
        ),
        (
            r#""spec":{"containers":[{"name":"c"}]},"status":{"phase":"Running","containerStatuses":[
               {"name":"c","restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}"#,
            "p|0/1|CrashLoopBackOff|3|5m|<none>|<none>|<none>|<none>",
        ),
        (
            r#""spec":{"initContainers":[{"name":"i"},{"name":"j"}],"containers":[{"name":"c"}]},"status":{"phase":"Pending",
               "initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":0}}},{"name":"j","state":{"running":{}}}]}"#,
            "p|0/1|Init:1/2|0|5m|<none>|<none>|<none>|<none>",
        ),
        (
            r#""spec":{"containers":[{"name":"c"}]},"status":{"phase":"Succeeded","containerStatuses":[
               {"name":"c","state":{"terminated":{"exitCode":0,"reason":"Completed"}}}]}"#,
            "p|0/1|Completed|0|5m|<none>|<none>|<none>|<none>",
        ),
    ] {
        assert_eq!(shown::<Pod>(&format!("{{{meta},{rest}}}")), want, "{rest}");
    }
}

#[test]
fn nodes_and_services() {
    let node = r#"{"metadata":{"name":"n","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"node-role.kubernetes.io/control-plane":""}},
        "spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"True"}],
        "addresses":[{"type":"InternalIP","address":"10.0.0.1"}],"nodeInfo":{"kubeletVersion":"v1"}}}"#;
    assert_eq!(
        shown::<Node>(node),
        "n|Ready,SchedulingDisabled|control-plane|60m|v1|10.0.0.1|<none>|<unknown>|<unknown>|<unknown>"
    );
    let service = r#"{"metadata":{"name":"s","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"type":"NodePort",
        "clusterIPs":["10.96.0.5"],"ports":[{"port":80,"nodePort":30080,"protocol":"TCP"}],"selector":{"a":"b"}}}"#;
    assert_eq!(shown::<Service>(service), "s|NodePort|10.96.0.5|<none>|80:30080/TCP|60m|a=b");
}

#[test]
fn columns_equal_the_recorded_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/golden/table-columns.json");
    let Ok(recorded) = std::fs::read(path) else {
        println!("skipped: no recorded columns beside the checkout");
        return;
    };
    let recorded: serde_json::Map<String, Value> = serde_json::from_slice(&recorded).unwrap();
    let mut different = Vec::new();
    for resource in scheme::RESOURCES {
        let path = resource.collection_path();
        let Some(want) = recorded.get(path.trim_start_matches('/')) else { continue };
        let want: Vec<_> = want
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                (
                    column["name"].as_str().unwrap(),
                    column["type"].as_str().unwrap(),
                    column["priority"].as_i64().unwrap(),
                )
            })
            .collect();
        let got: Vec<_> = of(&resource.group, &resource.version, &resource.kind)
            .columns
            .iter()
            .map(|column| (column.name, column.type_, i64::from(column.priority)))
            .collect();
        if got != want {
            different.push(format!("{path}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    assert!(different.is_empty(), "{} kinds differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn pods_that_ended_say_so_in_their_row() {
    for (phase, said) in [("Running", None), ("Succeeded", Some("Succeeded")), ("Failed", Some("Failed"))] {
        let pod = Pod::from_json(format!(r#"{{"status":{{"phase":"{phase}"}}}}"#).as_bytes()).unwrap();
        let conditions = of("", "v1", "Pod").conditions(&pod);
        let reason = conditions.as_ref().map(|conditions| conditions[0]["reason"].as_str().unwrap());
        assert_eq!(reason, said, "{conditions:?}");
        assert!(conditions.is_none_or(|conditions| conditions[0]["type"] == "Completed"));
    }
}

#[test]
fn flow_schemas_stand_as_they_are_asked() {
    let schema = |name: &str, precedence: i32| {
        let json =
            format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"matchingPrecedence":{precedence}}}}}"#);
        FlowSchema::from_json(json.as_bytes()).unwrap()
    };
    let mut all = [schema("b", 7), schema("a", 10_000), schema("a", 7), schema("z", 1)];
    all.sort_by(|one, other| of("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema").order(one, other));
    let names: Vec<_> = all.iter().map(|schema| schema.metadata.name.to_string()).collect();
    assert_eq!(names, ["z", "a", "b", "a"]);
}

#[test]
fn load_balancers_tell_each_address_once() {
    let given = r#"{"loadBalancer":{"ingress":[{"ip":"9.1.1.1"},{"hostname":"x"},{"ip":"10.0.0.1"},{"ip":"10.0.0.1"}]}}"#;
    let service = format!(
        r#"{{"spec":{{"type":"LoadBalancer","externalIPs":["5.5.5.5","1.1.1.1"]}},"status":{given}}}"#
    );
    let service = shown::<Service>(&service);
    assert!(service.contains("|10.0.0.1,9.1.1.1,x,5.5.5.5,1.1.1.1|"), "{service}");
    let ingress = shown::<Ingress>(&format!(r#"{{"status":{given}}}"#));
    assert!(ingress.contains("|*|10.0.0.1,9.1.1.1,x|"), "{ingress}");
}

#[test]
fn hosts_beyond_the_third_are_counted_by_rule() {
    for (hosts, want) in [
        (&["a", "b", "c"][..], "a,b,c"),
        (&["a", "b", "c", ""], "a,b,c + 1 more..."),
        (&["a", "", "b", "c", "d"], "a,b,c + 2 more..."),
        (&["", ""], "*"),
    ] {
        let rules: Vec<_> = hosts.iter().map(|host| json!({ "host": host })).collect();
        let ingress = shown::<Ingress>(&json!({ "spec": { "rules": rules } }).to_string());
        assert_eq!(ingress.split('|').nth(2), Some(want), "{ingress}");
    }
}

#[test]
fn claims_and_classes() {
    let annotated = r#""metadata":{"annotations":{"volume.beta.kubernetes.io/storage-class":"gold"}}"#;
    let waiting = format!(r#"{{{annotated},"spec":{{"volumeName":"v","storageClassName":"tin"}}}}"#);
    let waiting = shown::<PersistentVolumeClaim>(&waiting);
    assert!(waiting.contains("|v|0||gold|"), "{waiting}");
    let volume = shown::<PersistentVolume>(&format!("{{{annotated}}}"));
    assert!(volume.contains("|gold|"), "{volume}");
    let default = r#"{"metadata":{"name":"c","annotations":{"volumeattributesclass.alpha.kubernetes.io/is-default-class":"true"}}}"#;
    assert!(shown::<VolumeAttributesClass>(default).starts_with("c (default)|"));
}
