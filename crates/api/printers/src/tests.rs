//! Cells of typical objects, and columns compared with recordings where those are at hand.

use std::path::Path;

use meta::Codec;
use types::core::v1::{Node, Pod, Service};

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
