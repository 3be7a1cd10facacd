//! What the cluster's pods ask for and are limited to, as metrics: the page of `/metrics/resources`.

use meta::Str;
use std::sync::Arc;
use telemetry::Exposition;
use types::core::v1::Pod;

use crate::resources::{Resources, pod_limits_of_spec, pod_requests_of_spec};

/// A metric's name and help, and the amounts that it shows.
type Kind = (&'static str, &'static str, fn(&Pod) -> Resources);

const REQUEST: Kind = (
    "kube_pod_resource_request",
    "What pods ask for, by resource and unit, as scheduler and kubelet count it.",
    pod_requests_of_spec,
);
const LIMIT: Kind = (
    "kube_pod_resource_limit",
    "What pods are limited to, by resource and unit, as scheduler and kubelet count it.",
    pod_limits_of_spec,
);

/// The page. Pods that have ended use nothing.
pub fn page(pods: &[Arc<Pod>]) -> String {
    let mut page = Exposition::default();
    for (name, help, amounts) in [REQUEST, LIMIT] {
        let mut opened = false;
        for pod in pods.iter().filter(|pod| !has_ended(pod)) {
            for (resource, unit, value) in measured(amounts(pod)) {
                if !std::mem::replace(&mut opened, true) {
                    page.header(name, help, "gauge");
                }
                let priority = pod.spec.priority.map(|priority| priority.to_string()).unwrap_or_default();
                let labels = [
                    ("namespace", pod.metadata.namespace.as_str().into()),
                    ("node", pod.spec.node_name.as_str().into()),
                    ("pod", pod.metadata.name.as_str().into()),
                    ("priority", priority.into()),
                    ("resource", resource.as_str().into()),
                    ("scheduler", pod.spec.scheduler_name.as_str().into()),
                    ("unit", unit.into()),
                ];
                page.sample(name, &labels, value);
            }
        }
    }
    page.into_text()
}

fn has_ended(pod: &Pod) -> bool {
    !pod.spec.node_name.is_empty() && matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// Every amount but zero, with its unit.
fn measured(amounts: Resources) -> impl Iterator<Item = (Str, &'static str, f64)> {
    let native = [
        ("cpu", "cores", amounts.cpu_milli as f64 / 1000.0),
        ("memory", "bytes", amounts.memory_bytes as f64),
        ("ephemeral-storage", "bytes", amounts.ephemeral_bytes as f64),
    ];
    let scalars = amounts.scalars.into_iter().map(|(name, amount)| {
        let unit = match name.as_str() {
            "storage" => "bytes",
            name if name.starts_with("hugepages-") => "bytes",
            name if name.starts_with("attachable-volumes-") => "integer",
            _ => "",
        };
        (name, unit, amount as f64)
    });
    let native = native.into_iter().map(|(name, unit, amount)| (Str::from(name), unit, amount));
    native.chain(scalars).filter(|(_, _, amount)| *amount != 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec;

    #[test]
    fn requests_and_limits_of_pods_that_run() {
        let pod = |text: &str| Arc::new(Pod::from_json(text.as_bytes()).unwrap());
        let page = page(&[
            pod(
                r#"{"metadata":{"name":"a","namespace":"d"},"spec":{"nodeName":"n","schedulerName":"s","priority":7,"overhead":{"cpu":"50m","memory":"1Mi"},
                "containers":[{"name":"c","resources":{"requests":{"cpu":"250m","hugepages-2Mi":"4Mi"},"limits":{"cpu":"1","example.com/gpu":"2"}}}]}}"#,
            ),
            pod(
                r#"{"metadata":{"name":"over","namespace":"d"},"spec":{"nodeName":"n","containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]},"status":{"phase":"Failed"}}"#,
            ),
        ]);
        let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = |resource: &str, unit: &str| {
            format!(
                r#"{{namespace="d",node="n",pod="a",priority="7",resource="{resource}",scheduler="s",unit="{unit}"}}"#
            )
        };
        assert_eq!(
            samples,
            [
                format!("kube_pod_resource_request{} 0.3", labels("cpu", "cores")),
                format!("kube_pod_resource_request{} 1.048576e+06", labels("memory", "bytes")),
                format!("kube_pod_resource_request{} 4.194304e+06", labels("hugepages-2Mi", "bytes")),
                format!("kube_pod_resource_limit{} 1.05", labels("cpu", "cores")),
                format!("kube_pod_resource_limit{} 2", labels("example.com/gpu", "")),
            ]
        );
    }
}
