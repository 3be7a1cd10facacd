//! Defaults of pods and of pod templates.

use super::resources;
use crate::fill::{missing, number, round_up, set, text, text_opt};
use types::core::v1::*;

/// Permissions of files in secret, configMap, downwardAPI and projected volumes.
const FILE_MODE: i32 = 0o644;

/// Containers and ephemeral containers have the same fields and different types.
macro_rules! container {
    ($c:ident) => {
        text(&mut $c.image_pull_policy, pull_policy(&$c.image));
        text(&mut $c.termination_message_path, "/dev/termination-log");
        text(&mut $c.termination_message_policy, "File");
        for port in $c.ports.iter_mut() {
            text(&mut port.protocol, "TCP");
        }
        for env in $c.env.iter_mut() {
            let Some(from) = &mut env.value_from else { continue };
            if let Some(field) = &mut from.field_ref {
                text(&mut field.api_version, "v1");
            }
            if let Some(file) = &mut from.file_key_ref {
                set(&mut file.optional, false);
            }
        }
        round_up(&mut $c.resources.limits);
        round_up(&mut $c.resources.requests);
        for p in
            [&mut $c.liveness_probe, &mut $c.readiness_probe, &mut $c.startup_probe].into_iter().flatten()
        {
            probe(p);
        }
        if let Some(lifecycle) = &mut $c.lifecycle {
            for hook in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
                if let Some(http) = &mut hook.http_get {
                    http_get(http);
                }
            }
        }
    };
}

/// Defaults that pods have and templates have not, and then those of every pod spec.
pub fn pod(pod: &mut Pod) {
    let spec = &mut pod.spec;
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut()) {
        missing(&mut c.resources.requests, &c.resources.limits);
    }
    resources::default_pod_level(spec);
    set(&mut spec.enable_service_links, true);
    if spec.host_network {
        for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut()) {
            for port in c.ports.iter_mut() {
                number(&mut port.host_port, port.container_port);
            }
        }
    }
    // A negative time to end means the shortest.
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        spec.termination_grace_period_seconds = Some(1);
    }
    self::spec(spec);
    // The first address and the list of addresses are one fact in two fields; old kubelets know only the first.
    let status = &mut pod.status;
    let first = status.pod_ips.first().map(|first| first.ip.clone()).unwrap_or_default();
    if status.pod_ip.is_empty() {
        status.pod_ip = first;
    } else if status.pod_ip != first {
        status.pod_ips = meta::thin_vec![PodIP { ip: status.pod_ip.clone() }];
    }
}

/// Defaults of a pod spec, wherever it occurs.
pub fn spec(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    set(&mut spec.security_context, Default::default());
    set(&mut spec.termination_grace_period_seconds, 30);
    text(&mut spec.scheduler_name, "default-scheduler");
    // The old and the new field name of the service account hold the same value.
    if spec.service_account_name.is_empty() {
        spec.service_account_name = spec.service_account.clone();
    }
    spec.service_account = spec.service_account_name.clone();
    spec.volumes.iter_mut().for_each(volume);
    for c in spec.init_containers.iter_mut().chain(spec.containers.iter_mut()) {
        container!(c);
    }
    for c in spec.ephemeral_containers.iter_mut() {
        container!(c);
    }
    round_up(&mut spec.overhead);
    if let Some(resources) = &mut spec.resources {
        round_up(&mut resources.limits);
        round_up(&mut resources.requests);
    }
}

fn probe(probe: &mut Probe) {
    number(&mut probe.timeout_seconds, 1);
    number(&mut probe.period_seconds, 10);
    number(&mut probe.success_threshold, 1);
    number(&mut probe.failure_threshold, 3);
    if let Some(http) = &mut probe.http_get {
        http_get(http);
    }
    if let Some(grpc) = &mut probe.grpc {
        text_opt(&mut grpc.service, "");
    }
}

fn http_get(http: &mut HTTPGetAction) {
    text(&mut http.path, "/");
    text(&mut http.scheme, "HTTP");
}

/// When to pull: always for `latest`, said or unsaid, unless a digest pins the image.
fn pull_policy(image: &str) -> &'static str {
    if tag(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag of an image reference, `latest` when it names neither tag nor digest, nothing when it is malformed.
fn tag(image: &str) -> Option<&str> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let slash = name.rfind('/').map_or(0, |i| i + 1);
    let (path, tag) = match name[slash..].find(':') {
        Some(colon) => (&name[..slash + colon], Some(&name[slash + colon + 1..])),
        None => (name, None),
    };
    if !is_image_name(path) || !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => None,
        (None, None) => Some("latest"),
    }
}

/// Longest name of an image, its registry included, in bytes.
const IMAGE_NAME_MAX: usize = 255;

/// A registry, when the first part looks like one, and a path of lower-case parts.
fn is_image_name(name: &str) -> bool {
    let is_host = |part: &str| {
        part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, name),
    };
    name.len() <= IMAGE_NAME_MAX
        && host.is_none_or(is_registry)
        && path.split('/').all(is_path_component)
        && !(path.len() == 64 && host.is_none() && path.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A host name or an IPv6 address in brackets, and perhaps a port.
fn is_registry(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty()
                && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (names, port) = host.split_once(':').map_or((host, None), |(names, port)| (names, Some(port)));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    names.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Lower-case letters and digits, with single dots, one or two underscores or any number of dashes between them.
fn is_path_component(part: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii() && is_inner(c as u8)).filter(|s| !s.is_empty());
    let edges = part.bytes().next().is_some_and(is_inner) && part.bytes().next_back().is_some_and(is_inner);
    edges && { separators }.all(|s| s == "." || s == "_" || s == "__" || s.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    digest
        .split_once(':')
        .is_some_and(|(_, hex)| hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn volume(v: &mut Volume) {
    if is_bare(v) {
        v.empty_dir = Some(Default::default());
    }
    if let Some(source) = &mut v.host_path {
        text_opt(&mut source.type_, "");
    }
    if let Some(source) = &mut v.secret {
        set(&mut source.default_mode, FILE_MODE);
    }
    if let Some(source) = &mut v.config_map {
        set(&mut source.default_mode, FILE_MODE);
    }
    if let Some(source) = &mut v.downward_api {
        set(&mut source.default_mode, FILE_MODE);
        for file in source.items.iter_mut() {
            downward_file(file);
        }
    }
    if let Some(source) = &mut v.projected {
        set(&mut source.default_mode, FILE_MODE);
        for part in source.sources.iter_mut() {
            if let Some(api) = &mut part.downward_api {
                api.items.iter_mut().for_each(downward_file);
            }
            if let Some(token) = &mut part.service_account_token {
                set(&mut token.expiration_seconds, 3600);
            }
        }
    }
    if let Some(source) = &mut v.iscsi {
        text(&mut source.iscsi_interface, "default");
    }
    if let Some(source) = &mut v.rbd {
        text(&mut source.pool, "rbd");
        text(&mut source.user, "admin");
        text(&mut source.keyring, "/etc/ceph/keyring");
    }
    if let Some(source) = &mut v.azure_disk {
        text_opt(&mut source.caching_mode, "ReadWrite");
        text_opt(&mut source.kind, "Shared");
        text_opt(&mut source.fs_type, "ext4");
        set(&mut source.read_only, false);
    }
    if let Some(source) = &mut v.scale_io {
        text(&mut source.storage_mode, "ThinProvisioned");
        text(&mut source.fs_type, "xfs");
    }
    if let Some(image) = &mut v.image {
        text(&mut image.pull_policy, pull_policy(&image.reference));
    }
    if let Some(template) = v.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut()) {
        claim_spec(&mut template.spec);
    }
}

fn downward_file(file: &mut DownwardAPIVolumeFile) {
    if let Some(field) = &mut file.field_ref {
        text(&mut field.api_version, "v1");
    }
}

/// Whether the volume names no source at all.
fn is_bare(v: &Volume) -> bool {
    *v == Volume { name: v.name.clone(), ..Default::default() }
}

/// Defaults of the spec of a claim, wherever it occurs.
pub fn claim_spec(spec: &mut PersistentVolumeClaimSpec) {
    text_opt(&mut spec.volume_mode, "Filesystem");
    round_up(&mut spec.resources.limits);
    round_up(&mut spec.resources.requests);
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn pull_policies() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("localhost:5000/a/b", "Always"),
            ("localhost:5000/a/b:v1", "IfNotPresent"),
            ("a@sha256:00", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
