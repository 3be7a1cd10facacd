//! `/pods`, `/runningpods` and `/configz`.

use http::{Response, StatusCode};
use serde_json::{Value, json};
use types::core::v1::{Container, Pod, PodList};

use super::{Body, Server, answer};
use crate::pod::config::CONTAINER_NAME;
use crate::pod::view::is_running;

/// Pods as their workers see them.
pub fn list(server: &Server) -> Response<Body> {
    let mut list = PodList::default();
    list.items = server.pods.list().iter().map(|pod| (**pod).clone()).collect();
    encoded(&list)
}

fn encoded(list: &PodList) -> Response<Body> {
    let mut value = meta::to_value(list);
    if let Value::Object(map) = &mut value {
        map.insert("kind".into(), "PodList".into());
        map.insert("apiVersion".into(), "v1".into());
        map.entry("items").or_insert_with(|| json!([]));
    }
    answer(StatusCode::OK, "application/json", value.to_string().into_bytes())
}

/// Pods as the runtime has them: names, images and nothing else.
pub fn running(server: &Server) -> Response<Body> {
    let runtime = &server.shared.runtime;
    let containers = runtime.containers();
    let mut list = PodList::default();
    for sandbox in runtime.sandboxes().iter().filter(|s| s.ready) {
        let mut pod = Pod::default();
        pod.metadata.name = sandbox.config.name.as_str().into();
        pod.metadata.namespace = sandbox.config.namespace.as_str().into();
        pod.metadata.uid = sandbox.config.uid.as_str().into();
        let mine = containers.iter().filter(|c| c.sandbox_id == sandbox.id && is_running(c));
        pod.spec.containers = mine
            .map(|c| Container {
                name: c.config.labels.get(CONTAINER_NAME).map_or(c.config.name.as_str(), |n| n).into(),
                image: c.image_id.as_str().into(),
                ..Default::default()
            })
            .collect();
        list.items.push(pod);
    }
    encoded(&list)
}

/// The settings that other components read.
pub fn configz(server: &Server) -> Value {
    let shared = &server.shared;
    json!({
        "kubeletconfig": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "clusterDNS": shared.dns.cluster_dns,
            "clusterDomain": shared.dns.cluster_domain,
            "resolvConf": shared.dns.resolv_conf,
            "maxPods": server.max_pods,
            "podPidsLimit": shared.settings.pod_pids_limit.unwrap_or(-1),
            "seccompDefault": shared.settings.seccomp_default,
            "containerLogMaxSize": shared.settings.log.size_bytes_max.to_string(),
            "containerLogMaxFiles": shared.settings.log.files_max,
            "podLogsDir": shared.settings.pod_logs_dir,
            "imageGCHighThresholdPercent": 85,
            "imageGCLowThresholdPercent": 80,
            "nodeStatusUpdateFrequency": "10s",
            "nodeStatusReportFrequency": "5m0s",
            "nodeLeaseDurationSeconds": 40,
            "evictionHard": {
                "imagefs.available": "15%", "memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"
            }
        }
    })
}
