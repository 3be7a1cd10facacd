//! PodTolerationRestriction: a namespace gives its pods tolerations, and says which ones they may have.

use meta::{Object, Status};
use serde::Deserialize;
use serde_json::Value as Json;
use types::core::v1::{Namespace, Pod, Toleration};

use super::{Plugin, Setup};
use crate::configuration::versioned;
use crate::refuse::failed;
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::{World, WorldExt};

/// Tolerations that a namespace's pods get.
const DEFAULT: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
/// Tolerations that they may have.
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// See the module. The lists are those of namespaces that have none of their own.
pub struct PodTolerationRestriction {
    default: Vec<Toleration>,
    allowed: Vec<Toleration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    default: Vec<Json>,
    whitelist: Vec<Json>,
}

impl PodTolerationRestriction {
    /// As the plugin's document says.
    pub(super) fn configured(setup: &Setup<'_>) -> Result<Self, String> {
        let document: Document = match setup.document("PodTolerationRestriction") {
            Some(document) => {
                let versions = ["podtolerationrestriction.admission.k8s.io/v1alpha1"];
                versioned(document, "Configuration", &versions)?
            }
            None => Document::default(),
        };
        let read = |list: Vec<Json>| list.into_iter().map(toleration).collect::<Result<Vec<_>, _>>();
        Ok(Self { default: read(document.default)?, allowed: read(document.whitelist)? })
    }

    fn check(&self, pod: &Pod, namespace: Option<&Namespace>) -> Result<(), Status> {
        if pod.spec.tolerations.is_empty() {
            return Ok(());
        }
        let own = of_namespace(namespace, ALLOWED).map_err(failed)?;
        let (allowed, whose) = match &own {
            Some(list) => (list, "namespace"),
            None => (&self.allowed, "cluster"),
        };
        let fits = |toleration: &Toleration| allowed.iter().any(|wider| covers(wider, toleration));
        if allowed.is_empty() || pod.spec.tolerations.iter().all(fits) {
            return Ok(());
        }
        Err(failed(format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
        )))
    }
}

impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !concerns(review) {
            return Ok(());
        }
        let namespace = world.get::<Namespace>("", review.namespace());
        let Some(pod) = as_mut::<Pod>(object) else { return Ok(()) };
        let mut tolerations: Vec<Toleration> = pod.spec.tolerations.iter().cloned().collect();
        if review.operation == Operation::Create {
            let own = of_namespace(namespace.as_deref(), DEFAULT).map_err(failed)?;
            tolerations = merged(own.unwrap_or_else(|| self.default.clone()), tolerations);
        }
        if rules::qos(pod) != "BestEffort" {
            let pressure = Toleration {
                key: "node.kubernetes.io/memory-pressure".into(),
                operator: "Exists".into(),
                effect: "NoSchedule".into(),
                ..Toleration::default()
            };
            tolerations = merged(tolerations, vec![pressure]);
        }
        pod.spec.tolerations = tolerations.into_iter().collect();
        self.check(pod, namespace.as_deref())
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let Some(pod) = object.and_then(as_ref::<Pod>).filter(|_| concerns(review)) else { return Ok(()) };
        self.check(pod, world.get::<Namespace>("", review.namespace()).as_deref())
    }
}

fn concerns(review: &Review<'_>) -> bool {
    review.is(Operation::Create, "", "pods") || review.is(Operation::Update, "", "pods")
}

fn toleration(json: Json) -> Result<Toleration, String> {
    meta::from_value(json).map_err(|error| error.to_string())
}

/// The list in a namespace's annotation; `None` where it has none.
fn of_namespace(namespace: Option<&Namespace>, key: &str) -> Result<Option<Vec<Toleration>>, String> {
    let Some(text) = namespace.and_then(|namespace| namespace.metadata.annotations.get(key)) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let list: Vec<Json> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    list.into_iter().map(toleration).collect::<Result<Vec<_>, _>>().map(Some)
}

/// Both lists as one, of which nothing is covered by anything else in it.
fn merged(first: Vec<Toleration>, second: Vec<Toleration>) -> Vec<Toleration> {
    let all: Vec<Toleration> = first.into_iter().chain(second).collect();
    let mut kept: Vec<Toleration> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let before = kept.iter().any(|wider| covers(wider, toleration));
        let later = || all[index + 1..].iter().any(|wider| wider != toleration && covers(wider, toleration));
        if !before && !later() {
            kept.push(toleration.clone());
        }
    }
    kept
}

/// Whether everything that one tolerates, the wider one does too.
fn covers(wider: &Toleration, one: &Toleration) -> bool {
    if wider == one {
        return true;
    }
    let any_key = wider.key.is_empty() && wider.operator == "Exists";
    if wider.key != one.key && !any_key || wider.effect != one.effect && !wider.effect.is_empty() {
        return false;
    }
    if wider.effect == "NoExecute"
        && let Some(most) = wider.toleration_seconds
        && one.toleration_seconds.is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match wider.operator.as_str() {
        "Exists" => true,
        "Equal" | "" => matches!(one.operator.as_str(), "Equal" | "") && wider.value == one.value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, operator: &str, value: &str, effect: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
            toleration_seconds: seconds,
        }
    }

    #[test]
    fn wider_tolerations_cover_narrower_ones() {
        let everything = of("", "Exists", "", "", None);
        let long = of("a", "Exists", "", "NoExecute", Some(60));
        let rows = [
            (&everything, of("a", "Equal", "b", "NoSchedule", None), true),
            (&long, of("a", "Exists", "", "NoExecute", Some(30)), true),
            (&long, of("a", "Exists", "", "NoExecute", None), false),
            (&long, of("b", "Exists", "", "NoExecute", Some(30)), false),
            (&long, of("a", "Exists", "", "NoSchedule", None), false),
        ];
        for (wider, one, expected) in rows {
            assert_eq!(covers(wider, &one), expected, "{one:?}");
        }
        let list = merged(vec![of("a", "Equal", "b", "NoSchedule", None)], vec![everything.clone()]);
        assert_eq!(list, [everything]);
    }
}
