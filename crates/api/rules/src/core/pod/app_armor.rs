//! AppArmor profiles that annotations name, as clients before v1.30 wrote them: a new pod gets the fields.

use meta::{Map, Str};
use types::core::v1::{AppArmorProfile, Pod, PodSpec, SecurityContext};

use crate::Path;

pub(super) const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCALHOST_BYTES_MAX: usize = 4095;

/// The profile that an annotation means, if it is one.
pub(super) fn meant(annotation: &str) -> Option<AppArmorProfile> {
    let of = |type_: &str, localhost_profile| AppArmorProfile { type_: type_.into(), localhost_profile };
    match annotation {
        "unconfined" => Some(of("Unconfined", None)),
        "runtime/default" => Some(of("RuntimeDefault", None)),
        other => other
            .strip_prefix("localhost/")
            .filter(|name| !name.is_empty())
            .map(|name| of("Localhost", Some(name.into()))),
    }
}

fn is_sound(profile: &AppArmorProfile) -> bool {
    profile
        .localhost_profile
        .as_ref()
        .is_none_or(|name| name.trim() == name.as_str() && name.len() <= LOCALHOST_BYTES_MAX)
}

fn of_pod(spec: &PodSpec) -> Option<AppArmorProfile> {
    spec.security_context.as_ref()?.app_armor_profile.as_deref().cloned()
}

fn is_windows(spec: &PodSpec) -> bool {
    spec.os.as_ref().is_some_and(|os| os.name == "windows")
}

/// What the annotation makes of a container.
enum Sync {
    /// Nothing is told of it.
    Nothing,
    /// It says nothing that can be kept.
    Useless,
    Profile(AppArmorProfile),
}

fn sync(
    annotations: &Map<Str>,
    pod: Option<&AppArmorProfile>,
    name: &str,
    own: Option<&SecurityContext>,
) -> Sync {
    let annotation = annotations.get(format!("{ANNOTATION}{name}").as_str());
    let has_field = own.is_some_and(|own| own.app_armor_profile.is_some());
    match annotation.filter(|_| !has_field).map(|text| meant(text).filter(is_sound)) {
        None => Sync::Nothing,
        Some(None) => Sync::Useless,
        Some(Some(profile)) if pod == Some(&profile) => Sync::Nothing,
        Some(Some(profile)) => Sync::Profile(profile),
    }
}

/// Writes what annotations say into the fields of containers that say nothing.
pub(super) fn to_fields(pod: &mut Pod) {
    if is_windows(&pod.spec) {
        return;
    }
    let annotations = &pod.metadata.annotations;
    let shared = of_pod(&pod.spec);
    let put = |name: &Str, context: &mut Option<Box<SecurityContext>>| {
        if let Sync::Profile(profile) = sync(annotations, shared.as_ref(), name, context.as_deref()) {
            context.get_or_insert_default().app_armor_profile = Some(Box::new(profile));
        }
    };
    let spec = &mut pod.spec;
    spec.init_containers.iter_mut().for_each(|c| put(&c.name, &mut c.security_context));
    spec.containers.iter_mut().for_each(|c| put(&c.name, &mut c.security_context));
    spec.ephemeral_containers.iter_mut().for_each(|c| put(&c.name, &mut c.security_context));
}

/// What to tell about annotations, before they are written into fields.
pub(super) fn warnings(pod: &Pod) -> Vec<String> {
    if is_windows(&pod.spec) {
        return Vec::new();
    }
    let shared = of_pod(&pod.spec);
    let mut out = Vec::new();
    super::container::visit(&pod.spec, &Path::root("spec"), |c, _| {
        match sync(&pod.metadata.annotations, shared.as_ref(), c.name, c.security) {
            Sync::Nothing => {}
            Sync::Useless | Sync::Profile(_) => {
                let key = format!("{ANNOTATION}{}", c.name);
                let at = Path::root("metadata").child("annotations").key(&key).to_string();
                out.push(deprecated(&at));
            }
        }
    });
    out
}

/// What is told of an annotation at a place.
pub(super) fn deprecated(at: &str) -> String {
    format!("{at}: deprecated since v1.30; use the \"appArmorProfile\" field instead")
}

#[cfg(test)]
mod tests {
    use meta::Codec;
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_become_fields_and_are_told() {
        let localhost = json!({ "type": "Localhost", "localhostProfile": "x" });
        for (annotation, own, shared, wanted, told) in [
            ("unconfined", json!(null), json!(null), json!({ "type": "Unconfined" }), true),
            ("runtime/default", json!(null), json!(null), json!({ "type": "RuntimeDefault" }), true),
            ("localhost/x", json!(null), json!(null), localhost.clone(), true),
            // What it cannot mean is told, and left to validation.
            ("localhost/", json!(null), json!(null), json!(null), true),
            ("localhost/ x", json!(null), json!(null), json!(null), true),
            ("bogus", json!(null), json!(null), json!(null), true),
            // A field wins.
            ("unconfined", localhost.clone(), json!(null), localhost.clone(), false),
            // The pod says so already.
            ("localhost/x", json!(null), localhost.clone(), json!(null), false),
            ("unconfined", json!(null), localhost.clone(), json!({ "type": "Unconfined" }), true),
        ] {
            let pod = json!({ "metadata": { "annotations": { format!("{ANNOTATION}c"): annotation } },
                "spec": { "securityContext": { "appArmorProfile": shared },
                    "containers": [{ "name": "c", "securityContext": { "appArmorProfile": own } }] } });
            let mut pod = Pod::from_json(pod.to_string().as_bytes()).unwrap();
            assert_eq!(!warnings(&pod).is_empty(), told, "{annotation}");
            to_fields(&mut pod);
            let context = pod.spec.containers[0].security_context.as_ref();
            let found = context.and_then(|c| c.app_armor_profile.as_ref());
            let found = found.map_or(json!(null), |profile| meta::to_value(&**profile));
            assert_eq!(found, wanted, "{annotation}");
        }
    }
}
