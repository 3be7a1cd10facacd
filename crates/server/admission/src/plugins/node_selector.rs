//! PodNodeSelector: a namespace's annotation says on which nodes its pods may run.

use meta::{Map, Object, Status, Str};
use types::core::v1::{Namespace, Pod};

use super::Plugin;
use crate::refuse::forbidden;
use crate::review::{Operation, Review, as_mut, as_ref};
use crate::world::{World, WorldExt};

/// `key=value` pairs, separated by commas.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";

/// See the module.
pub struct PodNodeSelector;

impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn mutate(
        &self,
        review: &Review<'_>,
        object: &mut dyn Object,
        world: &dyn World,
        _: &mut Vec<String>,
    ) -> Result<(), Status> {
        if !review.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let wanted = wanted(review, object, world)?;
        let Some(pod) = as_mut::<Pod>(object) else { return Ok(()) };
        if conflicts(&pod.spec.node_selector, &wanted) {
            return Err(conflict(review, object));
        }
        for (key, value) in wanted.iter() {
            pod.spec.node_selector.insert(key.clone(), value.clone());
        }
        Ok(())
    }

    fn validate(
        &self,
        review: &Review<'_>,
        object: Option<&dyn Object>,
        world: &dyn World,
    ) -> Result<(), Status> {
        let Some(object) = object.filter(|_| review.is(Operation::Create, "", "pods")) else { return Ok(()) };
        let Some(pod) = as_ref::<Pod>(object) else { return Ok(()) };
        if conflicts(&pod.spec.node_selector, &wanted(review, object, world)?) {
            return Err(conflict(review, object));
        }
        Ok(())
    }
}

fn conflict(review: &Review<'_>, object: &dyn Object) -> Status {
    forbidden(
        review,
        Some(object),
        "pod node label selector conflicts with its namespace node label selector",
    )
}

fn conflicts(own: &Map<Str>, wanted: &Map<Str>) -> bool {
    wanted.iter().any(|(key, value)| own.get(key).is_some_and(|mine| mine != value))
}

/// The selector of the namespace.
fn wanted(review: &Review<'_>, object: &dyn Object, world: &dyn World) -> Result<Map<Str>, Status> {
    let namespace = world.get::<Namespace>("", review.namespace());
    let Some(text) = namespace.as_ref().and_then(|n| n.metadata.annotations.get(ANNOTATION)) else {
        return Ok(Map::default());
    };
    parse(text).ok_or_else(|| {
        let why = format!("invalid selector {:?} in the namespace's annotation {ANNOTATION}", text.as_str());
        forbidden(review, Some(object), &why)
    })
}

fn parse(text: &str) -> Option<Map<Str>> {
    let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (key, value) = term.split_once('=')?;
            Some((Str::from(key.trim()), Str::from(value.trim_start_matches('=').trim())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn selectors_are_pairs() {
        let pairs = parse("env=test, zone == a,").expect("a selector");
        assert_eq!(pairs.get("env").map(|v| v.as_str()), Some("test"));
        assert_eq!(pairs.get("zone").map(|v| v.as_str()), Some("a"));
        assert!(parse("env").is_none());
    }
}
