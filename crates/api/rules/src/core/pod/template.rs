//! Pod templates of workloads, and the annotations that pods and templates know.

use super::container::{View, visit};
use super::volume::descending_path;
use super::{app_armor, check_spec, scheduling};
use crate::check::{Errs, labels};
use crate::{Context, Path};
use meta::v1::ObjectMeta;
use meta::{Map, Str};
use types::core::v1::*;

use crate::references::MIRROR;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Checks a pod template.
pub(crate) fn check(e: &mut Errs, at: &Path<'_>, template: &PodTemplateSpec, cx: &Context) {
    let annotations_at = at.child("annotations");
    labels::labels(e, &at.child("labels"), &template.metadata.labels);
    labels::annotations(e, &annotations_at, &template.metadata.annotations);
    annotations(e, &annotations_at, &template.metadata.annotations, &template.spec);
    let at = at.child("spec");
    check_spec(e, &at, &template.spec, None, cx);
    profiles_match(e, &at, &template.metadata, &template.spec);
    if !template.spec.ephemeral_containers.is_empty() {
        e.forbidden(&at.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// The annotations that mean something for a pod.
pub(crate) fn annotations(e: &mut Errs, at: &Path<'_>, annotations: &Map<Str>, spec: &PodSpec) {
    if let Some(value) = annotations.get(MIRROR).filter(|_| spec.node_name.is_empty()) {
        e.invalid(&at.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(text) = annotations.get(TOLERATIONS).filter(|t| !t.is_empty()) {
        match serde_json::from_str::<serde_json::Value>(text).ok().and_then(|v| {
            v.as_array()?
                .iter()
                .map(|t| meta::from_value::<Toleration>(t.clone()).ok())
                .collect::<Option<meta::List<_>>>()
        }) {
            Some(list) => scheduling::tolerations(e, &at.child(TOLERATIONS), &list),
            None => e.invalid(at, TOLERATIONS, "must be a JSON list of tolerations"),
        }
    }
    if let Some(cost) = annotations.get(DELETION_COST) {
        let canonical =
            |c: &str| c.parse::<i32>().is_ok() && !c.starts_with('+') && (c == "0" || !c.starts_with('0'));
        if !canonical(cost) {
            e.invalid(&at.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
    if let Some(profile) = annotations.get(SECCOMP_POD) {
        seccomp_annotation(e, &at.child(SECCOMP_POD), profile);
    }
    for (key, profile) in annotations.iter() {
        if key.starts_with(SECCOMP_CONTAINER) {
            seccomp_annotation(e, &at.child(key), profile);
        }
        if let Some(name) = key.strip_prefix(app_armor::ANNOTATION) {
            let mut found = false;
            visit(spec, &Path::root("spec"), |c, _| found |= c.name == name);
            if !found {
                e.invalid(&at.key(key), name, "container not found");
            }
            let known = ["", "runtime/default", "unconfined"].contains(&profile.as_str());
            if !known && !profile.starts_with("localhost/") {
                e.invalid(&at.key(key), profile, format!("invalid AppArmor profile name: \"{profile}\""));
            }
        }
    }
}

fn seccomp_annotation(e: &mut Errs, at: &Path<'_>, profile: &str) {
    if ["runtime/default", "docker/default", "unconfined"].contains(&profile) {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(path) => descending_path(e, at, path),
        None => e.invalid(at, profile, "must be a valid seccomp profile"),
    }
}

/// Where an old annotation and its field both name a profile, they must agree.
pub(super) fn profiles_match(e: &mut Errs, at: &Path<'_>, meta: &ObjectMeta, spec: &PodSpec) {
    let of_pod = spec.security_context.as_ref();
    if let (Some(profile), Some(annotation)) =
        (of_pod.and_then(|s| s.seccomp_profile.as_ref()), meta.annotations.get(SECCOMP_POD))
    {
        let at = at.child("securityContext");
        agree(
            e,
            &at.child("seccompProfile"),
            "seccomp",
            annotation,
            &profile.type_,
            profile.localhost_profile.as_deref(),
        );
    }
    visit(spec, at, |c: View<'_>, at| {
        let Some(profile) = c.security.and_then(|s| s.seccomp_profile.as_ref()) else { return };
        if let Some(annotation) = meta.annotations.get(&format!("{SECCOMP_CONTAINER}{}", c.name)) {
            let at = at.child("securityContext");
            agree(
                e,
                &at.child("seccompProfile"),
                "seccomp",
                annotation,
                &profile.type_,
                profile.localhost_profile.as_deref(),
            );
        }
    });
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    visit(spec, at, |c: View<'_>, at| {
        let own = c.security.and_then(|s| s.app_armor_profile.as_ref());
        let Some(profile) = own.or_else(|| of_pod.and_then(|s| s.app_armor_profile.as_ref())) else { return };
        if let Some(annotation) = meta.annotations.get(&format!("{}{}", app_armor::ANNOTATION, c.name)) {
            let at = at.child("securityContext");
            agree(
                e,
                &at.child("appArmorProfile"),
                "apparmor",
                annotation,
                &profile.type_,
                profile.localhost_profile.as_deref(),
            );
        }
    });
}

fn agree(e: &mut Errs, at: &Path<'_>, what: &str, annotation: &str, kind: &str, local: Option<&str>) {
    let type_differs = match kind {
        "Unconfined" => annotation != "unconfined",
        "RuntimeDefault" => {
            annotation != "runtime/default" && !(what == "seccomp" && annotation == "docker/default")
        }
        "Localhost" => !annotation.starts_with("localhost/"),
        _ => false,
    };
    if type_differs {
        e.forbidden(&at.child("type"), format!("{what} type in annotation and field must match"));
    } else if kind == "Localhost" && annotation.strip_prefix("localhost/") != local {
        e.forbidden(
            &at.child("localhostProfile"),
            format!("{what} profile in annotation and field must match"),
        );
    }
}

/// The annotations of a pod that may not change.
pub(super) fn annotations_update(e: &mut Errs, at: &Path<'_>, new: &Pod, old: &Pod) {
    let (new_set, old_set) = (&new.metadata.annotations, &old.metadata.annotations);
    for (key, value) in old_set.iter().filter(|(k, v)| new_set.get(k) != Some(v)) {
        let _ = value;
        if key.starts_with(app_armor::ANNOTATION) {
            e.forbidden(&at.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            e.forbidden(&at.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in new_set.iter().filter(|(k, _)| !old_set.contains_key(k)) {
        if key.starts_with(app_armor::ANNOTATION) {
            e.forbidden(&at.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            e.forbidden(&at.key(key), "may not add mirror pod annotation");
        }
    }
    annotations(e, at, new_set, &new.spec);
}

/// Whether the kubelet made this pod from a file.
pub(super) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.contains_key(MIRROR)
}
