//! Checks of environment variables and of the downward API.

use super::Scope;
use crate::Path;
use crate::check::{Errs, config_key, env_name, name_subdomain, qualified_name};
use meta::{List, Quantity, Str};
use types::core::v1::*;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// The fields that a downward API volume can show.
pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// The fields that the downward API knows at all.
const KNOWN_FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `env`.
pub(super) fn vars(e: &mut Errs, at: &Path<'_>, vars: &List<EnvVar>, scope: &Scope<'_>) {
    for (i, var) in vars.iter().enumerate() {
        let at = at.index(i);
        if e.present(&at.child("name"), &var.name) {
            e.each(&at.child("name"), &var.name, env_name(&var.name));
        }
        if let Some(from) = &var.value_from {
            source(e, &at.child("valueFrom"), var, from, scope);
        }
    }
}

fn source(e: &mut Errs, at: &Path<'_>, var: &EnvVar, from: &EnvVarSource, scope: &Scope<'_>) {
    let mut sources = 0;
    if let Some(field) = &from.field_ref {
        sources += 1;
        field_selector(e, &at.child("fieldRef"), field, &ENV_FIELDS);
    }
    if let Some(resource) = &from.resource_field_ref {
        sources += 1;
        resource_selector(e, &at.child("resourceFieldRef"), resource, false);
    }
    if let Some(key) = &from.config_map_key_ref {
        sources += 1;
        key_selector(e, &at.child("configMapKeyRef"), &key.name, &key.key);
    }
    if let Some(key) = &from.secret_key_ref {
        sources += 1;
        key_selector(e, &at.child("secretKeyRef"), &key.name, &key.key);
    }
    if let Some(file) = &from.file_key_ref {
        sources += 1;
        let at = at.child("fileKeyRef");
        if e.present(&at.child("key"), &file.key) {
            e.each(&at.child("key"), &file.key, env_name(&file.key));
        }
        e.present(&at.child("volumeName"), &file.volume_name);
        if e.present(&at.child("path"), &file.path) {
            super::volume::local_path(e, &at.child("path"), &file.path);
        }
    }
    let problem = match sources {
        0 => Some(
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        _ if !var.value.is_empty() => Some("may not be specified when `value` is not empty"),
        1 => None,
        _ => Some("may not have more than one field specified at a time"),
    };
    if let Some(problem) = problem {
        e.invalid(at, "", problem);
    }
    if let Some(file) =
        from.file_key_ref.as_ref().filter(|f| !scope.volumes.contains_key(f.volume_name.as_str()))
    {
        e.not_found(&at.child("fileKeyRef").child("volumeName"), &file.volume_name);
    }
}

fn key_selector(e: &mut Errs, at: &Path<'_>, name: &Str, key: &Str) {
    e.each(&at.child("name"), name, name_subdomain(name, false));
    if e.present(&at.child("key"), key) {
        e.each(&at.child("key"), key, config_key(key));
    }
}

/// `envFrom`.
pub(super) fn from(e: &mut Errs, at: &Path<'_>, sources: &List<EnvFromSource>) {
    for (i, source) in sources.iter().enumerate() {
        let item = at.index(i);
        if !source.prefix.is_empty() {
            e.each(&item.child("prefix"), &source.prefix, env_name(&source.prefix));
        }
        let mut reference = |field: &str, name: Option<&Str>| {
            if let Some(name) = name {
                let part = item.child(field);
                if e.present(&part.child("name"), name) {
                    e.each(&part.child("name"), name, name_subdomain(name, true));
                }
            }
            usize::from(name.is_some())
        };
        let found = reference("configMapRef", source.config_map_ref.as_ref().map(|r| &r.name))
            + reference("secretRef", source.secret_ref.as_ref().map(|r| &r.name));
        match found {
            0 => e.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => e.invalid(at, "", "may not have more than one field specified at a time"),
        }
    }
}

/// A field of the pod, for a variable or a file.
pub(super) fn field_selector(e: &mut Errs, at: &Path<'_>, field: &ObjectFieldSelector, allowed: &[&str]) {
    if !e.present(&at.child("apiVersion"), &field.api_version)
        || !e.present(&at.child("fieldPath"), &field.field_path)
    {
        return;
    }
    let path = field.field_path.as_str();
    let subscripted = path.strip_suffix("']").and_then(|p| p.split_once("['"));
    let base = subscripted.map_or(path, |(base, _)| base);
    let base = if base == "spec.host" { "spec.nodeName" } else { base };
    let wrong = if field.api_version != "v1" {
        Some(format!("unsupported pod version: {}", field.api_version))
    } else if subscripted.is_some() && !["metadata.annotations", "metadata.labels"].contains(&base) {
        Some(format!("field label does not support subscript: {path}"))
    } else if !KNOWN_FIELDS.contains(&base) {
        Some(format!("field label not supported: {path}"))
    } else {
        None
    };
    if let Some(wrong) = wrong {
        return e.invalid(&at.child("fieldPath"), path, format!("error converting fieldPath: {wrong}"));
    }
    match (base, subscripted) {
        ("metadata.annotations", Some((_, key))) => {
            let key = key.to_ascii_lowercase();
            e.each(at, &key, qualified_name(&key));
        }
        (_, Some((_, key))) => e.each(at, key, qualified_name(key)),
        (base, None) => e.one_of(&at.child("fieldPath"), base, allowed),
    }
}

/// A resource of a container, for a variable or a file.
pub(super) fn resource_selector(e: &mut Errs, at: &Path<'_>, selector: &ResourceFieldSelector, volume: bool) {
    let resource = selector.resource.as_str();
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if volume && selector.container_name.is_empty() {
        e.required(&at.child("containerName"), "");
    } else if e.present(&at.child("resource"), resource) && !huge {
        e.one_of(&at.child("resource"), resource, &RESOURCES);
    }
    let divisor = selector.divisor.to_string();
    if selector.divisor == Quantity::default() || divisor == "0" {
        return;
    }
    let (allowed, which): (&[&str], _) = match resource.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => (&["1m", "1"], "1m and 1 are supported with the cpu resource"),
        "memory" => (
            &BYTE_DIVISORS,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
        ),
        "ephemeral-storage" => (
            &BYTE_DIVISORS,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource",
        ),
        _ if huge => (
            &BYTE_DIVISORS,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource",
        ),
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        e.invalid(&at.child("divisor"), resource, format!("only divisor's values {which}"));
    }
}
