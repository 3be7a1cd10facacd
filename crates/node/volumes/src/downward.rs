//! The downward API: fields of a pod and resources of its containers as text. Used by volumes and by environments.

use meta::{Map, Quantity, Str};
use types::core::v1::{Container, DownwardAPIVolumeFile, ObjectFieldSelector, Pod, ResourceFieldSelector};

use crate::error::{Error, Result};
use crate::payload::{File, Payload, mode_or};
use crate::setup::Host;

/// The value of a `fieldRef`.
pub fn field(pod: &Pod, host: &Host, reference: &ObjectFieldSelector) -> Result<String> {
    let path = reference.field_path.as_str();
    let list = |ips: &[String]| ips.join(",");
    Ok(match path {
        "metadata.name" => pod.metadata.name.to_string(),
        "metadata.namespace" => pod.metadata.namespace.to_string(),
        "metadata.uid" => pod.metadata.uid.to_string(),
        "metadata.labels" => format_map(&pod.metadata.labels),
        "metadata.annotations" => format_map(&pod.metadata.annotations),
        "spec.nodeName" => pod.spec.node_name.to_string(),
        "spec.serviceAccountName" => pod.spec.service_account_name.to_string(),
        "status.hostIP" => host.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => list(&host.host_ips),
        "status.podIP" => host.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => list(&host.pod_ips),
        _ => {
            let (map, key) =
                subscript(path).ok_or_else(|| Error::Invalid(format!("unsupported fieldPath: {path}")))?;
            let map = match map {
                "metadata.labels" => &pod.metadata.labels,
                "metadata.annotations" => &pod.metadata.annotations,
                _ => return Err(Error::Invalid(format!("fieldPath {path:?} does not support subscript"))),
            };
            map.get(key).map(|v| v.to_string()).unwrap_or_default()
        }
    })
}

/// Splits `metadata.labels['app']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// Lines of `key="value"` in key order, values quoted as Go quotes strings.
fn format_map(map: &Map<Str>) -> String {
    let lines: Vec<String> = map.iter().map(|(k, v)| format!("{k}={}", quote(v))).collect();
    lines.join("\n")
}

/// A Go string literal.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a `resourceFieldRef` for `container`. Limits that are not set are the node's allocatable.
pub fn resource(container: &Container, host: &Host, reference: &ResourceFieldSelector) -> Result<String> {
    let path = reference.resource.as_str();
    let (list, name) = path
        .split_once('.')
        .filter(|(list, _)| matches!(*list, "limits" | "requests"))
        .ok_or_else(|| Error::Invalid(format!("unsupported container resource : {path}")))?;
    let limits = list == "limits";
    let have = if limits { &container.resources.limits } else { &container.resources.requests };
    let quantity: Option<Quantity> = match have.get(name) {
        Some(q) if !(limits && q.value() == 0) => Some(*q),
        _ if limits => host.allocatable.get(name).cloned(),
        _ => None,
    };
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !known {
        return Err(Error::Invalid(format!("unsupported container resource : {path}")));
    }
    let divisor = &reference.divisor;
    let round_up = |value: i64, by: i64| if by <= 0 { value } else { (value + by - 1).div_euclid(by) };
    Ok(match (quantity, name) {
        (None, _) => "0".into(),
        (Some(q), "cpu") => round_up(q.milli_value(), non_zero(divisor.milli_value(), 1000)).to_string(),
        (Some(q), _) => round_up(q.value(), non_zero(divisor.value(), 1)).to_string(),
    })
}

fn non_zero(value: i64, default: i64) -> i64 {
    if value == 0 { default } else { value }
}

/// Files of a downward API volume.
pub fn payload<'a>(
    pod: &Pod,
    host: &Host,
    items: impl IntoIterator<Item = &'a DownwardAPIVolumeFile>,
    default_mode: Option<i32>,
) -> Result<Payload> {
    let mut out = Payload::new();
    for item in items {
        let text = if let Some(reference) = &item.field_ref {
            field(pod, host, reference)?
        } else if let Some(reference) = &item.resource_field_ref {
            let name = reference.container_name.as_str();
            let container = pod
                .spec
                .containers
                .iter()
                .chain(pod.spec.init_containers.iter())
                .find(|c| c.name == name)
                .ok_or_else(|| Error::Invalid(format!("container {name} not found")))?;
            resource(container, host, reference)?
        } else {
            continue;
        };
        out.insert(item.path.to_string(), File::new(text.into_bytes(), mode_or(item.mode, default_mode)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "web-0".into();
        pod.metadata.labels.insert("app", "web".into());
        pod.metadata.labels.insert("zone", "a \"b\"\n".into());
        pod.spec.node_name = "n1".into();
        pod
    }

    #[test]
    fn fields() {
        let host = Host { pod_ips: vec!["10.0.0.7".into(), "fd00::7".into()], ..Host::default() };
        for (path, want) in [
            ("metadata.name", "web-0"),
            ("metadata.labels", "app=\"web\"\nzone=\"a \\\"b\\\"\\n\""),
            ("metadata.labels['app']", "web"),
            ("metadata.annotations['none']", ""),
            ("spec.nodeName", "n1"),
            ("status.podIP", "10.0.0.7"),
            ("status.podIPs", "10.0.0.7,fd00::7"),
        ] {
            let reference = ObjectFieldSelector { field_path: path.into(), ..Default::default() };
            assert_eq!(field(&pod(), &host, &reference).unwrap(), want, "{path}");
        }
        let bad = ObjectFieldSelector { field_path: "spec.volumes".into(), ..Default::default() };
        assert!(field(&pod(), &host, &bad).is_err());
    }

    #[test]
    fn resources_round_up_and_fall_back_to_the_node() {
        let quantity = |s: &str| s.parse::<Quantity>().unwrap();
        let mut container = Container::default();
        container.resources.requests.insert("cpu", quantity("250m"));
        container.resources.limits.insert("memory", quantity("100Mi"));
        let mut host = Host::default();
        host.allocatable.insert("cpu", quantity("4"));
        for (path, divisor, want) in [
            ("requests.cpu", "0", "1"),
            ("requests.cpu", "1m", "250"),
            ("limits.memory", "1Mi", "100"),
            ("limits.memory", "0", "104857600"),
            ("limits.cpu", "1", "4"),
            ("requests.memory", "1", "0"),
        ] {
            let reference = ResourceFieldSelector {
                resource: path.into(),
                divisor: quantity(divisor),
                ..Default::default()
            };
            assert_eq!(resource(&container, &host, &reference).unwrap(), want, "{path} / {divisor}");
        }
    }
}
